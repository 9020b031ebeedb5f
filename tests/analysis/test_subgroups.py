"""Rates of groups of people are counted in them alone, and none are told of few people."""

import numpy as np
import polars as pl
import pytest

from lookaway.analysis.subgroups import gap_ends, group_rates, read_groups
from lookaway.analysis.verification import CLEAN, Comparisons
from lookaway.errors import DataError
from resamples import few_resamples

PEOPLE, PROBES = 55, 4
TITLE = ("fgsm", "dodging", 0.1)
GROUPS = ["north"] * 25 + ["south"] * 25 + ["few"] * 5


@pytest.fixture(scope="module")
def found():
    """People of the south are lost twice as often."""
    random = np.random.default_rng(2)
    persons = np.repeat(np.arange(PEOPLE), PROBES)
    same = persons[:, None] == np.arange(PEOPLE)
    clean = random.normal(0.2, 0.1, same.shape) + 0.6 * same
    fails = random.random(len(persons)) < np.where(persons < 25, 0.3, 0.6)
    lost = np.where(same & fails[:, None], 0.0, clean)
    return Comparisons(persons, {CLEAN: clean, TITLE: lost}, {})


@pytest.fixture(scope="module")
def rates(found):
    return group_rates(found, GROUPS, [0.01, 0.001])


def test_rates_are_those_of_a_group_s_own_comparisons(found, rates):
    frame = rates.filter(attack="fgsm")
    threshold = found.thresholds(0.01)[:, None]
    match, same = found.similarities[TITLE] >= threshold, found.genuine()
    of = np.array(GROUPS)
    for group in ("north", "south"):
        mine = of[found.persons] == group
        told = {row["measure"]: row for row in frame.filter(group=group).iter_rows(named=True)}
        assert told["fnmr@0.01"]["value"] == pytest.approx((~match[mine][same[mine]]).mean())
        inside = ~same[mine] & (of == group)[None, :]
        assert told["fmr@0.01"]["value"] == pytest.approx(match[mine][inside].mean())
        assert told["fmr@0.01"]["n_impostor"] == inside.sum()
        assert told["fnmr@0.01"]["low"] < told["fnmr@0.01"]["value"] < told["fnmr@0.01"]["high"]
    few = frame.filter(group="few", measure="fnmr@0.01").row(0, named=True)
    assert few["value"] is None
    assert few["reason"] == "under 20 people"


def test_the_largest_gap_names_its_two_groups_and_is_as_wide_as_so_many_people_say(found, rates):
    frame = rates.filter(group="largest gap", measure="fnmr@0.01")
    clean, lost = (frame.filter(attack=name).row(0, named=True) for name in ("clean", "fgsm"))
    assert lost["reason"] == "south less north"
    assert lost["low"] > 0
    width = 2 * 1.96 * (0.3 * 0.7 / 100 + 0.6 * 0.4 / 100) ** 0.5
    assert lost["high"] - lost["low"] == pytest.approx(width, rel=0.3)
    assert clean["low"] <= 0 <= clean["high"]
    of = np.array(GROUPS)
    for name, kept in (("genuine", found.genuine()), ("impostor", ~found.genuine())):
        told = rates.filter(attack="clean", measure=name)
        inside = [kept & np.outer(of[found.persons] == each, of == each) for each in of[[0, 30]]]
        means = [found.similarities[CLEAN][each].mean() for each in inside]
        assert told["value"].to_list() == pytest.approx([None, *means, abs(means[0] - means[1])])
    with few_resamples(20):
        frame = group_rates(found, ["north"] * 50 + ["few"] * 5, [0.01])
    alone = frame.filter(group="largest gap")
    assert set(alone["reason"]) == {"fewer than two groups of 20 people"}
    few = rates.filter(pl.col("group") != "few", measure="fnmr@0.001")["reason"]
    assert few.str.contains("takes 10000 impostor").all()


def test_the_smallest_ε_is_the_median_of_a_group_s_own_decisions(found):
    """Decisions of the north change at the first ε, of the south at the second or never."""
    clean, same, north = found.similarities[CLEAN], found.genuine(), found.persons < 25
    never = found.persons % 5 == 0
    similarities = {CLEAN: clean}
    for epsilon, lost in ((0.1, north), (0.2, ~never), (0.3, ~never)):
        similarities["a", "dodging", epsilon] = np.where(same & lost[:, None], 0.0, clean)
        held = lost & (north | (found.persons % 5 == 1))
        similarities["b", "dodging", epsilon] = np.where(same & held[:, None], 0.0, clean)
    with few_resamples(20):
        frame = group_rates(Comparisons(found.persons, similarities, {}), GROUPS, [0.01])
    frame = frame.filter(measure="epsilon@0.01")
    one, two = (
        dict(each.rows_by_key("group", named=True))
        for _, each in frame.group_by("attack", maintain_order=True)
    )
    assert (one["north"][0]["value"], one["south"][0]["value"]) == (0.1, 0.2)
    gap = one["largest gap"][0]
    assert (gap["value"], gap["low"], gap["high"]) == pytest.approx((0.1, 0.1, 0.1))
    assert one["few"][0]["reason"] == "under 20 people"
    assert two["south"][0]["value"] is None
    assert two["largest gap"][0]["value"] is None
    assert "south: only 20.0 % of the decisions change" in two["largest gap"][0]["reason"]


def test_a_gap_is_as_uncertain_as_both_groups_are_also_where_nothing_failed():
    assert gap_ends((0.5, 0.2, 0.7), (0.1, 0.06, 0.5)) == pytest.approx(
        (0.4 - np.hypot(0.3, 0.4), 0.4 + np.hypot(0.2, 0.04))
    )
    low, high = gap_ends((1.0, 0.94, 1.0), (1.0, 0.93, 1.0))
    assert (low, high) == pytest.approx((-0.06, 0.07))
    assert gap_ends((0.2, 0.1, None), (0.1, 0.1, 0.1)) == (pytest.approx(0.0), None)


def test_one_probe_of_each_person_has_an_interval_too():
    persons, same = np.arange(50), np.eye(50, dtype=bool)
    clean = np.random.default_rng(0).normal(0.2, 0.1, same.shape) + 0.6 * same
    lost = np.where(same & (persons % 2 == 0)[:, None], 0.0, clean)
    found = Comparisons(persons, {CLEAN: clean, TITLE: lost}, {})
    frame = group_rates(found, ["north"] * 25 + ["south"] * 25).filter(measure="fnmr@0.01")
    row = frame.filter(attack="fgsm", group="south").row(0, named=True)
    assert 0.25 < row["low"] < row["value"] < row["high"] < 0.75


def test_groups_are_those_of_people_or_of_their_images():
    samples = pl.DataFrame({"image": ["a/1", "a/2", "b/1"], "label": ["a", "a", "b"]})
    people = pl.DataFrame({"label": ["a", "b"], "sex": ["f", "m"]})
    assert read_groups(people, "sex", samples) == {"a": "f", "b": "m"}
    images = pl.DataFrame({"image": ["a/1", "b/1"], "group": ["f", "m"]})
    assert read_groups(images, "group", samples) == {"a": "f", "b": "m"}
    for frame, told in (
        (people.head(1), "no group for 1 people, such as 'b'"),
        (people.rename({"sex": "x"}), "needs a column label or image, and 'sex'"),
        (
            pl.DataFrame({"label": ["a", "a", "b"], "sex": ["f", "m", "m"]}),
            "'a' into several groups",
        ),
    ):
        with pytest.raises(DataError, match=told):
            read_groups(frame, "sex", samples)

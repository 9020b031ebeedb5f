"""An excess because more predictions flip is told apart from one beyond that."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookaway.analysis.decomposition import (
    APART,
    BEYOND,
    EXCESS,
    FEWEST,
    FLIPPED_BOTH,
    FLIPS,
    RIGHT_BOTH,
    SAME,
    WRONG_BOTH,
    decomposition,
)
from oracles import decomposition_by_outcome
from rows import labels_of, line, measured, without_nan

LABELS = labels_of(2, 100)


def of_control(values, right, labels=LABELS, name="noise", before=True, **said):
    rows = measured(
        "m", values, labels, source=None, right_before=before, right_after=right, **said
    )
    return rows.with_columns(attack=pl.lit(name))


def found_in(attacked, after, controls, labels=LABELS, before=True):
    """The measures of an attack beside controls: (name, NISSIM, right) each."""
    rows = [measured("m", attacked, labels, right_before=before, right_after=after)]
    rows += [of_control(v, right, labels, name, before) for name, v, right in controls]
    return decomposition(pl.concat(rows))


def looks(random, flips, moves=0.0):
    """NISSIM and right or not: what flips, with a chance of ``flips``, looks elsewhere by that."""
    flipped = random.random(len(LABELS)) < flips
    nissim = random.beta(2, 18, len(LABELS)) + 0.3 * flipped + moves
    return nissim, ~flipped


@pytest.mark.parametrize(("flips", "moves"), [(0.6, 0.0), (0.3, 0.1), (0.3, 0.0)])
def test_flips_without_movement_and_movement_without_flips_are_told_apart(flips, moves):
    random = np.random.default_rng(3)
    attacked, after = looks(random, flips, moves)
    frame = found_in(attacked, after, [("noise", *looks(random, 0.3))])
    excess, because, beyond = (line(frame, measure=name) for name in (EXCESS, FLIPS, BEYOND))
    planted = 0.3 * (flips - 0.3)
    assert because["low"] < planted < because["high"]
    assert beyond["low"] < moves < beyond["high"]
    assert (excess["low"] > 0) == (flips > 0.3 or moves > 0)
    assert (because["low"] > 0) == (flips > 0.3)
    assert (beyond["low"] > 0) == (moves > 0)
    for both in (SAME, RIGHT_BOTH, FLIPPED_BOTH):
        paired = line(frame, measure=both)
        assert paired["low"] < moves < paired["high"]
        assert (paired["low"] > 0) == (moves > 0)


outcomes = st.lists(
    st.tuples(*[st.booleans()] * 4, *[st.floats(0, 1)] * 3), min_size=20, max_size=40
)


@settings(max_examples=30, deadline=None)
@given(outcomes)
def test_the_parts_are_those_of_the_oracle_and_add_up_to_the_excess(images):
    before, after, first, second, *nissim = (np.array(each) for each in zip(*images, strict=True))
    labels = labels_of(1, len(images))
    draws = [
        ("shifted 1 of fgsm", nissim[1], first),
        ("shifted 2 of fgsm", nissim[2], second),
        ("shifted 1 of pgd", nissim[2], first),  # of an attack that is not there
    ]
    frame = found_in(nissim[0], after, draws, labels, before)
    expected = decomposition_by_outcome(before, after, nissim[0], [first, second], nissim[1:])
    assert frame["control"].unique().to_list() == ["shifted of fgsm"]
    for measure, value in expected.items():
        got = line(frame, measure=measure)
        if value is None:
            assert got["value"] is got["low"] is got["high"] is None
            assert got["reason"]
        else:
            assert got["value"] == pytest.approx(value, abs=1e-9)
            assert got["reason"] is None
    if expected[FLIPS] is not None:
        both = line(frame, measure=FLIPS)["value"] + line(frame, measure=BEYOND)["value"]
        assert both == pytest.approx(expected[EXCESS], abs=1e-9)
    assert without_nan(frame)


def test_what_an_outcome_scores_under_the_control_is_not_made_up_where_it_hardly_occurs():
    attacked = np.linspace(0, 1, 200)
    after = np.arange(200) % 2 == 0
    for under in (0, 1, FEWEST - 1, FEWEST):
        right = np.arange(200) >= under
        frame = found_in(attacked, after, [("noise", attacked / 2, right)])
        told = {
            0: "not known: no image flipped under the control",
            1: "not known: only 1 image flipped under the control",
            FEWEST - 1: "not known: only 4 images flipped under the control",
        }.get(under)
        for measure in (FLIPS, BEYOND):
            got = line(frame, measure=measure)
            assert got["reason"] == told
            assert (got["value"] is None) == (got["low"] is None) == (under < FEWEST)
        assert line(frame, measure=RIGHT_BOTH)["value"] is not None
    assert line(frame, measure=WRONG_BOTH)["reason"] == "no image was wrong before"


def test_where_nothing_flips_all_of_the_excess_is_at_equal_outcome():
    attacked, control = np.linspace(0.2, 0.6, 200), np.linspace(0.1, 0.3, 200)
    frame = found_in(attacked, True, [("noise", control, True)])
    excess = line(frame, measure=EXCESS)
    assert line(frame, measure=FLIPS)["value"] == 0
    beyond = line(frame, measure=BEYOND)
    for end in ("value", "low", "high"):
        assert beyond[end] == pytest.approx(excess[end], abs=1e-3)
    assert line(frame, measure=APART)["reason"] == "every image has the same outcome under both"


def test_each_attack_is_held_against_every_control_that_is_meant_for_it():
    values = {
        ("fgsm", "m"): 0.5,
        ("pgd", "m"): 0.6,
        ("pgd", "s"): 0.7,
        ("noise", None): 0.1,
        ("own-size noise of pgd", None): 0.2,
        ("own-size noise of pgd from s", None): 0.4,
        ("shifted 1 of fgsm", None): 0.3,
        ("shifted 2 of fgsm", None): 0.4,
    }
    labels = labels_of(2, 3)
    rows = pl.concat(
        measured("m", np.full(6, value), labels, source=source).with_columns(attack=pl.lit(attack))
        for (attack, source), value in values.items()
    )
    frame = decomposition(rows).filter(measure=EXCESS)
    found = {
        (row["attack"], row["source"], row["control"]): round(row["value"], 6)
        for row in frame.iter_rows(named=True)
    }
    assert found == {
        ("fgsm", "m", "noise"): 0.4,
        ("fgsm", "m", "shifted of fgsm"): 0.15,
        ("pgd", "m", "noise"): 0.5,
        ("pgd", "m", "own-size noise of pgd"): 0.4,
        ("pgd", "s", "noise"): 0.6,
        ("pgd", "s", "own-size noise of pgd from s"): 0.3,
    }
    assert decomposition(rows.filter(pl.col("source").is_not_null())).is_empty()

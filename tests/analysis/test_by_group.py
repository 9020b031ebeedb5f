"""Means of groups of people are those of their own images, and none are told of few people."""

import numpy as np
import polars as pl
import pytest

from lookaway.analysis.by_group import group_means
from lookaway.analysis.intervals import Bootstrap
from rows import labels_of, measured

PEOPLE, EACH = 55, 3
KEYS = ["variant", "model", "attack", "source", "epsilon"]


@pytest.fixture(scope="module")
def rows():
    random = np.random.default_rng(0)
    labels = labels_of(PEOPLE, EACH)
    person = np.repeat(np.arange(PEOPLE), EACH)
    values = 0.2 + 0.1 * (person >= 25)[:, None] + 0.03 * random.random((PEOPLE * EACH, 2))
    values += 0.02 * np.repeat(random.random(PEOPLE), EACH)[:, None]
    return measured("m", values, labels, epsilons=(0.1, 0.2))


@pytest.fixture(scope="module")
def groups():
    names = ["north"] * 25 + ["south"] * 25 + ["few"] * 5
    return {f"c{place:03d}": name for place, name in enumerate(names)}


@pytest.fixture(scope="module")
def frame(rows, groups):
    right = pl.lit(1.0)
    measures = {"mod": pl.col("nissim"), "accuracy": right}
    return group_means(rows, KEYS, measures, groups, ["accuracy"])


def test_a_group_s_mean_is_that_of_its_own_images(rows, groups, frame):
    for epsilon in (0.1, 0.2):
        for group in ("north", "south"):
            people = [label for label, name in groups.items() if name == group]
            mine = rows.filter(pl.col("label").is_in(people), epsilon=epsilon)
            told = frame.filter(group=group, epsilon=epsilon, measure="mod").row(0, named=True)
            assert told["value"] == pytest.approx(mine["nissim"].mean())
            assert (told["n"], told["n_people"]) == (75, 25)
            boot = Bootstrap(mine["label"].to_list())
            low, high = boot.intervals(mine["nissim"].to_numpy()[:, None], np.ones((75, 1)))
            assert (told["low"], told["high"]) == pytest.approx((low[0], high[0]))
    few = frame.filter(group="few")
    assert few["value"].null_count() == few["low"].null_count() == few.height
    assert set(few["reason"]) == {"under 20 people"}


def test_the_largest_gap_has_the_width_of_two_groups_drawn_apart(frame):
    gap = frame.filter(group="largest gap", measure="mod")
    assert gap["reason"].to_list() == ["south less north"] * 2
    for row in gap.iter_rows(named=True):
        here = frame.filter(measure="mod", epsilon=row["epsilon"])
        means = dict(here.select("group", "value").iter_rows())
        assert row["value"] == pytest.approx(means["south"] - means["north"])
        widths = here.filter(pl.col("group").is_in(["north", "south"]))
        expected = np.hypot(*(widths["high"] - widths["low"]))
        assert row["high"] - row["low"] == pytest.approx(expected, rel=0.1)
        assert row["low"] < row["value"] < row["high"]
    same = frame.filter(group="largest gap", measure="accuracy")
    assert same["value"].to_list() == [0.0, 0.0]


def test_one_group_alone_has_no_gap(rows, groups):
    alone = {label: "few" if name == "few" else "all" for label, name in groups.items()}
    found = group_means(rows, KEYS, {"mod": pl.col("nissim")}, alone).filter(group="largest gap")
    assert found["value"].null_count() == found.height == 2
    assert set(found["reason"]) == {"fewer than two groups of 20 people"}

"""Intervals of proportions: Wilson's, worth fewer images where whole classes hang together."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from lookaway.analysis import direction, outcomes, summary
from lookaway.analysis.intervals import Bootstrap
from lookaway.analysis.proportions import ASSUMED, compared_ends, proportion_ends, wilson
from rows import labels_of, line, measured, statistics_of


def ends(labels, right):
    right = np.asarray(right, dtype=float)[:, None]
    (low,), (high,) = proportion_ends(Bootstrap(labels, 1), right, np.ones_like(right))
    return low, high


def worth(low, high, share, reach):
    """Of how many trials Wilson's interval has this width."""
    counts = np.arange(1.0, 2000.0, 0.01)
    wide = np.subtract(*wilson(np.full(len(counts), share), counts, reach)[::-1])
    return counts[np.abs(wide - (high - low)).argmin()]


@pytest.mark.parametrize(("right", "of"), [(0, 1), (1, 1), (0, 10), (7, 10), (80, 80), (297, 300)])
def test_wilson_s_interval_is_scipy_s(right, of):
    theirs = stats.binomtest(right, of).proportion_ci(method="wilson")
    got = wilson(np.array([right / of]), np.array([float(of)]))
    assert [got[0][0], got[1][0]] == pytest.approx([theirs.low, theirs.high], abs=1e-12)
    assert ends(labels_of(1, of), np.arange(of) < right) == pytest.approx((theirs.low, theirs.high))


def test_with_few_classes_each_image_is_a_trial_whatever_its_class():
    """Also one image a class, where a bootstrap has no interval; and all of one class wrong."""
    for labels in (labels_of(2, 40), labels_of(19, 1), labels_of(1, 1)):
        right = np.arange(len(labels)) < len(labels) // 2
        plain = stats.binomtest(int(right.sum()), len(labels)).proportion_ci(method="wilson")
        assert ends(labels, right) == pytest.approx((plain.low, plain.high))


def test_classes_that_are_right_or_wrong_as_a_whole_are_worth_one_trial_each():
    reach = stats.t.ppf(0.975, 29)
    right = np.repeat(np.arange(30) % 2 == 0, 10)
    assert worth(*ends(labels_of(30, 10), right), 0.5, reach) == pytest.approx(30, rel=0.02)
    # Unequal classes are worth fewer than there are: (Σ n)² / Σ n².
    sizes = np.repeat([5, 15], 15)
    labels = [f"c{place:02d}" for place, size in enumerate(sizes) for _ in range(size)]
    right = np.repeat(np.arange(30) % 2 == 0, sizes)
    share = right.mean()
    fewer = sizes.sum() ** 2 / (sizes**2).sum()
    assert worth(*ends(labels, right), share, reach) == pytest.approx(fewer, rel=0.03)


def test_images_that_do_not_hang_together_are_worth_as_many_as_there_are():
    labels, reach = labels_of(40, 10), stats.t.ppf(0.975, 39)
    right = np.random.default_rng(0).random(400) < 0.5
    assert 300 < worth(*ends(labels, right), right.mean(), reach) <= 400.1
    even = np.tile(np.arange(10) % 2 == 0, 40)  # less apart than at random is no more
    assert worth(*ends(labels, even), 0.5, reach) == pytest.approx(400, rel=0.02)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_without_a_failure_classes_are_taken_to_hang_together_a_little(share):
    reach = stats.t.ppf(0.975, 29)
    low, high = ends(labels_of(30, 10), np.full(300, share))
    assert (low, high)[int(share)] == share
    expected = 300 / (1 + ASSUMED * 9)
    assert worth(low, high, share, reach) == pytest.approx(expected, rel=0.01)
    one = ends(labels_of(30, 10), np.where(np.arange(300) == 7, 1 - share, share))
    assert 0 < one[1] - one[0] - (high - low) < 0.03  # no jump


def test_every_share_of_the_frames_has_wilson_s_interval_and_says_so():
    labels = labels_of(3, 5)
    rows = measured("m", np.linspace(0, 0.5, 15), labels)
    for frame, value in [
        (summary.accuracy(rows), "accuracy"),
        (summary.unattacked(rows), "unattacked"),
    ]:
        assert frame["interval"].unique().to_list() == ["Wilson, images"]
        assert frame["low"].null_count() == 0
        assert ((frame["low"] < frame["high"]) & (frame[value] <= frame["high"])).all()
    found = outcomes.outcomes(rows)
    flipped = line(found, outcome="flipped", measure="share")
    assert (flipped["value"], flipped["low"]) == (0.0, 0.0)
    assert flipped["high"] == pytest.approx(
        stats.binomtest(0, 15).proportion_ci(method="wilson").high
    )
    # By which they are told apart is certain.
    stayed = line(found, outcome="stayed right", measure="accuracy")
    assert (stayed["low"], stayed["high"]) == (1.0, 1.0)
    words = direction.direction(statistics_of(rows)).filter(
        pl.col("measure").is_in(direction.WORDS)
    )
    assert words["interval"].unique().to_list() == ["Wilson, images"]
    many = summary.accuracy(measured("m", np.zeros(40), labels_of(20, 2)))
    assert many["interval"].unique().to_list() == ["Wilson, classes"]


def test_comparisons_that_share_a_person_are_worth_fewer():
    random = np.random.default_rng(0)
    persons = np.repeat(np.arange(30), 4)
    other = persons[:, None] != np.arange(30)
    alone = (random.random(other.shape) < 0.05) & other
    odd = np.isin(np.arange(30), [3, 17])  # persons whom many are taken for, and are
    wolves = ((odd[persons][:, None] | odd) & (random.random(other.shape) < 0.4)) & other
    wide = {}
    for name, matches in (("alone", alone), ("wolves", wolves)):
        low, high = compared_ends(matches, other, persons)
        share = matches[other].mean()
        plain = np.subtract(*wilson(np.array([share]), np.array([other.sum()]))[::-1])[0]
        assert low < share < high
        wide[name] = (high - low) / plain
    assert wide["alone"] < 2
    assert wide["wolves"] > 4
    # Σ e e′ over all two that share a person, one after the other.
    left = wolves - wolves[other].mean() * other
    places = np.argwhere(other)
    left, who = left[other], np.stack([persons[places[:, 0]], places[:, 1]], axis=1)
    near = sum((who[:, i, None] == who[None, :, j]) for i in (0, 1) for j in (0, 1)) > 0
    variance = float(left @ near @ left) * 30 / 29
    failures = other.sum() * wolves[other].mean() * (1 - wolves[other].mean())
    low, high = compared_ends(wolves, other, persons)
    worthy = worth(low, high, wolves[other].mean(), stats.t.ppf(0.975, 29))
    assert worthy == pytest.approx(other.sum() * failures / variance, rel=0.15)

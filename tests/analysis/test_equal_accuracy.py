"""MOD of attack and control where both leave the same accuracy."""

import numpy as np
import polars as pl
import pytest

from lookaway.analysis.equal_accuracy import at_equal_accuracy, equal_accuracy
from rows import labels_of, line, measured, without_nan

LABELS = labels_of(2, 50)
EPSILONS = (0.01, 0.05, 0.1)


def study(attack, control, moved, random, epsilons=EPSILONS):
    """Shares that are right at each ε; NISSIM follows accuracy, the attack's by ``moved`` more."""
    parts = []
    for source, shares, more in (("m", attack, moved), (None, control, 0.0)):
        order = random.permutation(len(LABELS))[:, None]
        right = order < np.round(np.array(shares) * len(LABELS))
        mods = 0.1 + 0.5 * (1 - np.array(shares)) + more
        nissim = mods + random.normal(0, 0.02, right.shape)
        parts.append(
            measured("m", nissim, LABELS, source=source, epsilons=epsilons, right_after=right)
        )
    return pl.concat(parts)


@pytest.mark.parametrize("moved", [0.0, 0.05])
def test_a_planted_difference_at_equal_accuracy_is_found_and_an_absent_one_is_not(moved):
    random = np.random.default_rng(0)
    frame = equal_accuracy(study((0.9, 0.5, 0.2), (0.98, 0.8, 0.6), moved, random))
    got = line(frame)
    assert (got["accuracy_low"], got["accuracy_high"]) == (0.6, 0.9)
    assert got["accuracy"] == 0.75
    assert got["mod"] == pytest.approx(0.1 + 0.5 * 0.25 + moved, abs=0.01)
    assert got["low"] < moved < got["high"]
    assert (got["low"] > 0) == (moved > 0)
    assert (got["n"], got["reason"]) == (100, None)
    assert without_nan(frame)


def test_the_curves_are_those_of_numpy_and_the_first_epsilon_counts():
    random = np.random.default_rng(1)
    accuracy = random.random((200, 4))  # rises and falls
    falling = -np.sort(-random.random((200, 4)), axis=1)
    mods = random.random((2, 200, 4))
    found = at_equal_accuracy(accuracy, mods[0], falling, mods[1])
    for place in range(200):
        low = max(accuracy[place].min(), falling[place].min())
        high = min(accuracy[place].max(), falling[place].max())
        if low > high:
            assert np.isnan(found["difference"][place])
            continue
        level = (low + high) / 2
        of_control = np.interp(level, falling[place][::-1], mods[1, place][::-1])
        assert found["control_mod"][place] == pytest.approx(of_control)
        fine = np.linspace(0, 3, 300_001)
        line_over = np.interp(fine, range(4), accuracy[place]) - level
        first = fine[np.flatnonzero(np.diff(np.sign(line_over)))[0]]
        there = np.interp(first, range(4), mods[0, place])
        assert found["mod"][place] == pytest.approx(there, abs=1e-4)


@pytest.mark.parametrize(
    ("attack", "control", "epsilons", "reason"),
    [
        (
            (0.5, 0.4, 0.3),
            (0.98, 0.9, 0.8),
            EPSILONS,
            "no accuracy is left by both: 30.0 % to 50.0 % under the attack, 80.0 % to 98.0 %",
        ),
        ((0.5,), (0.9,), (0.1,), "there is one ε alone"),
    ],
)
def test_where_no_accuracy_is_left_by_both_there_is_no_number(attack, control, epsilons, reason):
    frame = equal_accuracy(study(attack, control, 0.0, np.random.default_rng(2), epsilons))
    got = line(frame)
    assert got["reason"].startswith(reason)
    assert got["difference"] is got["low"] is got["mod"] is got["accuracy"] is None


def test_where_resamples_often_have_no_accuracy_in_common_there_is_no_interval():
    frame = equal_accuracy(
        study((0.6, 0.5), (0.9, 0.6), 0.0, np.random.default_rng(3), (0.01, 0.1))
    )
    got = line(frame)
    assert got["difference"] is not None
    assert got["low"] is got["high"] is None
    assert got["reason"].startswith("no interval: in ")

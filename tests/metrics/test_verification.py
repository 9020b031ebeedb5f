"""Error rates of comparisons: against counting by hand, and against scikit-learn's ROC curve."""

import numpy as np
import pytest
from scipy.optimize import brentq
from sklearn.metrics import roc_curve

from lookaway.errors import InputError
from lookaway.metrics.verification import det, equal_error_rates, threshold_at

RANDOM = np.random.default_rng(0)
GENUINE, IMPOSTOR = RANDOM.normal(0.7, 0.2, 60).round(2), RANDOM.normal(0.3, 0.2, 900).round(2)


def test_rates_are_the_counted_ones_also_at_ties():
    found = det(GENUINE, IMPOSTOR)
    for threshold, fmr, fnmr in zip(found.thresholds, found.fmr, found.fnmr, strict=True):
        assert fmr == pytest.approx(sum(each >= threshold for each in IMPOSTOR) / 900)
        assert fnmr == pytest.approx(sum(each < threshold for each in GENUINE) / 60)
    assert (found.fmr[0], found.fnmr[0], found.fmr[-1], found.fnmr[-1]) == (1, 0, 0, 1)


def test_the_equal_error_rate_is_that_of_scikit_learns_curve():
    truth = np.repeat([1, 0], [60, 900])
    scores = np.concatenate([GENUINE, IMPOSTOR])
    fpr, tpr, _ = roc_curve(truth, scores, drop_intermediate=False)
    theirs = brentq(lambda x: 1 - x - np.interp(x, fpr, tpr), 0, 1)
    assert det(GENUINE, IMPOSTOR).equal_error_rate == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize(
    ("genuine", "impostor", "expected"),
    [([0.9], [0.1], 0.0), ([0.1], [0.9], 1.0), ([0.5], [0.5], 0.5), ([0.5, 0.9], [0.5, 0.1], 0.25)],
)
def test_separate_reversed_and_tied_comparisons(genuine, impostor, expected):
    assert det(np.array(genuine), np.array(impostor)).equal_error_rate == expected


def test_a_weight_is_as_many_comparisons():
    scores, same = np.append(GENUINE, IMPOSTOR), np.repeat([True, False], [60, 900])
    weights = RANDOM.integers(0, 3, (4, 960))
    found = equal_error_rates(scores, same, np.append(weights, np.ones((1, 960)), axis=0))
    for each, weight in zip(found, weights, strict=False):
        many, of = np.repeat(scores, weight), np.repeat(same, weight)
        assert each == pytest.approx(det(many[of], many[~of]).equal_error_rate, abs=1e-9)
    assert found[-1] == pytest.approx(det(GENUINE, IMPOSTOR).equal_error_rate, abs=1e-12)
    assert np.isnan(equal_error_rates(scores, same, same[None, :].astype(float)))[0]


def test_a_threshold_is_the_lowest_that_holds_the_rate_and_null_where_too_few_can_tell_it():
    many = np.concatenate([IMPOSTOR, IMPOSTOR + 0.001, [5.0] * 3])
    threshold = threshold_at(many, 0.01)
    assert (many >= threshold).mean() <= 0.01
    assert (many >= np.nextafter(threshold, -np.inf)).mean() > 0.01
    assert threshold_at(many[:999], 0.01) is None
    assert threshold_at(many[:1000], 0.01) is not None
    with pytest.raises(InputError, match=r"lies in \(0, 1\)"):
        threshold_at(many, 1.0)
    with pytest.raises(InputError, match="impostor must be finite"):
        det(GENUINE, np.array([np.nan]))

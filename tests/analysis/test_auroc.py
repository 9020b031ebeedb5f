"""AUROC and its interval, against counts of pairs and by simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from lookaway.analysis.auroc import auroc
from lookaway.analysis.intervals import Bootstrap
from oracles import auroc_by_pairs
from rows import labels_of

scored = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5]) | st.floats(0, 1), st.booleans()),
    min_size=2,
    max_size=25,
).filter(lambda pairs: len({wanted for _, wanted in pairs}) == 2)


def found(scores, positive, labels=None, strata=None):
    labels = labels_of(1, len(scores)) if labels is None else labels
    strata = np.zeros(len(scores), dtype=int) if strata is None else strata
    return auroc(np.asarray(scores), np.asarray(positive), strata, Bootstrap(labels, 2))


@given(scored)
def test_it_is_the_share_of_pairs_won_and_mann_whitney_s_u(pairs):
    scores, positive = (np.array(column) for column in zip(*pairs, strict=True))
    got, low, high, _ = found(scores, positive)
    assert got == pytest.approx(auroc_by_pairs(scores, positive))
    u = mannwhitneyu(scores[positive], scores[~positive]).statistic
    assert got == pytest.approx(u / (positive.sum() * (~positive).sum()))
    assert 0 <= low <= got <= high <= 1
    assert found(scores, ~positive)[:3] == pytest.approx((1 - got, 1 - high, 1 - low), abs=1e-9)


def test_where_flips_and_others_are_wholly_apart_it_has_width():
    value, low, high, _ = found(np.arange(20.0), np.arange(20) >= 10)
    assert (value, high) == (1.0, 1.0)
    assert 0.75 < low < 0.9
    more = found(np.arange(200.0), np.arange(200) >= 100)
    assert low < more[1] < 1


def test_many_equal_scores_count_half_whatever_their_number():
    positive = np.arange(20_000) % 2 == 0
    assert found(np.zeros(20_000), positive)[0] == 0.5
    scores = np.round(np.linspace(0, 1, 20_000), 1)
    assert found(scores, positive)[0] == pytest.approx(0.5, abs=1e-3)


def test_images_that_do_not_count_change_nothing_and_without_a_pair_there_is_none():
    random = np.random.default_rng(0)
    scores, positive = random.random(30), random.random(30) < 0.4
    strata = np.where(np.arange(30) % 3 == 0, -1, 0)
    got = found(scores, positive, strata=strata)
    assert got == found(scores[strata == 0], positive[strata == 0])
    assert found(scores, np.ones(30, dtype=bool)) == (None, None, None, 0)


def test_where_classes_are_units_and_hang_together_it_is_wider():
    random = np.random.default_rng(1)
    labels = labels_of(25, 8)
    of = np.unique(labels, return_inverse=True)[1]
    positive = random.random(200) < np.where(of % 2 == 0, 0.9, 0.1)
    alone = random.normal(size=200) + positive
    together = 2 * random.normal(size=25)[of] + random.normal(size=200) / 5
    wide = []
    for scores in (alone, together):
        apart, joined = (found(scores, positive, names) for names in (labels_of(1, 200), labels))
        wide.append((joined[2] - joined[1]) / (apart[2] - apart[1]))
    assert 1.0 < wide[0] < 1.5
    assert wide[1] > 1.5


@pytest.mark.parametrize("true", [0.7, 0.95])
@pytest.mark.parametrize("within", [False, True])
def test_intervals_hold_the_truth_in_92_to_99_of_100_studies(true, within):
    """Normal scores of 40 images, 12 of which flip on average."""
    from scipy.stats import norm

    random = np.random.default_rng(2)
    labels = labels_of(4, 10)
    strata = np.unique(labels, return_inverse=True)[1] if within else np.zeros(40, dtype=int)
    bootstrap, held, studies = Bootstrap(labels, 2), 0, 300
    for _ in range(studies):
        positive = random.random(40) < 0.3
        positive[:2] = True, False
        scores = random.normal(size=40) + positive * np.sqrt(2) * norm.ppf(true)
        _, low, high, _ = auroc(scores, positive, strata, bootstrap)
        held += low <= true <= high
    assert 0.92 <= held / studies <= 0.99

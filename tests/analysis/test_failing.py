"""Looking elsewhere is said to go with failing only where it adds to what else is known."""

import numpy as np
import polars as pl
import pytest
from scipy.special import expit
from scipy.stats import mannwhitneyu

from lookaway.analysis import failing as module
from lookaway.analysis.failing import (
    ALL,
    CLASSES,
    CONFIDENCE,
    FALL,
    LIKE,
    NISSIM,
    added,
    failing,
    with_holm,
)
from lookaway.analysis.outcomes import flip_auroc
from oracles import auroc_by_pairs, permuted_p
from rows import labels_of, line, measured, without_nan

LABELS = labels_of(2, 60)


def study(random, adds, labels=LABELS, slope=-6.0):
    """Less sure images look elsewhere more and flip more; the rest of NISSIM adds, or not."""
    confidence = random.beta(6, 2, len(labels))
    more = random.normal(0, 1, len(labels))
    nissim = 0.6 - 0.4 * confidence**2 + 0.05 * more
    flipped = random.random(len(labels)) < expit(slope * (confidence - 0.75) + adds * more)
    return nissim, flipped, confidence


def rows_of(nissim, flipped, confidence, labels=LABELS, **said):
    rows = measured("m", nissim, labels, right_after=~flipped, **said)
    return rows.with_columns(clean_confidence=pl.Series(confidence))


@pytest.mark.parametrize("labels", [LABELS, labels_of(30, 6)])
@pytest.mark.parametrize("adds", [0.0, 2.0])
def test_what_nissim_adds_to_class_and_confidence_is_found_and_nothing_where_it_adds_nothing(
    adds, labels
):
    frame = failing(rows_of(*study(np.random.default_rng(0), adds, labels), labels))
    over_all = line(frame, predictor=NISSIM, within=ALL)
    assert over_all["low"] > 0.5  # either way
    got = line(frame, within=LIKE)
    assert (got["p"] < 0.01) == (adds > 0)
    assert (got["auroc"] > 0.65) == (adds > 0)
    assert without_nan(frame)


@pytest.mark.parametrize("shape", [lambda c: -c, lambda c: 1 / (0.1 + c), lambda c: -(c**9)])
def test_a_function_of_the_confidence_adds_nothing_even_where_flips_follow_from_it_alone(shape):
    confidence = np.random.default_rng(1).beta(6, 2, len(LABELS))
    frame = failing(rows_of(shape(confidence), confidence < 0.7, confidence))
    assert line(frame, predictor=NISSIM, within=CLASSES)["auroc"] == 1
    got = line(frame, within=LIKE)
    assert got["auroc"] == 0.5
    assert got["p"] > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 6, 12, 24])
def test_where_nissim_adds_nothing_the_test_says_so_in_19_of_20_studies(classes):
    random = np.random.default_rng(2)
    labels = labels_of(classes, 120 // classes)
    codes = np.unique(labels, return_inverse=True)[1]
    found = np.array(
        [
            added(nissim, flipped, confidence, codes)["p"]
            for nissim, flipped, confidence in (study(random, 0.0, labels) for _ in range(600))
        ]
    )
    assert 0.025 < (found < 0.05).mean() < 0.075


def test_the_p_is_that_of_shuffling_flips_within_the_groups():
    random = np.random.default_rng(8)
    nissim, flipped, confidence = study(random, 0.2)
    codes = np.unique(LABELS, return_inverse=True)[1]
    got = added(nissim, flipped, confidence, codes)
    auroc, p = permuted_p(nissim, flipped, confidence, codes, 4000, random)
    assert got["auroc"] == pytest.approx(auroc)
    assert got["p"] == pytest.approx(p, abs=0.03)
    assert 0.02 < p < 0.98  # neither is as good as 0 or 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MANY", 3)
        assert added(nissim, flipped, confidence, codes)["p"] == pytest.approx(p, abs=0.03)


def test_aurocs_over_all_images_and_within_classes_are_those_of_pairs():
    random = np.random.default_rng(4)
    labels = np.array(labels_of(3, 20))
    codes = np.unique(labels, return_inverse=True)[1]
    nissim, flipped, confidence = study(random, 1.0, labels)
    flipped[codes == 2] = False
    before = np.arange(60) % 7 != 0
    logits = random.normal(5, 1, 60), random.normal(3, 1, 60)
    rows = rows_of(nissim, flipped, confidence, labels, right_before=before).with_columns(
        clean_logit=pl.Series(logits[0]), attacked_logit=pl.Series(logits[1])
    )
    frame = failing(rows)
    for predictor, scores in (
        (NISSIM, nissim),
        (FALL, logits[0] - logits[1]),
        (CONFIDENCE, -confidence),
    ):
        whole = line(frame, predictor=predictor, within=ALL)
        assert whole["auroc"] == pytest.approx(auroc_by_pairs(scores[before], flipped[before]))
        assert (whole["n"], whole["flipped"]) == (before.sum(), (before & flipped).sum())
        wins = pairs = 0
        for one in (0, 1):
            mine = before & (codes == one)
            count = flipped[mine].sum() * (~flipped[mine]).sum()
            u = mannwhitneyu(scores[mine & flipped], scores[mine & ~flipped]).statistic
            wins, pairs = wins + u, pairs + count
        within = line(frame, predictor=predictor, within=CLASSES)
        assert within["auroc"] == pytest.approx(wins / pairs)
        assert within["mixed"] == 2
        assert within["low"] < within["auroc"] < within["high"]
    told = line(flip_auroc(rows))
    whole = line(frame, predictor=NISSIM, within=ALL)
    for name, other in (("auroc", "value"), ("low", "low"), ("high", "high")):
        assert whole[name] == pytest.approx(told[other], abs=1e-6)


def test_where_one_class_alone_flips_it_is_named_and_nothing_is_claimed_within_it():
    random = np.random.default_rng(5)
    nissim, _, confidence = study(random, 1.0)
    first = np.array(LABELS) == "c000"
    frame = failing(rows_of(nissim + 0.3 * first, first, confidence))
    assert set(frame["only"]) == {"c000"}
    assert line(frame, predictor=NISSIM, within=ALL)["auroc"] > 0.9
    for within, told in (
        (CLASSES, "no such pair: no class has both images"),
        (LIKE, "no such pair: no images of one class"),
    ):
        got = line(frame, predictor=NISSIM, within=within)
        assert got["auroc"] is got["low"] is got["p"] is None
        assert got["reason"].startswith(told)
    one = failing(rows_of(nissim, confidence < 0.7, confidence, labels_of(1, 120)))
    assert set(one["only"]) == {None}  # there is no other class


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (False, True, "no image was right before"),
        (True, True, "no image flipped"),
        (True, False, "every image that was right flipped"),
    ],
)
def test_without_both_outcomes_there_is_no_auroc_and_it_says_why(before, after, reason):
    frame = failing(
        measured("m", np.linspace(0, 1, 120), LABELS, right_before=before, right_after=after)
    )
    assert set(frame["reason"]) == {reason}
    assert frame["auroc"].null_count() == frame["p"].null_count() == frame.height


def test_p_is_corrected_for_the_models_of_one_perturbation():
    random = np.random.default_rng(6)
    parts = []
    for model in "abc":
        rows = rows_of(*study(random, 0.5)).with_columns(
            model=pl.lit(model), source=pl.when(pl.col("source").is_not_null()).then(pl.lit(model))
        )
        parts += [rows, rows.with_columns(epsilon=pl.lit(0.2), attacked_class="clean_class")]
    frame = with_holm(failing(pl.concat(parts)))
    found = frame.filter(within=LIKE, epsilon=0.1).sort("p")
    p = found["p"].to_list()
    one, two, three = (min(1.0, each * (3 - place)) for place, each in enumerate(p))
    assert found["p_holm"].to_list() == [one, max(one, two), max(one, two, three)]
    assert frame["p_holm"].null_count() == frame.height - 3

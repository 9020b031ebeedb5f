"""Whether looking elsewhere goes with failing."""

import numpy as np
import polars as pl
import pytest

from lookaway.analysis import scale
from lookaway.analysis.outcomes import (
    FLIPPED_OR_NOT,
    OUTCOMES,
    flip_auroc,
    outcomes,
    transfer,
    with_outcome,
)
from rows import labels_of, line, measured, without_nan

LABELS = labels_of(2, 4)
NISSIM = np.array([0.1, 0.4, 0.2, 0.6, 0.3, 0.5, 0.4, 0.7])
BEFORE = np.array([True, True, True, True, True, True, False, False])
AFTER = np.array([True, True, False, False, True, False, False, True])


def study(nissim=NISSIM, before=BEFORE, after=AFTER, labels=LABELS, **said):
    return measured("m", nissim, labels, right_before=before, right_after=after, **said)


def test_images_are_split_by_what_became_of_the_prediction():
    right, flipped, wrong = OUTCOMES
    assert with_outcome(study())["outcome"].to_list() == [
        *(right, right, flipped, flipped, right, flipped),
        *(wrong, wrong),  # whatever is predicted under attack
    ]


def test_measures_by_outcome_by_hand():
    clean = np.linspace(0.9, 0.2, 8)
    attacked = np.linspace(0.1, 0.8, 8)
    rows = study().with_columns(
        clean_confidence=pl.Series(clean), attacked_confidence=pl.Series(attacked)
    )
    frame = outcomes(rows)
    right, flipped, wrong = BEFORE & AFTER, BEFORE & ~AFTER, ~BEFORE
    for outcome, chosen, accuracy in [
        ("stayed right", right, 1.0),
        ("flipped", flipped, 0.0),
        ("wrong before", wrong, 0.5),
    ]:
        share = line(frame, outcome=outcome, measure="share")
        assert (share["n"], share["value"]) == (8, chosen.mean())
        for measure, expected in [
            ("mod", NISSIM[chosen].mean()),
            ("accuracy", accuracy),
            ("clean_confidence", clean[chosen].mean()),
            ("attacked_confidence", attacked[chosen].mean()),
        ]:
            got = line(frame, outcome=outcome, measure=measure)
            assert got["n"] == chosen.sum()
            assert got["value"] == pytest.approx(expected)
            assert got["low"] <= got["value"] <= got["high"]
            assert got["reason"] is None
    shares = frame.filter(measure="share")["value"]
    assert shares.sum() == pytest.approx(1.0)
    got = line(frame, measure="auroc")
    assert got["outcome"] == FLIPPED_OR_NOT
    assert got["n"] == 6
    # Flipped 0.2, 0.6, 0.5 against 0.1, 0.4, 0.3.
    assert got["value"] == pytest.approx(7 / 9)
    assert got["low"] < got["value"] <= got["high"]
    assert without_nan(frame)


def test_each_setting_has_outcomes_of_its_own():
    parts = [
        study(epsilons=(0.1,)),
        study(after=BEFORE, epsilons=(0.2,)),
        study(1 - NISSIM, policy="own"),
        study(0 * NISSIM, source=None),
    ]
    frame = outcomes(pl.concat(parts))
    assert frame.height == len(parts) * (3 * 7 + 1)
    flipped = frame.filter(outcome="flipped", measure="share")
    assert flipped["value"].to_list() == [0.375, 0.0, 0.375, 0.375]
    chances = frame.filter(measure="auroc").select("epsilon", "explained_class", "source", "value")
    assert chances.rows() == [
        (0.1, "clean", "m", pytest.approx(7 / 9)),
        (0.2, "clean", "m", None),
        (0.1, "own", "m", pytest.approx(2 / 9)),
        (0.1, "clean", None, 0.5),
    ]


@pytest.mark.parametrize(
    ("before", "after", "empty", "auroc_reason"),
    [
        (True, True, ["flipped", "wrong before"], "no image flipped"),
        (True, False, ["stayed right", "wrong before"], "every image that was right flipped"),
        (False, True, ["stayed right", "flipped"], "no image was right before"),
        (False, False, ["stayed right", "flipped"], "no image was right before"),
    ],
)
def test_an_empty_outcome_is_null_and_says_why(before, after, empty, auroc_reason):
    frame = outcomes(study(before=before, after=after))
    told = {
        "stayed right": "no image stayed right",
        "flipped": "no image flipped",
        "wrong before": "no image was wrong before",
    }
    for outcome, reason in told.items():
        assert line(frame, outcome=outcome, measure="share")["value"] == float(outcome not in empty)
        for measure in ("mod", "accuracy", "clean_confidence", "attacked_confidence"):
            got = line(frame, outcome=outcome, measure=measure)
            if outcome in empty:
                assert got["n"] == 0
                assert got["value"] is got["low"] is got["high"] is None
                assert got["reason"] == reason
            else:
                assert got["value"] is not None
                assert got["reason"] is None
    got = line(frame, measure="auroc")
    assert got["value"] is got["low"] is got["high"] is None
    assert got["reason"] == auroc_reason
    assert without_nan(frame)


@pytest.mark.parametrize("labels", [labels_of(4, 20), labels_of(40, 2)])
def test_a_planted_relation_is_found_and_an_absent_one_is_not(labels):
    random = np.random.default_rng(0)
    count = len(labels)
    flipped = random.random(count) < 0.4
    noise = random.beta(2, 6, count)
    planted = line(flip_auroc(study(noise + 0.15 * flipped, True, ~flipped, labels)))
    assert planted["low"] > 0.5
    assert planted["low"] < planted["value"] < planted["high"] <= 1
    absent = line(flip_auroc(study(noise, True, ~flipped, labels)))
    assert absent["low"] < 0.5 < absent["high"]
    units = "classes" if len(set(labels)) == 40 else "images"
    assert absent["interval"] == f"Newcombe, {units}"


def test_images_that_were_wrong_before_change_no_auroc():
    with_wrong = line(flip_auroc(study()))
    moved = NISSIM.copy()
    moved[~BEFORE] = [0.0, 1.0]
    assert line(flip_auroc(study(moved))) == with_wrong


def test_the_transfer_matrix_by_hand():
    # (target, source): NISSIM under two policies, and which predictions are right.
    cells = {
        ("a", "a"): (0.5, 0.7, [False, False, False, True]),
        ("b", "a"): (0.3, 0.4, [True, False, False, True]),
        ("b", "b"): (0.6, 0.8, [False, False, False, False]),
        ("a", None): (0.1, 0.2, True),
        ("b", None): (0.15, 0.1, True),
    }
    labels = labels_of(2, 2)
    rows = pl.concat(
        measured(target, [value] * 4, labels, source=source, policy=policy, right_after=right)
        for (target, source), (own, clean, right) in cells.items()
        for policy, value in [("own", own), ("clean", clean)]
    )
    frame = transfer(scale.beside_noise(rows))
    assert frame["source"].null_count() == 0
    assert frame.height == 3 * (1 + 2 * 2)
    for (target, source), (own, clean, right) in cells.items():
        if source is None:
            continue
        place = {"model": target, "source": source, "epsilon": 0.1}
        accuracy = line(frame, measure="accuracy", **place)
        assert accuracy["explained_class"] is None
        assert (accuracy["n"], accuracy["value"]) == (4, np.mean(right))
        for policy, value, noise in [
            ("own", own, cells[target, None][0]),
            ("clean", clean, cells[target, None][1]),
        ]:
            mod = line(frame, measure="mod", explained_class=policy, **place)
            assert mod["value"] == pytest.approx(value)
            excess = line(frame, measure="excess", explained_class=policy, **place)
            assert excess["value"] == pytest.approx(value - noise)
            assert excess["low"] == pytest.approx(value - noise)

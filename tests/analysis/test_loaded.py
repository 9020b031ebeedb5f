"""A network that was only loaded and does not tell the classes of clean images is told of."""

import numpy as np
import polars as pl
import pytest

from lookaway.analysis.loaded import CHANCE, FINE, ORDER, loaded

RANDOM = np.random.default_rng(0)


def found(true, predicted, classes):
    """The frame's row for labels and predictions, by their places."""
    names = [f"c{place:04d}" for place in range(classes)]
    counts = (
        pl.DataFrame(
            {"label": [names[i] for i in true], "clean_class": [names[i] for i in predicted]}
        )
        .group_by("label", "clean_class")
        .len()
    )
    return loaded([("none", "m", counts)], names).row(0, named=True)


def sure(true, permuted, share, classes):
    """Predictions that follow an order in a share of the images, and are drawn elsewhere."""
    drawn = RANDOM.integers(0, classes, len(true))
    return np.where(RANDOM.random(len(true)) < share, permuted[true], drawn)


def case(classes, each, share, order):
    true = np.repeat(np.arange(classes), each)
    same = np.arange(classes)
    orders = {
        "same": same,
        "other": np.roll(same, 1),
        "two swapped": np.array([1, 0, *range(2, classes)]),
        "one for all": np.zeros(classes, dtype=int),
    }
    return found(true, sure(true, orders[order], share, classes), classes)


@pytest.mark.parametrize(
    ("classes", "each", "share", "order", "finding"),
    [
        (10, 20, 1.0, "same", FINE),
        (10, 20, 0.4, "same", FINE),
        (100, 2, 0.3, "same", FINE),
        (10, 20, 1.0, "other", ORDER),
        (10, 20, 0.5, "other", ORDER),
        (10, 20, 1.0, "two swapped", ORDER),
        (2, 20, 0.9, "other", ORDER),
        (40, 1, 1.0, "other", CHANCE),  # one image a class fits any order
        (200, 5, 0.5, "other", ORDER),
        (10, 20, 0.0, "same", CHANCE),
        (40, 1, 0.0, "same", CHANCE),
        (200, 30, 0.03, "same", CHANCE),
        (200, 30, 0.1, "other", CHANCE),  # systematic errors of hard images are no order
        (10, 20, 1.0, "one for all", CHANCE),
        (2, 3, 1.0, "other", CHANCE),  # too few images to tell an order from luck
    ],
)
def test_another_order_is_told_from_chance_and_from_mere_errors(
    classes, each, share, order, finding
):
    row = case(classes, each, share, order)
    assert row["finding"] == finding, row
    assert row["n"] == classes * each


def test_the_numbers_are_those_of_their_definitions():
    row = found([0, 0, 0, 1, 1, 2], [1, 1, 0, 0, 0, 2], 3)
    assert row["accuracy"] == pytest.approx(2 / 6)
    assert row["chance"] == pytest.approx((3 * 3 + 2 * 2 + 1 * 1) / 36)
    assert row["kappa"] == pytest.approx((row["accuracy"] - row["chance"]) / (1 - row["chance"]))
    assert row["reassigned"] == pytest.approx(5 / 6)
    assert row["accuracy"] < row["reassigned_by_chance"] < 1


@pytest.mark.parametrize("each", [1, 3])
def test_the_natural_order_is_tried(each):
    names = sorted(map(str, range(12)))
    counts = pl.DataFrame(
        {"label": list(map(str, range(12))), "clean_class": names, "len": [each] * 12},
        schema_overrides={"len": pl.UInt32},
    )
    row = loaded([("none", "m", counts)], names).row(0, named=True)
    assert row["finding"] == ORDER
    assert row["natural"] == 1.0
    assert row["accuracy"] == pytest.approx(2 / 12)


def test_thousands_of_classes_take_seconds():
    row = case(1500, 2, 1.0, "other")
    assert row["finding"] == ORDER
    assert row["n"] == 2000

"""Numbers of each class: those of its images alone."""

import numpy as np
import polars as pl
import pytest

from lookaway.analysis.by_class import MOST, by_class, confusion
from rows import labels_of, measured

LABELS = labels_of(2, 12)


@pytest.fixture(scope="module")
def rows():
    """Two classes: the first always flips and moves by about 0.4, the second never, by 0.1."""
    moved = np.where(np.arange(24) < 12, 0.4, 0.1) + 0.01 * (np.arange(24) % 12)
    attacked = measured("m", moved, LABELS, right_after=np.arange(24) >= 12)
    noise = measured("m", np.full(24, 0.3), LABELS, source=None)
    return pl.concat([attacked, noise])


def one(frame, **where):
    (found,) = frame.filter(**where).iter_rows(named=True)
    return found


def test_a_class_s_numbers_are_the_means_of_its_images(rows):
    found = by_class(rows)
    for label, accuracy in (("c000", 0.0), ("c001", 1.0)):
        own = rows.filter(label=label, attack="fgsm")
        where = {"class": label, "attack": "fgsm"}
        mod = one(found, measure="mod", **where)
        assert mod["value"] == pytest.approx(own["nissim"].mean())
        assert mod["n"] == own.height == 12
        assert mod["low"] < mod["value"] < mod["high"]
        excess = one(found, measure="excess", **where)
        assert excess["value"] == pytest.approx(own["nissim"].mean() - 0.3)
        assert one(found, measure="accuracy", **where)["value"] == accuracy
        assert one(found, measure="clean accuracy", **where)["value"] == 1.0
    assert found.filter(measure="excess", attack="noise").is_empty()


def test_one_class_or_many_are_not_told_by_themselves(rows):
    assert by_class(rows.filter(label="c000")).is_empty()
    many = rows.with_columns(label=pl.col("image"))
    assert many["label"].n_unique() > MOST
    assert by_class(many).is_empty()
    assert by_class(many).columns == by_class(rows).columns


def test_confusion_counts_each_image_once_before_and_after(rows):
    found = confusion(rows).filter(attack="fgsm")
    counts = {
        (row["class"], row["predicted"]): (row["clean"], row["attacked"])
        for row in found.iter_rows(named=True)
    }
    assert counts == {
        ("c000", "c000"): (12, 0),
        ("c000", "other"): (0, 12),
        ("c001", "c001"): (12, 12),
    }

"""Whether a network that was only loaded tells a study's classes apart, and in the right order.

A network's outputs may stand for the classes in another order than the study takes them in. Then
its predictions agree with the labels hardly or not at all, and agree well once each predicted class
is taken for another one. Both are held against chance: the agreement against that of labels and
predictions drawn by themselves (Cohen's κ), the re-assigned one against what shuffled labels reach.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import polars as pl
from scipy.optimize import linear_sum_assignment

from lookaway.models.class_names import natural_order

ORDER, CHANCE, FINE = "other order", "near chance", "fine"
GAIN = 0.2  # of the agreement beyond chance, by another order, from which on it is told
LEAST = 0.1  # of the agreement beyond chance, below which it is told
_SHUFFLES = 20
_FEWEST = 5  # more images that are right in natural order
_CLASSES = 1000  # that are looked at, of more than that

SCHEMA = {
    "variant": pl.String,
    "model": pl.String,
    "n": pl.UInt32,
    "accuracy": pl.Float64,
    "chance": pl.Float64,
    "kappa": pl.Float64,
    "reassigned": pl.Float64,
    "reassigned_by_chance": pl.Float64,
    "natural": pl.Float64,
    "finding": pl.String,
}


def loaded(parts: Iterable[tuple[str, str, pl.DataFrame]], classes: Sequence[str]) -> pl.DataFrame:
    """How well networks that were only loaded tell the classes of clean images.

    Args:
        parts: a variant, a model, and its ``label``, ``clean_class`` and ``len``: of how many
            images.
        classes: of the study, in the order of the model's logits.

    Returns:
        variant, model, n, accuracy, chance (agreement of labels and predictions drawn by
        themselves), kappa (the accuracy beyond chance), reassigned (accuracy under the best
        one-to-one assignment of predicted classes to true ones), reassigned_by_chance (the same of
        shuffled labels, on average), natural (accuracy if the outputs stood for the classes in
        natural order, 2 before 10), finding: ``other order`` where re-assigning gains ``GAIN`` or
        more beyond chance, and more than any of 20 shufflings of the labels reaches, or where
        natural order gains as much; else ``near chance`` where kappa is below ``LEAST``; else
        ``fine``.
    """
    rows = [
        {"variant": variant, "model": model, **_agreement(counts, classes)}
        for variant, model, counts in parts
    ]
    return pl.DataFrame(rows, schema=SCHEMA)


def _agreement(counts: pl.DataFrame, classes: Sequence[str]) -> dict[str, Any]:
    labels = counts["label"].unique().sort()
    if len(labels) > _CLASSES:
        every = np.linspace(0, len(labels) - 1, _CLASSES).round().astype(int)
        counts = counts.filter(pl.col("label").is_in(labels[every].implode()))
    names = sorted({*counts["label"], *counts["clean_class"]})
    places = {name: place for place, name in enumerate(names)}
    repeats = counts["len"].to_numpy()
    true, predicted = (
        np.repeat([places[name] for name in counts[column]], repeats)
        for column in ("label", "clean_class")
    )
    count, size = len(true), len(names)
    accuracy = float((true == predicted).mean())
    shares = [np.bincount(each, minlength=size) / count for each in (true, predicted)]
    chance = float(shares[0] @ shares[1])
    best = _reassigned(true, predicted, size)
    random = np.random.default_rng(0)
    by_chance = [_reassigned(random.permutation(true), predicted, size) for _ in range(_SHUFFLES)]
    usual = float(np.mean(by_chance))
    natural = _natural(counts, classes)
    kappa = _beyond(accuracy, chance)
    free = _beyond(best, usual) - kappa >= GAIN and best > max(by_chance)
    known = _beyond(natural, chance) - kappa >= GAIN and (natural - accuracy) * count >= _FEWEST
    finding = ORDER if free or known else CHANCE if kappa < LEAST else FINE
    return {
        "n": count,
        "accuracy": accuracy,
        "chance": chance,
        "kappa": kappa,
        "reassigned": best,
        "reassigned_by_chance": usual,
        "natural": natural,
        "finding": finding,
    }


def _reassigned(true: np.ndarray, predicted: np.ndarray, size: int) -> float:
    """The share of images that are right under the best one-to-one assignment."""
    confusion = np.zeros((size, size))
    np.add.at(confusion, (true, predicted), 1)
    rows, columns = linear_sum_assignment(confusion, maximize=True)
    return float(confusion[rows, columns].sum() / len(true))


def _beyond(share: float, chance: float) -> float:
    """A share as a part of the way from chance to 1."""
    return (share - chance) / (1.0 - chance) if chance < 1.0 else 0.0


def _natural(counts: pl.DataFrame, classes: Sequence[str]) -> float:
    meant = dict(zip(classes, natural_order(classes), strict=True))
    right = counts["clean_class"].replace(meant) == counts["label"]
    repeats = counts["len"].to_numpy()
    return float(right.to_numpy() @ repeats / repeats.sum())

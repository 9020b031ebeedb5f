"""Means over pairs of images, each of which is in several of them."""

from dataclasses import dataclass

import numpy as np

from lookaway.analysis.resamples import Resamples


@dataclass(frozen=True)
class Pairs:
    """The pairs that the numbers of images are means of.

    Attributes:
        column: (R,) int, in order: which of G numbers each pair is in.
        first: (R,) int: the place of the image whose number it is in.
        second: (R,) int: that of the other image; −1 where it does not count.
        deviation: (R,) the pair's number less the mean over this image's pairs.
        weight: (R,) one over how many pairs this image has there.
    """

    column: np.ndarray
    first: np.ndarray
    second: np.ndarray
    deviation: np.ndarray
    weight: np.ndarray

    def columns(self, start: int, stop: int) -> "Pairs":
        """Those of some of the numbers, which are then counted from 0."""
        there = slice(*np.searchsorted(self.column, [start, stop]))
        parts = (self.first, self.second, self.deviation, self.weight)
        return Pairs(self.column[there] - start, *(each[there] for each in parts))


def of_pairs(
    resamples: Resamples, left: np.ndarray, used: np.ndarray, pairs: Pairs, slopes: np.ndarray
) -> np.ndarray:
    """How much larger a standard error is because each image is in several pairs.

    Two pairs that share an image, or a class where whole classes are drawn, vary together. With e
    what a pair's number is above the mean, their variance is Σ e e′ over all two pairs that share
    one (P. M. Aronow, C. Samii and V. A. Assenova, Cluster-Robust Variance Estimation for Dyadic
    Data, 2015): Σ over images of (Σ e of its pairs)², less what pairs that share both have twice.

    Args:
        resamples: of the images.
        left: (N, G): what each image's number is above the mean.
        used: (N, G) bool.
        pairs: of the images.
        slopes: (G,): by how much a number rises with that of its pairs.

    Returns:
        (G,): the root of that variance over Σ e² of the images, at least 1.
    """
    found = np.ones(left.shape[1])
    whole = resamples.kind == "classes"
    units = resamples.classes if whole else np.arange(len(left))
    if not whole:  # drawn within classes
        left = left - used * _class_means(resamples.classes, left, used)
    count = int(units.max(initial=0)) + 1
    for place, slope in enumerate(slopes.tolist()):
        mine = pairs.columns(place, place + 1)
        there = mine.second >= 0
        first, second = mine.first[there], mine.second[there]
        weight = mine.weight[there]
        apart = (left[first, place] + slope * mine.deviation[there]) * weight
        one, both = _shared(units[first], units[second], apart, count)
        alone, together = _shared(units[first], units[second], weight, count)
        total = max(float(weight.sum()), 1.0) ** 2
        # Deviations are from a mean of the same pairs, which takes more of them where more share.
        known = max(1 - alone / total, 0.1) / max(1 - together / total, 0.1)
        ratio = both / one if one > 0 else 1.0
        found[place] = np.sqrt(max(ratio, 1.0) * max(known, 1.0))
    return found


def _shared(
    first: np.ndarray, second: np.ndarray, left: np.ndarray, count: int
) -> tuple[float, float]:
    """Σ e e′ over two pairs with the same first unit, and over those that share any."""
    one = np.bincount(first, left, count)
    cross = first != second
    both = one + np.bincount(second[cross], left[cross], count)
    keys = np.minimum(first, second)[cross] * count + np.maximum(first, second)[cross]
    _, places = np.unique(keys, return_inverse=True)
    same = np.bincount(places, left[cross])
    return float((one**2).sum()), float((both**2).sum() - (same**2).sum())


def _class_means(classes: np.ndarray, left: np.ndarray, used: np.ndarray) -> np.ndarray:
    """For each image the mean of its class, over those that count; (N, G)."""
    sums, counts = np.zeros((2, int(classes.max(initial=0)) + 1, left.shape[1]))
    np.add.at(sums, classes, left * used)
    np.add.at(counts, classes, used)
    means: np.ndarray = (sums / np.maximum(counts, 1))[classes]
    return means

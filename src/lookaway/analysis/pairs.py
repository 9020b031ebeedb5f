"""Means over pairs of images, each of which is in several of them."""

import numpy as np

from lookaway.analysis.resamples import Resamples


def of_pairs(
    resamples: Resamples, left: np.ndarray, used: np.ndarray, partners: np.ndarray
) -> np.ndarray:
    """How much larger a standard error is because each image is in several pairs.

    Two pairs that share an image, or a class where whole classes are drawn, vary together. With e
    what a pair's number is above the mean, their variance is Σ e e′ over all two pairs that share
    one (P. M. Aronow, C. Samii and V. A. Assenova, Cluster-Robust Variance Estimation for Dyadic
    Data, 2015): Σ over images of (Σ e of its pairs)², less what pairs that share both have twice.

    Args:
        resamples: of the images.
        left: (N, G): what each image's pair is above the mean.
        used: (N, G) bool.
        partners: (N, G) int: the place of the other image; −1 where there is none.

    Returns:
        (G,): the root of that variance over Σ e², at least 1.
    """
    found = np.ones(left.shape[1])
    whole = resamples.kind == "classes"
    units = resamples.classes if whole else np.arange(len(left))
    if not whole:  # drawn within classes
        left = left - used * _class_means(resamples.classes, left, used)
    first: dict[bytes, list[int]] = {}
    for place, column in enumerate(np.asfortranarray(partners).T):
        first.setdefault(column.tobytes(), []).append(place)
    for places in first.values():
        others = partners[:, places[0]]
        there = others >= 0
        pairs = units[there], units[others[there]]
        count = int(units.max()) + 1
        counted = used[there][:, places].astype(float)
        one, both = _shared(*pairs, left[there][:, places] * counted, count)
        alone, together = _shared(*pairs, counted, count)
        total = np.maximum(counted.sum(axis=0), 1) ** 2
        # Deviations are from a mean of the same pairs, which takes more of them where more share.
        known = np.maximum(1 - alone / total, 0.1) / np.maximum(1 - together / total, 0.1)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.where(one > 0, both / one, 1.0)
        found[places] = np.sqrt(np.maximum(ratio, 1.0) * np.maximum(known, 1.0))
    return found


def _shared(
    first: np.ndarray, second: np.ndarray, left: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Σ e e′ over two pairs with the same first unit, and over those that share any; (G,) both."""
    one = np.zeros((count, left.shape[1]))
    np.add.at(one, first, left)
    cross = first != second
    both = one.copy()
    np.add.at(both, second[cross], left[cross])
    keys = np.minimum(first, second)[cross] * count + np.maximum(first, second)[cross]
    _, places = np.unique(keys, return_inverse=True)
    same = np.zeros((int(places.max(initial=-1)) + 1, left.shape[1]))
    np.add.at(same, places, left[cross])
    return (one**2).sum(axis=0), (both**2).sum(axis=0) - (same**2).sum(axis=0)


def _class_means(classes: np.ndarray, left: np.ndarray, used: np.ndarray) -> np.ndarray:
    """For each image the mean of its class, over those that count; (N, G)."""
    sums, counts = np.zeros((2, int(classes.max(initial=0)) + 1, left.shape[1]))
    np.add.at(sums, classes, left * used)
    np.add.at(counts, classes, used)
    means: np.ndarray = (sums / np.maximum(counts, 1))[classes]
    return means

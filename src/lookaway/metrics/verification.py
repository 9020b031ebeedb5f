"""Error rates of comparisons in the terms of ISO/IEC 19795-1, from their similarities."""

import math
from dataclasses import dataclass

import numpy as np

from lookaway.errors import InputError

_HITS = 10  # false matches that a threshold must be able to see among as many comparisons
_FEW_HITS, _FINE = 3, 1e-4  # at that rate and below: the least that tells it at all (rule of 3)


@dataclass(frozen=True)
class DET:
    """How a threshold trades false matches for false non-matches (detection error trade-off).

    A comparison is a match where its similarity is at least the threshold.

    Attributes:
        thresholds: (T,) ascending: every similarity once, then infinity.
        fmr: (T,) false match rate: impostor comparisons that match.
        fnmr: (T,) false non-match rate: genuine comparisons that do not.
    """

    thresholds: np.ndarray
    fmr: np.ndarray
    fnmr: np.ndarray

    @property
    def equal_error_rate(self) -> float:
        """Where both rates are equal, on straight lines between the thresholds."""
        return float(crossing(self.fmr, self.fnmr))


def det(genuine: np.ndarray, impostor: np.ndarray) -> DET:
    """Every threshold's two error rates.

    Args:
        genuine: (G,) finite similarities of comparisons of one person with themselves.
        impostor: (I,) those of two persons.

    Raises:
        InputError: there are none of a kind, or numbers that are not finite.

    >>> det(np.array([0.9, 0.7]), np.array([0.8, 0.1])).equal_error_rate
    0.5
    """
    for kind, given in (("genuine", genuine), ("impostor", impostor)):
        if given.ndim != 1 or not len(given) or not np.isfinite(given).all():
            raise InputError(
                f"{kind} must be finite similarities (n,), at least one; got {given.shape}"
            )
    thresholds = np.append(np.unique(np.concatenate([genuine, impostor])), np.inf)
    below = [
        np.searchsorted(np.sort(each), thresholds, side="left") / len(each)
        for each in (impostor, genuine)
    ]
    return DET(thresholds, 1 - below[0], below[1])


def threshold_at(impostor: np.ndarray, fmr: float) -> float | None:
    """The lowest threshold at which at most a share of impostor comparisons match.

    Args:
        impostor: (I,) finite similarities.
        fmr: the share, in (0, 1).

    Returns:
        None where there are fewer comparisons than ``needed``: they cannot tell it.

    Raises:
        InputError: the share is not in (0, 1).

    >>> float(threshold_at(np.arange(1000) / 1000, 0.01)) > 0.989
    True
    """
    if not 0 < fmr < 1:
        raise InputError(f"a false match rate lies in (0, 1); got {fmr!r}")
    if len(impostor) < needed(fmr):
        return None
    allowed = math.floor(fmr * len(impostor) * (1 + 1e-12))
    highest_refused = np.partition(impostor, -allowed - 1)[-allowed - 1]
    return float(np.nextafter(highest_refused, np.inf))


def needed(fmr: float) -> int:
    """How many impostor comparisons a threshold of this false match rate takes.

    10 / rate; from 0.0001 on 3 / rate.

    >>> needed(1e-2), needed(1e-3), needed(1e-4)
    (1000, 10000, 30000)
    """
    return math.ceil((_FEW_HITS if fmr <= _FINE else _HITS) / fmr - 1e-6)


def equal_error_rates(
    similarities: np.ndarray, genuine: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """The equal error rate of each of several weightings of the same comparisons.

    Args:
        similarities: (n,) finite.
        genuine: (n,) bool.
        weights: (B, n), at least 0.

    Returns:
        (B,); NaN where no weight is on one of the kinds.
    """
    order = np.argsort(similarities, kind="stable")
    ordered, of_genuine = similarities[order], genuine[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))  # of ties
    below = []
    for kind in (~of_genuine, of_genuine):
        summed = np.cumsum(weights[:, order] * kind, axis=1, dtype=np.float64)
        whole = summed[:, -1:]
        before = np.concatenate([np.zeros_like(whole), summed], axis=1)[:, [*starts, len(order)]]
        with np.errstate(invalid="ignore", divide="ignore"):
            below.append(before / whole)
    return crossing(1 - below[0], below[1])


def crossing(fmr: np.ndarray, fnmr: np.ndarray) -> np.ndarray:
    """The rate where false matches and false non-matches cross, on lines between thresholds.

    Args:
        fmr: (…, T) false match rates over rising thresholds.
        fnmr: (…, T) false non-match rates; below the others at first, not at last.

    Returns:
        (…); NaN where rates are.
    """
    over = fnmr - fmr
    place = np.maximum((over >= 0).argmax(axis=-1), 1)[..., None]
    right, left = np.take_along_axis(over, place, -1), np.take_along_axis(over, place - 1, -1)
    share = left / (left - right)
    low, high = (np.take_along_axis(fnmr, at, -1) for at in (place - 1, place))
    found: np.ndarray = (low + share * (high - low))[..., 0]
    return found

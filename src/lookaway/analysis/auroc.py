"""The chance that a positive's score is above a negative's, with its interval."""

import numpy as np
from scipy.special import stdtrit

from lookaway.analysis.ends import LEVEL
from lookaway.analysis.proportions import ASSUMED
from lookaway.analysis.resamples import Resamples

_STEPS = 60  # of a bisection
_DOUBT = 2.0  # pairs' worth of what is assumed of images of a class

# A chance, the ends of its 95 % interval, and in how many strata there is a pair.
Chance = tuple[float | None, float | None, float | None, int]


def auroc(
    scores: np.ndarray, positive: np.ndarray, strata: np.ndarray, resamples: Resamples
) -> Chance:
    """The share of pairs of a positive and a negative that the positive wins; a tie is half a win.

    The interval is Newcombe's (R. G. Newcombe, Confidence intervals for an effect size measure
    based on the Mann–Whitney statistic, part 2, 2006, method 5): all θ for which the share found
    lies within z √V(θ), V being the variance that J. A. Hanley and B. J. McNeil (1982) give for
    exponential scores. It has width where all pairs are won. Where whole classes are units V is
    multiplied by how much larger E. R. DeLong's variance (1988) is when classes are summed up first
    (N. A. Obuchowski, 1997), drawn towards that of images of a class that correlate by 0.1, and z
    is Student's t of the classes.

    Args:
        scores: (N,) float of all images of the study.
        positive: (N,) bool.
        strata: (N,) int: only pairs of one stratum are counted; −1 for an image that is not.
        resamples: of the images: what the units are.

    Returns:
        All None, and 0, where there is no pair.
    """
    won, pairs, parts = np.zeros(len(scores)), np.zeros(len(scores)), []
    for one in np.unique(strata[strata >= 0]):
        mine = np.flatnonzero(strata == one)
        up, down = mine[positive[mine]], mine[~positive[mine]]
        if not len(up) or not len(down):
            continue
        parts.append((len(up), len(down)))
        below = _below(scores[up], scores[down])
        above = len(up) - _below(scores[down], scores[up])
        won[up], won[down] = below, above
        pairs[up], pairs[down] = len(down), len(up)
    if not parts:
        return None, None, None, 0
    total = float(sum(up * down for up, down in parts))
    share = float(won[positive].sum()) / total
    design, free = _design(won, pairs, share, resamples, within=len(parts) > 1)
    reach = float(stdtrit(free, (1 + LEVEL) / 2)) if free else 1.959964
    low, high = (_end(share, parts, total, design * reach**2, side) for side in (0.0, 1.0))
    return share, low, high, len(parts)


def kind_of(resamples: Resamples) -> str:
    """What its interval is called."""
    return f"Newcombe, {'classes' if resamples.kind == 'classes' else 'images'}"


def _below(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How many of the others each score is above; an equal one is half."""
    others = np.sort(others)
    under, upto = (np.searchsorted(others, scores, side) for side in ("left", "right"))
    found: np.ndarray = (under + upto) / 2
    return found


def _design(
    won: np.ndarray, pairs: np.ndarray, share: float, resamples: Resamples, *, within: bool
) -> tuple[float, int]:
    """How much larger the variance is because classes are units, and the units' degrees of freedom.

    0 degrees where images are the units: then nothing is larger, and z is a normal's.
    """
    if resamples.kind != "classes":
        return 1.0, 0
    counts = (pairs > 0).astype(float)
    left = won - share * pairs
    together = np.bincount(resamples.classes, left)
    of_class = np.bincount(resamples.classes, counts)
    number, single = int((of_class > 0).sum()), float((left**2).sum())
    if number < 2:
        return 1.0, 0
    summed = float((together**2).sum()) * number / (number - 1)
    others = float((of_class**2).sum()) / float(of_class.sum()) - 1
    assumed = 1 + ASSUMED * others
    if within:  # a class has all of its pairs' wins twice, and nothing else in common
        summed, assumed = summed / 4, 1.0
    lost = min(share, 1 - share) * float(counts.sum())
    observed = summed / single if single > 0 else assumed
    drawn = (lost * observed + _DOUBT * assumed) / (lost + _DOUBT)
    return float(np.clip(drawn, 1.0, 1.0 + max(others, 0.0))), number - 1


def _end(
    share: float, parts: list[tuple[int, int]], total: float, squared: float, side: float
) -> float:
    """The θ between the share and a side of [0, 1] that is just not ruled out."""
    if share == side:
        return side
    inside, outside = share, side
    for _ in range(_STEPS):
        middle = (inside + outside) / 2
        if (middle - share) ** 2 <= squared * _variance(middle, parts, total):
            inside = middle
        else:
            outside = middle
    return (inside + outside) / 2


def _variance(theta: float, parts: list[tuple[int, int]], total: float) -> float:
    """Of the share, where θ is the chance in every stratum."""
    found = 0.0
    for up, down in parts:
        more = (up + down) / 2 - 1
        spread = 1 + more * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        found += up * down * theta * (1 - theta) * spread
    return found / total**2

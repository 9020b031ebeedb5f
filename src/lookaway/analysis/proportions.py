"""Wilson's interval of a proportion, with an effective sample size where trials hang together.

A bootstrap of a proportion has no width where nothing failed, and too little where little did.
"""

import numpy as np
from scipy.special import ndtri, stdtrit

from lookaway.analysis.ends import LEVEL, Ends
from lookaway.analysis.resamples import Resamples

ASSUMED = 0.1  # correlation of two trials of one unit, where few failures say little about it
_WEIGHT = 2.0  # what the assumption counts, in failures


def wilson(
    shares: np.ndarray, counts: np.ndarray, reach: float = float(ndtri((1 + LEVEL) / 2))
) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of Wilson's interval (E. B. Wilson, Probable Inference, 1927).

    All proportions that a score test with their own standard error does not reject.

    Args:
        shares: in [0, 1].
        counts: of trials, above 0; effective ones need not be whole.
        reach: in standard errors; 95 % by default.

    Returns:
        Lower and upper ends, in [0, 1].

    >>> low, high = wilson(np.array([1.0, 0.5]), np.array([80.0, 80.0]))
    >>> low.round(3).tolist(), high.round(3).tolist()
    ([0.954, 0.393], [1.0, 0.607])
    """
    squared = reach**2 / counts
    middle = (shares + squared / 2) / (1 + squared)
    half = np.sqrt(squared * (shares * (1 - shares) + squared / 4)) / (1 + squared)
    # At 0 and 1 an end is exactly there, but for rounding.
    low = np.where(shares <= 0, 0.0, np.maximum(middle - half, 0.0))
    high = np.where(shares >= 1, 1.0, np.minimum(middle + half, 1.0))
    return low, high


def kind_of(resamples: Resamples) -> str:
    """What the interval of a proportion is called: ``Wilson, classes`` or ``Wilson, images``."""
    return "Wilson, classes" if resamples.kind == "classes" else "Wilson, images"


def proportion_ends(resamples: Resamples, successes: np.ndarray, trials: np.ndarray) -> Ends:
    """The 95 % interval of each column's share of successes.

    Where images are the units and each is one trial it is Wilson's interval of N trials. That they
    are drawn within classes is left out of account: it can only make the share more certain.

    Where a unit has several trials, such as a class its images, they hang together, and N trials
    are worth fewer: N / deff, with the design effect deff = 1 + ρ (Σ n² / N − 1) of L. Kish
    (Survey Sampling, 1965). ρ, the correlation of two trials of a unit, follows from the variance
    between units (that of a ratio estimator). Few failures say little about it, and none nothing:
    it is drawn towards an assumed 0.1, which counts as two failures. ρ is held within 0 and 1, so
    the effective number is at most N and at least that of units (Σ n)² / Σ n². As the variance is
    known from U units alone, Student's t of U − 1 degrees takes Gauss's place (E. L. Korn and
    B. I. Graubard, Confidence intervals for proportions with small expected number of positive
    counts, 1998).

    Args:
        resamples: of the images.
        successes: (N, G), of each image.
        trials: (N, G), of each image: 0 or 1, or more.

    Returns:
        Lower and upper ends in [0, 1]; None where there is no trial.
    """
    successes, trials = successes.astype(float), trials.astype(float)
    if resamples.kind == "classes":
        successes, trials = resamples.by_unit(successes), resamples.by_unit(trials)
    count = trials.sum(axis=0)
    known = count > 0
    total = np.where(known, count, 1.0)
    shares = successes.sum(axis=0) / total
    units = (trials > 0).sum(axis=0)
    together = (trials > 1).any(axis=0)
    deviations = successes - shares * trials
    between = units / np.maximum(units - 1, 1) * (deviations**2).sum(axis=0)
    others = (trials**2).sum(axis=0) / total - 1  # trials of the same unit, on average
    effective = effective_counts(shares, total, between, others)
    low, high = wilson(shares, np.where(together, effective, total))
    for free in np.unique(units[together & (units > 1)] - 1):
        same = together & (units == free + 1)
        reach = float(stdtrit(free, (1 + LEVEL) / 2))
        low[same], high[same] = wilson(shares[same], effective[same], reach)
    return _listed(low, known), _listed(high, known)


def compared_ends(
    successes: np.ndarray, trials: np.ndarray, persons: np.ndarray
) -> tuple[float, float]:
    """The 95 % interval of a share of comparisons; those with a person in common vary together.

    As ``proportion_ends``, with the variance Σ e e′ over all two comparisons that share a person, e
    being what is above the share (P. M. Aronow, C. Samii and V. A. Assenova, Cluster-Robust
    Variance Estimation for Dyadic Data, 2015). What is assumed where failures are few is about
    comparisons of one person's probes.

    Args:
        successes: (N, K) bool: of N probes and the templates of K persons.
        trials: (N, K) bool: which comparisons count.
        persons: (N,) int: whose probes they are, places among the K.
    """
    count = float(trials.sum())
    share = float(successes.sum()) / count
    left = _by_persons(successes - share * trials, persons)
    counts = _by_persons(trials.astype(float), persons)
    people = int(((counts.sum(axis=0) + counts.sum(axis=1)) > 0).sum())
    others = _sharing(counts) / count - 1
    probes = float((counts.sum(axis=1) ** 2).sum()) / count - 1
    effective = effective_counts(
        np.array([share]),
        np.array([count]),
        np.array([_sharing(left) * people / (people - 1)]),
        np.array([others]),
        assumed=ASSUMED * probes / others,
    )
    low, high = wilson(np.array([share]), effective, float(stdtrit(people - 1, (1 + LEVEL) / 2)))
    return float(low[0]), float(high[0])


def _by_persons(values: np.ndarray, persons: np.ndarray) -> np.ndarray:
    """Sums over the probes of each person, (K, K)."""
    sums = np.zeros((values.shape[1], values.shape[1]))
    np.add.at(sums, persons, values)
    return sums


def _sharing(sums: np.ndarray) -> float:
    """Σ e e′ over two comparisons that share a person, from the sums of each two persons' e."""
    of_one = sums.sum(axis=0) + sums.sum(axis=1) - np.diag(sums)
    of_two = np.triu(sums + sums.T, 1)
    return float((of_one**2).sum() - (of_two**2).sum())


def effective_counts(
    shares: np.ndarray,
    counts: np.ndarray,
    variances: np.ndarray,
    others: np.ndarray,
    assumed: float = ASSUMED,
) -> np.ndarray:
    """How many independent trials so many are worth; see ``proportion_ends``.

    Args:
        shares: of successes.
        counts: of trials.
        variances: of the sum of successes, as it was observed.
        others: with how many others a trial hangs together, on average.
        assumed: correlation of two of these, where few failures say little about it.
    """
    failures = counts * shares * (1 - shares)
    together = np.maximum(others, 1e-9)
    observed = (variances / np.where(failures > 0, failures, 1.0) - 1) / together
    correlation = (failures * observed + _WEIGHT * assumed) / (failures + _WEIGHT)
    effective: np.ndarray = counts / (1 + np.clip(correlation, 0.0, 1.0) * together)
    return effective


def _listed(ends: np.ndarray, known: np.ndarray) -> list[float | None]:
    """Ends as a list; None where there is none."""
    return [float(end) if some else None for end, some in zip(ends, known, strict=True)]

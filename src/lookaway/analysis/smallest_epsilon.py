"""The smallest ε at which an attack changes a decision: the median over comparisons."""

from collections.abc import Mapping

import numpy as np

from lookaway.analysis.intervals import Bootstrap
from lookaway.written import percent

Found = tuple[float | None, float | None, float | None, str]


def smallest_epsilon(
    before: np.ndarray, after: Mapping[float, np.ndarray], used: np.ndarray, boot: Bootstrap
) -> Found:
    """The median of the smallest ε at which a decision is another than on the clean image.

    Args:
        before: (N,) bool: the decisions on the clean images.
        after: those under attack, by ε.
        used: (N,) bool: the comparisons that count.
        boot: of the images.

    Returns:
        The median, the ends of its interval, and why it is None: fewer than half of the decisions
        change at any ε, so that the median lies beyond the largest. An end is None where it does.
    """
    if not used.any():
        return None, None, None, "no decision that it could change"
    smallest = np.full(len(before), np.inf)
    for epsilon in sorted(after, reverse=True):
        smallest[after[epsilon] != before] = epsilon
    order = np.argsort(smallest[used], kind="stable")
    ordered, units = smallest[used][order], boot.units[used][order]
    median = float(_medians(ordered, np.ones((1, len(units))))[0])
    ends: list[float | None] = [None, None]
    if boot.tail is not None:
        drawn = np.concatenate([_medians(ordered, each[:, units]) for each in boot.weights()])
        some = drawn[~np.isnan(drawn)]
        cuts = np.quantile(some, [boot.tail, 1 - boot.tail], method="inverted_cdf")
        ends = [float(cut) if np.isfinite(cut) else None for cut in cuts]
    if np.isfinite(median):
        return median, ends[0], ends[1], ""
    share = float(np.isfinite(ordered).mean())
    few = f"only {percent(share, 1)} of the decisions change" if share else "no decision changes"
    return None, ends[0], ends[1], f"{few} at any ε"


def _medians(ordered: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The lower weighted median of rising values (n,) for weights (b, n); NaN where all are 0."""
    summed = np.cumsum(weights, axis=1, dtype=np.float64)
    places = (summed < summed[:, -1:] / 2).sum(axis=1)
    drawn: np.ndarray = np.where(summed[:, -1] > 0, ordered[places], np.nan)
    return drawn

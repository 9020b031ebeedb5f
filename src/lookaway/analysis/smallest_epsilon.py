"""The smallest ε at which an attack changes a decision: the median over comparisons."""

from collections.abc import Mapping

import numpy as np

from lookaway.analysis.intervals import Bootstrap

Found = tuple[float | None, float | None, float | None, str]


def smallest_epsilon(
    before: np.ndarray, after: Mapping[float, np.ndarray], used: np.ndarray, boot: Bootstrap
) -> tuple[Found, np.ndarray]:
    """The median of the smallest ε at which a decision is another than on the clean image.

    Args:
        before: (N,) bool: the decisions on the clean images.
        after: those under attack, by ε.
        used: (N,) bool: the comparisons that count.
        boot: of the images.

    Returns:
        The median, the ends of its interval, and why it is None: fewer than half of the decisions
        change at any ε, so that the median lies beyond the largest. And the median in each
        resample: infinite where it lies there, NaN where no comparison that counts is drawn.
    """
    if not used.any():
        return (None, None, None, "no decision that it could change"), np.empty(0)
    smallest = np.full(len(before), np.inf)
    for epsilon in sorted(after, reverse=True):
        smallest[after[epsilon] != before] = epsilon
    order = np.argsort(smallest[used], kind="stable")
    ordered, units = smallest[used][order], boot.units[used][order]
    median = float(_medians(ordered, np.ones((1, len(units))))[0])
    drawn = np.concatenate([_medians(ordered, each[:, units]) for each in boot.weights()])
    ends = (None, None) if boot.tail is None else open_ends(drawn, drawn, boot.tail)
    if np.isfinite(median):
        return (median, *ends, ""), drawn
    share = float(np.isfinite(ordered).mean())
    few = f"only {share:.1%} of the decisions change" if share else "no decision changes"
    return (None, *ends, f"{few} at any ε"), drawn


def open_ends(
    lows: np.ndarray, highs: np.ndarray, tail: float
) -> tuple[float | None, float | None]:
    """Where a share of resamples lies below, and as large a one above; None: beyond any number.

    Args:
        lows: (resamples,) for the lower end; infinite ones count, NaN are left out.
        highs: the same for the upper end.
        tail: the share.
    """
    cuts = (
        np.quantile(each[~np.isnan(each)], share, method="inverted_cdf")
        for each, share in ((lows, tail), (highs, 1 - tail))
    )
    low, high = (float(cut) if np.isfinite(cut) else None for cut in cuts)
    return low, high


def _medians(ordered: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The lower weighted median of rising values (n,) for weights (b, n); NaN where all are 0."""
    summed = np.cumsum(weights, axis=1, dtype=np.float64)
    places = (summed < summed[:, -1:] / 2).sum(axis=1)
    drawn: np.ndarray = np.where(summed[:, -1] > 0, ordered[places], np.nan)
    return drawn

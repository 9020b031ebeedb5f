"""The smallest ε at which an attack changes a decision: the median over comparisons."""

from collections.abc import Mapping

import numpy as np

from lookaway.analysis.intervals import Bootstrap

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
        change at any ε, so that the median lies beyond the largest.
    """
    if not used.any():
        return None, None, None, "no decision that it could change"
    smallest = np.full(len(before), np.inf)
    for epsilon in sorted(after, reverse=True):
        smallest[after[epsilon] != before] = epsilon
    value, low, high = _median(smallest, used, boot)
    share = float(np.isfinite(smallest[used]).mean())
    why = "" if value is not None else f"only {share:.0%} of the decisions change at any ε"
    return value, low, high, why


def _median(
    values: np.ndarray, used: np.ndarray, boot: Bootstrap
) -> tuple[float | None, float | None, float | None]:
    """The median of those used and its interval; None where it is infinite."""
    order = np.argsort(values[used], kind="stable")
    sorted_values, units = values[used][order], boot.units[used][order]

    def medians(weights: np.ndarray) -> np.ndarray:
        summed = np.cumsum(weights, axis=1, dtype=np.float64)
        places = (summed < summed[:, -1:] / 2).sum(axis=1)
        drawn: np.ndarray = sorted_values[np.minimum(places, len(sorted_values) - 1)]
        return drawn[summed[:, -1] > 0]

    point = float(medians(np.ones((1, len(units))))[0])
    ends: list[float | None] = [None, None]
    if boot.tail is not None:
        drawn = np.concatenate([medians(each[:, units]) for each in boot.weights()])
        cuts = np.quantile(drawn, [boot.tail, 1 - boot.tail], method="inverted_cdf")
        ends = [float(cut) if np.isfinite(cut) else None for cut in cuts]
    return (point if np.isfinite(point) else None), ends[0], ends[1]

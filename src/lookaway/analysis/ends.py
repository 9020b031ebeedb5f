"""Ends of intervals: quantiles of what was resampled, and none outside of what a number can be."""

from collections.abc import Sequence

import numpy as np

LEVEL = 0.95
# Lower and upper ends; None where there is no interval.
Ends = tuple[list[float | None], list[float | None]]
# The least and the largest that a number can be, for all columns or for each.
Range = tuple[float, float] | tuple[np.ndarray, np.ndarray]
SHARE: Range = (0.0, 1.0)
CHANGE: Range = (-1.0, 1.0)  # of what lies in [0, 1]
DEVIATION: Range = (0.0, 0.5)  # of what lies in [0, 1]
ANY: Range = (-np.inf, np.inf)


def quantiles_of(resampled: np.ndarray, tails: Sequence[float | None]) -> Ends:
    """What each column has below it in its tail, and above it in as large a one.

    Args:
        resampled: (resamples, G); what is not finite is left out.
        tails: G shares; None for no quantiles.
    """
    low: list[float | None] = [None] * len(tails)
    high = list(low)
    finite = np.isfinite(resampled)
    whole = finite.all(axis=0)
    for tail in {tail for tail in tails if tail is not None}:
        same = np.array([found == tail for found in tails])
        places = np.flatnonzero(same & whole)
        ends = np.quantile(resampled[:, places], [tail, 1 - tail], axis=0)
        for place, pair in zip(places, ends.T, strict=True):
            low[place], high[place] = float(pair[0]), float(pair[1])
        for place in np.flatnonzero(same & ~whole & finite.any(axis=0)):
            pair = np.quantile(resampled[finite[:, place], place], [tail, 1 - tail])
            low[place], high[place] = float(pair[0]), float(pair[1])
    return low, high


def only_where(numbers: Sequence[float | None], known: Sequence[bool]) -> list[float | None]:
    """The numbers that are known; None for the others."""
    return [number if some else None for number, some in zip(numbers, known, strict=True)]


def within_range(ends: Ends, within: Range) -> Ends:
    """Ends, none of which lies outside of what its number can be."""
    low, high = (
        [
            None if end is None else float(min(max(end, least), most))
            for end, least, most in zip(
                side, *(np.broadcast_to(each, len(side)) for each in within), strict=True
            )
        ]
        for side in ends
    )
    return low, high

"""The studentised bootstrap (bootstrap-t) of means, and of other ratios of sums."""

from collections.abc import Iterator

import numpy as np

from lookaway.analysis.ends import LEVEL, Ends, quantiles_of
from lookaway.analysis.pairs import Pairs, of_pairs
from lookaway.analysis.resamples import Resamples

_LEAST = 0.1  # of the standard error: a resample's is at least that, also where all drawn are alike
_ROUNDING = 1e-12
_COLUMNS = 256


def studentised(
    resamples: Resamples,
    numerators: np.ndarray,
    denominators: np.ndarray,
    pairs: Pairs | None = None,
    *,
    paired_below: bool = False,
) -> Iterator[tuple[Ends, np.ndarray]]:
    """The 95 % interval of each ratio of sums.

    Each resample gives t = (θ* − θ) / s*, s* being its own standard error (that of a ratio of sums
    of units drawn within strata); the ends are θ − t s at the quantiles of t (B. Efron and R.
    Tibshirani, An Introduction to the Bootstrap, 1993, 12.5). Of a skewed distribution the longer
    arm so lies on its long side, where percentiles of θ* have the shorter one.

    Args:
        resamples: of the images.
        numerators: (N, G).
        denominators: (N, G): which images count, 1 or 0, or what is divided by.
        pairs: that the numerators are means of; see ``pairs.of_pairs``.
        paired_below: it is the denominators that are.

    Yields:
        Of up to 256 columns: the ends, None where nothing can vary, and θ* − θ (resamples, g), NaN
        where nothing that counts was drawn.
    """
    for start in range(0, numerators.shape[1], _COLUMNS):
        part = slice(start, start + _COLUMNS)
        above, below = numerators[:, part], denominators[:, part]
        others = None if pairs is None else pairs.columns(start, start + above.shape[1])
        yield _studentised(resamples, above, below, others, paired_below)


def _studentised(
    resamples: Resamples,
    above: np.ndarray,
    below: np.ndarray,
    pairs: Pairs | None,
    paired_below: bool,
) -> tuple[Ends, np.ndarray]:
    totals = below.sum(axis=0)
    point = above.sum(axis=0) / np.where(totals == 0, 1.0, totals)
    left = above - point * below
    largest = np.abs(above).max(axis=0, initial=0.0)
    left[np.abs(left) <= _ROUNDING * largest] = 0.0
    sums = _Sums(resamples, left, below, _ROUNDING * largest)
    moved, scaled = [], []
    with np.errstate(invalid="ignore", divide="ignore"):
        error = sums.of(np.ones((1, resamples.count), dtype=np.float32))[1][0]
        for drawn in resamples.weights():
            shift, own = sums.of(drawn)
            moved.append(shift)
            scaled.append(shift / np.maximum(own, _LEAST * error))
    varies = resamples.free(below != 0)[1] > 0
    # Without any deviation there is no t, and the number is what it is.
    tails = [(1 - LEVEL) / 2 if spread > 0 else None for spread in error]
    quantiles = quantiles_of(np.concatenate(scaled), tails)
    reach = error
    if pairs is not None:
        slopes = -point if paired_below else np.ones_like(point)
        reach = error * of_pairs(resamples, left, below != 0, pairs, slopes)
    low, high = (
        [
            float(value - (t or 0.0) * float(by)) if more else None
            for value, t, by, more in zip(point, side, reach, varies, strict=True)
        ]
        for side in reversed(quantiles)
    )
    return (low, high), np.concatenate(moved)


class _Sums:
    """What a resample's ratio and its standard error are made of.

    Args:
        resamples: of the images.
        left: (N, G): numerators less the ratio times the denominators.
        below: (N, G): the denominators.
        nothing: (G,): what is rounding of the numerators.
    """

    def __init__(
        self, resamples: Resamples, left: np.ndarray, below: np.ndarray, nothing: np.ndarray
    ) -> None:
        self._order, self._sizes = resamples.by_stratum()
        self._factors = [size / (size - 1) if size > 1 else 0.0 for size in self._sizes]
        of_unit = np.repeat(self._factors, self._sizes).astype(np.float32)[:, None]
        by_unit = resamples.by_unit(left)[self._order]
        # Most groups are made of the same images: each different denominator once.
        first: dict[bytes, int] = {}
        columns = np.asfortranarray(below).T
        places = [first.setdefault(column.tobytes(), len(first)) for column in columns]
        self._places: slice | np.ndarray = slice(None)
        if len(first) > 1:
            self._places = np.array(places, dtype=int)
        chosen = [places.index(place) for place in range(len(first))]
        counts = resamples.by_unit(below[:, chosen].astype(float))[self._order]
        # All count alike: then a common shift of a stratum changes no deviation, and no sum.
        self._alike = bool((counts == counts[:1]).all())
        if self._alike:
            starts = np.cumsum([0, *self._sizes[:-1]])
            means = np.add.reduceat(by_unit, starts) / np.array(self._sizes)[:, None]
            by_unit = by_unit - np.repeat(means, self._sizes, axis=0)
            by_unit[np.abs(by_unit) <= nothing] = 0.0
        self._left, self._below = by_unit.astype(np.float32), counts.astype(np.float32)
        self._squares = of_unit * (by_unit**2).astype(np.float32)
        self._products = of_unit * (by_unit * counts[:, self._places]).astype(np.float32)
        self._counts = of_unit * (counts**2).astype(np.float32)

    def of(self, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How far each ratio is from that of all, and its standard error; (b, G) both.

        Args:
            drawn: (b, units): how often each was drawn.
        """
        drawn = drawn[:, self._order]
        total = (drawn @ self._below)[:, self._places]
        shift = (drawn @ self._left) / total
        variance = drawn @ self._squares
        if not self._alike:
            variance -= 2 * shift * (drawn @ self._products)
            variance += shift**2 * (drawn @ self._counts)[:, self._places]
        if self._alike or len(self._sizes) > 1:  # else these sums are 0
            start = 0
            for size, factor in zip(self._sizes, self._factors, strict=True):
                members = slice(start, start + size)
                start += size
                deviations = drawn[:, members] @ self._left[members]
                if not self._alike:
                    below = (drawn[:, members] @ self._below[members])[:, self._places]
                    deviations -= shift * below
                variance -= np.float32(factor / size) * deviations**2
        return shift, np.sqrt(np.maximum(variance, 0.0)) / np.abs(total)

"""95 % intervals by the bootstrap, with the same resamples for every number of a study."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import ndtr, stdtrit

from lookaway.analysis.ends import ANY, LEVEL, Ends, Range, quantiles_of, within_range
from lookaway.analysis.resamples import Resamples
from lookaway.analysis.studentised import studentised

_COLUMNS = 256


class Bootstrap(Resamples):
    """Intervals from resamples of a study's images; see ``Resamples`` for what is drawn.

    Of means, and other ratios of sums, bootstrap-t (``intervals``). Of all else percentiles, whose
    interval of few units is too narrow: its tails are moved out as T. Hesterberg proposes (What
    Teachers Should Know About the Bootstrap, 2015, the expanded percentile interval), to
    Φ(−t √(n / (n − 1))), t being Student's.
    """

    def intervals(
        self,
        numerators: np.ndarray,
        denominators: np.ndarray,
        within: Range = ANY,
        partners: np.ndarray | None = None,
    ) -> Ends:
        """The ends of the 95 % interval of each mean, or ratio of sums; see ``studentised``.

        Args:
            numerators: (N, G).
            denominators: (N, G): which images count, 1 or 0, or what is divided by.
            within: what the number can be; no end lies outside.
            partners: (N, G) int: the other image that a number is about too; −1 for none.

        Returns:
            Lower and upper ends; None where there is no interval.
        """
        low: list[float | None] = []
        high: list[float | None] = []
        for ends, _ in studentised(self, numerators, denominators, partners):
            low += ends[0]
            high += ends[1]
        return within_range((low, high), within)

    def intervals_of(
        self,
        statistic: Callable[..., np.ndarray],
        numerators: Sequence[np.ndarray],
        denominators: np.ndarray,
        within: Range = ANY,
    ) -> Ends:
        """The intervals of what is made of ratios, in memory that does not grow with G.

        Args:
            statistic: from (resamples, g) ratios, one for each of the numerators, to one such.
            numerators: (N, G) each.
            denominators: (N, G), of all of them.
            within: what the number can be; no end lies outside.

        Returns:
            Lower and upper ends; None where there is no interval.
        """
        low: list[float | None] = []
        high: list[float | None] = []
        for start in range(0, denominators.shape[1], _COLUMNS):
            part = slice(start, start + _COLUMNS)
            ratios = [self.ratios(each[:, part], denominators[:, part]) for each in numerators]
            ends = self.bounds(statistic(*ratios), denominators[:, part] != 0, within)
            low += ends[0]
            high += ends[1]
        return low, high

    def bounds(
        self, resampled: np.ndarray, used: np.ndarray | None = None, within: Range = ANY
    ) -> Ends:
        """The ends of the 95 % interval of each column, by percentiles.

        Args:
            resampled: (resamples, G); what is not finite is left out.
            used: (N, G) bool: the images that each column is made of; None: all.
            within: what the number can be; no end lies outside.

        Returns:
            Lower and upper ends; None where there is no interval.
        """
        tails = [self.tail] * resampled.shape[1] if used is None else self._tails(used)
        return within_range(quantiles_of(resampled, tails), within)

    @property
    def tail(self) -> float | None:
        """What lies outside at each end, where all images count; None where nothing can vary."""
        return self._tails(np.ones((len(self.units), 1), dtype=bool))[0]

    def _tails(self, used: np.ndarray) -> list[float | None]:
        """What lies outside at each end, where only some images count; None for no interval.

        Args:
            used: (N, G) bool.
        """
        drawn, free = self.free(used)
        some = np.maximum(free, 1)
        tails = ndtr(-stdtrit(some, (1 + LEVEL) / 2) * np.sqrt(drawn / some))
        return [float(tail) if many > 0 else None for tail, many in zip(tails, free, strict=True)]

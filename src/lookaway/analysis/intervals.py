"""95 % intervals by the bootstrap, with the same resamples for every number of a study."""

import numpy as np
from scipy.special import ndtr, stdtrit

from lookaway.analysis.ends import ANY, LEVEL, Ends, Range, quantiles_of, within_range
from lookaway.analysis.pairs import Pairs
from lookaway.analysis.resamples import Resamples
from lookaway.analysis.studentised import studentised


class Bootstrap(Resamples):
    """Intervals from resamples of a study's images; see ``Resamples`` for what is drawn.

    Of means and other ratios of sums, and of standard deviations, bootstrap-t. Of all else
    percentiles, whose interval of few units is too narrow: its tails are moved out as T. Hesterberg
    proposes (What Teachers Should Know About the Bootstrap, 2015, the expanded percentile
    interval), to
    Φ(−t √(n / (n − 1))), t being Student's.
    """

    def intervals(
        self,
        numerators: np.ndarray,
        denominators: np.ndarray,
        within: Range = ANY,
        pairs: Pairs | None = None,
        *,
        paired_below: bool = False,
    ) -> Ends:
        """The ends of the 95 % interval of each mean, or ratio of sums; see ``studentised``.

        Args:
            numerators: (N, G).
            denominators: (N, G): which images count, 1 or 0, or what is divided by.
            within: what the number can be; no end lies outside.
            pairs: of images, that the numerators are means of.
            paired_below: it is the denominators that are.

        Returns:
            Lower and upper ends; None where there is no interval.
        """
        low: list[float | None] = []
        high: list[float | None] = []
        for ends, _ in studentised(
            self, numerators, denominators, pairs, paired_below=paired_below
        ):
            low += ends[0]
            high += ends[1]
        return within_range((low, high), within)

    def deviations(self, squares: np.ndarray, counts: np.ndarray) -> Ends:
        """The ends of the 95 % interval of each standard deviation of what lies in [0, 1].

        They are the roots of those of the mean square (``intervals``), the mean being taken for
        known: that it is estimated too changes the mean square by 1 / n of itself.

        Args:
            squares: (N, G): the squared deviations from the mean, summed up for each image.
            counts: (N, G): of how many values.

        Returns:
            Lower and upper ends; None where there is no interval.
        """
        low, high = (
            [None if end is None else float(np.sqrt(end)) for end in side]
            for side in self.intervals(squares, counts, (0.0, 0.25))
        )
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
        """What lies outside at each end, where only some images count; None for no interval."""
        drawn, free = self.free(used)
        some = np.maximum(free, 1)
        tails = ndtr(-stdtrit(some, (1 + LEVEL) / 2) * np.sqrt(drawn / some))
        return [float(tail) if many > 0 else None for tail, many in zip(tails, free, strict=True)]

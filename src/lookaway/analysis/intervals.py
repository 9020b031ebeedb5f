"""Bootstrap intervals: 95 %, percentile, the same resamples for every number of a study."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy.special import ndtr, stdtrit

MANY_CLASSES = 20
LEVEL = 0.95
RESAMPLES = 10_000
MANY_IMAGES = 10_000
GROUPS = 1_000  # of more images than that, where they are few classes'
_FEWEST_GROUPS = 50  # of a class, or each of its images
_HELD = 100_000_000  # weights kept in memory; beyond, they are drawn again when they are needed
_AT_ONCE = 4_000_000
_COLUMNS = 256

# Lower and upper ends; None where there is no interval.
Ends = tuple[list[float | None], list[float | None]]


class Bootstrap:
    """Resamples of a study's images.

    With 20 classes or more whole classes are drawn, so the interval speaks of other classes too;
    with fewer, images within each class, and the interval is conditional on these classes.

    Of more than 10,000 images of fewer than 20 classes, groups of images within each class are
    drawn: some 1,000 random groups of equal size, at least 50 a class (random groups, K. Wolter,
    Introduction to Variance Estimation, 2007, chapter 2). The mean over drawn groups varies as that
    over drawn images does, and a standard error from G groups is itself known to 1 / √(2 G), some
    2 %, about what 10,000 resamples leave of it. Time and memory no longer grow with the images.

    A percentile interval of few units is too narrow; its tails are moved out as T. Hesterberg
    proposes (What Teachers Should Know About the Bootstrap, 2015, the expanded percentile
    interval): to Φ(−t √(n / (n − 1))), t being Student's.

    Args:
        labels: the class of each image, N of them.
        resamples: how many.
        seed: another seed, other resamples.

    Attributes:
        kind: ``classes``, ``images within classes`` or ``groups of images within classes``.
        units: (N,) int: what is drawn with each image: its class, itself, or its group.
        tail: what lies outside at each end; None where nothing can vary, as with one image a class.
    """

    def __init__(self, labels: Sequence[str], resamples: int = RESAMPLES, seed: int = 0) -> None:
        names, self._of = np.unique(np.asarray(labels), return_inverse=True)
        self._classes, self._resamples, self._seed = len(names), resamples, seed
        if len(names) >= MANY_CLASSES:
            self.kind, self.units = "classes", self._of
        elif len(self._of) <= MANY_IMAGES:
            self.kind, self.units = "images within classes", np.arange(len(self._of))
        else:
            self.kind, self.units = "groups of images within classes", self._groups()
        self._count = int(self.units.max(initial=-1)) + 1
        # The class of each unit: units are drawn within it.
        self._strata = np.zeros(self._count, dtype=int)
        if self.kind != "classes":
            self._strata[self.units] = self._of
        self.tail: float | None = self._tails(np.ones((len(self._of), 1), dtype=bool))[0]
        self._kept: list[np.ndarray] | None = None

    def _groups(self) -> np.ndarray:
        """A group for each image, of its class alone, at random: (N,) int."""
        random = np.random.default_rng([self._seed, len(self._of)])
        groups, start = np.empty(len(self._of), dtype=int), 0
        for label in range(self._classes):
            members = np.flatnonzero(self._of == label)
            share = round(GROUPS * len(members) / len(self._of))
            count = min(len(members), max(_FEWEST_GROUPS, share))
            groups[random.permutation(members)] = start + np.arange(len(members)) % count
            start += count
        return groups

    def _tails(self, used: np.ndarray) -> list[float | None]:
        """What lies outside at each end, where only some images count; None for no interval.

        Args:
            used: (N, G) bool.
        """
        units = np.zeros((self._count, used.shape[1]), dtype=bool)
        np.logical_or.at(units, self.units, used)
        strata = np.zeros((self._strata.max(initial=0) + 1, used.shape[1]), dtype=bool)
        np.logical_or.at(strata, self._strata, units)
        drawn = units.sum(axis=0)
        free = drawn - strata.sum(axis=0)
        some = np.maximum(free, 1)
        tails = ndtr(-stdtrit(some, (1 + LEVEL) / 2) * np.sqrt(drawn / some))
        return [float(tail) if many > 0 else None for tail, many in zip(tails, free, strict=True)]

    def weights(self) -> Iterator[np.ndarray]:
        """How often each unit was drawn: (b, units) blocks, in all ``resamples`` rows."""
        if self._resamples * self._count > _HELD:
            yield from self._drawn()
            return
        if self._kept is None:  # counts are small
            self._kept = [drawn.astype(np.uint8) for drawn in self._drawn()]
        for kept in self._kept:
            yield kept.astype(np.float32)

    def _drawn(self) -> Iterator[np.ndarray]:
        step = max(1, _AT_ONCE // max(1, self._count))
        for start in range(0, self._resamples, step):
            block = min(step, self._resamples - start)
            random = np.random.default_rng([self._seed, start])
            drawn = np.empty((block, self._count), dtype=np.float32)
            for stratum in range(self._strata.max(initial=-1) + 1):
                members = np.flatnonzero(self._strata == stratum)
                drawn[:, members] = _counts(random, block, len(members))
            yield drawn

    def sums(self, values: np.ndarray) -> np.ndarray:
        """The sum of each column in each resample.

        Args:
            values: (N, G).

        Returns:
            (resamples, G).
        """
        by_unit = self.by_unit(values).astype(np.float32)
        return np.concatenate([drawn @ by_unit for drawn in self.weights()]).astype(float)

    def by_unit(self, values: np.ndarray) -> np.ndarray:
        """The sums of each column over the images of each unit, (units, G)."""
        if self.kind == "images within classes":
            return values
        summed = np.zeros((self._count, values.shape[1]))
        np.add.at(summed, self.units, values)
        return summed

    def ratios(self, numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
        """Sum over sum in each resample: a mean where the denominators count what is used.

        Args:
            numerators: (N, G).
            denominators: (N, G).

        Returns:
            (resamples, G); NaN where a resample's denominators sum to 0.
        """
        # Most groups are made of the same images: each different denominator once.
        first: dict[bytes, int] = {}
        columns = np.asfortranarray(denominators).T
        places = [first.setdefault(column.tobytes(), len(first)) for column in columns]
        different = np.array([places.index(place) for place in range(len(first))], dtype=int)
        below = self.sums(denominators[:, different])[:, places]
        totals = denominators.sum(axis=0)
        point = numerators.sum(axis=0) / np.where(totals == 0, 1.0, totals)
        # What is left of the numerators is small: float32 sums lose nothing that matters.
        left = self.sums(numerators - point * denominators)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios: np.ndarray = point + left / below
        return ratios

    def intervals(self, numerators: np.ndarray, denominators: np.ndarray) -> Ends:
        """The ends of the 95 % interval of each ratio; arguments as for ``ratios``."""
        return self.intervals_of(lambda ratio: ratio, [numerators], denominators)

    def intervals_of(
        self,
        statistic: Callable[..., np.ndarray],
        numerators: Sequence[np.ndarray],
        denominators: np.ndarray,
    ) -> Ends:
        """The intervals of what is made of ratios, in memory that does not grow with G.

        Args:
            statistic: from (resamples, g) ratios, one for each of the numerators, to one such.
            numerators: (N, G) each.
            denominators: (N, G), of all of them.

        Returns:
            Lower and upper ends; None where there is no interval.
        """
        low: list[float | None] = []
        high: list[float | None] = []
        for start in range(0, denominators.shape[1], _COLUMNS):
            part = slice(start, start + _COLUMNS)
            ratios = [self.ratios(each[:, part], denominators[:, part]) for each in numerators]
            ends = self.bounds(statistic(*ratios), denominators[:, part] != 0)
            low += ends[0]
            high += ends[1]
        return low, high

    def bounds(self, resampled: np.ndarray, used: np.ndarray | None = None) -> Ends:
        """The ends of the 95 % interval of each column.

        Args:
            resampled: (resamples, G); what is not finite is left out.
            used: (N, G) bool: the images that each column is made of; None: all.

        Returns:
            Lower and upper ends; None where there is no interval.
        """
        count = resampled.shape[1]
        low: list[float | None] = [None] * count
        high = list(low)
        tails = [self.tail] * count if used is None else self._tails(used)
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


def _counts(random: np.random.Generator, block: int, count: int) -> np.ndarray:
    """How often each of ``count`` things comes in as many draws, (block, count)."""
    drawn = random.integers(0, count, size=(block, count))
    drawn += np.arange(block)[:, None] * count
    counts = np.bincount(drawn.ravel(), minlength=block * count).reshape(block, count)
    return counts.astype(np.float32)

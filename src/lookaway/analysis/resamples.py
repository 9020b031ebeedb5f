"""Resamples of a study's images, the same for every number."""

from collections.abc import Iterator, Sequence

import numpy as np

MANY_CLASSES = 20
RESAMPLES = 10_000
MANY_IMAGES = 10_000
GROUPS = 1_000  # of more images than that, where they are few classes'
_FEWEST_GROUPS = 50  # of a class, or each of its images
_HELD = 100_000_000  # weights kept in memory; beyond, they are drawn again when they are needed
_AT_ONCE = 4_000_000


class Resamples:
    """Resamples of a study's images.

    With 20 classes or more whole classes are drawn, so the interval speaks of other classes too;
    with fewer, images within each class, and the interval is conditional on these classes.

    Of more than 10,000 images of fewer than 20 classes, groups of images within each class are
    drawn: some 1,000 random groups of equal size, at least 50 a class (random groups, K. Wolter,
    Introduction to Variance Estimation, 2007, chapter 2). The mean over drawn groups varies as that
    over drawn images does, and a standard error from G groups is itself known to 1 / √(2 G), some
    2 %, about what 10,000 resamples leave of it. Time and memory no longer grow with the images.

    Args:
        labels: the class of each image, N of them.
        resamples: how many.
        seed: another seed, other resamples.

    Attributes:
        kind: ``classes``, ``images within classes`` or ``groups of images within classes``.
        units: (N,) int: what is drawn with each image: its class, itself, or its group.
        count: how many units there are.
        classes: (N,) int: each image's.
    """

    def __init__(self, labels: Sequence[str], resamples: int = RESAMPLES, seed: int = 0) -> None:
        names, self.classes = np.unique(np.asarray(labels), return_inverse=True)
        self._number, self._resamples, self._seed = len(names), resamples, seed
        if len(names) >= MANY_CLASSES:
            self.kind, self.units = "classes", self.classes
        elif len(self.classes) <= MANY_IMAGES:
            self.kind, self.units = "images within classes", np.arange(len(self.classes))
        else:
            self.kind, self.units = "groups of images within classes", self._groups()
        self.count = int(self.units.max(initial=-1)) + 1
        # The class of each unit: units are drawn within it.
        self._strata = np.zeros(self.count, dtype=int)
        if self.kind != "classes":
            self._strata[self.units] = self.classes
        self._kept: list[np.ndarray] | None = None

    def _groups(self) -> np.ndarray:
        """A group for each image, of its class alone, at random: (N,) int."""
        random = np.random.default_rng([self._seed, len(self.classes)])
        groups, start = np.empty(len(self.classes), dtype=int), 0
        for label in range(self._number):
            members = np.flatnonzero(self.classes == label)
            share = round(GROUPS * len(members) / len(self.classes))
            count = min(len(members), max(_FEWEST_GROUPS, share))
            groups[random.permutation(members)] = start + np.arange(len(members)) % count
            start += count
        return groups

    def free(self, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many units hold an image that counts, and how many of these can vary; (G,) both.

        Args:
            used: (N, G) bool: the images that count.
        """
        units = np.zeros((self.count, used.shape[1]), dtype=bool)
        np.logical_or.at(units, self.units, used)
        strata = np.zeros((self._strata.max(initial=0) + 1, used.shape[1]), dtype=bool)
        np.logical_or.at(strata, self._strata, units)
        drawn = units.sum(axis=0)
        return drawn, drawn - strata.sum(axis=0)

    def by_stratum(self) -> tuple[np.ndarray | slice, list[int]]:
        """The units' order that puts those of a stratum together, and how many it has of each."""
        order = np.argsort(self._strata, kind="stable")
        plain = bool((order == np.arange(self.count)).all())
        sizes = np.bincount(self._strata).tolist()
        return (slice(None) if plain else order), sizes

    def weights(self) -> Iterator[np.ndarray]:
        """How often each unit was drawn: (b, units) blocks, in all ``resamples`` rows."""
        if self._resamples * self.count > _HELD:
            yield from self._drawn()
            return
        if self._kept is None:  # counts are small
            self._kept = [drawn.astype(np.uint8) for drawn in self._drawn()]
        for kept in self._kept:
            yield kept.astype(np.float32)

    def _drawn(self) -> Iterator[np.ndarray]:
        step = max(1, _AT_ONCE // max(1, self.count))
        for start in range(0, self._resamples, step):
            block = min(step, self._resamples - start)
            random = np.random.default_rng([self._seed, start])
            drawn = np.empty((block, self.count), dtype=np.float32)
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
        summed = np.zeros((self.count, values.shape[1]))
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


def _counts(random: np.random.Generator, block: int, count: int) -> np.ndarray:
    """How often each of ``count`` things comes in as many draws, (block, count)."""
    drawn = random.integers(0, count, size=(block, count))
    drawn += np.arange(block)[:, None] * count
    counts = np.bincount(drawn.ravel(), minlength=block * count).reshape(block, count)
    return counts.astype(np.float32)

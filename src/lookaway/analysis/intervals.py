"""Bootstrap intervals: 95 %, percentile, the same resamples for every number of a study."""

from collections.abc import Iterator, Sequence

import numpy as np

MANY_CLASSES = 20
LEVEL = 0.95
_AT_ONCE = 4_000_000  # weights held in memory


class Bootstrap:
    """Resamples of a study's images.

    With 20 classes or more whole classes are drawn, so the interval speaks of other classes too;
    with fewer, images within each class, and the interval is conditional on these classes.

    Args:
        labels: the class of each image, N of them.
        resamples: how many.
        seed: another seed, other resamples.

    Attributes:
        kind: ``classes`` or ``images within classes``.
    """

    def __init__(self, labels: Sequence[str], resamples: int = 1000, seed: int = 0) -> None:
        names, self._of = np.unique(np.asarray(labels), return_inverse=True)
        self.kind = "classes" if len(names) >= MANY_CLASSES else "images within classes"
        self._classes, self._resamples, self._seed = len(names), resamples, seed

    def weights(self) -> Iterator[np.ndarray]:
        """How often each image was drawn: (b, N) blocks, in all ``resamples`` rows."""
        random = np.random.Generator(np.random.PCG64(self._seed))
        count = len(self._of)
        step = max(1, _AT_ONCE // max(1, count))
        for start in range(0, self._resamples, step):
            block = min(step, self._resamples - start)
            if self.kind == "classes":
                even = np.full(self._classes, 1 / self._classes)
                yield random.multinomial(self._classes, even, size=block)[:, self._of].astype(float)
                continue
            drawn = np.zeros((block, count))
            for label in range(self._classes):
                members = np.flatnonzero(self._of == label)
                even = np.full(len(members), 1 / len(members))
                drawn[:, members] = random.multinomial(len(members), even, size=block)
            yield drawn

    def ratios(self, numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
        """Sum over sum in each resample: a mean where the denominators count what is used.

        Args:
            numerators: (N, G).
            denominators: (N, G), at least 0.

        Returns:
            (resamples, G); NaN where a resample's denominators are all 0.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.concatenate(
                [(drawn @ numerators) / (drawn @ denominators) for drawn in self.weights()]
            )


def bounds(resampled: np.ndarray) -> tuple[list[float | None], list[float | None]]:
    """The ends of the 95 % interval of each column.

    Args:
        resampled: (resamples, G); NaN is left out.

    Returns:
        Lower and upper ends; None where every resample is NaN.
    """
    tail = (1 - LEVEL) / 2
    low: list[float | None] = []
    high: list[float | None] = []
    for column in resampled.T:
        finite = column[np.isfinite(column)]
        ends = np.quantile(finite, [tail, 1 - tail]) if len(finite) else (None, None)
        low.append(None if ends[0] is None else float(ends[0]))
        high.append(None if ends[1] is None else float(ends[1]))
    return low, high

"""Numbers of comparisons in each resample of the people, of whom both of a comparison are drawn."""

import numpy as np

from lookaway.analysis.intervals import Bootstrap
from lookaway.metrics.verification import crossing, det

_RESAMPLES = 1_000  # of equal error rates
_COARSE, _FEWEST, _MOST = 16, 256, 1024  # thresholds at once
_WORK = 5e9  # products


def resampled_means(
    values: np.ndarray, counted: np.ndarray, same: np.ndarray, boot: Bootstrap
) -> np.ndarray:
    """The mean of the comparisons that count, in each resample of the people.

    A comparison of two people counts as often as the one is drawn times the other; one with a
    template of somebody who has no probe, as often as the probe's person.

    Args:
        values: (N, K), of N probes and the templates of K people.
        counted: (N, K) bool.
        same: (N, K) bool: which comparisons are genuine.
        boot: of the N probes' people.

    Returns:
        (resamples,); NaN where no comparison counts.
    """
    places = _units_of_templates(same, boot)
    own, others = (
        [boot.by_unit(np.where(counted & kept, each, 0.0)) for each in (values, 1.0)]
        for kept in (same, ~same)
    )
    found = []
    for part in boot.weights():
        beside = _beside(part, places)
        above, below = (
            part @ one.sum(axis=1) + ((part @ other) * beside).sum(axis=1)
            for one, other in zip(own, others, strict=True)
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            found.append(above / below)
    return np.concatenate(found)


def equal_error(
    similarities: np.ndarray, same: np.ndarray, boot: Bootstrap
) -> tuple[float, np.ndarray]:
    """The equal error rate of comparisons, and in each of 1,000 resamples of the people.

    Thresholds are looked for between which all resamples' rates cross. Between two genuine
    similarities the rate does not change, so their thresholds are enough; where even these are
    many (hundreds, of hundreds of people), some stand for all, with straight lines between them.

    Args:
        similarities: (N, K).
        same: (N, K) bool: which comparisons are genuine.
        boot: of the N probes' people.

    Returns:
        The rate, and (1000,); NaN where a resample has comparisons of one kind alone.
    """
    value = det(similarities[same], similarities[~same]).equal_error_rate
    weights = _some_weights(boot)
    below_impostors = _Below(similarities, ~same, weights, _units_of_templates(same, boot), boot)
    below_genuine = _Below(similarities, same, weights, np.full(same.shape[1], -1), boot)
    thresholds = np.append(np.unique(similarities), np.inf)
    fine = int(max(_FEWEST, min(_MOST, _WORK / (weights.size * similarities.shape[1]))))
    steps = np.searchsorted(thresholds, similarities[same])
    steps = np.unique([0, *steps, *(steps + 1), len(thresholds) - 1])
    low, high, last = 0, len(thresholds) - 1, False
    while True:
        places = steps[(steps >= low) & (steps <= high)]
        if len(places) > fine:
            places = np.unique(np.linspace(low, high, (fine if last else _COARSE) + 1).astype(int))
        else:
            places, last = np.unique([low, *places, high]), True
        fmr = 1 - below_impostors(thresholds[places])
        fnmr = below_genuine(thresholds[places])
        if last:
            return value, crossing(fmr, fnmr)
        crossed = fnmr >= fmr
        first = crossed.argmax(axis=1)[crossed.any(axis=1)]
        closer = places[max(first.min(initial=0) - 1, 0)], places[first.max(initial=-1)]
        last = 2 * (closer[1] - closer[0]) > high - low  # so far are resamples apart
        low, high = closer


class _Below:
    """How many of some comparisons lie below thresholds, as a share, in each resample.

    Args:
        similarities: (N, K).
        counted: (N, K) bool: which.
        weights: (B, units).
        places: (K,) the unit of each template; −1 where none is drawn for it.
        boot: of the N probes' people.
    """

    def __init__(
        self,
        similarities: np.ndarray,
        counted: np.ndarray,
        weights: np.ndarray,
        places: np.ndarray,
        boot: Bootstrap,
    ) -> None:
        probes, templates = np.nonzero(counted)
        self._values, cells = similarities[counted], boot.units[probes]
        self._weights, self._beside = weights, np.ones((1, 1))
        if (places >= 0).any():
            cells = cells * len(places) + templates
            self._beside = _beside(weights, places)
        self._cells, self._count = cells, weights.shape[1] * self._beside.shape[1]
        self._whole = self._sums(np.bincount(cells, minlength=self._count))

    def _sums(self, counts: np.ndarray) -> np.ndarray:
        per_unit = counts.reshape(self._weights.shape[1], -1)
        summed: np.ndarray = ((self._weights @ per_unit) * self._beside).sum(axis=1)
        return summed

    def __call__(self, thresholds: np.ndarray) -> np.ndarray:
        """(B, T) for rising thresholds (T,); NaN where none is drawn."""
        reached = np.searchsorted(thresholds, self._values, side="right")
        order = np.argsort(reached, kind="stable")
        cuts = np.searchsorted(reached[order], np.arange(len(thresholds)), side="right")
        counts, start, found = np.zeros(self._count), 0, []
        for cut in cuts:
            some = self._cells[order[start:cut]]
            counts += np.bincount(some, minlength=self._count)
            found.append(self._sums(counts))
            start = cut
        with np.errstate(invalid="ignore", divide="ignore"):
            shares: np.ndarray = np.stack(found, axis=1) / self._whole[:, None]
        return shares


def _some_weights(boot: Bootstrap) -> np.ndarray:
    """The first 1,000 of a bootstrap's weights, (B, units)."""
    found, left = [], _RESAMPLES
    for drawn in boot.weights():
        found.append(drawn[:left].astype(float))
        left -= len(found[-1])
        if left <= 0:
            break
    return np.concatenate(found)


def _units_of_templates(same: np.ndarray, boot: Bootstrap) -> np.ndarray:
    """The unit of each template's person, (K,); −1 where none is drawn for it."""
    places = np.full(same.shape[1], -1)
    if boot.kind == "classes":
        probes, templates = np.nonzero(same)
        places[templates] = boot.units[probes]
    return places


def _beside(part: np.ndarray, places: np.ndarray) -> np.ndarray:
    """How often each template's person is drawn, (b, K); 1 where the person is no unit."""
    return np.where(places >= 0, part[:, places], 1.0)

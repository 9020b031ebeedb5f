"""Numbers of comparisons in each resample of the people, of whom both of a comparison are drawn."""

import numpy as np

from lookaway.analysis.intervals import Bootstrap
from lookaway.metrics.verification import det, equal_error_rates

_RESAMPLES = 1_000  # of equal error rates, each of which takes a pass over all comparisons
_AT_ONCE = 20_000_000


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

    Args:
        similarities: (N, K).
        same: (N, K) bool: which comparisons are genuine.
        boot: of the N probes' people.

    Returns:
        The rate, and (1000,); NaN where a resample has comparisons of one kind alone.
    """
    value = det(similarities[same], similarities[~same]).equal_error_rate
    places = _units_of_templates(same, boot)
    resampled, step, left = [], max(1, _AT_ONCE // similarities.size), _RESAMPLES
    for drawn in boot.weights():
        some = drawn[:left]
        left -= len(some)
        for start in range(0, len(some), step):
            part = some[start : start + step]
            beside = np.where(same, 1.0, _beside(part, places)[:, None, :])
            flat = (part[:, boot.units, None] * beside).reshape(len(part), -1)
            resampled.append(equal_error_rates(similarities.ravel(), same.ravel(), flat))
    return value, np.concatenate(resampled)


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

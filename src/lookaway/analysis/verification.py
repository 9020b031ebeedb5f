"""What an attack does to the verification of faces: error rates at thresholds fixed before it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from lookaway.analysis.ends import CHANGE, SHARE
from lookaway.analysis.intervals import Bootstrap
from lookaway.analysis.proportions import compared_ends, proportion_ends
from lookaway.analysis.smallest_epsilon import Found, smallest_epsilon
from lookaway.metrics.verification import det, equal_error_rates, needed, threshold_at

RATES = (1e-2, 1e-3, 1e-4)
_FOLDS = 5
_RESAMPLES = 1_000  # of equal error rates, each of which takes a pass over all comparisons
_AT_ONCE = 20_000_000
CLEAN = ("clean", "", 0.0)

# An attack's name, its objective, and ε.
Setting = tuple[str, str, float]


@dataclass(frozen=True)
class Comparisons:
    """Probes compared with the templates of K persons, clean and perturbed.

    Attributes:
        persons: (N,) int: who is on each probe, a place among the templates.
        similarities: (N, K) float for each setting; ``CLEAN`` is one.
        targets: (N,) int: whom the perturbed probes are to be taken for, by attack and objective.
    """

    persons: np.ndarray
    similarities: Mapping[Setting, np.ndarray]
    targets: Mapping[tuple[str, str], np.ndarray]

    def genuine(self) -> np.ndarray:
        """Which comparisons (N, K) are of one person."""
        count = self.similarities[CLEAN].shape[1]
        same: np.ndarray = self.persons[:, None] == np.arange(count)[None, :]
        return same

    def det(self, setting: Setting = CLEAN) -> pl.DataFrame:
        """Thresholds with both error rates of a setting: threshold, fmr, fnmr."""
        same, found = self.genuine(), self.similarities[setting]
        curve = det(found[same], found[~same])
        columns = {"threshold": curve.thresholds, "fmr": curve.fmr, "fnmr": curve.fnmr}
        return pl.DataFrame(columns)

    def rates(self, rates: Sequence[float] = RATES, seed: int = 0) -> pl.DataFrame:
        """Error rates of every setting; see ``verification``."""
        return verification(self, rates, seed)

    def thresholds(self, rate: float, seed: int = 0) -> np.ndarray | None:
        """The threshold (N,) for each probe, from clean comparisons of other persons.

        Persons are dealt into five parts at random; those of a part are judged by the impostor
        comparisons among all others. None where these are too few; see ``metrics.needed``.
        """
        same, clean = self.genuine(), self.similarities[CLEAN]
        count = clean.shape[1]
        dealt = np.random.default_rng(seed).permutation(count) % min(_FOLDS, count)
        found = np.zeros(len(self.persons))
        for part in np.unique(dealt[self.persons]):
            others = dealt != part
            kept = others[self.persons][:, None] & others[None, :] & ~same
            threshold = threshold_at(clean[kept], rate)
            if threshold is None:
                return None
            found[dealt[self.persons] == part] = threshold
        return found


def verification(found: Comparisons, rates: Sequence[float] = RATES, seed: int = 0) -> pl.DataFrame:
    """Error rates of every setting, each with its 95 % interval.

    Intervals take persons for their units (from 20 on; else probes), for comparisons that share a
    person are not independent: rates have Wilson's with an effective number of comparisons, equal
    error rates and mean similarities resample. Thresholds stay as they are.

    Args:
        found: the comparisons.
        rates: clean false match rates at which thresholds are fixed.
        seed: of the parts into which persons are dealt.

    Returns:
        attack, objective, epsilon, measure, n_genuine, n_impostor, value, low, high, reason.
        Measures: ``eer``; ``genuine`` and ``impostor``, mean similarities; at the threshold of
        each clean false match rate ``fnmr@rate``, genuine comparisons that are lost, ``fmr@rate``,
        impostor comparisons that match, and for impersonation ``success@rate``, probes that are
        taken for their target, and ``success_clean@rate``, those that are on their clean image;
        and, without an ε, ``epsilon@rate``: the median of the smallest ε
        at which a decision changes, over the probes accepted as themselves on their clean image
        (for impersonation, those not taken for their target). With the clean ones
        ``threshold@rate``, the mean over the parts. A value is null where there are too few
        comparisons, or where fewer than half of the decisions change; reason says it.
    """
    same = found.genuine()
    boot = Bootstrap([str(person) for person in found.persons])
    counts = {"n_genuine": int(same.sum()), "n_impostor": int((~same).sum())}
    levels = {rate: found.thresholds(rate, seed) for rate in rates}
    rows: list[dict[str, object]] = []
    for setting, similarities in found.similarities.items():
        attack, objective, epsilon = setting
        told: list[tuple[str, float | None, float | None, float | None, str]] = [
            ("eer", *_eer(similarities, same, boot), "")
        ]
        for name, kept in (("genuine", same), ("impostor", ~same)):
            told.append((name, *_mean(similarities, kept, boot), ""))
        for rate, threshold in levels.items():
            targets = found.targets.get((attack, objective))
            names = ["fnmr", "fmr"]
            names += ["success", "success_clean"] if targets is not None else []
            names += ["threshold"] if setting == CLEAN else []
            if threshold is None:
                few = f"a clean FMR of {rate:g} takes {needed(rate)} impostor comparisons of others"
                told += [(f"{name}@{rate:g}", None, None, None, few) for name in names]
                continue
            match = similarities >= threshold[:, None]
            persons = found.persons
            if setting == CLEAN:
                told.append((f"threshold@{rate:g}", float(threshold.mean()), None, None, ""))
            told.append((f"fnmr@{rate:g}", *share_of(same & ~match, same, persons, boot), ""))
            told.append((f"fmr@{rate:g}", *share_of(~same & match, ~same, persons, boot), ""))
            if targets is not None:
                aimed = targets[:, None] == np.arange(same.shape[1])[None, :]
                told.append(
                    (f"success@{rate:g}", *share_of(aimed & match, aimed, persons, boot), "")
                )
                before = found.similarities[CLEAN] >= threshold[:, None]
                clean = share_of(aimed & before, aimed, persons, boot)
                told.append((f"success_clean@{rate:g}", *clean, ""))
        keys = {"attack": attack, "objective": objective, "epsilon": epsilon}
        rows += [_row(keys, counts, *each) for each in told]
    for title in dict.fromkeys((attack, aim) for attack, aim, _ in found.similarities):
        keys = {"attack": title[0], "objective": title[1], "epsilon": None}
        for rate, threshold in levels.items():
            if title != CLEAN[:2]:
                median = _smallest(found, title, rate, threshold, boot)
                rows.append(_row(keys, counts, f"epsilon@{rate:g}", *median))
    numbers = dict.fromkeys(["epsilon", "value", "low", "high"], pl.Float64)
    return pl.DataFrame(rows, schema_overrides={**numbers, "reason": pl.String})


def _row(
    keys: Mapping[str, object],
    counts: Mapping[str, int],
    measure: str,
    value: float | None,
    low: float | None,
    high: float | None,
    reason: str,
) -> dict[str, object]:
    ends = {"value": value, "low": low, "high": high, "reason": reason or None}
    return {**keys, "measure": measure, **counts, **ends}


def _smallest(
    found: Comparisons,
    title: tuple[str, str],
    rate: float,
    threshold: np.ndarray | None,
    boot: Bootstrap,
) -> Found:
    """The median smallest ε at which an attack changes a decision at a threshold."""
    if threshold is None:
        few = f"a clean FMR of {rate:g} takes {needed(rate)} impostor comparisons of others"
        return None, None, None, few
    target = found.targets.get(title)
    of, probes = found.persons if target is None else target, np.arange(len(found.persons))
    match = {
        epsilon: each[probes, of] >= threshold
        for (attack, aim, epsilon), each in found.similarities.items()
        if (attack, aim) in (title, CLEAN[:2])
    }
    before = match.pop(CLEAN[2])
    return smallest_epsilon(before, match, before if target is None else ~before, boot)


def _mean(
    similarities: np.ndarray, counted: np.ndarray, boot: Bootstrap
) -> tuple[float, float | None, float | None]:
    """The mean of the comparisons (N, K) that count, and its interval."""
    above = np.where(counted, similarities, 0.0).sum(axis=1, dtype=float)[:, None]
    below = counted.sum(axis=1, dtype=float)[:, None]
    low, high = boot.intervals(above, below, CHANGE)
    return float(above.sum() / below.sum()), low[0], high[0]


def share_of(
    numerators: np.ndarray, counted: np.ndarray, persons: np.ndarray, boot: Bootstrap
) -> tuple[float, float | None, float | None]:
    """How many of the comparisons (N, K) that count are meant, and Wilson's interval of it."""
    above, below = (each.sum(axis=1, dtype=float)[:, None] for each in (numerators, counted))
    share = float(above.sum() / below.sum())
    if boot.kind == "classes" and below.max() > 1:
        return share, *compared_ends(numerators, counted, persons)
    low, high = proportion_ends(boot, above, below)
    return share, low[0], high[0]


def _eer(
    similarities: np.ndarray, same: np.ndarray, boot: Bootstrap
) -> tuple[float, float | None, float | None]:
    value, resampled = equal_error(similarities, same, boot)
    low, high = boot.bounds(resampled[:, None], None, SHARE)
    return value, low[0], high[0]


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
    persons, count = boot.units, similarities.shape[1]
    by_person = boot.kind == "classes"
    places = np.full(count, -1)
    if by_person:  # the unit of each template; a person without a probe is drawn with none
        places[np.nonzero(same)[1]] = persons[np.nonzero(same)[0]]
    resampled, step, left = [], max(1, _AT_ONCE // similarities.size), _RESAMPLES
    for drawn in boot.weights():
        some = drawn[:left]
        left -= len(some)
        for start in range(0, len(some), step):
            part = some[start : start + step]
            weights = np.repeat(part[:, persons, None], count, axis=2)
            if by_person:
                weights *= np.where(same, 1.0, part[:, None, places])
            flat = weights.reshape(len(part), -1)
            resampled.append(equal_error_rates(similarities.ravel(), same.ravel(), flat))
    return value, np.concatenate(resampled)

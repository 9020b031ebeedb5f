"""What an attack does to the verification of faces: error rates at thresholds fixed before it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from lookaway.analysis.drawn_people import equal_error, resampled_means
from lookaway.analysis.ends import CHANGE, SHARE
from lookaway.analysis.intervals import Bootstrap
from lookaway.analysis.proportions import compared_ends, proportion_ends
from lookaway.analysis.smallest_epsilon import Found, smallest_epsilon
from lookaway.metrics.verification import det, needed, threshold_at

RATES = (1e-2, 1e-3, 1e-4)
_FOLDS = 5
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
    error rates and mean similarities resample, both persons of a comparison. Thresholds stay as
    they are.

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
    same, persons = found.genuine(), found.persons
    boot = Bootstrap([str(person) for person in persons])
    counts = {"n_genuine": int(same.sum()), "n_impostor": int((~same).sum())}
    levels = {rate: found.thresholds(rate, seed) for rate in rates}
    rows: list[dict[str, object]] = []
    for setting, similarities in found.similarities.items():
        told: list[tuple[str, float | None, float | None, float | None, str]] = []
        for name, number in BEFORE_THRESHOLDS.items():
            told.append((name, *number(similarities, same, boot), ""))
        for rate, threshold in levels.items():
            if setting == CLEAN:
                mean_threshold = None if threshold is None else float(threshold.mean())
                few = too_few(rate) if threshold is None else ""
                told.append((f"threshold@{rate:g}", mean_threshold, None, None, few))
            for name, (meant, trials) in shares_at(found, setting, threshold).items():
                at = f"{name}@{rate:g}"
                if meant is None:
                    told.append((at, None, None, None, too_few(rate)))
                else:
                    told.append((at, *share_of(meant, trials, persons, boot), ""))
        keys = dict(zip(("attack", "objective", "epsilon"), setting, strict=True))
        rows += [_row(keys, counts, *each) for each in told]
    for title in titles(found):
        keys = {"attack": title[0], "objective": title[1], "epsilon": None}
        for rate, threshold in levels.items():
            median: Found = (None, None, None, too_few(rate))
            if threshold is not None:
                median = smallest_epsilon(*decided(found, title, threshold), boot)
            rows.append(_row(keys, counts, f"epsilon@{rate:g}", *median))
    numbers = dict.fromkeys(["epsilon", "value", "low", "high"], pl.Float64)
    return pl.DataFrame(rows, schema_overrides={**numbers, "reason": pl.String})


def titles(found: Comparisons) -> list[tuple[str, str]]:
    """The attacks and controls, each with its objective."""
    named = dict.fromkeys((attack, aim) for attack, aim, _ in found.similarities)
    return [title for title in named if title != CLEAN[:2]]


def too_few(rate: float) -> str:
    """Why there is no threshold at a clean false match rate."""
    return f"a clean FMR of {rate:g} takes {needed(rate)} impostor comparisons of others"


def shares_at(
    found: Comparisons, setting: Setting, threshold: np.ndarray | None
) -> dict[str, tuple[np.ndarray | None, np.ndarray]]:
    """What is counted at a threshold (N,): which comparisons are meant, and among which.

    Returns:
        Both (N, K) bool, by measure; without a threshold nothing is known to be meant.
    """
    same = found.genuine()
    among = {"fnmr": same, "fmr": ~same}
    if (targets := found.targets.get(setting[:2])) is not None:
        aimed = targets[:, None] == np.arange(same.shape[1])[None, :]
        among |= {"success": aimed, "success_clean": aimed}
    if threshold is None:
        return {name: (None, trials) for name, trials in among.items()}
    match, before = (found.similarities[each] >= threshold[:, None] for each in (setting, CLEAN))
    meant = {"fnmr": ~match, "fmr": match, "success": match, "success_clean": before}
    return {name: (meant[name] & trials, trials) for name, trials in among.items()}


def decided(
    found: Comparisons, title: tuple[str, str], threshold: np.ndarray
) -> tuple[np.ndarray, dict[float, np.ndarray], np.ndarray]:
    """The decisions that an attack is about: on clean images, at each ε, and which of them count.

    Of an attack with a target those of a probe with its target, where it is refused clean; of
    others the genuine ones that are accepted clean.
    """
    target = found.targets.get(title)
    of, probes = found.persons if target is None else target, np.arange(len(found.persons))
    match = {
        epsilon: each[probes, of] >= threshold
        for (attack, aim, epsilon), each in found.similarities.items()
        if (attack, aim) in (title, CLEAN[:2])
    }
    before = match.pop(CLEAN[2])
    return before, match, before if target is None else ~before


# A number, and the ends of its interval.
Number = tuple[float, float | None, float | None]


def _equal_error(similarities: np.ndarray, same: np.ndarray, boot: Bootstrap) -> Number:
    value, resampled = equal_error(similarities, same, boot)
    low, high = boot.bounds(resampled[:, None], None, SHARE)
    return value, low[0], high[0]


def _genuine(similarities: np.ndarray, same: np.ndarray, boot: Bootstrap) -> Number:
    above = np.where(same, similarities, 0.0).sum(axis=1, dtype=float)[:, None]
    below = same.sum(axis=1, dtype=float)[:, None]
    low, high = boot.intervals(above, below, CHANGE)
    return float(above.sum() / below.sum()), low[0], high[0]


def _impostor(similarities: np.ndarray, same: np.ndarray, boot: Bootstrap) -> Number:
    resampled = resampled_means(similarities, ~same, same, boot)
    low, high = boot.bounds(resampled[:, None], None, CHANGE)
    return float(similarities[~same].mean(dtype=float)), low[0], high[0]


# Numbers that take no threshold, of similarities (N, K), which are genuine, and the people.
BEFORE_THRESHOLDS: dict[str, Callable[[np.ndarray, np.ndarray, Bootstrap], Number]] = {
    "eer": _equal_error,
    "genuine": _genuine,
    "impostor": _impostor,
}


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

"""What an attack does to the verification of faces: error rates at thresholds fixed before it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import polars as pl

from lookaway.analysis.columns import schema
from lookaway.analysis.drawn_people import equal_error, resampled_means
from lookaway.analysis.ends import CHANGE, SHARE
from lookaway.analysis.intervals import Bootstrap
from lookaway.analysis.proportions import compared_ends, proportion_ends
from lookaway.analysis.smallest_epsilon import smallest_epsilon
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
    every = Judged(found, np.ones(found.genuine().shape[1], dtype=bool))
    levels = {rate: found.thresholds(rate, seed) for rate in rates}
    rows = [
        {**about, **every.counts, **_columns(ask(every))} for about, ask in questions(found, levels)
    ]
    return pl.DataFrame(rows, schema_overrides=schema("epsilon", "value", "low", "high", "reason"))


class Told(NamedTuple):
    """A number and the ends of its interval, or why there is none.

    ``beyond``: a smallest ε is above all that were tested.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None
    beyond: bool = False


def _columns(told: Told) -> dict[str, object]:
    return {name: value for name, value in told._asdict().items() if name != "beyond"}


class Judged:
    """The comparisons of some people's probes.

    Args:
        found: all comparisons.
        people: (K,) bool: whose.
        fewest: people of whom a number is told.
    """

    def __init__(self, found: Comparisons, people: np.ndarray, fewest: int = 0) -> None:
        self.people = int(people.sum())
        few = f"under {fewest} people" if self.people < fewest else "no comparison"
        lacking = self.people < fewest or not people[found.persons].any()
        self._missing = Told(reason=few) if lacking else None
        self._found, self._of = found, people
        self._mine = people[found.persons]
        self._persons = found.persons[self._mine]
        self._boot = Bootstrap([str(each) for each in self._persons])

    @property
    def probes(self) -> int:
        """How many probes there are of them."""
        return len(self._persons)

    @property
    def counts(self) -> dict[str, int]:
        """How many of the comparisons with each other are genuine, and how many are not."""
        return {"n_genuine": self.probes, "n_impostor": self.probes * (self.people - 1)}

    def alone(self, setting: "Setting", number: "Callable[..., Number]") -> Told:
        """What takes no threshold, of their probes with their own templates."""
        if self._missing:
            return self._missing
        here = np.ix_(self._mine, self._of)
        same = self._found.genuine()[here]
        return Told(*number(self._found.similarities[setting][here], same, self._boot))

    def threshold(self, rate: float, threshold: np.ndarray | None) -> Told:
        """The threshold of a clean false match rate, the mean over their probes."""
        if threshold is None:
            return Told(reason=too_few(rate))
        return Told(float(threshold[self._mine].mean()))

    def share(self, name: str, rate: float, meant: np.ndarray | None, trials: np.ndarray) -> Told:
        """How many of the comparisons (N, K) that their probes have are meant."""
        if meant is None:
            return Told(reason=too_few(rate))
        if self._missing:
            return self._missing
        mine = trials[self._mine]
        if name == "fmr":  # of two of them
            mine = mine & self._of
        return Told(*share_of(meant[self._mine] & mine, mine, self._persons, self._boot))

    def smallest(self, title: tuple[str, str], rate: float, threshold: np.ndarray | None) -> Told:
        """The median smallest ε that changes a decision about one of their probes."""
        if threshold is None:
            return Told(reason=too_few(rate))
        if self._missing:
            return self._missing
        before, after, used = decided(self._found, title, threshold)
        changed = {epsilon: each[self._mine] for epsilon, each in after.items()}
        some = used[self._mine]
        median = smallest_epsilon(before[self._mine], changed, some, self._boot)
        return Told(*median[:3], median[3] or None, median[0] is None and bool(some.any()))


Question = Callable[[Judged], Told]


def questions(
    found: Comparisons, levels: Mapping[float, np.ndarray | None]
) -> Iterator[tuple[dict[str, object], Question]]:
    """What ``verification`` tells of comparisons, with the threshold (N,) of each rate.

    Yields:
        attack, objective, epsilon and measure; and what asks for the number.
    """

    def of(title: tuple[str, str], epsilon: float | None, measure: str) -> dict[str, object]:
        return {"attack": title[0], "objective": title[1], "epsilon": epsilon, "measure": measure}

    for setting in found.similarities:
        title, epsilon = setting[:2], setting[2]
        for name, number in BEFORE_THRESHOLDS.items():
            yield of(title, epsilon, name), partial(Judged.alone, setting=setting, number=number)
        for rate, threshold in levels.items():
            if setting == CLEAN:
                ask = partial(Judged.threshold, rate=rate, threshold=threshold)
                yield of(title, epsilon, f"threshold@{rate:g}"), ask
            for name, (meant, trials) in shares_at(found, setting, threshold).items():
                ask = partial(Judged.share, name=name, rate=rate, meant=meant, trials=trials)
                yield of(title, epsilon, f"{name}@{rate:g}"), ask
    for title in titles(found):
        for rate, threshold in levels.items():
            ask = partial(Judged.smallest, title=title, rate=rate, threshold=threshold)
            yield of(title, None, f"epsilon@{rate:g}"), ask


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

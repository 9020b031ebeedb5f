"""Error rates of pairs of images: at thresholds of other people, and by LFW's protocol."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from lookaway.analysis.columns import schema
from lookaway.analysis.ends import CHANGE, SHARE, Range
from lookaway.analysis.intervals import Bootstrap
from lookaway.analysis.proportions import compared_ends, wilson
from lookaway.analysis.verification import CLEAN, RATES, Setting
from lookaway.metrics.verification import det, equal_error_rates, needed, threshold_at

_FOLDS = 5
_RESAMPLES = 1_000

# A measure, its value, the ends of its interval, and why there is none.
_Told = tuple[str, float | None, float | None, float | None, str | None]


@dataclass(frozen=True)
class Pairs:
    """Pairs of images, compared clean and with the probe perturbed.

    Attributes:
        a: names of the probes, n of them.
        b: names of the references.
        persons: (n, 2) int: who is on either.
        same: (n,) bool: whether they are one person.
        folds: (n,) int: pairs of a fold are judged by thresholds of the others; no person is in
            two folds' pairs where folds were dealt here.
        similarities: (n,) for each setting; ``CLEAN`` is one. Under attack genuine pairs are dodged
            and impostor pairs impersonated.
        set_aside: names of images in which no face was found, and whose pairs are left out.
    """

    a: Sequence[str]
    b: Sequence[str]
    persons: np.ndarray
    same: np.ndarray
    folds: np.ndarray
    similarities: Mapping[Setting, np.ndarray]
    set_aside: tuple[str, ...] = ()

    def rates(self, rates: Sequence[float] = RATES) -> pl.DataFrame:
        """Error rates of every setting, each with its 95 % interval.

        Returns:
            attack, objective, epsilon, measure, n_genuine, n_impostor, value, low, high, reason.
            Measures: ``eer``; ``genuine`` and ``impostor``, mean similarities; ``accuracy``, at the
            threshold that is best for the clean pairs of the other folds (LFW's protocol, G. B.
            Huang et al. 2007); at the threshold of a clean false match rate in the other folds
            ``fnmr@rate`` and ``fmr@rate``. Intervals take people for their units; of ``eer`` and
            means there are none of fewer than 20 people.
        """
        counts = {"n_genuine": int(self.same.sum()), "n_impostor": int((~self.same).sum())}
        clean = self.similarities[CLEAN]
        boot, drawn = self._drawn()
        best = self._crossed(lambda kept: _best(clean[kept], self.same[kept]))
        levels = {rate: self._crossed(partial(self._at, rate)) for rate in rates}
        rows = []
        for (attack, objective, epsilon), found in self.similarities.items():
            told: list[_Told] = [("eer", *self._eer(found, boot, drawn), None)]
            told += [
                (name, *self._mean(found, kept, boot, drawn), None)
                for name, kept in (("genuine", self.same), ("impostor", ~self.same))
            ]
            one = "accuracy takes pairs of both kinds in at least two folds"
            told.append(("accuracy", *self._share(found, best, "accuracy", one)))
            for rate, level in levels.items():
                few = f"a clean FMR of {rate:g} takes {needed(rate)} impostor pairs of other folds"
                told += [
                    (f"{name}@{rate:g}", *self._share(found, level, name, few))
                    for name in ("fnmr", "fmr")
                ]
            for measure, value, low, high, reason in told:
                keys = {"attack": attack, "objective": objective, "epsilon": epsilon}
                ends = {"value": value, "low": low, "high": high, "reason": reason}
                rows.append({**keys, "measure": measure, **counts, **ends})
        kinds = schema("epsilon", "value", "low", "high", "reason")
        return pl.DataFrame(rows, schema_overrides=kinds)

    def _at(self, rate: float, kept: np.ndarray) -> float | None:
        return threshold_at(self.similarities[CLEAN][kept & ~self.same], rate)

    def _crossed(self, fixed: Callable[[np.ndarray], float | None]) -> np.ndarray | None:
        """A threshold (n,) for each pair, fixed on other folds' pairs; None: one cannot be."""
        found = np.zeros(len(self.same))
        for fold in np.unique(self.folds):
            kept = self.folds != fold
            threshold = fixed(kept)
            if threshold is None:
                return None
            found[self.folds == fold] = threshold
        return found

    def _share(
        self, found: np.ndarray, threshold: np.ndarray | None, name: str, reason: str
    ) -> tuple[float | None, float | None, float | None, str | None]:
        if threshold is None:
            return None, None, None, reason
        match = found >= threshold
        counted = {"fnmr": self.same, "fmr": ~self.same}.get(name, np.ones_like(self.same))
        wrong = {"fnmr": ~match, "fmr": match}.get(name, match == self.same)[counted]
        low, high = _ends(wrong, self.persons[counted])
        return float(wrong.mean()), low, high, None

    def _drawn(self) -> tuple[Bootstrap, np.ndarray]:
        """How often each pair is drawn (resamples, n): the one person times the other."""
        names, people = np.unique(self.persons, return_inverse=True)
        people = people.reshape(self.persons.shape)
        boot = Bootstrap([str(name) for name in names], _RESAMPLES)
        if boot.kind != "classes":
            return boot, np.empty((0, len(people)))
        times = np.concatenate([drawn[:, boot.units] for drawn in boot.weights()])
        return boot, times[:, people[:, 0]] * np.where(self.same, 1.0, times[:, people[:, 1]])

    def _eer(
        self, found: np.ndarray, boot: Bootstrap, drawn: np.ndarray
    ) -> tuple[float, float | None, float | None]:
        value = det(found[self.same], found[~self.same]).equal_error_rate
        return value, *_bounds(boot, equal_error_rates(found, self.same, drawn), SHARE)

    def _mean(
        self, found: np.ndarray, kept: np.ndarray, boot: Bootstrap, drawn: np.ndarray
    ) -> tuple[float, float | None, float | None]:
        with np.errstate(invalid="ignore", divide="ignore"):
            resampled = (drawn[:, kept] @ found[kept]) / drawn[:, kept].sum(axis=1)
        return float(found[kept].mean(dtype=float)), *_bounds(boot, resampled, CHANGE)


def _bounds(
    boot: Bootstrap, resampled: np.ndarray, within: Range
) -> tuple[float | None, float | None]:
    if not resampled.size:
        return None, None
    low, high = boot.bounds(resampled[:, None], None, within)
    return low[0], high[0]


def _best(found: np.ndarray, same: np.ndarray) -> float | None:
    """The threshold of the highest accuracy, in the middle between two similarities."""
    if not (same.any() and (~same).any()):
        return None
    order = np.argsort(-found, kind="stable")
    ordered = np.array([np.inf, *found[order], -np.inf])
    right = np.append(0, np.cumsum(np.where(same[order], 1, -1)))  # with so many accepted
    ends = np.flatnonzero(ordered[1:] != ordered[:-1])
    place = int(ends[right[ends].argmax()])
    if place in (0, len(found)):  # none, or all
        return float(ordered[1]) + 1 if place == 0 else float(ordered[-2])
    return float((ordered[place] + ordered[place + 1]) / 2)


def _ends(counted: np.ndarray, persons: np.ndarray) -> tuple[float, float]:
    """Wilson's interval of a share of pairs, fewer in effect where people are in several."""
    names, people = np.unique(persons, return_inverse=True)
    people = people.reshape(persons.shape)
    times = np.bincount(np.concatenate([people[:, 0], people[people[:, 0] != people[:, 1], 1]]))
    if times.max() == 1:
        low, high = wilson(np.array([counted.mean()]), np.array([float(len(counted))]))
        return float(low[0]), float(high[0])
    trials = np.zeros((len(people), len(names)), dtype=bool)
    trials[np.arange(len(people)), people[:, 1]] = True
    return compared_ends(trials & counted[:, None], trials, people[:, 0])


def dealt(persons: np.ndarray, folds: Sequence[str], seed: int = 0) -> np.ndarray:
    """The fold of each pair: as given, else people who are compared with each other in one.

    Args:
        persons: (n, 2) int.
        folds: n names; empty where none is given.
        seed: of the order in which groups of people are dealt.

    Returns:
        (n,) int.
    """
    if all(folds):
        return np.unique(np.array(folds), return_inverse=True)[1]
    count = int(persons.max()) + 1
    edges = coo_matrix((np.ones(len(persons)), persons.T), shape=(count, count))
    _, group = connected_components(edges, directed=False)
    sizes = np.bincount(group[persons[:, 0]], minlength=group.max() + 1)
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    filled, fold_of = np.zeros(_FOLDS), np.zeros(len(sizes), dtype=int)
    for one in order:  # the largest group first, into the emptiest fold
        fold_of[one] = filled.argmin()
        filled[fold_of[one]] += sizes[one]
    found: np.ndarray = fold_of[group[persons[:, 0]]]
    return found

"""Which of a gallery's comparisons are shown: some that an attack changed, and some that held."""

from collections.abc import Iterator
from itertools import product

import numpy as np
import polars as pl

from lookaway.analysis import comparisons
from lookaway.analysis.verification import CLEAN, Comparisons
from lookaway.perturbation import NOISE, own_size_noise
from lookaway.study.json_files import Plan
from lookaway.study.pairs import Pair
from lookaway.study.store import Store

EACH = 2  # pairs of each outcome


def shown_pairs(store: Store, plan: Plan) -> list[Pair]:
    """Choose comparisons of pictured images, for each gallery and each of its own attacks.

    Of an attack that has a target the comparison with the target's template, of others the genuine
    one. At the largest ε at which the pictured images have both outcomes, else at the largest at
    which they have one: the first two of each, in the order of the study; where no threshold can
    be fixed, the first two at the largest ε.

    Returns:
        Pairs in the order of variants, galleries, attacks and outcomes.
    """
    places = product(plan.settings.data.variants, comparisons.galleries(plan))
    return [pair for variant, model in places for pair in _of(store, plan, variant, model)]


def _of(store: Store, plan: Plan, variant: str, model: str) -> Iterator[Pair]:
    test = store.samples_of("test", variant)
    pictured = np.flatnonzero(test["pictured"].to_numpy())
    if not len(pictured):
        return
    _, found = next(comparisons.comparisons_of(store, plan, variant, model))
    known = comparisons.finest(found)
    decided = comparisons.decisions(store, plan, variant, model).filter(source=model)
    levels = sorted(plan.settings.epsilons, reverse=True)
    for attack in plan.attacks:
        aim = plan.aims.get(attack, "cross_entropy")
        mine = decided.filter(attack=attack)
        epsilon, chosen = _chosen(mine, levels, pictured, aimed=(attack, aim) in found.targets)
        control = own_size_noise(attack) if attack in plan.own_size else NOISE
        for place, outcome in chosen:
            of = _compared_with(found, (attack, aim))[place]
            clean, noise, attacked = (
                float(found.similarities[setting][place, of])
                for setting in (CLEAN, (control, "", epsilon), (attack, aim, epsilon))
            )
            yield Pair(
                variant,
                model,
                attack,
                epsilon,
                test["image"][place],
                test["label"][place],
                plan.classes[of],
                outcome,
                None if known is None else known[0],
                None if known is None else float(known[1][place]),
                clean,
                noise,
                attacked,
            )


def _compared_with(found: Comparisons, title: tuple[str, str]) -> np.ndarray:
    """The place of the template that each probe is compared with."""
    return found.targets.get(title, found.persons)


def _chosen(
    decided: pl.DataFrame, levels: list[float], pictured: np.ndarray, *, aimed: bool
) -> tuple[float, list[tuple[int, str | None]]]:
    """An ε, and places of probes with what became of their comparisons.

    Args:
        decided: an attack's decisions, the images of each ε in the study's order; may be empty.
        levels: ε, falling.
        pictured: places of the pictured images.
        aimed: whether the attack has targets.
    """
    wanted = (
        (comparisons.TAKEN, comparisons.KEPT_OUT) if aimed else (comparisons.LOST, comparisons.HELD)
    )
    best: tuple[float, list[tuple[int, str | None]]] = levels[0], []
    for level in levels if decided.height else ():
        outcomes = decided.filter(epsilon=level)["outcome"].to_list()
        found: list[list[tuple[int, str | None]]] = [
            [(int(place), outcome) for place in pictured if outcomes[place] == outcome]
            for outcome in wanted
        ]
        some = [each for side in found for each in side[:EACH]]
        if all(found):
            return level, some
        if not best[1]:
            best = level, some
    if not decided.height:
        return levels[0], [(int(place), None) for place in pictured[:EACH]]
    return best

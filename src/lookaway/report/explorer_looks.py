"""What became of the heatmaps that the explorer shows, and which image it opens on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

import polars as pl

from lookaway.analysis import direction
from lookaway.analysis.frames import Frames
from lookaway.report.pictured import Placed

_Results = list[list[dict[str, Any]]]


@dataclass(frozen=True)
class Perturbed:
    """An attack and the place of its source among the models; noise has none."""

    attack: str
    source: int | None


class Place(NamedTuple):
    """Where a measurement belongs; ``slot``: among the perturbations that its model met."""

    model: int
    image: int
    policy: int
    slot: int
    level: int


class Shown:
    """What the explorer shows, and the place of each measurement in it.

    Attributes:
        met: for each model the perturbations that it met: its own, those of the sources, noise.
    """

    def __init__(
        self, frames: Frames, images: Sequence[Placed], perturbations: Sequence[Perturbed]
    ) -> None:
        self._models = _places(frames.models)
        self._images = _places([image.image for image in images])
        self._policies, self._levels = _places(frames.policies), _places(frames.epsilons)
        sources = [self._models[name] for name in frames.sources]
        self.met = [
            [
                number
                for wanted in (model, *(source for source in sources if source != model), None)
                for number, one in enumerate(perturbations)
                if one.source == wanted
            ]
            for model in self._models.values()
        ]
        self._slots = [
            _places(
                [(perturbations[number].attack, perturbations[number].source) for number in its]
            )
            for its in self.met
        ]

    def place(self, row: Mapping[str, Any]) -> Place | None:
        """Where a row belongs; None where its perturbation is not shown."""
        model = self._models[row["model"]]
        source = None if row["source"] is None else self._models[row["source"]]
        slot = self._slots[model].get((row["attack"], source))
        if slot is None:
            return None
        policy, level = self._policies[row["explained_class"]], self._levels[row["epsilon"]]
        return Place(model, self._images[row["image"]], policy, slot, level)

    def of_levels(self, model: int, value: Any = None) -> list[list[Any]]:
        """For each perturbation that a model met a value for each ε."""
        return [[value] * len(self._levels) for _ in self.met[model]]

    def of_policies(self, model: int) -> list[list[list[Any]]]:
        """The same for each explained class, still unknown."""
        return [self.of_levels(model) for _ in self._policies]


def _places(names: Sequence[Any]) -> dict[Any, int]:
    return {name: place for place, name in enumerate(names)}


def add_looks(shown: Shown, statistics: pl.DataFrame, results: _Results) -> None:
    """Write to each model's and image's result what became of its last layer's maps.

    ``looks``: for each policy and perturbation that the model met, for each ε the place of a word
    of ``direction.WORDS``; None where the clean map is dead. ``dead``: for each policy whether the
    clean map is, and for each such perturbation and ε whether the attacked one is. ``evidence``:
    the attacked map's maximum as a share of the clean one's; None where that is dead.
    """
    for model, of_images in enumerate(results):
        for result in of_images:
            result["looks"], result["evidence"] = (shown.of_policies(model) for _ in range(2))
            result["dead"] = [[0, shown.of_levels(model, 0)] for _ in result["looks"]]
    for row in direction.each(statistics).iter_rows(named=True):
        if (at := shown.place(row)) is None:
            continue
        result = results[at.model][at.image]
        if row["look"] is not None:
            look = direction.WORDS.index(row["look"])
            result["looks"][at.policy][at.slot][at.level] = look
        strength = row["strength"]  # (after − before) / (after + before)
        if strength is not None and strength < 1:
            left = round((1 + strength) / (1 - strength), 3)
            result["evidence"][at.policy][at.slot][at.level] = left
        result["dead"][at.policy][0] = int(row["clean_dead"])
        result["dead"][at.policy][1][at.slot][at.level] = int(row["attacked_dead"])


def first_shown(
    frames: Frames, results: _Results, labels: Sequence[int], last: Sequence[int]
) -> dict[str, int]:
    """Which model and image the explorer opens on: a typical one that its own attack flips.

    Of the first model that has one at the largest ε, whose maps are both alive, that whose NISSIM
    is the middle one of these; where no model has one, the first image whose maps are alive.
    """
    policy, level = frames.policies.index(frames.policy), frames.epsilons.index(frames.top)
    living: list[tuple[int, int]] = []
    for model, of_images in enumerate(results):
        flipped = []
        for image, result in enumerate(of_images):
            clean_dead, attacked_dead = result["dead"][policy]
            if result["clean"] is None or clean_dead or attacked_dead[0][level]:
                continue
            living.append((model, image))
            right = result["clean"][0] == labels[image]
            if right and result["attacked"][0][level][0] != labels[image]:
                flipped.append((result["nissim"][last[model]][policy][0][level] or 0.0, image))
        if flipped:
            middle = median(score for score, _ in flipped)
            _, image = min(flipped, key=lambda one: (abs(one[0] - middle), one[1]))
            return {"model": model, "image": image}
    model, image = living[0] if living else (0, 0)
    return {"model": model, "image": image}

"""What became of the heatmaps that the explorer shows, and which image it opens on."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

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


def add_looks(
    frames: Frames,
    variant: str,
    images: Sequence[Placed],
    perturbations: Sequence[Perturbed],
    met: Sequence[Sequence[int]],
    results: _Results,
) -> None:
    """Write to each model's and image's result what became of its last layer's maps.

    ``looks``: for each policy and perturbation that the model met, for each ε the place of a word
    of ``direction.WORDS``; None where the clean map is dead. ``dead``: for each policy whether the
    clean map is, and for each such perturbation and ε whether the attacked one is. ``evidence``:
    the attacked map's maximum as a share of the clean one's; None where that is dead.

    Args:
        frames: of a run.
        variant: of the images.
        images: that the explorer shows.
        perturbations: that it shows.
        met: of each model the places of those that it met.
        results: of each model, of each image.
    """
    levels = {epsilon: place for place, epsilon in enumerate(frames.epsilons)}
    policies = {name: place for place, name in enumerate(frames.policies)}
    models = {name: place for place, name in enumerate(frames.models)}
    places = {image.image: place for place, image in enumerate(images)}
    for model, of_images in enumerate(results):
        for result in of_images:
            result["looks"] = [[[None] * len(levels) for _ in met[model]] for _ in policies]
            result["evidence"] = [[[None] * len(levels) for _ in met[model]] for _ in policies]
            result["dead"] = [[0, [[0] * len(levels) for _ in met[model]]] for _ in policies]
    slots = [
        {
            (perturbations[number].attack, perturbations[number].source): slot
            for slot, number in enumerate(its)
        }
        for its in met
    ]
    here = pl.col("variant") == variant, pl.col("image").is_in(list(places))
    for row in direction.each(frames.shown_statistics.filter(*here)).iter_rows(named=True):
        model = models[row["model"]]
        source = None if row["source"] is None else models[row["source"]]
        slot = slots[model].get((row["attack"], source))
        if slot is None:
            continue
        policy, level = policies[row["explained_class"]], levels[row["epsilon"]]
        result = results[model][places[row["image"]]]
        if row["look"] is not None:
            result["looks"][policy][slot][level] = direction.WORDS.index(row["look"])
        strength = row["strength"]  # (after − before) / (after + before)
        if strength is not None and strength < 1:
            left = round((1 + strength) / (1 - strength), 3)
            result["evidence"][policy][slot][level] = left
        result["dead"][policy][0] = int(row["clean_dead"])
        result["dead"][policy][1][slot][level] = int(row["attacked_dead"])


def first_shown(
    frames: Frames, results: _Results, labels: Sequence[int], last: Sequence[int]
) -> dict[str, int]:
    """Which model and image the explorer opens on: a typical one that its own attack flips.

    Of the first model that has one at the largest ε, whose maps are both alive, that whose NISSIM
    is the middle one of these; where no model has one, the first image whose maps are alive.

    Args:
        frames: of a run.
        results: of each model, of each image, with ``add_looks``.
        labels: of each image the place of its class.
        last: of each model the place of its last layer.
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

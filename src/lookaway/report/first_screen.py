"""What the page shows before anything is read: each model's numbers, bars, and one image."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from lookaway.analysis import dead
from lookaway.analysis.frames import Frames
from lookaway.report.findings import accuracies, cell, findings, of_first
from lookaway.report.options import Options
from lookaway.report.overlays import heatmap_on
from lookaway.report.pictured import PicturedImages
from lookaway.report.table import Cell
from lookaway.written import percent

_MEASURES = ("mod", "noise", "shuffled", "excess", "shifted", "aimed", dead.DEAD, dead.MOD_LIVING)


@dataclass(frozen=True)
class Standing:
    """One model at one ε, for one explained class.

    Attributes:
        model: its name.
        numbers: mod, noise, shuffled, excess, the share of pairs with a dead map, MOD of the
            others and, where the study has them, shifted and aimed.
        right: its accuracy: clean, attack, noise and, where the study has it, shifted.
    """

    model: str
    numbers: Mapping[str, Cell]
    right: Mapping[str, Cell]

    def value(self, name: str) -> float | None:
        """A number; None where there is none."""
        found = self.numbers.get(name)
        return None if found is None else found.value

    @property
    def dead(self) -> float | None:
        """The share of pairs with a dead map."""
        return self.value(dead.DEAD)

    @property
    def living(self) -> float | None:
        """MOD of the pairs without a dead map."""
        return self.value(dead.MOD_LIVING)

    @property
    def claimed(self) -> tuple[float, float] | None:
        """Where the excess ends, from noise on: the bar's interval. None where it has none."""
        noise, excess = self.value("noise"), self.numbers["excess"]
        if noise is None or excess.low is None or excess.high is None:
            return None
        return max(0.0, noise + excess.low), noise + excess.high


@dataclass(frozen=True)
class Bars:
    """The models beside each other.

    Attributes:
        policy: the explained class.
        epsilon: the strength.
        standings: of each model that has a pair of heatmaps.
        scale: what the longest bar, with its interval, reaches at any ε.
    """

    policy: str
    epsilon: float
    standings: tuple[Standing, ...]
    scale: float

    @property
    def ticks(self) -> list[float]:
        """Where the axis has its marks."""
        return nice_steps(self.scale)


def bars(frames: Frames) -> list[Bars]:
    """Of each explained class and ε, the headlines' first; for each model's own attack."""
    first = of_first(frames)
    found = findings(frames, *_MEASURES).filter(**first)
    right = accuracies(frames)
    made = []
    for policy in frames.ordered_policies:
        its = found.filter(pl.col("explained_class").eq(policy).fill_null(value=True))
        of_levels = {level: _standings(frames, its, right, level) for level in frames.epsilons}
        ends = [
            end or 0.0
            for standings in of_levels.values()
            for one in standings
            for end in (
                *map(one.value, _MEASURES[:3]),
                one.value("shifted"),
                one.living,
                *(one.claimed or ()),
            )
        ]
        scale = max(ends, default=0.0) or 1.0
        levels = sorted(of_levels, key=lambda level: level != frames.top)
        made += [Bars(policy, level, of_levels[level], scale) for level in levels]
    return made


def _standings(
    frames: Frames, found: pl.DataFrame, right: pl.DataFrame, level: float
) -> tuple[Standing, ...]:
    here = found.filter(pl.col("epsilon").eq(level).fill_null(value=True))
    numbers: dict[str, dict[str, Cell]] = {model: {} for model in frames.models}
    for row in here.iter_rows(named=True):
        numbers[row["model"]][row["measure"]] = cell(row)
    shares: dict[str, dict[str, Cell]] = {model: {} for model in frames.models}
    for row in right.iter_rows(named=True):
        if row["epsilon"] in (0.0, level):
            shares[row["model"]][row["of"]] = cell(row)
    return tuple(
        Standing(model, its, shares[model])
        for model, its in numbers.items()
        if its.get("excess", Cell(None)).value is not None
    )


def nice_steps(most: float) -> list[float]:
    """Round numbers from 0 to at most ``most``, three to six of them.

    >>> nice_steps(0.31)
    [0.0, 0.1, 0.2, 0.3]
    """
    if not most > 0:
        return [0.0]
    power = 10.0 ** math.floor(math.log10(most))
    sizes = [power * size for size in (0.1, 0.2, 0.25, 0.5, 1.0, 2.0)]
    step = next(size for size in sizes if most / size < 5.5)
    return [round(step * place, 10) for place in range(int(most / step + 1e-9) + 1)]


@dataclass(frozen=True)
class Strip:
    """One image before and after an attack.

    Attributes:
        model: that is attacked.
        image: its name.
        label: its class.
        pictures: each with its heading and what is under it: (H, W, 3) in [0, 1].
    """

    model: str
    image: str
    label: str
    pictures: tuple[tuple[str, str, np.ndarray], ...]


def strip(frames: Frames, pictured: PicturedImages, first: Mapping[str, int]) -> Strip | None:
    """The image on which the explorer opens, at the largest ε; None where none is pictured."""
    if not pictured.images:
        return None
    image, model = pictured.images[first["image"]], frames.models[first["model"]]
    top = frames.epsilons.index(frames.top)
    key = image, model, frames.plan.last_layers[model], frames.policy
    maps = pictured.clean_map(*key), pictured.attacked_maps(*key, frames.attack, model)[top]
    pixels = image.rgb, pictured.attacked(image, frames.attack, model, frames.top)
    row = _row(frames, image.image, model)
    heads = "clean", f"{frames.attack.upper()}, ε = {frames.top:g}"
    seen = [f"{row[f'{one}_class']}, {percent(row[f'{one}_confidence'])}" for one in _SIDES]
    right = [row[f"{one}_class"] == image.label for one in _SIDES]
    told = [f"{text}{'' if fine else ' ✗'}" for text, fine in zip(seen, right, strict=True)]
    said = ["dead map: no evidence" if not one.max() > 0 else "" for one in maps]
    said[1] = said[1] or f"NISSIM {row['nissim']:.3f}"
    shown = [heatmap_on(*both, Options()) for both in zip(pixels, maps, strict=True)]
    pictures = [(heads[place], told[place], pixels[place]) for place in (0, 1)]
    pictures += [("heatmap before", said[0], shown[0]), ("heatmap after", said[1], shown[1])]
    return Strip(model, image.image, image.label, tuple(pictures))


_SIDES = ("clean", "attacked")


def _row(frames: Frames, image: str, model: str) -> dict[str, Any]:
    """What was measured of an image under a model's own attack at the largest ε."""
    found = frames.pictured_rows.filter(
        image=image,
        model=model,
        source=model,
        attack=frames.attack,
        epsilon=frames.top,
        variant=frames.variants[0],
        layer=frames.plan.last_layers[model],
        explained_class=frames.policy,
    )
    return found.row(0, named=True)

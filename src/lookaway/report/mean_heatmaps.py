"""Mean heatmaps of each model, clean and attacked, and their differences."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from lookaway.analysis.frames import Frames
from lookaway.report.options import Options
from lookaway.report.overlays import change_colours, mean_heatmap
from lookaway.report.panels import Panel, panel_rows
from lookaway.study.keys import map_key

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 132  # px, of a panel


@dataclass(frozen=True)
class MeanHeatmaps:
    """A model's mean heatmaps under its own perturbations.

    Attributes:
        variant: how the images were prepared.
        model: its name.
        epsilons: the levels, E of them.
        clean: (h, w) mean of the clean maps ÷ their maxima, dead ones left out; None where all are.
        attacked: (E, h, w), likewise; None where all maps of a level are dead.
        counts: how many maps were alive: of the clean ones, then of each level's.
        of: how many images there are.
    """

    variant: str
    model: str
    epsilons: tuple[float, ...]
    clean: np.ndarray | None
    attacked: tuple[np.ndarray | None, ...]
    counts: tuple[int, ...]
    of: int

    def differences(self) -> list[np.ndarray | None]:
        """Attacked less clean, for each ε."""
        return [
            None if self.clean is None or attacked is None else attacked - self.clean
            for attacked in self.attacked
        ]

    def largest_difference(self) -> float:
        """The largest change of a place, over all ε."""
        return max(
            (float(np.abs(change).max()) for change in self.differences() if change is not None),
            default=0.0,
        )

    def panels(self, colours: str = "turbo") -> tuple[list[Panel], list[Panel]]:
        """The mean heatmaps, clean and at each ε; and for each ε what was lost and gained."""
        names = ["clean", *(f"ε = {epsilon:g}" for epsilon in self.epsilons)]
        alive = [(f"{count}/{self.of} maps",) if count < self.of else () for count in self.counts]
        heatmaps = [
            Panel(mean_heatmap(heat, SIDE, colours), (name, *count))
            for name, count, heat in zip(names, alive, [self.clean, *self.attacked], strict=True)
        ]
        scale = self.largest_difference()
        changes = [
            Panel(change_colours(change, scale, SIDE), (name, "less clean"))
            for name, change in zip(names[1:], self.differences(), strict=True)
        ]
        return heatmaps, changes


def mean_heatmaps(frames: Frames, policy: str) -> list[MeanHeatmaps]:
    """The mean heatmaps of every variant and model, from the stored maps of its last layer.

    Raises:
        StoreError: a file is missing or damaged.
    """
    return means_of([frames], policy)[0]


def means_of(views: Sequence[Frames], policy: str) -> list[list[MeanHeatmaps]]:
    """The mean heatmaps of several attacks and methods of one run, whose maps are read once.

    Raises:
        StoreError: a file is missing or damaged.
    """
    frames = views[0]
    totals: dict[tuple[int, str, str], tuple[Any, Any, int]] = {}
    for rows, maps in frames.store.cells_with_maps():
        variant, model = rows["variant"][0], rows["model"][0]
        for place, view in enumerate(views):
            key = view.method, policy, frames.plan.last_layers[model]
            clean = maps[map_key("clean", *key)]
            attacked = maps[map_key("attacked", *key, view.attack, model)]
            levels = np.concatenate([clean[:, None], attacked], axis=1).astype(float)
            alive = (levels.max(axis=(2, 3)) > 0).sum(axis=0)
            total, counts, images = totals.get((place, variant, model), (0.0, 0, 0))
            totals[place, variant, model] = (
                total + levels.sum(axis=0),
                counts + alive,
                images + len(levels),
            )
    found: list[list[MeanHeatmaps]] = [[] for _ in views]
    for place, variant, model in product(range(len(views)), frames.variants, frames.models):
        total, counts, images = totals[place, variant, model]
        means = [heat / count if count else None for heat, count in zip(total, counts, strict=True)]
        epsilons, of_levels = tuple(frames.epsilons), tuple(counts.tolist())
        found[place].append(
            MeanHeatmaps(variant, model, epsilons, means[0], tuple(means[1:]), of_levels, images)
        )
    return found


def mean_figure(means: Sequence[MeanHeatmaps], options: Options | None = None) -> "Figure":
    """Two rows for each model: its mean heatmaps, and below them what was lost and gained."""
    options = options or Options()
    several = len({mean.variant for mean in means}) > 1
    rows: list[tuple[str, list[Panel]]] = []
    for mean in means:
        heatmaps, changes = mean.panels(options.colours)
        scale = "full colour", f"±{mean.largest_difference():.2f}"
        name = f"{mean.model} ({mean.variant})" if several else mean.model
        rows.append((name, heatmaps))
        rows.append(("", [Panel(None, scale), *changes]))
    return panel_rows(rows, options, note="purple: lost; green: gained")

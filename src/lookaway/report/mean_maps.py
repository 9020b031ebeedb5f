"""What a model looks at on average, clean and attacked, and the difference, as pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from lookaway.analysis.frames import Frames
from lookaway.report.colour_maps import ColourMap, turbo
from lookaway.report.ink import colour_bar
from lookaway.report.options import Options
from lookaway.report.pictures import TILE, Tile, data_uri, grown
from lookaway.study.keys import map_key

LOST, GAINED = (0.0, 0.447, 0.698), (0.835, 0.369, 0.0)
_GAP = 8  # px


@dataclass(frozen=True)
class MeanLook:
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
            (float(np.abs(found).max()) for found in self.differences() if found is not None),
            default=0.0,
        )


def mean_looks(frames: Frames, policy: str) -> list[MeanLook]:
    """The mean heatmaps of every model, from the stored maps of its last layer.

    Args:
        frames: of a run.
        policy: the explained class.

    Raises:
        StoreError: a file is missing or damaged.
    """
    attack = frames.attacks[0]
    sums: dict[tuple[str, str], list[np.ndarray]] = {}
    counts: dict[tuple[str, str], np.ndarray] = {}
    images: dict[tuple[str, str], int] = {}
    for rows, maps in frames.store.cells_with_maps():
        variant, model = rows["variant"][0], rows["model"][0]
        layer = frames.plan.last_layers[model]
        view = frames.method, policy, layer
        clean = maps[map_key("clean", *view)].astype(float)
        attacked = maps[map_key("attacked", *view, attack, model)].astype(float)
        parts = [clean, *attacked.swapaxes(0, 1)]
        added = [part.sum(axis=0) for part in parts]
        alive = np.array([int((part.max(axis=(1, 2)) > 0).sum()) for part in parts])
        key = (variant, model)
        before = sums.get(key)
        sums[key] = added if before is None else [a + b for a, b in zip(before, added, strict=True)]
        counts[key] = counts.get(key, 0) + alive
        images[key] = images.get(key, 0) + len(clean)
    found = []
    for variant in frames.plan.settings.data.variants:
        for model in frames.models:
            key = (variant, model)
            means = [
                total / count if count else None
                for total, count in zip(sums[key], counts[key], strict=True)
            ]
            found.append(
                MeanLook(
                    variant,
                    model,
                    tuple(frames.plan.settings.epsilons),
                    means[0],
                    tuple(means[1:]),
                    tuple(counts[key].tolist()),
                    images[key],
                )
            )
    return found


def tiles(look: MeanLook, colours: ColourMap = turbo) -> tuple[list[Tile], list[Tile]]:
    """The pictures of a model: its mean heatmaps, then what was lost and gained."""
    alive = [f"{count}/{look.of} maps" if count < look.of else "" for count in look.counts]
    names = ["clean", *(f"ε = {epsilon:g}" for epsilon in look.epsilons)]
    maps = [look.clean, *look.attacked]
    first = [
        Tile(data_uri(_heat(found, colours)), _lines(name, told), f"mean heatmap, {name}")
        for name, told, found in zip(names, alive, maps, strict=True)
    ]
    scale = look.largest_difference()
    second = [
        Tile(
            data_uri(change_colours(found, scale)),
            (f"{name} less clean",),
            f"what was lost and gained, {name}",
        )
        for name, found in zip(names[1:], look.differences(), strict=True)
    ]
    return first, second


def as_svg(looks: Sequence[MeanLook], options: Options | None = None) -> str:
    """All models in one picture: a line of mean heatmaps, a line of differences for each."""
    options = options or Options()
    step, line, title = TILE + _GAP, TILE + 22, 34
    width = (1 + max(len(look.epsilons) for look in looks)) * step + _GAP
    parts: list[str] = []

    def text(x: int, y: int, words: str, size: int = 12) -> None:
        parts.append(f'<text x="{x}" y="{y}" font-size="{size}">{escape(words)}</text>')

    several = len({look.variant for look in looks}) > 1
    for place, look in enumerate(looks):
        top = place * (2 * line + title) + _GAP
        name = f"{look.model} ({look.variant})" if several else look.model
        text(_GAP, top + 14, name, size=15)
        first, second = tiles(look, options.colour_map)
        for row, shown in enumerate((first, second)):
            for column, tile in enumerate(shown, start=row):
                x, y = _GAP + column * step, top + 24 + row * line
                parts.append(
                    f'<image x="{x}" y="{y}" width="{TILE}" height="{TILE}" href="{tile.source}"/>'
                )
                text(x, y + TILE + 14, " · ".join(tile.lines))
        scale = f"full colour: ±{look.largest_difference():.2f}"
        for row, words in enumerate(("blue: lost", "orange: gained", scale)):
            text(_GAP, top + 24 + line + 48 + 18 * row, words)
    height = len(looks) * (2 * line + title) + _GAP
    low, high = options.ends
    text(_GAP, height + 12, f"{low}: no participation")
    parts.append(colour_bar(_GAP + step, height + 2, TILE, 12, options))
    text(_GAP + 2 * step, height + 12, f"{high}: the highest")
    height += 24
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" fill="#222222"><rect width="100%" height="100%" fill="white"/>'
        f"{''.join(parts)}</svg>"
    )


def _lines(name: str, told: str) -> tuple[str, ...]:
    return (name, told) if told else (name,)


def _heat(found: np.ndarray | None, colours: ColourMap) -> np.ndarray:
    if found is None:
        return np.full((TILE, TILE, 3), 0.85)
    return colours(np.clip(grown(found, (TILE, TILE)), 0.0, 1.0))


def change_colours(found: np.ndarray | None, scale: float) -> np.ndarray:
    """White where nothing changed, blue where participation was lost, orange where gained."""
    if found is None:
        return np.full((TILE, TILE, 3), 0.85)
    share = grown(found, (TILE, TILE))[..., None] / (scale or 1.0)
    ends = np.where(share < 0, np.array(LOST), np.array(GAINED))
    mixed: np.ndarray = 1.0 + np.clip(np.abs(share), 0.0, 1.0) * (ends - 1.0)
    return mixed

"""One image: its heatmaps in every model, and in every layer of one."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from lookaway.analysis.frames import Frames
from lookaway.errors import InputError
from lookaway.report.options import Options
from lookaway.report.overlays import heatmap_on, shrunk
from lookaway.report.panels import Panel, mosaic, panel_rows
from lookaway.report.pictured import Pictured, PicturedImages
from lookaway.written import percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_LAYERS = 24
_ROWS = 8  # more are set in two blocks where there are two columns
_SIDE = 96  # px, of a layer's tile


def image_of(pictured: PicturedImages, name: str | None) -> Pictured:
    """A pictured image by its name; the first one where none is given.

    Raises:
        InputError: no image of that name is pictured.
    """
    if not pictured.images:
        raise InputError("the study pictures no image; set explain.pictured above 0")
    names = [image.image for image in pictured.images]
    if name is None:
        return pictured.images[0]
    if name not in names:
        listed = ", ".join(map(repr, names[:10])) + (", …" if len(names) > 10 else "")
        raise InputError(f"no image {name!r} is pictured; possible: {listed}")
    return pictured.images[names.index(name)]


def measured(
    frames: Frames, pictured: PicturedImages, model: str, attack: str, source: str, policy: str
) -> pl.DataFrame:
    """The rows of the pictured images in a model's last layer, by ε."""
    return (
        frames.last(frames.pictured_rows)
        .filter(
            pl.col("variant") == pictured.variant,
            pl.col("model") == model,
            pl.col("attack") == attack,
            pl.col("source") == source,
            pl.col("explained_class") == policy,
        )
        .sort("epsilon")
    )


def prediction(row: Mapping[str, Any], which: str) -> str:
    """The class and confidence of the ``clean`` or ``attacked`` image; a wrong one has a cross."""
    predicted = row[f"{which}_class"]
    mark = "" if predicted == row["label"] else "× "
    return f"{mark}{predicted} {percent(row[f'{which}_confidence'])}"


def model_panels(
    frames: Frames,
    pictured: PicturedImages,
    image: Pictured,
    model: str,
    policy: str,
    options: Options,
    source: str | None = None,
) -> list[Panel]:
    """An image and what a model sees in it, clean and attacked.

    The perturbations are the source's, or the model's own where it is None.

    Returns:
        The clean image, the attacked one at the largest ε, the clean heatmap, one for each ε.

    Raises:
        StoreError: a map or a perturbation is missing or damaged.
    """
    attack, source = frames.attack, source or model
    layer = frames.plan.last_layers[model]
    rows = measured(frames, pictured, model, attack, source, policy)
    levels = rows.filter(pl.col("image") == image.image).to_dicts()
    attacked = [pictured.attacked(image, attack, source, row["epsilon"]) for row in levels]
    clean = pictured.clean_map(image, model, layer, policy)
    maps = pictured.attacked_maps(image, model, layer, policy, attack, source)
    first, last = levels[0], levels[-1]
    dead = ("dead map",) if first["clean_dead"] else ()
    panels = [
        Panel(image.rgb, ("clean",)),
        Panel(attacked[-1], ("attacked", f"ε = {last['epsilon']:g}")),
        Panel(heatmap_on(image.rgb, clean, options), ("clean", prediction(first, "clean"), *dead)),
    ]
    for row, pixels, heat in zip(levels, attacked, maps, strict=True):
        # One column has no room for the word.
        nissim = f"{'NISSIM ' if options.columns == 2 else ''}{row['nissim']:.3f}"
        dead = ("dead map",) if row["attacked_dead"] else ()
        lines = (f"ε = {row['epsilon']:g}", prediction(row, "attacked"), nissim, *dead)
        panels.append(Panel(heatmap_on(pixels, heat, options), lines))
    return panels


def every_model(
    frames: Frames, pictured: PicturedImages, policy: str, options: Options
) -> "Figure":
    """One image: a row for each model, clean, attacked, and the heatmaps over ε."""
    image = image_of(pictured, options.image)
    skipped = 0 if options.columns == 2 else 2  # one column has room for the heatmaps alone
    rows = [
        (model, model_panels(frames, pictured, image, model, policy, options)[skipped:])
        for model in frames.models
    ]
    return panel_rows(rows, options)


def every_layer(
    frames: Frames, pictured: PicturedImages, model: str, policy: str, options: Options
) -> "Figure":
    """One image and model: a row for each layer, the heatmaps clean and over ε."""
    image, attack = image_of(pictured, options.image), frames.attack
    layers = shown_layers(frames, model)
    unit = "ε = " if options.columns == 2 else ""
    epsilons = frames.epsilons
    heads = ("clean", *(f"{unit}{epsilon:g}" for epsilon in epsilons))
    blocks = options.columns if len(layers) > _ROWS else 1
    each = -(-len(layers) // blocks)
    small = shrunk(image.rgb, _SIDE)
    panels = []
    for start in range(0, len(layers), each):
        block = layers[start : start + each]
        tiles = []
        for layer in block:
            maps = pictured.attacked_maps(image, model, layer, policy, attack, model)
            heats = pictured.clean_map(image, model, layer, policy), *maps
            tiles += [heatmap_on(small, heat, options) for heat in heats]
        panels.append(Panel(mosaic(tiles, len(heads)), rows=tuple(block), columns=heads))
    return panel_rows([("", panels)], options)


def shown_layers(frames: Frames, model: str) -> list[str]:
    """A model's layers in order; where there are more than 24, evenly spaced ones."""
    layers = frames.plan.explained_layers(model)
    if len(layers) <= _MOST_LAYERS:
        return layers
    places = np.linspace(0, len(layers) - 1, _MOST_LAYERS).round().astype(int)
    return [layers[place] for place in places]

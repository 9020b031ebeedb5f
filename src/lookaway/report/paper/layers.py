"""Every layer of a model at one image as small heatmaps: a panel for clean and for each ε."""

import math
from typing import TYPE_CHECKING

import polars as pl

from lookaway.analysis.frames import Frames
from lookaway.report.image_panels import measured, prediction
from lookaway.report.options import Options
from lookaway.report.overlays import heatmap_on, shrunk
from lookaway.report.panels import Panel, mosaic, panel_rows
from lookaway.report.paper.form import PaperForm
from lookaway.report.pictured import Pictured, PicturedImages

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIDE = 480  # px of a panel


def layers_figure(
    frames: Frames,
    pictured: PicturedImages,
    form: PaperForm,
    image: Pictured,
    model: str,
    options: Options,
) -> "Figure":
    """Every layer's heatmaps, clean and at each ε of the model's own attack.

    Args:
        frames: the run's summaries.
        pictured: the run's pictured images.
        form: what the paper's figures are about in this run.
        image: a pictured image.
        model: a model of the study.
        options: how it is drawn; ``order`` says which layer stands top left.
    """
    numbered = list(enumerate(frames.plan.explained_layers(model), start=1))
    if options.order == "last-first":
        numbered.reverse()
    across = math.ceil(math.sqrt(len(numbered)))
    side = max(12, _SIDE // across - 2)
    rows = measured(frames, pictured, model, form.attack, model, form.policy)
    levels = rows.filter(pl.col("image") == image.image).to_dicts()
    heads = [f"clean: {prediction(levels[0], 'clean')}"]
    heads += [f"ε = {row['epsilon']:g}: {prediction(row, 'attacked')}" for row in levels]
    images = [image.rgb]
    images += [pictured.attacked(image, form.attack, model, row["epsilon"]) for row in levels]
    images = [shrunk(pixels, side) for pixels in images]
    maps = []
    for _, layer in numbered:
        attacked = pictured.attacked_maps(image, model, layer, form.policy, form.attack, model)
        maps.append([pictured.clean_map(image, model, layer, form.policy), *attacked])
    first_of_rows = tuple(str(number) for number, _ in numbered[::across])
    panels = []
    for head, pixels, heats in zip(heads, images, zip(*maps, strict=True), strict=True):
        tiles = [heatmap_on(pixels, heat, options) for heat in heats]
        panels.append(Panel(mosaic(tiles, across), (head,), rows=first_of_rows))
    beside = options.columns + 1  # panels; all of them fit on a page
    grid = [("", panels[start : start + beside]) for start in range(0, len(panels), beside)]
    grid[0] = (f"{model}: {image.image}, class {image.label}", grid[0][1])
    (first, before), (final, after) = numbered[0], numbered[-1]
    note = (
        f"From top left: layer {first}, {before}, to layer {final}, {after}. The number at a row "
        "is that of its first tile. Without colours: a dead map."
    )
    return panel_rows(grid, options, note=note)

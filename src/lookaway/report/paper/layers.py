"""Every layer of a model at one image as small heatmaps: a block for clean and for each ε."""

import base64
import math
from collections.abc import Sequence
from io import BytesIO

import numpy as np
import polars as pl
from PIL import Image

from lookaway.analysis.frames import Frames
from lookaway.report.figure import POINTS
from lookaway.report.ink import GAP, Ink
from lookaway.report.options import Options
from lookaway.report.paper.form import PaperForm
from lookaway.report.pictured import Pictured, PicturedImages
from lookaway.report.pictures import heatmap_on

_SIDE = 480  # px of a block's picture
_EDGE = 2  # px between tiles
_QUALITY = 80
_NUMBERS = 15  # pt, for the numbers of the rows' first layers


def mosaic(
    frames: Frames,
    found: PicturedImages,
    form: PaperForm,
    image: Pictured,
    model: str,
    options: Options,
) -> str:
    """Every layer's heatmaps, clean and at each ε of the model's own attack, as SVG.

    Args:
        frames: of a run.
        found: its pictured images.
        form: of the paper's figures here.
        image: one of them.
        model: a model of the study.
        options: how it is drawn; ``order`` says which layer stands top left.
    """
    layers = frames.plan.explained_layers(model)
    numbered = list(enumerate(layers, start=1))
    if options.order == "last-first":
        numbered.reverse()
    blocks = _blocks(frames, found, form, image, model, [layer for _, layer in numbered], options)
    heads = _heads(frames, found, form, image, model)
    width = POINTS[options.columns]
    ink = Ink(width, options.columns)
    across = math.ceil(math.sqrt(len(layers)))
    beside = options.columns + 1  # blocks; all of them fit on a page
    block = (width - (beside + 1) * GAP) / beside
    side = (block - _NUMBERS) / across
    down = math.ceil(len(layers) / across)
    high = ink.line + 4 + down * side + GAP
    title = f"{model}: {image.image}, class {image.label}"
    ink.text(GAP, GAP + ink.size, title, width, "bold")
    top = GAP + ink.line + GAP
    for place, (head, tiles) in enumerate(zip(heads, blocks, strict=True)):
        x = GAP + (place % beside) * (block + GAP)
        y = top + (place // beside) * high
        ink.text(x + _NUMBERS, y + ink.size, head, block - _NUMBERS)
        y += ink.line + 4
        ink.picture(x + _NUMBERS, y, _joined(tiles, across), head, (across * side, down * side))
        for number, (layer_number, layer) in enumerate(numbered):
            left, under = x + _NUMBERS + (number % across) * side, y + (number // across) * side
            ink.name(left, under, f"{layer_number} {layer}, {head}", side)
            if number % across == 0:
                ink.text(x, under + side / 2 + ink.size / 3, str(layer_number), _NUMBERS)
    bottom = top + math.ceil(len(blocks) / beside) * high + ink.size
    ink.bar(GAP, bottom, options)
    (first, before), (final, after) = numbered[0], numbered[-1]
    told = (
        f"From top left: layer {first}, {before}, to layer {final}, {after}. The number at a row "
        "is that of its first tile. Without colours: a dead map."
    )
    return ink.svg(ink.lines(GAP, bottom + ink.line, told, width - 2 * GAP))


def _blocks(
    frames: Frames,
    found: PicturedImages,
    form: PaperForm,
    image: Pictured,
    model: str,
    layers: Sequence[str],
    options: Options,
) -> list[list[np.ndarray]]:
    """For the clean image and each ε, the heatmaps of the layers, (H, W, 3) in [0, 1]."""
    epsilons = frames.plan.settings.epsilons
    across = math.ceil(math.sqrt(len(layers)))
    side = max(12, _SIDE // across - _EDGE)
    pictures = [
        _small(found.attacked(image, form.attack, model, epsilon), side)
        for epsilon in (0.0, *epsilons)
    ]
    blocks: list[list[np.ndarray]] = [[] for _ in pictures]
    for layer in layers:
        attacked = found.attacked_maps(image, model, layer, form.policy, form.attack, model)
        maps = [found.clean_map(image, model, layer, form.policy), *attacked]
        for tiles, pixels, one in zip(blocks, pictures, maps, strict=True):
            tiles.append(heatmap_on(pixels, one, options))
    return blocks


def _heads(
    frames: Frames, found: PicturedImages, form: PaperForm, image: Pictured, model: str
) -> list[str]:
    """What the model says of the clean image and at each ε; wrong predictions have a cross."""
    rows = (
        frames.last(frames.pictured_rows)
        .filter(
            pl.col("image") == image.image,
            pl.col("variant") == found.variant,
            pl.col("model") == model,
            pl.col("attack") == form.attack,
            pl.col("source") == model,
            pl.col("explained_class") == form.policy,
        )
        .sort("epsilon")
    )
    heads = []
    for number, row in enumerate(rows.iter_rows(named=True)):
        for which in ("clean", "attacked") if number == 0 else ("attacked",):
            name = "clean" if which == "clean" else f"ε = {row['epsilon']:g}"
            mark = "" if row[f"{which}_class"] == row["label"] else "× "
            share = f"{row[f'{which}_confidence']:.0%}"
            heads.append(f"{name}: {mark}{row[f'{which}_class']} {share}")
    return heads


def _small(pixels: np.ndarray, side: int) -> np.ndarray:
    whole = Image.fromarray((255 * pixels).round().astype(np.uint8))
    return np.asarray(whole.resize((side, side), Image.Resampling.LANCZOS)) / 255.0


def _joined(tiles: Sequence[np.ndarray], across: int) -> str:
    """Square tiles in rows, as one picture on white."""
    side = tiles[0].shape[0] + _EDGE
    whole = np.ones((math.ceil(len(tiles) / across) * side, across * side, 3))
    for place, tile in enumerate(tiles):
        y, x = (place // across) * side, (place % across) * side
        whole[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    buffer = BytesIO()
    raw = Image.fromarray((255 * whole).round().astype(np.uint8))
    raw.save(buffer, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()

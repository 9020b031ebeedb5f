"""The paper's pictures of one image: the observed shift, a successful attack, a transfer."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from lookaway.analysis.frames import Frames
from lookaway.report.ink import GAP, Ink
from lookaway.report.mean_maps import GAINED, LOST
from lookaway.report.options import Options
from lookaway.report.paper.form import PaperForm
from lookaway.report.pictured import Pictured, PicturedImages
from lookaway.report.pictures import TILE, Tile, data_uri, grown, heatmap_on, picture
from lookaway.report.strips import image_of, rows_of_tiles

_SIGN = 40  # px between two pictures with a sign between them


@dataclass(frozen=True)
class Example:
    """One image under one model's own perturbation.

    Attributes:
        image: the image.
        model: its attacker and victim.
        epsilon: the strength.
        row: what was measured, in the last layer.
        flipped: whether the model is right on the clean image and wrong on the attacked one.
        told: which image, model and ε, and whether the attack succeeds.
    """

    image: Pictured
    model: str
    epsilon: float
    row: dict[str, Any]
    flipped: bool
    told: str


def example(frames: Frames, found: PicturedImages, form: PaperForm, name: str | None) -> Example:
    """The first pictured image that a model's own attack flips at the smallest ε where it does one.

    Of the source where the study has one, else of the first model. Where no image flips: the
    first one, at the largest ε.

    Args:
        frames: of a run.
        found: its pictured images.
        form: of the paper's figures here.
        name: of the only image to look at; None: all.

    Raises:
        InputError: no image of that name is pictured.
    """
    model = form.source or frames.models[0]
    first = image_of(found, name)
    rows = frames.last(frames.pictured_rows).filter(
        pl.col("variant") == found.variant,
        pl.col("model") == model,
        pl.col("attack") == form.attack,
        pl.col("source") == model,
        pl.col("explained_class") == form.policy,
    )
    measured = {(row["image"], row["epsilon"]): row for row in rows.iter_rows(named=True)}
    images = found.images if name is None else [first]
    for epsilon in sorted(rows["epsilon"].unique().to_list()):
        for image in images:
            row = measured[image.image, epsilon]
            if row["clean_class"] == row["label"] != row["attacked_class"]:
                said = f"{image.image}, {model}, ε = {epsilon:g}, the smallest at which it flips."
                return Example(image, model, epsilon, row, flipped=True, told=said)
    none = "no pictured image flips" if name is None else "it does not flip"
    said = f"{first.image}, {model}, ε = {frames.top:g}: no successful attack, as {none} at any ε."
    row = measured[first.image, frames.top]
    return Example(first, model, frames.top, row, flipped=False, told=said)


def shift(
    frames: Frames, found: PicturedImages, form: PaperForm, shown: Example, options: Options
) -> str:
    """The observed shift: clean heatmap, attacked heatmap, what was dropped, what was added.

    Args:
        frames: of a run.
        found: its pictured images.
        form: of the paper's figures here.
        shown: the image.
        options: how it is drawn.
    """
    layer = frames.plan.last_layers[shown.model]
    place = frames.plan.settings.epsilons.index(shown.epsilon)
    clean, attacked = _pixels(found, form, shown)
    look = (shown.image, shown.model, layer, form.policy)
    levels = found.attacked_maps(*look, form.attack, shown.model)
    maps = found.clean_map(*look), levels[place]
    size = (clean.shape[1], clean.shape[0])
    change = grown(maps[1], size) - grown(maps[0], size)
    lost, gained = _shares(frames, form, shown)
    row = shown.row
    tiles = [
        _tile(heatmap_on(clean, maps[0], options), "clean", _said(row, "clean")),
        _tile(
            heatmap_on(attacked, maps[1], options),
            f"ε = {shown.epsilon:g}, NISSIM {row['nissim']:.3f}",
            _said(row, "attacked"),
        ),
        _tile(tinted(clean, -change, LOST), "dropped", lost),
        _tile(tinted(clean, change, GAINED), "added", gained),
    ]
    across = 2 * options.columns
    ink = Ink(across * (TILE + GAP) + GAP, options.columns)
    ink.text(GAP, GAP + ink.size, f"{shown.model}: {shown.image.image}", ink.width, "bold")
    step = TILE + 4 + 2 * ink.line + GAP
    top = GAP + ink.line + 4
    for number, tile in enumerate(tiles):
        _set(ink, GAP + (number % across) * (TILE + GAP), top + (number // across) * step, tile)
    bottom = top + len(tiles) // across * step + ink.size
    ink.bar(GAP, bottom, options)
    ink.text(GAP, bottom + ink.line, "blue: dropped; orange: added", ink.width)
    return ink.svg(bottom + ink.line)


def attack(found: PicturedImages, form: PaperForm, shown: Example, options: Options) -> str:
    """One attack: the image, plus ε times the direction, is the attacked image.

    Args:
        found: the run's pictured images.
        form: of the paper's figures here.
        shown: the image.
        options: how it is drawn.
    """
    clean, attacked = _pixels(found, form, shown)
    change = (attacked - clean) / shown.epsilon
    row = shown.row
    psnr = "–" if row["psnr"] is None else f"{row['psnr']:.1f} dB"
    signs_tile = _tile((change + 1.0) / 2.0, "signs", "bright: +1", "dark: −1")
    attacked_tile = _tile(attacked, "attacked", _said(row, "attacked"), f"PSNR {psnr}")
    ink = Ink(3 * TILE + 3 * _SIGN + 2 * GAP, options.columns)
    ink.text(GAP, GAP + ink.size, f"{shown.model}: {shown.image.image}", ink.width, "bold")
    x, y = float(GAP), GAP + ink.line + 4
    _set(ink, x, y, _tile(clean, "clean", _said(row, "clean")))
    for room, between, tile in (
        (2 * _SIGN, f"+ {shown.epsilon:g} ×", signs_tile),
        (_SIGN, "=", attacked_tile),
    ):
        middle = (room - 0.5 * ink.size * len(between)) / 2
        ink.text(x + TILE + middle, y + TILE / 2, between, room)
        x += TILE + room
        _set(ink, x, y, tile)
    return ink.svg(y + TILE + 4 + 3 * ink.line)


def transfer(frames: Frames, found: PicturedImages, form: PaperForm, options: Options) -> str:
    """One image under the source's perturbations: rows models, columns clean and each ε.

    Args:
        frames: of a run.
        found: its pictured images.
        form: of the paper's figures here.
        options: how it is drawn.
    """
    image = image_of(found, options.image)
    shown = picture(frames, found, image, form.policy, options, form.source)
    # The heatmaps, without the images themselves.
    rows = [(form.described(strip.model), strip.tiles[2:]) for strip in shown.strips]
    return rows_of_tiles(rows, options)


def _tile(pixels: np.ndarray, *lines: str) -> Tile:
    return Tile(data_uri(pixels), lines, ", ".join(lines))


def _set(ink: Ink, x: float, y: float, tile: Tile) -> None:
    """Place a picture with its lines under it."""
    ink.picture(x, y, tile.source, tile.alt, (TILE, TILE))
    for place, words in enumerate(tile.lines):
        ink.text(x, y + TILE + 4 + (place + 0.8) * ink.line, words, TILE)


def _pixels(
    found: PicturedImages, form: PaperForm, shown: Example
) -> tuple[np.ndarray, np.ndarray]:
    """The clean and the attacked image, (H, W, 3) in [0, 1]."""
    attacked = found.attacked(shown.image, form.attack, shown.model, shown.epsilon)
    return shown.image.rgb, attacked


def _said(row: dict[str, Any], which: str) -> str:
    """A prediction and its confidence; a wrong one has a cross."""
    predicted = row[f"{which}_class"]
    mark = "" if predicted == row["label"] else "× "
    dead = ", dead map" if row[f"{which}_dead"] else ""
    return f"{mark}{predicted} {row[f'{which}_confidence']:.0%}{dead}"


def _shares(frames: Frames, form: PaperForm, shown: Example) -> tuple[str, str]:
    """How much of the clean heatmap's mass left its place, and how much came."""
    keys = ("image", "variant", "model", "attack", "source", "epsilon", "explained_class")
    found = frames.pictured_statistics.filter(pl.col(key) == shown.row[key] for key in keys)
    lost, gained = (
        "–"
        if found.is_empty() or found[name][0] is None
        else f"{found[name][0]:.0%} of the clean mass"
        for name in ("lost", "gained")
    )
    return lost, gained


def tinted(pixels: np.ndarray, change: np.ndarray, colour: tuple[float, ...]) -> np.ndarray:
    """A change in a colour of its own over the pale image.

    Args:
        pixels: (H, W, 3) in [0, 1].
        change: (H, W), at most 1; what is not above 0 does not show.
        colour: of a change of 1.

    Returns:
        (H, W, 3) in [0, 1].
    """
    pale = 1.0 - 0.35 * (1.0 - pixels.mean(axis=2, keepdims=True))
    share = np.clip(change, 0.0, 1.0)[..., None]
    mixed: np.ndarray = (1.0 - share) * pale + share * np.array(colour)
    return mixed

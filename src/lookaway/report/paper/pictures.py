"""The paper's pictures of one image: the shift, an attack, a transfer, all layers of a model."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from lookaway.analysis.frames import Frames
from lookaway.perturbation import FULL
from lookaway.report.image_panels import image_of, measured, model_panels, prediction
from lookaway.report.options import Options
from lookaway.report.overlays import GAINED, LOST, enlarged, heatmap_on, shrunk, tinted
from lookaway.report.panels import Panel, mosaic, panel_rows
from lookaway.report.paper.form import PaperForm
from lookaway.report.pictured import Pictured, PicturedImages
from lookaway.report.wording import isolated
from lookaway.written import percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIDE = 480  # px of all layers


@dataclass(frozen=True)
class Example:
    """One image under one model's own perturbation.

    Attributes:
        image: the image.
        model: its attacker and victim.
        epsilon: the strength.
        row: what was measured, in the last layer.
        caption: which image, model and ε, and whether the attack succeeds.
    """

    image: Pictured
    model: str
    epsilon: float
    row: dict[str, Any]
    caption: str

    @property
    def title(self) -> str:
        """The model and the image."""
        return f"{self.model}: {self.image.image}"


def example(frames: Frames, pictured: PicturedImages, form: PaperForm, name: str | None) -> Example:
    """The first pictured image that a model's own attack flips at the smallest ε where it does one.

    Of the source where the study has one, else of the first model. Where no image flips: the
    first one, at the largest ε.

    Raises:
        InputError: no image of that name is pictured.
    """
    model = form.source or frames.models[0]
    first = image_of(pictured, name)
    found = measured(frames, pictured, model, form.attack, model, form.policy)
    rows = {(row["image"], row["epsilon"]): row for row in found.iter_rows(named=True)}
    images = pictured.images if name is None else [first]

    def named(image: Pictured) -> str:
        return f"{isolated(image.image)}, {isolated(model)}"

    for epsilon in found["epsilon"].unique().sort().to_list():
        for image in images:
            row = rows[image.image, epsilon]
            if row["clean_class"] == row["label"] != row["attacked_class"]:
                said = f"{named(image)}, ε = {epsilon:g}, the smallest at which it flips."
                return Example(image, model, epsilon, row, said)
    none = "no pictured image flips" if name is None else "it does not flip"
    said = f"{named(first)}, ε = {frames.top:g}: no successful attack, as {none} at any ε."
    row = rows[first.image, frames.top]
    return Example(first, model, frames.top, row, said)


def shift(
    frames: Frames, pictured: PicturedImages, form: PaperForm, shown: Example, options: Options
) -> "Figure":
    """The observed shift: clean heatmap, attacked heatmap, what was lost, what was gained."""
    clean, attacked = shown.image.rgb, _attacked(pictured, form, shown)
    place = frames.epsilons.index(shown.epsilon)
    key = shown.image, shown.model, frames.plan.last_layers[shown.model], form.policy
    before = pictured.clean_map(*key)
    after = pictured.attacked_maps(*key, form.attack, shown.model)[place]
    size = (clean.shape[1], clean.shape[0])
    change = enlarged(after, size) - enlarged(before, size)
    lost, gained = _shares(frames, shown)
    row = shown.row
    head = f"ε = {shown.epsilon:g}, NISSIM {row['nissim']:.3f}"
    panels = [
        Panel(heatmap_on(clean, before, options), ("clean", *_said(row, "clean"))),
        Panel(heatmap_on(attacked, after, options), (head, *_said(row, "attacked"))),
        Panel(tinted(clean, -change, LOST), ("lost", lost)),
        Panel(tinted(clean, change, GAINED), ("gained", gained)),
    ]
    across = 2 * options.columns
    rows = [(shown.title, panels[:across]), ("", panels[across:])]
    return panel_rows([row for row in rows if row[1]], options, note="purple: lost; green: gained")


def attack(pictured: PicturedImages, form: PaperForm, shown: Example, options: Options) -> "Figure":
    """One attack: the image, plus ε times the signs or an amplified change, is the attacked one."""
    clean, attacked = shown.image.rgb, _attacked(pictured, form, shown)
    signs, row = along_signs(pictured, form, shown), shown.row
    largest = shown.epsilon if signs else float(np.abs(attacked - clean).max())
    change = (attacked - clean) / (largest or 1.0)
    factor = f"{largest:g}" if signs else f"{largest:.2g}"
    psnr = "–" if row["psnr"] is None else f"{row['psnr']:.1f} dB"
    panels = [
        Panel(clean, ("clean", *_said(row, "clean"))),
        Panel((change + 1.0) / 2.0, ("signs" if signs else "change", "bright: +1", "dark: −1")),
        Panel(attacked, ("attacked", *_said(row, "attacked"), f"PSNR {psnr}")),
    ]
    between = "", f"+ {factor} ×", "="
    return panel_rows([(shown.title, panels)], options, colour_bar=False, between=between)


def along_signs(pictured: PicturedImages, form: PaperForm, shown: Example) -> bool:
    """Whether every change is by ε, or none, before it is clipped."""
    change = pictured.perturbation(shown.image, form.attack, shown.model)
    return change.scale is None and bool(np.isin(change.codes, (-FULL, 0, FULL)).all())


def transfer(
    frames: Frames, pictured: PicturedImages, form: PaperForm, options: Options
) -> "Figure":
    """One image under the source's perturbations: rows models, columns clean and each ε."""
    image = image_of(pictured, options.image)
    rows = []
    for model in frames.models:
        panels = model_panels(frames, pictured, image, model, form.policy, options, form.source)
        rows.append((form.described(model), panels[2:]))  # the heatmaps, without the images
    return panel_rows(rows, options)


def every_layer(
    frames: Frames,
    pictured: PicturedImages,
    form: PaperForm,
    image: Pictured,
    model: str,
    options: Options,
) -> "Figure":
    """Every layer's heatmaps, clean and at each ε of the model's own attack.

    ``options.order`` says which layer stands top left.
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
        "is that of its first tile. Striped: a dead map."
    )
    return panel_rows(grid, options, note=note)


def _attacked(pictured: PicturedImages, form: PaperForm, shown: Example) -> np.ndarray:
    return pictured.attacked(shown.image, form.attack, shown.model, shown.epsilon)


def _said(row: dict[str, Any], which: str) -> tuple[str, ...]:
    dead = ("dead map",) if row[f"{which}_dead"] else ()
    return prediction(row, which), *dead


def _shares(frames: Frames, shown: Example) -> tuple[str, str]:
    """How much of the clean heatmap's mass left its place, and how much came."""
    keys = ("image", "variant", "model", "attack", "source", "epsilon", "explained_class")
    found = frames.shown_statistics.filter(pl.col(key) == shown.row[key] for key in keys)
    lost, gained = (
        "–"
        if found.is_empty() or found[name][0] is None
        else f"{percent(found[name][0])} of the clean mass"
        for name in ("lost", "gained")
    )
    return lost, gained

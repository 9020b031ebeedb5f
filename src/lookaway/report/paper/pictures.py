"""The paper's pictures of one image: the observed shift, a successful attack, a transfer."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from lookaway.analysis.frames import Frames
from lookaway.report.image_panels import image_of, measured, model_panels, prediction
from lookaway.report.options import Options
from lookaway.report.overlays import GAINED, LOST, enlarged, heatmap_on, tinted
from lookaway.report.panels import Panel, panel_rows
from lookaway.report.paper.form import PaperForm
from lookaway.report.pictured import Pictured, PicturedImages
from lookaway.report.wording import isolated

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Example:
    """One image under one model's own perturbation.

    Attributes:
        image: the image.
        model: its attacker and victim.
        epsilon: the strength.
        row: what was measured, in the last layer.
        flipped: whether the model is right on the clean image and wrong on the attacked one.
        caption: which image, model and ε, and whether the attack succeeds.
    """

    image: Pictured
    model: str
    epsilon: float
    row: dict[str, Any]
    flipped: bool
    caption: str

    @property
    def title(self) -> str:
        """The model and the image."""
        return f"{self.model}: {self.image.image}"


def example(frames: Frames, pictured: PicturedImages, form: PaperForm, name: str | None) -> Example:
    """The first pictured image that a model's own attack flips at the smallest ε where it does one.

    Of the source where the study has one, else of the first model. Where no image flips: the
    first one, at the largest ε.

    Args:
        frames: the run's summaries.
        pictured: the run's pictured images.
        form: what the paper's figures are about in this run.
        name: of the only image to try; None: all.

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
                return Example(image, model, epsilon, row, flipped=True, caption=said)
    none = "no pictured image flips" if name is None else "it does not flip"
    said = f"{named(first)}, ε = {frames.top:g}: no successful attack, as {none} at any ε."
    row = rows[first.image, frames.top]
    return Example(first, model, frames.top, row, flipped=False, caption=said)


def shift(
    frames: Frames, pictured: PicturedImages, form: PaperForm, shown: Example, options: Options
) -> "Figure":
    """The observed shift: clean heatmap, attacked heatmap, what was dropped, what was added.

    Args:
        frames: the run's summaries.
        pictured: the run's pictured images.
        form: what the paper's figures are about in this run.
        shown: the image.
        options: how it is drawn.
    """
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
        Panel(tinted(clean, -change, LOST), ("dropped", lost)),
        Panel(tinted(clean, change, GAINED), ("added", gained)),
    ]
    across = 2 * options.columns
    rows = [(shown.title, panels[:across]), ("", panels[across:])]
    return panel_rows([row for row in rows if row[1]], options, note="blue: dropped; orange: added")


def attack(pictured: PicturedImages, form: PaperForm, shown: Example, options: Options) -> "Figure":
    """One attack: the image, plus ε times the direction, is the attacked image.

    Args:
        pictured: the run's pictured images.
        form: what the paper's figures are about in this run.
        shown: the image.
        options: how it is drawn.
    """
    clean, attacked = shown.image.rgb, _attacked(pictured, form, shown)
    change = (attacked - clean) / shown.epsilon
    row = shown.row
    psnr = "–" if row["psnr"] is None else f"{row['psnr']:.1f} dB"
    panels = [
        Panel(clean, ("clean", *_said(row, "clean"))),
        Panel((change + 1.0) / 2.0, ("signs", "bright: +1", "dark: −1")),
        Panel(attacked, ("attacked", *_said(row, "attacked"), f"PSNR {psnr}")),
    ]
    signs = "", f"+ {shown.epsilon:g} ×", "="
    return panel_rows([(shown.title, panels)], options, colour_bar=False, between=signs)


def transfer(
    frames: Frames, pictured: PicturedImages, form: PaperForm, options: Options
) -> "Figure":
    """One image under the source's perturbations: rows models, columns clean and each ε.

    Args:
        frames: the run's summaries.
        pictured: the run's pictured images.
        form: what the paper's figures are about in this run.
        options: how it is drawn.
    """
    image = image_of(pictured, options.image)
    rows = []
    for model in frames.models:
        panels = model_panels(frames, pictured, image, model, form.policy, options, form.source)
        rows.append((form.described(model), panels[2:]))  # the heatmaps, without the images
    return panel_rows(rows, options)


def _attacked(pictured: PicturedImages, form: PaperForm, shown: Example) -> np.ndarray:
    return pictured.attacked(shown.image, form.attack, shown.model, shown.epsilon)


def _said(row: dict[str, Any], which: str) -> tuple[str, ...]:
    dead = ("dead map",) if row[f"{which}_dead"] else ()
    return prediction(row, which), *dead


def _shares(frames: Frames, shown: Example) -> tuple[str, str]:
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

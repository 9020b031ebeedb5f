"""The paper's tables and figures, one by one, and what a run has in the place of each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from lookaway.analysis.frames import Frames
from lookaway.report.figure import Planned
from lookaway.report.image_panels import image_of
from lookaway.report.layout import LAYOUTS, Layout
from lookaway.report.options import Options
from lookaway.report.paper import charts, pictures
from lookaway.report.paper.form import UNPREPARED, PaperForm, paper_form
from lookaway.report.paper.tables import paper_tables
from lookaway.report.pictured import PicturedImages
from lookaway.report.wording import first_attack, first_method, isolated
from lookaway.study.keys import plain
from lookaway.study.settings import ModelSpec

# The paper's pictures of all layers, by architecture.
_LAYERS = {
    "vgg16": "Fig. 6",
    "resnet50": "Fig. 7",
    "resnet101": "Fig. 8",
    "inception_v3": "Fig. 9",
    "xception": "Fig. 10",
    "legacy_xception": "Fig. 10",
}
_ALL_LAYERS = "Figs. 6–10"
_OF_ALL = ("accuracy_against_mod", "training")  # that show all attacks, or none
_OF_IMAGES = ("paper_fig2_attack", "paper_fig3_psnr", "training")  # that show no heatmaps
_NO_PICTURES = "the study pictures no image (explain.pictured: 0)"


@dataclass(frozen=True)
class Correspondence:
    """One of the paper's tables or figures, and what a run has in its place.

    Attributes:
        paper: which, such as ``Table 1``; empty for what goes beyond the paper.
        shows: what it shows.
        name: of the run's table or figure; empty where it has none.
        missing: why it has none; empty where it has one.
        table: whether it is a table.
    """

    paper: str
    shows: str
    name: str = ""
    missing: str = ""
    table: bool = False


def paper_figures(frames: Frames) -> list[Planned]:
    """The figures in the paper's form that a run has, in the paper's order."""
    return [_of_first(frames, planned) for planned in _figures(frames)]


def _of_first(frames: Frames, planned: Planned) -> Planned:
    """A figure that says which attack and method it shows, where the study has several."""
    attack = "" if planned.name in _OF_ALL else first_attack(frames)
    method = "" if planned.name in _OF_IMAGES else first_method(frames)
    shown = " ".join(filter(None, (attack, method)))
    if not shown:
        return planned

    def draw(options: Options) -> tuple[str, Any]:
        note, drawn = planned.draw(options)
        return f"{note} {shown}", drawn

    return replace(planned, draw=draw)


def correspondence(frames: Frames) -> list[Correspondence]:
    """Each of the paper's tables and figures, what stands for it here, or why nothing does."""
    tables = paper_tables(frames)
    found = [Correspondence(t.paper, t.title, t.name, table=True) for t in tables]
    found += [Correspondence(f.paper, f.title, f.name) for f in paper_figures(frames)]
    return sorted([*found, *_missing(frames)], key=_place)


def _missing(frames: Frames) -> Iterator[Correspondence]:
    """What of the paper the run does not have, and why."""
    variants, shown = frames.variants, frames.settings.explain.pictured
    if UNPREPARED not in variants:
        why = "the study has no unprepared images (data.variants without none)"
        yield Correspondence("Table 1", "Accuracy by ε, unprepared images", missing=why, table=True)
    if variants == [UNPREPARED]:
        why = "the study has no prepared images (data.variants: [none])"
        yield Correspondence("Table 2", "Accuracy by ε, prepared images", missing=why, table=True)
    if not shown:
        yield Correspondence("Fig. 1", "The observed shift", missing=_NO_PICTURES)
        yield Correspondence("Fig. 2", "One attack", missing=_NO_PICTURES)
    if not shown or not frames.sources:
        why = _NO_PICTURES if not shown else "the study has no source (transfer_from: [])"
        yield Correspondence("Fig. 5", "One image in every model", missing=why)
    if not shown or not frames.several_layers:
        why = _NO_PICTURES
        if shown:
            why = "the study explains the last layers alone; explain.layers: convs explains all"
        yield Correspondence(_ALL_LAYERS, "Every layer at one image", missing=why)
    if not _learnt(frames):
        why = "the study trains no model"
        yield Correspondence("", "Training", missing=why)


def _learnt(frames: Frames) -> bool:
    """Whether a model was trained; people who are enrolled are no training."""
    return any(about.history for about in frames.store.trained().values())


def _place(found: Correspondence) -> tuple[bool, bool, int]:
    """The paper's order: tables, figures, then what goes beyond it."""
    number = "".join(letter for letter in found.paper.partition("–")[0] if letter.isdigit())
    return not found.paper, not found.paper.startswith("Table"), int(number or 0)


def _figures(frames: Frames) -> Iterator[Planned]:
    shown = bool(frames.settings.explain.pictured)
    form = paper_form(frames)
    if shown:
        own = f"explained class: {form.policy}"
        yield _example(frames, "Fig. 1", "paper_fig1_shift", f"The observed shift, {own}")
        yield _example(frames, "Fig. 2", "paper_fig2_attack", "One attack")
    yield _chart(
        frames,
        "Fig. 3",
        "paper_fig3_psnr",
        "PSNR by ε",
        "How strong the change of the pixels is, peak 1; higher is weaker. The paper's Fig. 3 is a "
        "table of it.",
        charts.psnr,
    )
    yield _chart(
        frames,
        "Fig. 4",
        "paper_fig4_nissim",
        f"NISSIM of the images at each ε, {form.whose}, explained class: {form.policy}",
        "How the dissimilarity is distributed over the images. VID: standard deviation of an "
        "image's NISSIM over the ε, then the mean over the images; lower is steadier.",
        charts.nissim,
    )
    if shown and form.source is not None:
        yield _transfer(frames, form)
    if shown and frames.several_layers:
        for place, spec in enumerate(frames.settings.models):
            yield _layers(frames, place, spec)
    yield _chart(
        frames,
        "",
        "accuracy_against_mod",
        "Accuracy against MOD",
        "A point for each ε, from the clean images (MOD 0) on. Faint: noise of the same sizes. The "
        "paper holds that deep networks keep more accuracy at equal MOD.",
        charts.accuracy_against_mod,
    )
    if _learnt(frames):
        yield _chart(
            frames,
            "",
            "training",
            "Training: loss and accuracy of every epoch",
            "The weights of the best epoch on the validation images are kept. Losses beyond 1.5 "
            "times the highest of training are drawn at that height.",
            charts.training,
        )


def _chart(
    frames: Frames,
    paper: str,
    name: str,
    title: str,
    note: str,
    spec: Callable[[Frames, Layout], dict[str, Any]],
) -> Planned:
    def draw(options: Options) -> tuple[str, dict[str, Any]]:
        return note, spec(frames, LAYOUTS[options.columns])

    return Planned(name, name, title, draw, paper=paper)


def _pictured(frames: Frames) -> tuple[PicturedImages, PaperForm]:
    """The pictured images, and the paper's form for their variant."""
    pictured = PicturedImages(frames, paper_form(frames).variant)
    return pictured, paper_form(frames, pictured.variant)


def _example(frames: Frames, paper: str, name: str, title: str) -> Planned:
    def draw(options: Options) -> tuple[str, Any]:
        pictured, form = _pictured(frames)
        shown = pictures.example(frames, pictured, form, options.image)
        if name == "paper_fig1_shift":
            panels = pictures.shift(frames, pictured, form, shown, options)
            note = "Where participation was lost (purple) and gained (green)."
        else:
            panels = pictures.attack(pictured, form, shown, options)
            signs = pictures.along_signs(pictured, form, shown)
            change = "ε times the signs of the loss's gradient" if signs else "the amplified change"
            note = f"The image, {change}, and their sum."
        return f"{note} {shown.caption}", panels

    return Planned(name, name, title, draw, paper_form(frames).policy, paper=paper)


def _transfer(frames: Frames, form: PaperForm) -> Planned:
    name = "paper_fig5_transfer"
    title = f"One image in every model, {form.whose}, explained class: {form.policy}"

    def draw(options: Options) -> tuple[str, Any]:
        pictured, form = _pictured(frames)
        note = (
            f"Image: {isolated(image_of(pictured, options.image).image)}. Prediction, confidence, "
            "NISSIM; wrong predictions have a cross."
        )
        return note, pictures.transfer(frames, pictured, form, options)

    return Planned(name, name, title, draw, form.policy, paper="Fig. 5")


def _layers(frames: Frames, place: int, spec: ModelSpec) -> Planned:
    model = spec.name
    paper = _LAYERS.get((spec.timm or "").partition(".")[0], _ALL_LAYERS)
    number = paper.removeprefix("Fig. ") if paper != _ALL_LAYERS else "6to10"
    name = f"paper_fig{number}_layers_{place + 1}_{plain(model)}".rstrip("_")
    policy = paper_form(frames).policy
    title = f"Every layer of {isolated(model)} at one image, white-box, explained class: {policy}"

    def draw(options: Options) -> tuple[str, Any]:
        pictured, form = _pictured(frames)
        image = image_of(pictured, options.image)
        count = len(frames.plan.explained_layers(model))
        note = f"All {count} explained layers, clean and at each ε of the model's own attack."
        return note, pictures.every_layer(frames, pictured, form, image, model, options)

    return Planned("paper_layers", name, title, draw, policy, paper=paper)

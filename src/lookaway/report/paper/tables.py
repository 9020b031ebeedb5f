"""The paper's tables in its own form: a line for each model, a column for each ε, 0 included."""

import polars as pl

from lookaway.analysis.frames import Frames
from lookaway.perturbation import NOISE
from lookaway.report.paper.form import UNPREPARED, PaperForm, paper_form
from lookaway.report.table import Cell, Row, Table
from lookaway.report.wording import first_attack, first_method

SECTION = "As in the paper"
_CLASS = {
    "own": "the class predicted for that very image, as the paper most likely did",
    "clean": "the class predicted for the clean image",
    "label": "the true class",
}


def paper_tables(frames: Frames) -> list[Table]:
    """Accuracy of each variant of the images (Tables 1 and 2), MOD (Table 3) and PSNR (Fig. 3).

    Where the variants do not hold the same images, accuracy on those that all hold, too.
    """
    found = [accuracy(frames, variant) for variant in frames.variants]
    if frames.shared is not None:
        found += [accuracy(frames, variant, common=True) for variant in frames.variants]
    return [*sorted(found, key=lambda table: table.paper), mod(frames), psnr(frames)]


def accuracy(frames: Frames, variant: str, *, common: bool = False) -> Table:
    """Accuracy by ε on one variant of the images."""
    form = paper_form(frames, variant)
    prepared = [name for name in frames.variants if name != UNPREPARED]
    if variant == UNPREPARED:
        number, name, images = "Table 1", "paper_table1_accuracy_unprepared", "unprepared images"
    else:
        number, name, images = "Table 2", "paper_table2_accuracy_prepared", "prepared images"
        if len(prepared) > 1:
            name = f"{name}_{variant}"
        images = f"{images} ({variant})"
    measured = frames.accuracy
    if common and frames.shared is not None:
        name, images = f"{name}_common", f"{images}, those that every variant holds"
        measured = frames.shared.accuracy
    measured = measured.filter(form.rows)
    by_model, count = _by_model(measured, "accuracy"), int(measured["n"][0])
    return Table(
        name,
        f"Accuracy by ε, {form.whose}, {images}",
        f"Share of the {count} test images whose predicted class is the true one; ε = 0 is the "
        f"clean image. {_marks(frames, form)}The paper's {number} has this form.",
        _heads(form, sorted(by_model[frames.models[0]])),
        tuple(_lines(frames, form, by_model)),
        ("%",),
        section=SECTION,
        paper=number,
    )


def mod(frames: Frames) -> Table:
    """MOD by ε, with the mean over the models."""
    form = paper_form(frames)
    found = frames.last(frames.mod).filter(form.rows, form.explained)
    by_model = {
        model: {0.0: Cell(0.0), **cells} for model, cells in _by_model(found, "mod").items()
    }
    levels = sorted(by_model[frames.models[0]])
    means = dict(found.group_by("epsilon").agg(pl.col("mod").mean()).iter_rows())
    names = ("", "mean shift") if any(form.families.values()) else ("mean shift",)
    mean = Row(names, tuple(Cell({0.0: 0.0, **means}.get(at)) for at in levels), strong=True)
    within = " (the source's own line among them)" if form.source else ""
    return Table(
        "paper_table3_mod",
        f"MOD by ε, {form.whose}",
        "Mean dissimilarity (NISSIM) of the clean and the attacked heatmap of the last layer; at "
        f"ε = 0 they are the same. Explained class: {form.policy}, {_CLASS[form.policy]}. Images: "
        f"{'unprepared' if form.variant == UNPREPARED else f'prepared ({form.variant})'}. Mean "
        f"shift: the mean over the models{within}. {_marks(frames, form)}"
        f"{_said(first_method(frames))}The paper's Table 3 has this form.",
        _heads(form, levels),
        (*_lines(frames, form, by_model), mean),
        section=SECTION,
        paper="Table 3",
    )


def psnr(frames: Frames) -> Table:
    """PSNR by ε of the perturbations and of noise of the same size."""
    form = paper_form(frames)
    found = perturbations(frames, form).filter(pl.col("variant") == form.variant)
    levels = sorted(found["epsilon"].unique().to_list())
    rows = []
    for part in found.partition_by("perturbation", maintain_order=True):
        cells = {row["epsilon"]: _cell(row, "psnr") for row in part.iter_rows(named=True)}
        name = part["perturbation"][0]
        rows.append(Row((name,), tuple(cells.get(level, Cell(None)) for level in levels)))
    return Table(
        "paper_fig3_psnr",
        "PSNR by ε (dB)",
        "How strong the change of the pixels is, peak 1; higher is weaker, and unchanged images "
        f"(ε = 0) have no finite one. {_shown(frames)}The paper's Fig. 3 is this table.",
        ("perturbation", *(f"ε = {level:g}" for level in levels)),
        tuple(rows),
        (".2f",),
        section=SECTION,
        paper="Fig. 3",
    )


def perturbations(frames: Frames, form: PaperForm) -> pl.DataFrame:
    """PSNR of each perturbation once, whoever meets it, named in ``perturbation``."""
    made = pl.col("model") if form.source is None else pl.lit(form.source)
    own = frames.psnr.filter(form.perturbed, pl.col("model") == made).with_columns(
        perturbation=pl.format("{} from {}", "attack", "source")
    )
    noise = frames.psnr.filter(attack=NOISE, model=frames.models[0])
    return pl.concat([own, noise.with_columns(perturbation=pl.col("attack"))])


def _marks(frames: Frames, form: PaperForm) -> str:
    """What stands at the names of the lines, and which attack it is where there are several."""
    marks = "deep, wide: the paper's marks. " if any(form.families.values()) else ""
    marks += "white-box: this model made the perturbations. " if form.source else ""
    return marks + _shown(frames)


def _shown(frames: Frames) -> str:
    return _said(first_attack(frames))


def _said(sentence: str) -> str:
    return f"{sentence} " if sentence else ""


def _heads(form: PaperForm, levels: list[float]) -> tuple[str, ...]:
    names = ("network", "model") if any(form.families.values()) else ("model",)
    return (*names, *(f"ε = {level:g}" for level in levels))


def _lines(frames: Frames, form: PaperForm, by_model: dict[str, dict[float, Cell]]) -> list[Row]:
    """A line for each model, in the study's order."""
    rows = []
    levels = sorted(by_model[frames.models[0]])
    for model in frames.models:
        names: tuple[str, ...] = (form.marked(model),)
        if any(form.families.values()):
            names = (form.families[model] or "", *names)
        rows.append(Row(names, tuple(by_model[model].get(level, Cell(None)) for level in levels)))
    return rows


def _by_model(found: pl.DataFrame, value: str) -> dict[str, dict[float, Cell]]:
    return {
        part["model"][0]: {row["epsilon"]: _cell(row, value) for row in part.iter_rows(named=True)}
        for part in found.partition_by("model", maintain_order=True)
    }


def _cell(row: dict[str, float], value: str) -> Cell:
    return Cell(row[value], row["low"], row["high"])

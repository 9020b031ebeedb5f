"""Whether classes agree: a table, a chart and a warning."""

from collections.abc import Iterator, Mapping
from typing import Any

import altair as alt
import polars as pl

from lookaway.analysis import summary
from lookaway.analysis.frames import Frames
from lookaway.report.findings import cell
from lookaway.report.layout import Layout, in_panels, legend, levels, styles
from lookaway.report.table import SCALE, Cell, Row, Table
from lookaway.report.wording import isolated
from lookaway.written import percent, signed

_CONFUSED = 10  # classes, beyond which a confusion matrix is no table
_COLUMNS = {
    ("attack", "clean accuracy"): ("clean accuracy", "%"),
    ("attack", "accuracy"): ("accuracy", "%"),
    ("noise", "accuracy"): ("accuracy, noise", "%"),
    ("attack", "mod"): ("MOD", ".3f"),
    ("noise", "mod"): ("MOD, noise", ".3f"),
    ("attack", "excess"): ("excess", "+.3f"),
}


def class_tables(frames: Frames, policy: str) -> Iterator[Table]:
    """Each class's numbers under each model's own attack, at the largest ε; none of one class."""
    found = _own(frames, policy).filter(epsilon=frames.top)
    if found.is_empty():
        return
    rows = []
    for (variant, model, name), part in found.group_by(
        "variant", "model", "class", maintain_order=True
    ):
        known = {(row["of"], row["measure"]): row for row in part.iter_rows(named=True)}
        count = known["attack", "mod"]["n"]
        cells = [cell(known[key]) if key in known else Cell(None) for key in _COLUMNS]
        names = (variant, model, name) if frames.several_variants else (model, name)
        rows.append(Row(tuple(map(str, names)), (Cell(float(count)), *cells)))
    heads = ["images", "model", "class"] if frames.several_variants else ["model", "class"]
    yield Table(
        f"classes_{policy}",
        f"By class at ε = {frames.top:g}, explained class: {policy}",
        "Of each true class alone, each model under its own perturbations. A mean over all images "
        "is that of no class where classes disagree.",
        (*heads, "images", *(head for head, _ in _COLUMNS.values())),
        tuple(rows),
        (".0f", *(form for _, form in _COLUMNS.values())),
        SCALE,
    )


def confusion_table(frames: Frames) -> Iterator[Table]:
    """What is predicted for each of a few classes, before and after each model's own attack."""
    classes = frames.plan.classes
    if not 2 <= len(classes) <= _CONFUSED:
        return
    own = frames.confusion.filter(
        pl.col("source") == pl.col("model"), attack=frames.attack, epsilon=frames.top
    )
    counts = {
        tuple(row[key] for key in ("variant", "model", "class", "predicted")): row
        for row in own.iter_rows(named=True)
    }
    rows = []
    for variant, model in own.select("variant", "model").unique(maintain_order=True).iter_rows():
        for name in classes:
            its = [counts.get((variant, model, name, predicted), {}) for predicted in classes]
            cells = [Cell(float(one.get(when, 0))) for when in ("clean", "attacked") for one in its]
            of = sum(
                row["clean"] for key, row in counts.items() if key[:3] == (variant, model, name)
            )
            names = (variant, model, name) if frames.several_variants else (model, name)
            rows.append(Row(names, (Cell(float(of)), *cells)))
    order = {model: place for place, model in enumerate(frames.models)}
    rows.sort(key=lambda row: order[row.names[-2]])
    heads = ["images", "model", "class"] if frames.several_variants else ["model", "class"]
    seen = [f"{when}: {name}" for when in ("clean", "attacked") for name in classes]
    yield Table(
        "confusion",
        f"Confusion before and after {frames.attack.upper()} at ε = {frames.top:g}",
        "How many images of each true class (lines) are taken for each class (columns), clean and "
        "under the model's own attack. Classes that the study does not have are left out.",
        (*heads, "images", *seen),
        tuple(rows),
        (".0f",) * (1 + len(seen)),
        "Consequence: does it go with failing?",
        of_images=True,
    )


def class_warnings(frames: Frames) -> list[str]:
    """That classes disagree in accuracy or excess, the intervals of two being apart; or nothing."""
    here = _own(frames, frames.policy).filter(
        epsilon=frames.top, of="attack", variant=frames.variants[0]
    )
    told = []
    for model in frames.models:
        parts = []
        for measure, form in (("accuracy", percent), ("excess", signed)):
            found = here.filter(model=model, measure=measure).drop_nulls(["low", "high"])
            low, high = found.sort("value").head(1), found.sort("value").tail(1)
            if found.height > 1 and low["high"][0] < high["low"][0]:
                ends = [
                    f"{form(one['value'][0])} on {isolated(one['class'][0])}" for one in (low, high)
                ]
                parts.append(f"{measure} {ends[0]}, {ends[1]}")
        if parts:
            told.append(f"{isolated(model)}: {'; '.join(parts)}")
    if not told:
        return []
    return [
        f"Classes disagree under each model's own {frames.attack} at ε = {frames.top:g}, so that a "
        f"number over all images is that of no class. {'. '.join(told)}"
    ]


def excess_by_class(frames: Frames, policy: str, layout: Layout) -> dict[str, Any]:
    """Excess over ε, a panel for each model, a line for each true class.

    Of the first variant and each model's own attack.
    """
    found = _own(frames, policy).filter(of="attack", measure="excess", variant=frames.variants[0])
    names = found["class"].unique(maintain_order=True).to_list()
    data = found.select("epsilon", "value", "low", "high", "n", panel="model", label="class")
    colours, _, shapes = styles(len(names))
    shown = legend(layout, "true class", names, points=True)
    steps = sorted(data["epsilon"].unique().to_list())
    base = alt.Chart().encode(
        x=alt.X("epsilon:Q", title="ε", axis=levels(steps), scale=alt.Scale(nice=False)),
        color=alt.Color("label:N", scale=alt.Scale(domain=names, range=colours), legend=shown),
    )
    shape = alt.Shape("label:N", scale=alt.Scale(domain=names, range=shapes), legend=shown)
    ends = alt.Y("low:Q", title="excess shift"), alt.Y2("high:Q")
    tooltips: Mapping[str, tuple[str, str]] = {
        "panel:N": ("model", ""),
        "label:N": ("true class", ""),
        "epsilon:Q": ("ε", ""),
        "value:Q": ("excess shift", "+.3f"),
        "low:Q": ("95 % from", "+.3f"),
        "high:Q": ("to", "+.3f"),
        "n:Q": ("images", ""),
    }
    points = base.mark_point(size=45, filled=True, opacity=1, cursor="pointer").encode(
        y=alt.Y("value:Q", title="excess shift"),
        shape=shape,
        tooltip=[
            alt.Tooltip(field, title=title, format=form or alt.Undefined)
            for field, (title, form) in tooltips.items()
        ],
    )
    layers = [
        base.mark_area(opacity=0.16).encode(y=ends[0], y2=ends[1]),
        base.mark_line(strokeWidth=2).encode(y=alt.Y("value:Q", title="excess shift")),
        points,
    ]
    return in_panels(
        layers, data.to_dicts(), [m for m in frames.models if m in set(data["panel"])], layout
    )


def _own(frames: Frames, policy: str) -> pl.DataFrame:
    """Of each model's own attack and its control, models in order; ``of`` says which."""
    found = summary.by_scope(frames.by_class).filter(explained_class=policy)
    white = (pl.col("attack") == frames.attack) & (pl.col("source") == pl.col("model"))
    noise = (pl.col("attack") == frames.control) & pl.col("source").is_null()
    places = {name: place for place, name in enumerate(frames.models)}
    return (
        found.filter(white | noise)
        .unique(
            ["variant", "model", "attack", "source", "epsilon", "class", "measure"],
            keep="first",
            maintain_order=True,
        )
        .with_columns(
            of=pl.when(pl.col("source").is_null()).then(pl.lit("noise")).otherwise(pl.lit("attack"))
        )
        .sort(
            pl.col("model").replace_strict(places, return_dtype=pl.Int64),
            "class",
            maintain_order=True,
        )
    )

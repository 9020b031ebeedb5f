"""How NISSIM is distributed over the images, what became of heatmaps, and transferability."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import altair as alt
import polars as pl

from lookaway.analysis import direction
from lookaway.analysis.frames import Frames
from lookaway.perturbation import NOISE
from lookaway.report.histograms import histograms
from lookaway.report.layout import ATTACK, Layout, faceted, in_panels, legend

WORD_COLOURS = {
    "stayed": "#c4c4c8",
    "moved": "#2a6f97",
    "spread": "#d9b44a",
    "shrank": "#84c9b0",
    "inverted": "#a4508b",
    "died": "#333333",
}
_BINS = 24
_HATCH = "╱╱╱╱╱╱"  # a cell that was not run
_HEIGHT = 105  # px, so that a name fits beside it
_NOISE = "#4a4a4a"


def nissim(frames: Frames, policy: str, layout: Layout) -> dict[str, Any]:
    """How NISSIM is distributed: a row for each model, a column for each ε, noise beside attack.

    Of the first variant and attack.
    """
    attack, variant = frames.attack, frames.variants[0]
    own = (pl.col("attack") == attack) & (pl.col("source") == pl.col("model"))
    control = frames.control
    noise = (pl.col("attack") == control) & pl.col("source").is_null()
    here = (pl.col("variant") == variant) & (pl.col("explained_class") == policy)
    means = frames.last(frames.mod).filter(here, own | noise, pl.col("pairs") == "all")
    by_mean = {
        (row["model"], row["epsilon"], row["attack"]): row["mod"]
        for row in means.iter_rows(named=True)
    }
    edges, found = histograms(frames, variant, policy, own | noise, _BINS)
    values = []
    for (model, epsilon, kind), one in found.items():
        shares = [*one.shares.tolist(), 0.0]
        ends = [*edges[1:].tolist(), None]
        values += [
            {
                "model": model,
                "ε": f"ε = {epsilon:g}",
                "perturbation": kind,
                "from": round(float(edge), 4),
                "to": None if end is None else round(end, 4),
                "share": round(share, 4),
                "mean": by_mean[model, epsilon, kind],
                "n": one.n,
            }
            for edge, end, share in zip(edges, ends, shares, strict=True)
        ]
    kinds = [attack, control]
    colour = alt.Color(
        "perturbation:N",
        scale=alt.Scale(domain=kinds, range=[ATTACK, _NOISE]),
        legend=legend(layout, "share of images; vertical lines: means", kinds),
    )
    side = layout.panel * layout.panels // max(4, len(frames.epsilons)) - 8
    x = alt.X(
        "from:Q",
        title="NISSIM",
        scale=alt.Scale(domain=[0, edges[-1]], nice=False),
        axis=alt.Axis(tickCount=3, format="~g"),
    )
    y = alt.Y("share:Q", title=None, axis=alt.Axis(tickCount=3, format=".0%"))
    fields = {
        "model:N": None,
        "ε:N": None,
        "perturbation:N": None,
        "from:Q": ".3f",
        "to:Q": ".3f",
        "share:Q": ".1%",
        "mean:Q": ".3f",
        "n:Q": None,
    }
    tooltips = [alt.Tooltip(field, format=form or alt.Undefined) for field, form in fields.items()]
    base = alt.Chart().encode(color=colour)
    is_bar = f"datum.perturbation === {json.dumps(attack)} && isValid(datum.to) && datum.share > 0"
    bars = base.transform_filter(is_bar).mark_rect(opacity=0.55, cursor="pointer")
    outline = base.transform_filter(alt.datum.perturbation == control).mark_line(
        interpolate="step-after", strokeWidth=1.6, strokeDash=[4, 2]
    )
    rule = base.mark_rule(strokeWidth=1.6).encode(x=alt.X("mean(mean):Q"))
    layers = [
        bars.encode(x=x, x2=alt.X2("to:Q"), y=y, y2=alt.Y2Datum(0), tooltip=tooltips),
        outline.encode(x=x, y=y, tooltip=tooltips),
        rule,
    ]
    names = [f"ε = {epsilon:g}" for epsilon in frames.epsilons]
    header = alt.Header(labelFontSize=12, title=None, labelLimit=int(side * 1.2))
    beside = alt.Header(
        labelFontSize=11, title=None, labelLimit=_HEIGHT, labelOrient="left", labelAngle=-90
    )
    facets = {
        "row": alt.Row("model:N", sort=frames.models, header=beside),
        "column": alt.Column("ε:N", sort=names, header=header),
    }
    return faceted(layers, values, facets, side, _HEIGHT) | {"spacing": 8}


def similarities(frames: Frames, layout: Layout) -> dict[str, Any]:
    """How cosines are distributed, a panel for each perturbation at the largest ε.

    Of the first gallery on the first variant. Impersonations can bring all probes into one bin, so
    each panel has its own scale of shares.
    """
    found = frames.similarities.filter(variant=frames.variants[0], model=frames.galleries[0])
    clean = pl.col("attack") == "clean"
    some = clean | pl.col("attack").is_in([*frames.attacks, NOISE])
    found = found.filter(some, clean | (pl.col("epsilon") == frames.top))
    kinds = {"genuine": "#0072B2", "impostor": "#D55E00", "target": "#CC79A7"}
    named = [kind for kind in kinds if kind in found["kind"]]
    colour = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=named, range=[kinds[kind] for kind in named]),
        legend=legend(layout, "comparisons; vertical line: threshold", points=True),
    )
    ends = [float(found["from"].min()), 1.0]  # type: ignore[arg-type]
    x = alt.X(
        "from:Q",
        title="cosine",
        scale=alt.Scale(domain=ends, nice=False),
        axis=alt.Axis(tickCount=4, format="~g"),
    )
    y = alt.Y("share:Q", title="share", stack=None, axis=alt.Axis(tickCount=3, format=".0%"))
    fields = ["panel:N", "kind:N", "from:Q", "share:Q"]
    area = alt.Chart().mark_area(interpolate="step-after", opacity=0.5)
    layers = [
        area.encode(x=x, y=y, color=colour, tooltip=[alt.Tooltip(field) for field in fields]),
        alt.Chart().mark_rule(strokeWidth=1.6).encode(x=alt.X("mean(threshold):Q")),
    ]
    data = found.rename({"attack": "panel"}).select("panel", "kind", "from", "share", "threshold")
    panels = data["panel"].unique(maintain_order=True).to_list()
    rows, height = data.to_dicts(), layout.panel * 0.6
    return in_panels(layers, rows, panels, layout, height=height, independent=True)


def words(frames: Frames, policy: str, layout: Layout) -> dict[str, Any]:
    """What became of the heatmaps: each word's share by ε, for each model and its own attack."""
    found = frames.direction.filter(
        pl.col("measure").is_in(direction.WORDS),
        pl.col("explained_class") == policy,
        (pl.col("source") == pl.col("model")) | pl.col("source").is_null(),
    )
    order = {word: place for place, word in enumerate(direction.WORDS)}
    several = found["variant"].n_unique() > 1
    data = found.with_columns(
        panel=pl.format("{} ({})", "model", "variant") if several else pl.col("model"),
        level=pl.format(
            "{} {}",
            "attack",
            pl.col("epsilon").map_elements(lambda value: f"{value:g}", pl.String),
        ),
        place=pl.col("measure").replace_strict(order, return_dtype=pl.Int64),
    ).select("panel", "level", "measure", "value", "n", "place")
    layout = replace(layout, panel=layout.panel - 18)  # names of levels need room beside it
    squares = alt.Legend(title="change", orient="bottom", columns=2 * layout.legend)
    bars = (
        alt.Chart()
        .mark_bar()
        .encode(
            x=alt.X(
                "value:Q",
                title="share of images",
                axis=alt.Axis(format="%", values=[0, 0.5, 1]),
                stack=True,
                scale=alt.Scale(domain=[0, 1]),
            ),
            y=alt.Y(
                "level:N", title=None, sort=data["level"].unique(maintain_order=True).to_list()
            ),
            color=alt.Color(
                "measure:N",
                scale=alt.Scale(domain=list(WORD_COLOURS), range=list(WORD_COLOURS.values())),
                legend=squares,
            ),
            order=alt.Order("place:Q"),
            stroke=alt.value("#ffffff"),
            strokeWidth=alt.value(0.5),
            tooltip=[
                alt.Tooltip("panel:N", title="model"),
                alt.Tooltip("level:N", title="perturbation, ε"),
                alt.Tooltip("measure:N", title="change"),
                alt.Tooltip("value:Q", title="share of images", format=".1%"),
                alt.Tooltip("n:Q", title="images"),
            ],
        )
    )
    return in_panels(
        [bars],
        data.to_dicts(),
        data["panel"].unique(maintain_order=True).to_list(),
        layout,
        height=alt.Step(17),
    )


def transfer(frames: Frames, policy: str, layout: Layout) -> dict[str, Any]:
    """Transferability at the largest ε: matrices of sources and targets.

    Of the first variant and attack.
    """
    found = frames.transfer.filter(
        pl.col("epsilon") == frames.top,
        pl.col("attack") == frames.attack,
        pl.col("variant") == frames.variants[0],
        pl.col("explained_class").is_null() | (pl.col("explained_class") == policy),
    )
    names = {"accuracy": "accuracy lost", "mod": "MOD", "excess": "excess shift"}
    data = _cells(frames, found, names)
    if layout.panels < 3:  # names need the room beside the matrices
        layout = replace(layout, panels=1, panel=170)
    else:
        layout = replace(layout, panel=layout.panel - 50)
    limit = alt.Axis(labelLimit=120, labelAngle=-40, grid=False)
    base = alt.Chart().encode(
        x=alt.X("model:N", sort=frames.models, title="attacked model", axis=limit),
        y=alt.Y(
            "source:N",
            sort=frames.models,
            title="rows: source of the perturbations",
            axis=alt.Axis(labelLimit=120, grid=False),
        ),
    )
    cells = base.mark_rect(stroke="#ffffff").encode(
        color=alt.Color(
            "shade:Q",
            scale=alt.Scale(domain=[0, 1], range=["#f2ece6", "#7a2d00"]),
            legend=None,
        ),
        tooltip=[
            alt.Tooltip("panel:N", title="measure"),
            alt.Tooltip("source:N", title="perturbations from"),
            alt.Tooltip("model:N", title="attacked model"),
            alt.Tooltip("value:Q", format=".3f"),
            alt.Tooltip("low:Q", title="95 % from", format=".3f"),
            alt.Tooltip("high:Q", title="to", format=".3f"),
            alt.Tooltip("n:Q", title="images"),
        ],
    )
    white = alt.when(alt.datum.shade > 0.5).then(alt.value("#ffffff"))
    ink = alt.ColorValue(**white.otherwise(alt.value("#1d1d1f")))
    text = base.mark_text(fontSize=11).encode(text=alt.Text("shown:N"), color=ink)
    height = max(30, min(layout.panel, 34 * data["source"].n_unique()))
    panels = list(names.values())
    made = in_panels([cells, text], data.to_dicts(), panels, layout, height=height)
    made["resolve"]["axis"]["y"] = "shared"  # names once, which may be long
    return made


def _cells(frames: Frames, found: pl.DataFrame, names: Mapping[str, str]) -> pl.DataFrame:
    """A row for each cell of each matrix, with what it says and its shade.

    A shade is 0 where nothing is lost or moved and 1 at the largest of its matrix. Of accuracy it
    is the fall from the clean images. A source whose perturbations a model did not meet is there,
    hatched.
    """
    clean = frames.accuracy.filter(
        pl.col("epsilon") == 0,
        pl.col("attack") == frames.attack,
        pl.col("variant") == frames.variants[0],
        pl.col("source") == pl.col("model"),
    ).select("model", before="accuracy")
    sources = found["source"].unique(maintain_order=True).to_list()
    grid = pl.DataFrame(
        [
            (measure, source, model)
            for measure in names
            for source in sources
            for model in frames.models
        ],
        schema=["measure", "source", "model"],
        orient="row",
    )
    whole = grid.join(found, on=grid.columns, how="left", maintain_order="left")
    whole = whole.join(clean, on="model", how="left", maintain_order="left")
    is_accuracy = pl.col("measure") == "accuracy"
    size = pl.when(is_accuracy).then(pl.col("before") - pl.col("value")).otherwise("value")
    size = size.clip(lower_bound=0)
    most = size.max().over("measure")
    three = pl.col("value").map_elements("{:.3f}".format, pl.String)
    percent = pl.format(
        "{} → {} %",
        *(
            (100 * pl.col(name)).round(0).cast(pl.Int64, strict=False)
            for name in ("before", "value")
        ),
    )
    said = pl.when(is_accuracy).then(percent).otherwise(three)
    return whole.with_columns(
        panel=pl.col("measure").replace_strict(names),
        shade=pl.when(most > 0).then(size / most).otherwise(0.0).fill_null(0.0),
        shown=said.fill_null(
            pl.when(pl.col("n").is_null()).then(pl.lit(_HATCH)).otherwise(pl.lit("–"))
        ),
    ).select("panel", "source", "model", "shade", "shown", "value", "low", "high", "n")

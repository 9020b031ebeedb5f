"""The paper's charts: NISSIM's distributions, PSNR, accuracy against MOD, and training."""

from dataclasses import replace
from typing import Any

import altair as alt
import numpy as np
import polars as pl

from lookaway.analysis import summary
from lookaway.analysis.families import DEEP, WIDE, families
from lookaway.analysis.frames import Frames
from lookaway.perturbation import NOISE
from lookaway.report.histograms import histograms
from lookaway.report.layout import COLOURS, DASHES, Layout, in_panels, legend, levels, styles
from lookaway.report.paper.form import paper_form
from lookaway.report.paper.tables import perturbations
from lookaway.study.keys import trained_name

_BINS = 20
_GREY = "#6b6b6b"  # the page makes it lighter on a dark ground
_SCALE = ["#d99a1c", "#dd6f1e", "#cf3f3f", "#a8327f"]  # from the smallest ε to the largest
# Parts of an epoch's log, and which images they are of.
_IMAGES = {"train": "training", "val": "validation", "robust": "validation, under PGD"}
_SHAPES = {DEEP: "circle", WIDE: "square", "other": "triangle-up"}


def nissim(frames: Frames, layout: Layout) -> dict[str, Any]:
    """How NISSIM is distributed at each ε: a panel for each model, with its VID."""
    form = paper_form(frames)
    stable = frames.vid["image"].filter(form.rows, form.explained)
    vid = dict(stable.select("model", "vid").iter_rows())
    edges, found = histograms(frames, form.variant, form.policy, form.rows, _BINS)
    middles = (edges[1:] + edges[:-1]) / 2
    steps = sorted({epsilon for _, epsilon, _ in found})
    values: list[dict[str, Any]] = []
    for (model, epsilon, _), one in found.items():
        shared = {"panel": form.described(model), "level": f"{epsilon:g}", "n": one.n}
        values += [
            {**shared, "nissim": round(float(at), 4), "share": round(float(share), 4)}
            for at, share in zip(middles, one.shares, strict=True)
        ]
        values.append({**shared, "mean": one.mean})
    for model in frames.models:
        told = "–" if vid[model] is None else f"{vid[model]:.3f}"
        values.append({"panel": form.described(model), "said": f"VID {told}"})
    shades = [_between(place / max(1, len(steps) - 1)) for place in range(len(steps))]
    names = [f"{step:g}" for step in steps]
    dashes = [DASHES[place % len(DASHES)] for place in range(len(steps))]
    shown = legend(layout, "ε; triangles: means (MOD)")
    base = alt.Chart().encode(
        color=alt.Color("level:N", scale=alt.Scale(domain=names, range=shades), legend=shown)
    )
    x = alt.Scale(domain=[0, edges[-1]], nice=False)
    line = (
        base.transform_filter("isValid(datum.nissim)")
        .mark_line(strokeWidth=2, interpolate="step")
        .encode(
            x=alt.X("nissim:Q", title="NISSIM", scale=x, axis=alt.Axis(tickCount=4, format="~g")),
            y=alt.Y("share:Q", title="share of images", axis=alt.Axis(tickCount=4, format=".0%")),
            strokeDash=alt.StrokeDash(
                "level:N", scale=alt.Scale(domain=names, range=dashes), legend=shown
            ),
            tooltip=[
                alt.Tooltip("panel:N", title="model"),
                alt.Tooltip("level:N", title="ε"),
                alt.Tooltip("nissim:Q", title="NISSIM about"),
                alt.Tooltip("share:Q", title="share of images", format=".1%"),
                alt.Tooltip("n:Q", title="images"),
            ],
        )
    )
    means = (
        base.transform_filter("isValid(datum.mean)")
        .mark_point(shape="triangle-up", filled=True, size=60, opacity=1)
        .encode(x=alt.X("mean:Q", scale=x), y=alt.YDatum(0))
    )
    text = (
        alt.Chart()
        .transform_filter("isValid(datum.said)")
        .mark_text(align="right", baseline="top", fontSize=12, dx=-5, dy=4, color=_GREY)
        .encode(x=alt.value("width"), y=alt.value(0), text=alt.Text("said:N"))
    )
    panels = [form.described(model) for model in frames.models]
    return in_panels([line, means, text], values, panels, layout, height=0.7 * layout.panel)


def psnr(frames: Frames, layout: Layout) -> dict[str, Any]:
    """PSNR over ε, a line for each perturbation: the same for every model that meets it."""
    found = perturbations(frames, paper_form(frames))
    names = found["perturbation"].unique(maintain_order=True).to_list()
    colours, dashes, _ = styles(len(names))
    shown = legend(layout, "perturbation", names)
    steps = sorted(found["epsilon"].unique().to_list())
    several = found["variant"].n_unique() > 1
    found = found.with_columns(
        panel=pl.format("images: {}", "variant") if several else pl.lit("PSNR")
    )
    base = alt.Chart().encode(
        x=alt.X("epsilon:Q", title="ε", axis=levels(steps), scale=alt.Scale(nice=False)),
        y=alt.Y("psnr:Q", title="PSNR (dB)", scale=alt.Scale(zero=False)),
        color=alt.Color(
            "perturbation:N", scale=alt.Scale(domain=names, range=colours), legend=shown
        ),
        strokeDash=alt.StrokeDash(
            "perturbation:N", scale=alt.Scale(domain=names, range=dashes), legend=shown
        ),
        tooltip=[
            alt.Tooltip("perturbation:N"),
            alt.Tooltip("epsilon:Q"),
            alt.Tooltip("psnr:Q", format=".2f"),
            alt.Tooltip("n:Q"),
        ],
    )
    count = layout.panels if several else 1
    size = replace(layout, panel=layout.panel * layout.panels // count, panels=count)
    return in_panels(
        [base.mark_line(strokeWidth=2), base.mark_point(size=35, filled=True)],
        found.to_dicts(),
        found["panel"].unique(maintain_order=True).to_list(),
        size,
        height=layout.panel,
    )


def accuracy_against_mod(frames: Frames, layout: Layout) -> dict[str, Any]:
    """Accuracy against MOD, a point for each ε, a line for each model; noise is faint."""
    form = paper_form(frames)
    keys = ["variant", "model", "attack", "source", "epsilon"]
    shift = frames.last(frames.mod).filter(form.explained).select(*keys, "mod")
    clean = shift.unique(keys[:-1], maintain_order=True).with_columns(
        epsilon=pl.lit(0.0), mod=pl.lit(0.0)
    )
    both = pl.concat([clean, shift]).join(
        frames.accuracy.select(*keys, "accuracy", "n"),
        on=keys,
        nulls_equal=True,
        maintain_order="left",
    )
    scoped = summary.by_scope(both)
    attacked = scoped.filter(pl.col("source").is_not_null())
    noise = scoped.filter(attack=NOISE).drop("scope")
    scopes = attacked.select("variant", "scope").unique(maintain_order=True)
    several = attacked["variant"].n_unique() > 1
    panel = pl.format("{} ({})", "scope", "variant") if several else pl.col("scope")
    marks = {name: found or "other" for name, found in families(frames.plan).items()}
    data = pl.concat(
        [
            attacked.with_columns(kind=pl.lit("attack")),
            noise.join(scopes, on="variant").with_columns(kind=pl.lit("noise")),
        ],
        how="diagonal",
    ).with_columns(
        panel=panel,
        network=pl.col("model").replace_strict(marks),
        said=pl.format("ε = {}", pl.col("epsilon").map_elements("{:g}".format, pl.String)),
        end=pl.col("epsilon").is_in([min(frames.epsilons), frames.top]),  # 0 is where MOD is
    )
    names = frames.models
    colours, dashes, _ = styles(len(names))
    shown = legend(layout, "model", names)
    base = alt.Chart().encode(
        x=alt.X(
            "mod:Q",
            title=f"MOD, explained class: {form.policy}",
            axis=alt.Axis(tickCount=5, format="~g"),
        ),
        y=alt.Y("accuracy:Q", title="accuracy", axis=alt.Axis(format=".0%")),
        color=alt.Color("model:N", scale=alt.Scale(domain=names, range=colours), legend=shown),
        order=alt.Order("epsilon:Q"),
    )
    dash = alt.StrokeDash("model:N", scale=alt.Scale(domain=names, range=dashes), legend=shown)
    met = base.transform_filter(alt.datum.kind == "attack")
    control = base.transform_filter(alt.datum.kind == "noise")
    there = [mark for mark in _SHAPES if mark in marks.values()]
    shape = alt.Shape(
        "network:N",
        scale=alt.Scale(domain=there, range=[_SHAPES[mark] for mark in there]),
        legend=_grey(legend(layout, "network", points=True)) if there != ["other"] else None,
    )
    points = met.mark_point(size=50, filled=True, opacity=1).encode(
        shape=shape,
        tooltip=[
            alt.Tooltip("model:N"),
            alt.Tooltip("network:N"),
            alt.Tooltip("epsilon:Q", title="ε"),
            alt.Tooltip("mod:Q", title="MOD", format=".3f"),
            alt.Tooltip("accuracy:Q", format=".1%"),
            alt.Tooltip("n:Q", title="images"),
        ],
    )
    layers = [
        control.mark_line(strokeWidth=1.5, opacity=0.35).encode(strokeDash=dash),
        met.mark_line(strokeWidth=2).encode(strokeDash=dash),
        points,
        met.transform_filter("datum.end")
        .mark_text(align="left", baseline="bottom", dx=5, dy=-3, fontSize=10)
        .encode(text=alt.Text("said:N")),
    ]
    count = max(1, layout.panels - 1)
    wide = replace(layout, panel=layout.panel * layout.panels // count - 20, panels=count)
    return in_panels(
        layers,
        data.drop("variant", "attack", "source").to_dicts(),
        data.filter(pl.col("kind") == "attack")["panel"].unique(maintain_order=True).to_list(),
        wide,
    )


def training(frames: Frames, layout: Layout) -> dict[str, Any]:
    """Loss and accuracy of every epoch, a pair of panels for each model that was trained.

    Of one that was trained adversarially those of training are of attacked images.
    """
    models = frames.store.trained()
    names = [trained_name(model, name) for model in frames.models for name in frames.variants]
    trained = [name for name in names if name in models and models[name].history]
    values: list[dict[str, Any]] = []
    panels = []
    for model in trained:
        best, history = models[model].best_epoch, models[model].history
        for measure in ("loss", "accuracy"):
            panels.append(f"{measure}: {model}")
            learnt = [getattr(epoch, f"train_{measure}") for epoch in history]
            most = 1.5 * max(learnt) if measure == "loss" else 1.0  # validation may begin far above
            for epoch in history:
                for part, images in _IMAGES.items():
                    found = getattr(epoch, f"{part}_{measure}")
                    if found is not None:  # an epoch that was not checked under attack
                        at = {"panel": panels[-1], "images": images, "epoch": epoch.epoch}
                        values.append({**at, "value": found, "drawn": min(found, most)})
            values.append({"panel": panels[-1], "best": best, "measure": measure})
    seen = {value.get("images") for value in values}
    names = [images for images in _IMAGES.values() if images in seen]
    shown = legend(layout, "images")
    base = alt.Chart().transform_filter("isValid(datum.value)")
    line = base.mark_line(strokeWidth=2).encode(
        x=alt.X(
            "epoch:Q",
            title="epoch",
            scale=alt.Scale(zero=False, nice=False),
            axis=alt.Axis(tickMinStep=1, format="d", tickCount=5),
        ),
        y=alt.Y(
            "drawn:Q",
            title=None,
            axis=alt.Axis(tickCount=4, labelExpr="format(datum.value, '.3~g')"),
        ),
        color=alt.Color("images:N", scale=alt.Scale(domain=names, range=COLOURS[:3]), legend=shown),
        strokeDash=alt.StrokeDash(
            "images:N", scale=alt.Scale(domain=names, range=DASHES[:3]), legend=shown
        ),
        tooltip=[
            alt.Tooltip("panel:N", title="model"),
            alt.Tooltip("images:N"),
            alt.Tooltip("epoch:Q"),
            alt.Tooltip("value:Q", format=".4f"),
        ],
    )
    marked = alt.Chart().transform_filter("isValid(datum.best)")
    rule = marked.mark_rule(color=_GREY, strokeDash=[3, 3]).encode(x=alt.X("best:Q"))
    said = marked.transform_calculate(said="'best: ' + datum.best").encode(
        x=alt.value("width"), text=alt.Text("said:N")
    )
    # Where curves seldom are.
    above = said.transform_filter(alt.datum.measure == "loss").mark_text(
        align="right", baseline="top", fontSize=11, dx=-5, dy=4, color=_GREY
    )
    below = said.transform_filter(alt.datum.measure == "accuracy").mark_text(
        align="right", baseline="bottom", fontSize=11, dx=-5, dy=-4, color=_GREY
    )
    layers = [line, rule, above.encode(y=alt.value(0)), below.encode(y=alt.value("height"))]
    pairs = replace(layout, panels=2, panel=layout.panel * layout.panels // 2)
    height = 0.5 * pairs.panel
    return in_panels(layers, values, panels, pairs, height=height, independent=True)


def _grey(shown: alt.Legend) -> alt.Legend:
    """A legend of shapes, whatever their colours."""
    shown.symbolFillColor = shown.symbolStrokeColor = _GREY
    return shown


def _between(share: float) -> str:
    """A colour of the scale, from 0 to 1."""
    ends = np.array([list(bytes.fromhex(colour[1:])) for colour in _SCALE])
    places = np.linspace(0.0, 1.0, len(ends))
    mixed = [round(float(np.interp(share, places, channel))) for channel in ends.T]
    return f"#{bytes(mixed).hex()}"

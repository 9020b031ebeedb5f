"""Lines over ε and over depth."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import altair as alt
import polars as pl

from lookaway.analysis import summary
from lookaway.analysis.frames import Frames
from lookaway.controls import is_taken, shaped
from lookaway.metrics.shuffled import OTHER_CLASS
from lookaway.perturbation import NOISE, OWN_SIZE, own_size_noise
from lookaway.report.layout import (
    ATTACK,
    DASHES,
    OTHER_ATTACKS,
    Layout,
    in_panels,
    legend,
    levels,
    styles,
)

_CHOSEN = "chosen"
SHUFFLED = "shuffled baseline"
_CLEAN = "clean"
_CONTROL_COLOURS = {NOISE: "#6b6b6b", SHUFFLED: "#9a9a9a", _CLEAN: "#0072B2"}
_OWN_SIZE_COLOURS = ["#8a7a5c", "#6f7f8f", "#8f6f86"]
_CONTROL_DASHES = {NOISE: [4, 3], SHUFFLED: [1, 3], _CLEAN: [1, 0]}


def accuracy(frames: Frames, layout: Layout) -> dict[str, Any]:
    """Accuracy over ε, a line for each model, a panel for each perturbation."""
    return _models(frames, frames.accuracy, "accuracy", "accuracy", layout, form=".0%")


def psnr(frames: Frames, layout: Layout) -> dict[str, Any]:
    """PSNR over ε, likewise."""
    return _models(frames, frames.psnr, "psnr", "PSNR (dB)", layout, zero=False)


def mod(frames: Frames, policy: str, layout: Layout) -> dict[str, Any]:
    """MOD over ε, likewise."""
    return _models(frames, _of(frames.last(frames.mod), policy), "mod", "MOD", layout)


def excess(frames: Frames, policy: str, layout: Layout) -> dict[str, Any]:
    """Excess shift over ε, likewise."""
    found = _of(frames.last(frames.excess), policy)
    return _models(frames, found, "excess", "excess shift", layout)


def beside_noise(frames: Frames, policy: str, layout: Layout) -> dict[str, Any]:
    """MOD over ε beside noise and the shuffled baseline, a panel for each model."""
    scoped = _own_lines(summary.by_scope(_of(frames.last(frames.mod), policy)))
    scoped = _few_controls(frames, scoped)
    scoped = scoped.select("variant", "model", "scope", "epsilon", "mod", "low", "high", "n")
    steps = scoped.select("epsilon").unique().sort("epsilon")
    baseline = _of(frames.last(frames.shuffled), policy).filter(relation=OTHER_CLASS)
    baseline = baseline.rename({"shuffled": "mod"})
    level = baseline.with_columns(scope=pl.lit(SHUFFLED)).join(steps, how="cross")
    return _scopes(
        pl.concat([scoped, level.select(scoped.columns)]),
        x=("epsilon", "ε", sorted(steps["epsilon"].to_list())),
        y=("mod", "MOD"),
        layout=layout,
    )


def mod_by_depth(frames: Frames, policy: str, layout: Layout) -> dict[str, Any]:
    """MOD of every layer over depth at the largest ε, beside noise and the shuffled baseline."""
    found = _at_top(frames, policy)
    shared = ["variant", "model", "depth", "layer", "n"]
    own = found.filter(pl.col("scope").str.ends_with("white-box"))
    parts = [
        found.select(*shared, "scope", "mod"),
        own.select(*shared, scope=pl.col("control"), mod=pl.col("noise")),
        own.select(*shared, scope=pl.lit(SHUFFLED), mod=pl.col("shuffled")),
    ]
    columns = [*shared, "scope", "mod"]
    data = pl.concat(part.select(columns) for part in parts).unique(maintain_order=True)
    return _over_depth(frames, data, "mod", "MOD", layout)


def excess_by_depth(frames: Frames, policy: str, layout: Layout) -> dict[str, Any]:
    """Excess shift of every layer over its depth, at the largest ε."""
    columns = ["variant", "model", "scope", "depth", "layer", "excess", "low", "high", "n"]
    data = _at_top(frames, policy).select(columns)
    return _over_depth(frames, data, "excess", "excess shift", layout)


def dead_by_depth(frames: Frames, policy: str, layout: Layout) -> dict[str, Any]:
    """The share of dead maps of every layer over its depth, at the largest ε."""
    columns = ["variant", "model", "scope", "depth", "layer", "n"]
    data = _at_top(frames, policy).select(*columns, dead="attacked_dead")
    return _over_depth(frames, data, "dead", "dead maps", layout)


def _over_depth(
    frames: Frames, data: pl.DataFrame, value: str, title: str, layout: Layout
) -> dict[str, Any]:
    y = value, f"{title} at ε = {frames.top:g}"
    return _scopes(data, ("depth", "depth (0 first layer, 1 last)", None), y, layout, band=False)


def fnmr(frames: Frames, layout: Layout) -> dict[str, Any]:
    """Genuine comparisons that are lost over ε, at the finest threshold; noise beside attacks."""
    return _decided(frames, "fnmr", "genuine comparisons lost", layout)


def impersonated(frames: Frames, layout: Layout) -> dict[str, Any]:
    """Probes that are taken for the person at whom an impersonation aims, over ε."""
    return _decided(frames, "success", "taken for the target", layout)


def _decided(frames: Frames, measure: str, title: str, layout: Layout) -> dict[str, Any]:
    """A rate over ε, a panel for each gallery, a line for each perturbation."""
    found = frames.verification.filter(pl.col("measure").str.starts_with(f"{measure}@"))
    rate = pl.col("measure").str.split("@").list.last().cast(pl.Float64)
    known = found.drop_nulls("value").with_columns(rate=rate)
    finest = pl.col("rate") == pl.col("rate").min().over("variant", "model")
    scoped = _own_lines(summary.by_scope(known.filter(finest))).with_columns(n="n_genuine")
    columns = ["variant", "model", "scope", "epsilon", "value", "low", "high", "n"]
    if measure == "fnmr":
        noises = [own_size_noise(name) for name in frames.targeted]
        scoped = scoped.filter(~pl.col("attack").is_in([*frames.targeted, *noises]))
        clean = scoped.filter(scope="clean").drop("scope")
        scoped = scoped.filter(pl.col("scope") != "clean")
        begun = scoped.select("variant", "model", "scope").unique(maintain_order=True)
        clean = begun.join(clean, on=["variant", "model"])
    else:
        before = pl.col("measure").str.starts_with(f"{measure}_clean@")
        known = frames.verification.filter(before, pl.col("epsilon") == min(frames.epsilons))
        known = known.drop_nulls("value").with_columns(rate=rate, n="n_genuine")
        clean = _own_lines(summary.by_scope(known.filter(finest)))
        clean = clean.with_columns(epsilon=pl.lit(0.0))
    lines = pl.concat([clean.select(columns), scoped.select(columns)])
    steps = sorted(lines["epsilon"].unique().to_list())
    return _scopes(lines, ("epsilon", "ε", steps), ("value", title), layout)


def det(frames: Frames, layout: Layout) -> dict[str, Any]:
    """DET curves at the largest ε: clean, under the attacks that dodge and under noise."""
    top = (pl.col("epsilon") == frames.top) & ~pl.col("objective").is_in(["impersonation"])
    some = (pl.col("attack") == _CLEAN) | (top & pl.col("attack").is_in([*frames.attacks, NOISE]))
    scoped = summary.by_scope(frames.det.filter(some))
    half = 0.5 / frames.verification["n_genuine"][0]  # a logarithm has no 0
    data = scoped.with_columns(fnmr=pl.col("fnmr").clip(lower_bound=half))
    data = data.select("variant", "model", "scope", "fmr", "fnmr", "threshold")
    return _scopes(
        data,
        ("fmr", "false match rate", None),
        ("fnmr", "false non-match rate"),
        layout,
        band=False,
        logarithmic=True,
    )


@cache  # Altair is slow to read a condition
def _dimmed(full: float) -> Any:
    """An opacity: an eighth of it where another name of the legend is chosen."""
    condition = [{"param": _CHOSEN, "value": full}]
    return alt.OpacityValue.from_dict({"condition": condition, "value": full / 8}, validate=False)


def _of(frame: pl.DataFrame, policy: str) -> pl.DataFrame:
    return frame.filter(pl.col("explained_class") == policy, pl.col("pairs") == "all")


def _own_lines(scoped: pl.DataFrame) -> pl.DataFrame:
    """A source's own line is its white-box line: once is enough."""
    return scoped.filter(
        pl.col("scope").str.ends_with("white-box")
        | (pl.col("source") != pl.col("model")).fill_null(value=True)
    )


def _few_controls(frames: Frames, scoped: pl.DataFrame) -> pl.DataFrame:
    """Without the controls of transferred perturbations, which tables have."""
    attacks = dict.fromkeys(frames.attacks)
    given = [
        control.together
        for name, control in shaped(frames.plan.shaped_controls).items()
        if control.of not in attacks
    ]
    return scoped.filter(~pl.col("scope").is_in(given))


def _at_top(frames: Frames, policy: str) -> pl.DataFrame:
    """Every layer at the largest ε, by scope, each setting once."""
    chosen = pl.col("explained_class") == policy, pl.col("epsilon") == frames.top
    return _own_lines(summary.by_scope(frames.by_depth.filter(*chosen)))


def _models(
    frames: Frames,
    frame: pl.DataFrame,
    value: str,
    title: str,
    layout: Layout,
    *,
    form: str = ".3f",
    zero: bool = True,
) -> dict[str, Any]:
    """A panel for each perturbation, a line for each model; a click on a name brings it out."""
    scoped = _few_controls(frames, summary.by_scope(frame))
    several = scoped["variant"].n_unique() > 1
    panel = pl.format("{} ({})", "scope", "variant") if several else pl.col("scope")
    data = scoped.select(
        "model", "epsilon", value, "low", "high", "n", panel=panel, measure=pl.lit(title)
    ).drop_nulls(value)
    data = _each_once(data)
    colours, dashes, shapes = styles(len(frames.models))
    names = frames.models
    shown = legend(layout, "model", names, points=True)
    # The dash has a field of its own: with the same names as the colour, Vega-Lite would put
    # both into one legend, or complain that one of them wants none.
    places = list(range(len(names)))
    data = data.with_columns(dash=pl.col("model").replace_strict(names, places))
    colour = alt.Color("model:N", scale=alt.Scale(domain=names, range=colours), legend=shown)
    dash = alt.StrokeDash("dash:N", scale=alt.Scale(domain=places, range=dashes), legend=None)
    shape = alt.Shape("model:N", scale=alt.Scale(domain=names, range=shapes), legend=shown)
    chosen = alt.selection_point(fields=["model"], bind="legend", toggle="true", name=_CHOSEN)
    steps = sorted(data["epsilon"].unique().to_list())
    x = alt.X("epsilon:Q", title="ε", axis=levels(steps), scale=alt.Scale(nice=False))
    scale = alt.Scale(zero=zero)
    y = alt.Y(f"{value}:Q", title=title, scale=scale, axis=alt.Axis(format=form.replace(".3", "~")))
    base = alt.Chart().encode(x=x, color=colour)

    ends = alt.Y("low:Q", title=title, scale=scale), alt.Y2("high:Q")
    area = base.mark_area().encode(y=ends[0], y2=ends[1], opacity=_dimmed(0.18))
    line = base.mark_line(strokeWidth=2).encode(y=y, strokeDash=dash, opacity=_dimmed(1.0))
    tooltips = [
        alt.Tooltip("panel:N", title="perturbation"),
        alt.Tooltip("model:N"),
        alt.Tooltip("epsilon:Q", title="ε"),
        alt.Tooltip(f"{value}:Q", title=title, format=form),
        alt.Tooltip("low:Q", title="95 % from", format=form),
        alt.Tooltip("high:Q", title="to", format=form),
        alt.Tooltip("n:Q", title="images"),
    ]
    points = base.mark_point(size=45, filled=True).encode(
        y=y,
        shape=shape,
        opacity=_dimmed(1.0),
        tooltip=tooltips,
    )
    return in_panels(
        [area, line.add_params(chosen), points],
        data.to_dicts(),
        data["panel"].unique(maintain_order=True).to_list(),
        layout,
    )


def _each_once(data: pl.DataFrame) -> pl.DataFrame:
    """Panels of the same numbers as one, under all their names."""
    panels = {
        str(name): part.sort("model", "epsilon").drop("panel")
        for (name,), part in data.group_by("panel", maintain_order=True)
    }
    kept: dict[str, list[str]] = {}
    for name, part in panels.items():
        same = [one for one in kept if panels[one].equals(part)]
        kept.setdefault(same[0] if same else name, []).append(name)
    names = {first: ", ".join(its) for first, its in kept.items()}
    return data.filter(pl.col("panel").is_in(list(kept))).with_columns(
        panel=pl.col("panel").replace(names)
    )


def _scopes(
    data: pl.DataFrame,
    x: tuple[str, str, Sequence[float] | None],
    y: tuple[str, str],
    layout: Layout,
    *,
    band: bool = True,
    logarithmic: bool = False,
) -> dict[str, Any]:
    """A panel for each model, a line for each perturbation and control."""
    several = data["variant"].n_unique() > 1
    panel = pl.format("{} ({})", "model", "variant") if several else pl.col("model")
    data = data.with_columns(panel=panel).drop("variant", "model")
    scopes = data["scope"].unique(maintain_order=True).to_list()
    own = [scope for scope in scopes if scope.startswith(OWN_SIZE.format("")) or is_taken(scope)]
    attacks = [scope for scope in scopes if scope not in (*_CONTROL_COLOURS, *own)]
    shades = [ATTACK, *OTHER_ATTACKS * len(attacks)]
    colours = dict(zip(attacks, shades, strict=False)) | _CONTROL_COLOURS
    dashes = dict(zip(attacks, DASHES * len(attacks), strict=False)) | _CONTROL_DASHES
    colours |= {scope: _OWN_SIZE_COLOURS[place % 3] for place, scope in enumerate(own)}
    dashes |= {scope: [2, 2] for scope in own}
    shown = legend(layout, "perturbation", scopes)
    chosen = alt.selection_point(fields=["scope"], bind="legend", toggle="true", name=_CHOSEN)
    axis = levels(x[2]) if x[2] else alt.Axis()
    scale: Any = alt.Undefined
    if logarithmic:
        scale, axis = alt.Scale(type="log", nice=False), alt.Axis(format="~g", tickCount=4)
    upward = {"scale": scale, "axis": axis if logarithmic else alt.Undefined}
    base = alt.Chart().encode(
        x=alt.X(f"{x[0]}:Q", title=x[1], axis=axis, scale=scale),
        color=alt.Color(
            "scope:N",
            scale=alt.Scale(domain=scopes, range=[colours[scope] for scope in scopes]),
            legend=shown,
        ),
    )

    names = {"layer": "layer:N", x[0]: f"{x[0]}:Q", "n": "n:Q"}
    numbers = {y[0]: y[1], "low": "95 % from", "high": "to"}
    tooltips = [alt.Tooltip(field) for name, field in names.items() if name in data.columns]
    tooltips += [
        alt.Tooltip(f"{name}:Q", title=title, format=".3f")
        for name, title in numbers.items()
        if name in data.columns
    ]
    line = base.mark_line(strokeWidth=2).encode(
        y=alt.Y(f"{y[0]}:Q", title=y[1], **upward),
        strokeDash=alt.StrokeDash(
            "scope:N",
            scale=alt.Scale(domain=scopes, range=[dashes[scope] for scope in scopes]),
            legend=shown,
        ),
        opacity=_dimmed(1.0),
    )
    points = base.mark_point(size=8 if logarithmic else 35, filled=True).encode(
        y=alt.Y(f"{y[0]}:Q", title=y[1], **upward),
        opacity=_dimmed(1.0),
        tooltip=[
            alt.Tooltip("panel:N", title="model"),
            alt.Tooltip("scope:N", title="perturbation"),
            *tooltips,
        ],
    )
    layers = [line.add_params(chosen), points]
    if band:
        ends = alt.Y("low:Q", title=y[1]), alt.Y2("high:Q")
        layers.insert(0, base.mark_area().encode(y=ends[0], y2=ends[1], opacity=_dimmed(0.18)))
    return in_panels(
        layers,
        data.to_dicts(),
        data["panel"].unique(maintain_order=True).to_list(),
        layout,
    )

"""Frames to charts, each one specification for the page, papers and slides."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import polars as pl
import vl_convert

from lookaway.analysis import direction, summary
from lookaway.analysis.frames import Frames

# Okabe and Ito's colours, which colour-blind people can tell apart; the controls are grey.
_COLOURS = ["#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
_DASHES = [[1, 0], [8, 3], [2, 2], [10, 3, 2, 3], [5, 5], [3, 1]]
NOISE, SHUFFLED = "noise", "shuffled (two unrelated looks)"
_CONTROL_COLOURS = {NOISE: "#6b6b6b", SHUFFLED: "#9a9a9a"}
_CONTROL_DASHES = {NOISE: [4, 3], SHUFFLED: [1, 3]}
_WORD_COLOURS = {
    "stayed": "#d9d9d9",
    "moved": "#0072B2",
    "spread": "#E69F00",
    "shrank": "#56B4E9",
    "inverted": "#CC79A7",
    "died": "#333333",
}
_PANEL = 210  # px


def mod_over_epsilon(frames: Frames, policy: str) -> dict[str, Any]:
    """MOD over ε for each model, with 95 % intervals; noise and the shuffled level beside it.

    Args:
        frames: of a run.
        policy: the explained class.

    Returns:
        A Vega-Lite specification with its data inside.
    """
    chosen = (pl.col("explained_class") == policy) & (pl.col("pairs") == "all")
    scoped = summary.by_scope(frames.last(frames.mod).filter(chosen))
    # A source's own line is its white-box line: once is enough.
    scoped = scoped.filter(
        pl.col("scope").str.ends_with("white-box")
        | (pl.col("source") != pl.col("model")).fill_null(value=True)
    ).select("variant", "model", "scope", "epsilon", "mod", "low", "high", "n")
    levels = scoped.select("epsilon").unique().sort("epsilon")
    unrelated = frames.last(frames.shuffled).filter(chosen).rename({"shuffled": "mod"})
    level = unrelated.with_columns(scope=pl.lit(SHUFFLED)).join(levels, how="cross")
    return _lines(
        pl.concat([scoped, level.select(scoped.columns)]),
        x=("epsilon", "ε", sorted(levels["epsilon"].to_list())),
        y=("mod", "MOD"),
    )


def excess_over_depth(frames: Frames, policy: str) -> dict[str, Any]:
    """Excess shift of every layer over its depth, at the largest ε.

    Args:
        frames: of a run that explains several layers.
        policy: the explained class.

    Returns:
        A Vega-Lite specification with its data inside.
    """
    return _lines(
        _at_top(frames, policy).select(
            "variant", "model", "scope", "depth", "layer", "excess", "low", "high", "n"
        ),
        x=("depth", "depth (0 first layer, 1 last)", None),
        y=("excess", f"excess shift at ε = {frames.top:g}"),
        band=False,
    )


def mod_over_depth(frames: Frames, policy: str) -> dict[str, Any]:
    """MOD of every layer over its depth at the largest ε, beside noise and the shuffled level."""
    found = _at_top(frames, policy)
    shared = ["variant", "model", "depth", "layer", "n"]
    own = found.filter(pl.col("scope").str.ends_with("white-box"))
    parts = [
        found.select(*shared, "scope", "mod"),
        own.select(*shared, scope=pl.lit(NOISE), mod=pl.col("noise")),
        own.select(*shared, scope=pl.lit(SHUFFLED), mod=pl.col("shuffled")),
    ]
    columns = [*shared, "scope", "mod"]
    return _lines(
        pl.concat(part.select(columns) for part in parts).unique(maintain_order=True),
        x=("depth", "depth (0 first layer, 1 last)", None),
        y=("mod", f"MOD at ε = {frames.top:g}"),
        band=False,
    )


def dead_over_depth(frames: Frames, policy: str) -> dict[str, Any]:
    """The share of dead maps of every layer over its depth, at the largest ε."""
    found = _at_top(frames, policy)
    return _lines(
        found.select(
            "variant", "model", "scope", "depth", "layer", "n", dead=pl.col("attacked_dead")
        ),
        x=("depth", "depth (0 first layer, 1 last)", None),
        y=("dead", f"share of dead maps at ε = {frames.top:g}"),
        band=False,
    )


def words_over_epsilon(frames: Frames, policy: str) -> dict[str, Any]:
    """What became of the looks: the share of each word, by ε, for each model and its own attack.

    Args:
        frames: of a run.
        policy: the explained class.

    Returns:
        A Vega-Lite specification with its data inside.
    """
    found = frames.direction.filter(
        pl.col("measure").is_in(direction.WORDS),
        pl.col("explained_class") == policy,
        (pl.col("source") == pl.col("model")) | pl.col("source").is_null(),
    )
    order = {word: place for place, word in enumerate(direction.WORDS)}
    data = found.with_columns(
        panel=_panel(found),
        level=pl.format(
            "{} {}", pl.col("attack"), pl.col("epsilon").map_elements(_short, pl.String)
        ),
        place=pl.col("measure").replace_strict(order, return_dtype=pl.Int64),
    ).select("panel", "level", "measure", "value", "n", "place")
    chart = (
        alt.Chart(alt.InlineData(values=data.to_dicts()))
        .mark_bar()
        .encode(
            x=alt.X("value:Q", title="share of images", axis=alt.Axis(format="%"), stack=True),
            y=alt.Y(
                "level:N", title=None, sort=data["level"].unique(maintain_order=True).to_list()
            ),
            color=alt.Color(
                "measure:N",
                scale=alt.Scale(domain=list(_WORD_COLOURS), range=list(_WORD_COLOURS.values())),
                legend=alt.Legend(title="the look", orient="bottom"),
            ),
            order=alt.Order("place:Q"),
            tooltip=["panel:N", "level:N", "measure:N", "value:Q", "n:Q"],
        )
        .properties(width=_PANEL, height=alt.Step(17))
    )
    return _faceted(chart, data["panel"].unique(maintain_order=True).to_list())


def all_figures(frames: Frames) -> dict[str, dict[str, Any]]:
    """Every chart of a run by name."""
    found = {}
    for policy in frames.ordered_policies:
        found[f"mod_{policy}"] = mod_over_epsilon(frames, policy)
        found[f"words_{policy}"] = words_over_epsilon(frames, policy)
        if frames.several_layers:
            found[f"mod_by_depth_{policy}"] = mod_over_depth(frames, policy)
            found[f"excess_by_depth_{policy}"] = excess_over_depth(frames, policy)
            found[f"dead_by_depth_{policy}"] = dead_over_depth(frames, policy)
    return found


def _at_top(frames: Frames, policy: str) -> pl.DataFrame:
    """Every layer at the largest ε, by scope, each setting once."""
    found = summary.by_scope(
        frames.by_depth.filter(pl.col("explained_class") == policy, pl.col("epsilon") == frames.top)
    )
    return found.filter(
        pl.col("scope").str.ends_with("white-box") | (pl.col("source") != pl.col("model"))
    )


def _lines(
    data: pl.DataFrame,
    x: tuple[str, str, Sequence[float] | None],
    y: tuple[str, str],
    *,
    band: bool = True,
) -> dict[str, Any]:
    """A panel for each model, a line for each scope."""
    data = data.with_columns(panel=_panel(data)).drop("variant", "model")
    scopes = data["scope"].unique(maintain_order=True).to_list()
    attacks = [scope for scope in scopes if scope not in _CONTROL_COLOURS]
    colours = dict(zip(attacks, _COLOURS * len(attacks), strict=False)) | _CONTROL_COLOURS
    dashes = dict(zip(attacks, _DASHES * len(attacks), strict=False)) | _CONTROL_DASHES
    scale = alt.Scale(domain=scopes, range=[colours[scope] for scope in scopes])
    legend = alt.Legend(
        title="perturbation",
        orient="bottom",
        symbolType="stroke",
        symbolSize=300,
        symbolOpacity=1,
        symbolStrokeWidth=2.5,
        labelLimit=400,
    )
    axis = alt.Axis(values=list(x[2]), labelExpr="format(datum.value, '.3~g')") if x[2] else None
    base = alt.Chart().encode(x=alt.X(f"{x[0]}:Q", title=x[1], axis=axis or alt.Axis()))
    colour = alt.Color("scope:N", scale=scale, legend=legend)
    told = ["layer:N", f"{x[0]}:Q", f"{y[0]}:Q", "low:Q", "high:Q", "n:Q"]
    told = [name for name in told if name[:-2] in data.columns]
    line = base.mark_line(point=alt.OverlayMarkDef(size=35), strokeWidth=2).encode(
        y=alt.Y(f"{y[0]}:Q", title=y[1]),
        color=colour,
        strokeDash=alt.StrokeDash(
            "scope:N",
            scale=alt.Scale(domain=scopes, range=[dashes[scope] for scope in scopes]),
            legend=legend,
        ),
        tooltip=["panel:N", "scope:N", *told],
    )
    layers = [line]
    if band:
        ends = alt.Y("low:Q", title=y[1]), "high:Q"
        area = base.mark_area(opacity=0.18).encode(y=ends[0], y2=ends[1], color=colour)
        layers.insert(0, area)
    chart = alt.layer(*layers, data=alt.InlineData(values=data.to_dicts()))
    return _faceted(
        chart.properties(width=_PANEL, height=_PANEL),
        data["panel"].unique(maintain_order=True).to_list(),
    )


def _panel(data: pl.DataFrame) -> pl.Expr:
    several = data["variant"].n_unique() > 1
    return pl.format("{} ({})", "model", "variant") if several else pl.col("model")


def _short(value: float) -> str:
    return f"{value:g}"


def _faceted(chart: Any, panels: Sequence[str]) -> dict[str, Any]:
    header = alt.Header(labelFontSize=13, labelLimit=_PANEL)
    spec: dict[str, Any] = (
        chart.facet(
            facet=alt.Facet("panel:N", sort=list(panels), title=None, header=header), columns=3
        )
        .configure(font="sans-serif")
        .configure_axis(labelFontSize=11, titleFontSize=13, gridColor="#e5e5e5")
        .configure_legend(labelFontSize=12, titleFontSize=12)
        .configure_view(stroke="#cccccc")
        .to_dict()
    )
    return spec


def as_svg(spec: Mapping[str, Any]) -> str:
    """A chart as SVG."""
    svg: str = vl_convert.vegalite_to_svg(dict(spec))
    return svg


def files(figures: Mapping[str, dict[str, Any]]) -> dict[str, bytes]:
    """The files of charts: name → content, as SVG, PNG and PDF."""
    found = {}
    for name, spec in figures.items():
        found[f"{name}.svg"] = as_svg(spec).encode()
        found[f"{name}.png"] = vl_convert.vegalite_to_png(spec, scale=2)
        found[f"{name}.pdf"] = vl_convert.vegalite_to_pdf(spec)
    return found

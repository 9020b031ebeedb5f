"""Frames to charts, each one specification for the page, papers and slides."""

from typing import Any

import altair as alt
import polars as pl
import vl_convert

from lookaway.analysis import summary
from lookaway.analysis.frames import Frames

# Okabe and Ito's colours, which colour-blind people can tell apart; the control is grey.
_COLOURS = ["#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
_CONTROL = "#767676"
_DASHES = [[1, 0], [8, 3], [2, 2], [10, 3, 2, 3], [5, 5], [3, 1]]
_CONTROL_DASH = [4, 3]


def mod_over_epsilon(frames: Frames, policy: str) -> dict[str, Any]:
    """MOD over ε for each model, with 95 % intervals, and the noise control beside it.

    Args:
        frames: of a run.
        policy: the explained class.

    Returns:
        A Vega-Lite specification with its data inside.
    """
    scoped = summary.by_scope(
        frames.last(frames.mod).filter(
            (pl.col("explained_class") == policy) & (pl.col("pairs") == "all")
        )
    )
    # A source's own line is its white-box line: once is enough.
    scoped = scoped.filter(
        pl.col("scope").str.ends_with("white-box")
        | (pl.col("source") != pl.col("model")).fill_null(True)
    )
    several = scoped["variant"].n_unique() > 1
    panel = pl.format("{} ({})", "model", "variant") if several else pl.col("model")
    data = scoped.with_columns(panel=panel).select(
        "panel", "scope", "epsilon", "mod", "low", "high", "n"
    )
    panels = data["panel"].unique(maintain_order=True).to_list()
    scopes = data["scope"].unique(maintain_order=True).to_list()
    adversarial = [scope for scope in scopes if scope != "noise"]
    colours = {
        scope: _COLOURS[place % len(_COLOURS)] for place, scope in enumerate(adversarial)
    } | {"noise": _CONTROL}
    dashes = {scope: _DASHES[place % len(_DASHES)] for place, scope in enumerate(adversarial)} | {
        "noise": _CONTROL_DASH
    }
    x = alt.X(
        "epsilon:Q",
        title="ε",
        axis=alt.Axis(
            values=sorted(data["epsilon"].unique().to_list()),
            labelExpr="format(datum.value, '.3~g')",
        ),
    )
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
    base = alt.Chart().encode(x=x)
    band = base.mark_area(opacity=0.18).encode(
        y=alt.Y("low:Q", title="MOD"),
        y2="high:Q",
        color=alt.Color("scope:N", scale=scale, legend=legend),
    )
    line = base.mark_line(point=alt.OverlayMarkDef(size=35), strokeWidth=2).encode(
        y=alt.Y("mod:Q", title="MOD"),
        color=alt.Color("scope:N", scale=scale, legend=legend),
        strokeDash=alt.StrokeDash(
            "scope:N",
            scale=alt.Scale(domain=scopes, range=[dashes[scope] for scope in scopes]),
            legend=legend,
        ),
        tooltip=["panel:N", "scope:N", "epsilon:Q", "mod:Q", "low:Q", "high:Q", "n:Q"],
    )
    chart = (
        alt.layer(band, line, data=alt.InlineData(values=data.to_dicts()))
        .properties(width=210, height=210)
        .facet(
            facet=alt.Facet(
                "panel:N",
                sort=panels,
                title=None,
                header=alt.Header(labelFontSize=13, labelLimit=210),
            ),
            columns=3,
        )
        .configure(font="sans-serif")
        .configure_axis(labelFontSize=11, titleFontSize=13, gridColor="#e5e5e5")
        .configure_legend(labelFontSize=12, titleFontSize=12)
        .configure_view(stroke="#cccccc")
    )
    spec: dict[str, Any] = chart.to_dict()
    return spec


def all_figures(frames: Frames) -> dict[str, dict[str, Any]]:
    """Every chart of a run by name."""
    return {f"mod_{policy}": mod_over_epsilon(frames, policy) for policy in frames.policies}


def as_svg(spec: dict[str, Any]) -> str:
    """A chart as SVG."""
    svg: str = vl_convert.vegalite_to_svg(spec)
    return svg


def files(figures: dict[str, dict[str, Any]]) -> dict[str, bytes]:
    """The files of charts: name → content, as SVG, PNG and PDF."""
    found = {}
    for name, spec in figures.items():
        found[f"{name}.svg"] = as_svg(spec).encode()
        found[f"{name}.png"] = vl_convert.vegalite_to_png(spec, scale=2)
        found[f"{name}.pdf"] = vl_convert.vegalite_to_pdf(spec)
    return found

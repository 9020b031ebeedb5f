"""The one style of all charts: colours, dashes and shapes, sizes, legends."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

# Okabe and Ito's colours, which colour-blind people can tell apart; the controls are grey.
COLOURS = ["#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
DASHES = [[1, 0], [8, 3], [2, 2], [10, 3, 2, 3], [5, 5], [3, 1]]
SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down"]
DATA = alt.NamedData("rows")  # a chart's data, put in last: Altair copies a chart at every step


@dataclass(frozen=True)
class Layout:
    """Sizes in px of a chart that is to become one or two columns wide.

    Attributes:
        panel: a panel's side.
        panels: how many stand beside each other.
        legend: how many entries of a legend do.
        label: the longest label.
    """

    panel: int
    panels: int
    legend: int
    label: int


LAYOUTS = {1: Layout(125, 2, 2, 150), 2: Layout(200, 3, 3, 240)}


def styles(count: int) -> tuple[list[str], list[list[int]], list[str]]:
    """Colours, dashes and shapes of so many things; no two are alike in all, up to 36."""
    dashes = [DASHES[(place + place // 6) % 6] for place in range(count)]
    shapes = [SHAPES[(place + place // 6) % 6] for place in range(count)]
    return [COLOURS[place % 6] for place in range(count)], dashes, shapes


def legend(layout: Layout, title: str, *, points: bool = False) -> alt.Legend:
    """A legend below the chart, of strokes or of points; names that are too long are cut."""
    symbols = (
        {"symbolSize": 80, "symbolStrokeWidth": 1}
        if points
        else {"symbolType": "stroke", "symbolSize": 300, "symbolStrokeWidth": 2.5}
    )
    return alt.Legend(
        title=title,
        orient="bottom",
        columns=layout.legend,
        symbolOpacity=1,
        labelLimit=layout.label,
        labelFontSize=12,
        titleFontSize=12,
        titleLimit=layout.panel * layout.panels,
        **symbols,
    )


def levels(values: Sequence[float]) -> alt.Axis:
    """An axis with a study's strengths as its ticks."""
    return alt.Axis(
        values=list(values), labelExpr="format(datum.value, '.3~g')", labelOverlap="greedy"
    )


def in_panels(
    chart: Any,
    rows: list[dict[str, Any]],
    names: Sequence[str],
    layout: Layout,
    *,
    independent: bool = False,
) -> dict[str, Any]:
    """A specification with a panel for each name; ``independent``: each has a y axis of its own."""
    header = alt.Header(labelFontSize=13, labelLimit=layout.panel + 25)
    return faceted(
        chart,
        rows,
        facet=alt.Facet("panel:N", sort=list(names), title=None, header=header),
        columns=layout.panels,
        resolve=alt.Resolve(scale={"y": "independent"}) if independent else alt.Undefined,
    )


def faceted(chart: Any, rows: list[dict[str, Any]], **facets: Any) -> dict[str, Any]:
    """The specification of a chart of ``DATA`` in facets, in the style of all, with its rows."""
    config = alt.Config(
        font="sans-serif",
        axis=alt.AxisConfig(labelFontSize=11, titleFontSize=13, gridColor="#e5e5e5"),
        view=alt.ViewConfig(stroke="#cccccc"),
    )
    spec: dict[str, Any] = chart.facet(**facets, config=config).to_dict(validate=False)
    return spec | {"datasets": {DATA.name: rows}}

"""What all charts share: colours, dashes and shapes, sizes, legends, panels."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

# Okabe and Ito's colours, which colour-blind people can tell apart. One of them is the attack's
# alone; the others are the models', with a dark one of Tol's; controls are grey.
ATTACK = "#D55E00"
COLOURS = ["#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255"]
OTHER_ATTACKS = ["#8c3b00", "#b8860b", "#5b3a29", "#e08a6a", "#6b5b00"]
# Charts are laid out in Liberation Sans, whose letters are as wide as Arial's and Helvetica's.
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
# As everywhere else: a minus sign, and a space before the percent sign.
_NUMBERS = {
    "decimal": ".",
    "thousands": ",",
    "grouping": [3],
    "currency": ["", ""],
    "percent": "\u00a0%",
    "minus": "\u2212",
}
DASHES = [[1, 0], [8, 3], [2, 2], [10, 3, 2, 3], [5, 5], [3, 1]]
_AXIS, _SYMBOL, _LETTER = 85, 45, 6.6  # px: left of panels; of a legend's symbol; of a letter
SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down"]


@dataclass(frozen=True)
class Layout:
    """Sizes in px of a chart that is to become one or two columns wide.

    Attributes:
        panel: a panel's side.
        panels: how many stand beside each other.
        legend: how many entries of a legend do.
        label: the longest label, of short names.
    """

    panel: int
    panels: int
    legend: int
    label: int

    def width(self, across: int) -> int:
        """A panel's, px, where so many stand beside each other and fill the chart's width."""
        whole = self.panels * (self.panel + _BESIDE)
        return min(2 * self.panel + _BESIDE, whole // max(1, across) - _BESIDE)


_BESIDE = 58  # px, of an axis's labels and the gap to the next panel
LAYOUTS = {1: Layout(125, 2, 2, 150), 2: Layout(200, 3, 3, 240)}


def styles(count: int) -> tuple[list[str], list[list[int]], list[str]]:
    """Colours, dashes and shapes of so many things; no two are alike in all, up to 36."""
    dashes = [DASHES[(place + place // 6) % 6] for place in range(count)]
    shapes = [SHAPES[(place + place // 6) % 6] for place in range(count)]
    return [COLOURS[place % 6] for place in range(count)], dashes, shapes


def legend(
    layout: Layout, title: str, names: Sequence[str] = (), *, points: bool = False
) -> alt.Legend:
    """A legend below the chart, of strokes or of points.

    Args:
        layout: sizes.
        title: of the legend.
        names: those in it: long ones have fewer columns, and are cut where one column is too short.
        points: whether it is of points.
    """
    room = layout.panel * layout.panels + _AXIS
    longest = round(_LETTER * max(map(len, names), default=0))
    label = max(layout.label, min(longest, room - _SYMBOL))
    fitting = layout.legend if longest <= layout.label else max(1, room // (label + _SYMBOL))
    symbols = (
        {"symbolSize": 80, "symbolStrokeWidth": 1}
        if points
        else {"symbolType": "stroke", "symbolSize": 300, "symbolStrokeWidth": 2.5}
    )
    return alt.Legend(
        title=title,
        orient="bottom",
        columns=min(layout.legend, fitting),
        symbolOpacity=1,
        labelLimit=label,
        labelFontSize=12,
        titleFontSize=12,
        titleLimit=layout.panel * layout.panels,
        columnPadding=28,  # where the letters at hand are wider
        **symbols,
    )


def levels(values: Sequence[float]) -> alt.Axis:
    """An axis with a study's strengths as its ticks."""
    return alt.Axis(
        values=list(values), labelExpr="format(datum.value, '.3~g')", labelOverlap="greedy"
    )


def in_panels(
    layers: Sequence[alt.Chart],
    rows: list[dict[str, Any]],
    names: Sequence[str],
    layout: Layout,
    *,
    height: float | alt.Step | None = None,
    independent: bool = False,
) -> dict[str, Any]:
    """A specification with a panel for each name.

    Args:
        layers: charts that lie on each other in a panel.
        rows: the data; ``panel`` says where each belongs.
        names: of the panels, in order.
        layout: sizes.
        height: of a panel, px; None: square.
        independent: whether each has a y axis of its own.
    """
    lines = math.ceil(len(names) / layout.panels)
    across = math.ceil(len(names) / max(1, lines)) or 1  # as many in each row
    header = alt.Header(labelFontSize=13, labelLimit=layout.width(across) + 25)
    panel = alt.Facet("panel:N", sort=list(names), title=None, header=header)
    high = layout.panel if height is None else height
    found = faceted(layers, rows, {"facet": panel}, layout.width(across), high)
    found["columns"] = across
    # Each panel has axes of its own: shared ones stand bare where the last row is not full.
    found["resolve"] = {"axis": {"x": "independent", "y": "independent"}}
    if independent:
        found["resolve"]["scale"] = {"y": "independent"}
    _title_above(found)
    return found


def _title_above(found: dict[str, Any]) -> None:
    """What all panels' y axes show, once and above them, where it takes no panel's width."""
    axes = [layer.get("encoding", {}).get("y", {}) for layer in found["spec"]["layer"]]
    titles = [axis["title"] for axis in axes if axis.get("title")]
    for axis in axes:
        if "field" in axis:
            axis["title"] = None
    if titles:
        found["title"] = {"text": titles[0], "anchor": "start", "fontWeight": "normal"}


def faceted(
    layers: Sequence[alt.Chart],
    rows: list[dict[str, Any]],
    facets: Mapping[str, Any],
    width: float,
    height: float | alt.Step,
) -> dict[str, Any]:
    """The specification of charts that lie on each other, in facets of one data set.

    It is put together here because Altair copies every part of a chart at every step.
    """
    config = alt.Config(
        aria=False,  # a sentence and a table say it in place of every mark
        font=FONT,
        axis=alt.AxisConfig(labelFontSize=11, titleFontSize=12, gridColor="#e5e5e5"),
        title=alt.TitleConfig(fontSize=12, offset=8),
        view=alt.ViewConfig(stroke="#cccccc"),
    )
    by = {name: _plain(channel) for name, channel in facets.items()}
    return {
        "$schema": alt.SCHEMA_URL,
        "config": _plain(config) | {"locale": {"number": _NUMBERS}},
        "data": {"name": "rows"},
        "datasets": {"rows": rows},
        "facet": by.get("facet", by),
        "spec": {
            "layer": [_plain(chart) for chart in layers],
            "width": width,
            "height": height if isinstance(height, int | float) else _plain(height),
        },
    }


def _plain(part: Any) -> dict[str, Any]:
    """A part of a specification as JSON has it."""
    found: dict[str, Any] = part.to_dict(validate=False, context={"top_level": False})
    return {name: value for name, value in found.items() if name != "data"}  # "empty" for no data

"""Figures of image panels, set by matplotlib, as wide as a paper's columns."""

import math
import unicodedata
import warnings
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from lookaway.report.options import COLOURS, POINTS, Options
from lookaway.report.overlays import coloured

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GAP = 6.0  # pt
_SIZE = 7.0  # pt, of letters
_GREY = "#757575"  # its contrast with white is 4.6, with the page's dark ground 3.9
_LINE, _HEAD = 1.3 * _SIZE, 1.6 * _SIZE
_SAVED: dict[str, dict[str, Any]] = {
    "svg": {"dpi": 120, "metadata": {"Date": None}},
    "pdf": {"dpi": 300, "metadata": {"CreationDate": None}},
    "png": {"dpi": 300},
    "webp": {"dpi": 150, "pil_kwargs": {"method": 0}},  # twice as fast, a sixth larger
}
# What files need to be the same in each build, and as text; the rest is the user's style.
_RC: dict[Any, Any] = {
    "svg.hashsalt": "lookaway",
    "svg.fonttype": "none",
    "svg.image_inline": True,
    "pdf.fonttype": 42,  # journals refuse matplotlib's own, type 3
    "savefig.bbox": None,
    "text.usetex": False,  # a name is no TeX
    "text.parse_math": False,  # nor is a $ in it
    "image.composite_image": False,
    "figure.autolayout": False,
    "figure.constrained_layout.use": False,
}
# For letters that the user's font lacks, where one of these is installed.
_FALLBACKS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "PingFang SC", "Microsoft YaHei", "Noto Sans")


@dataclass(frozen=True)
class Panel:
    """An image, the lines under it, and the names of its rows and columns where it is a mosaic.

    Attributes:
        pixels: (H, W, 3) in [0, 1]; None: text alone.
        lines: text under it.
        rows: names of its rows of tiles, at its left.
        columns: names of its columns of tiles, above it.
    """

    pixels: np.ndarray | None
    lines: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


@contextmanager
def _style() -> Iterator[None]:
    """The user's style, with ``_RC``; no warning of letters that no font has."""
    import matplotlib
    from matplotlib.font_manager import fontManager

    installed = set(fontManager.get_font_names())
    family = [*matplotlib.rcParams["font.family"], *(f for f in _FALLBACKS if f in installed)]
    with warnings.catch_warnings(), matplotlib.rc_context({**_RC, "font.family": family}):
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        yield


def saved(figure: "Figure", kind: str) -> bytes:
    """A figure as ``svg``, ``pdf``, ``png`` or ``webp``; the same bytes each time."""
    buffer = BytesIO()
    with _style():
        figure.savefig(buffer, format=kind, **_SAVED[kind])
    return buffer.getvalue()


def on_any_ground(figure: "Figure") -> bytes:
    """A figure as WebP whose letters are read on white and on black, its ground left out."""
    texts = [text for axes in figure.axes for text in axes.texts]
    before = [text.get_color() for text in texts]
    buffer = BytesIO()
    try:
        for text in texts:
            text.set_color(_GREY)
        with _style():
            figure.savefig(buffer, format="webp", transparent=True, **_SAVED["webp"])
    finally:
        for text, colour in zip(texts, before, strict=True):
            text.set_color(colour)
    return buffer.getvalue()


def panel_rows(
    rows: Sequence[tuple[str, Sequence[Panel]]],
    options: Options,
    *,
    between: Sequence[str] = (),
    colour_bar: bool = True,
    note: str = "",
) -> "Figure":
    """Rows of panels under their names, then the colours of heatmaps and a note.

    All stand in one axes, in points from the figure's top left: axes for each would be slow.

    Args:
        rows: each row's name, which may be empty, and its panels.
        options: the width and the colour map.
        between: what stands left of each panel of a row, in the gap before it.
        colour_bar: whether the colours of heatmaps are explained.
        note: below all, on as many lines as it needs.
    """
    from matplotlib.figure import Figure

    with _style():
        width, across = POINTS[options.columns], max(len(panels) for _, panels in rows)
        room = width - 2 * _GAP
        names = [name for _, panels in rows for panel in panels for name in panel.rows]
        margin = min(max(map(_width, names)) + 3, 0.35 * width / across) if names else 0.0
        gap = _GAP + margin + (_GAP + max(map(_width, between)) if between else 0.0)
        side = (room - margin - (across - 1) * gap) / across
        figure = Figure(dpi=72)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        y = _GAP
        for name, panels in rows:
            if name:
                _write(axes, _GAP, y, name, room, fontweight="bold")
                y += _HEAD
            bottoms = []
            for place, panel in enumerate(panels):
                x = _GAP + margin + place * (side + gap)
                bottoms.append(_draw(axes, panel, x, y, side, margin))
                if between:
                    middle = x - gap / 2, y + (side - _LINE) / 2
                    _write(axes, *middle, between[place], gap, horizontalalignment="center")
            y = max(bottoms) + _GAP
        if colour_bar:
            _colour_bar(axes, y, options)
            y += 1.5 * _LINE
        for line in wrap(clear(note), int(room / (0.6 * _SIZE))):
            _write(axes, _GAP, y, line, room)
            y += _LINE
        figure.set_size_inches(width / 72, (y + _GAP) / 72)
        axes.set(xlim=(0, width), ylim=(y + _GAP, 0))
    return figure


def mosaic(tiles: Sequence[np.ndarray], across: int, edge: int = 2) -> np.ndarray:
    """Square tiles (side, side, 3) in rows, a white edge right of and below each, as one image."""
    side = tiles[0].shape[0] + edge
    whole = np.ones((math.ceil(len(tiles) / across) * side, across * side, 3))
    for place, tile in enumerate(tiles):
        y, x = (place // across) * side, (place % across) * side
        whole[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    return whole


def fitted(text: str, room: float, **font: Any) -> str:
    """As much of a text as fits into so many points, without what turns or hides letters."""
    plain = clear(text)
    if _width(plain, **font) <= room:
        return plain
    lengths = range(len(plain))
    most = bisect_right(lengths, room, key=lambda length: _width(f"{plain[:length]}…", **font))
    return f"{plain[: max(0, most - 1)]}…"


def clear(text: str) -> str:
    """A text on one line, without what turns or hides letters."""
    return "".join(
        letter for letter in " ".join(text.split()) if unicodedata.category(letter)[0] != "C"
    )


def _width(text: str, **font: Any) -> float:
    """How wide a text is, pt."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    properties = FontProperties(size=_SIZE, weight=font.get("fontweight"))
    return text_to_path.get_text_width_height_descent(text, properties, ismath=False)[0]


def _write(axes: "Axes", x: float, y: float, text: str, room: float, **font: Any) -> None:
    """Write on one line below y."""
    axes.text(x, y + 0.8 * _LINE, fitted(text, room, **font), fontsize=_SIZE, **font)


def _draw(axes: "Axes", panel: Panel, x: float, y: float, side: float, margin: float) -> float:
    """Draw a panel below y; returns where it ends."""
    if panel.columns:
        each = side / len(panel.columns)
        for place, name in enumerate(panel.columns):
            middle = x + (place + 0.5) * each
            _write(axes, middle, y, name, each, horizontalalignment="center")
        y += _HEAD
    if panel.pixels is not None:
        height = side * panel.pixels.shape[0] / panel.pixels.shape[1]
        _image(axes, panel.pixels, x, y, side, height)
        each = height / max(1, len(panel.rows))
        for place, name in enumerate(panel.rows):
            middle = y + (place + 0.5) * each - 0.55 * _LINE
            _write(axes, x - 3, middle, name, margin - 3, horizontalalignment="right")
        y += height + 1
    for line in panel.lines:
        _write(axes, x, y, line, side)
        y += _LINE
    return y


def _image(
    axes: "Axes", pixels: np.ndarray, x: float, y: float, width: float, height: float
) -> None:
    """Draw an image (H, W, 3) in [0, 1], its top left at x and y."""
    codes = (255 * np.clip(pixels, 0, 1)).round().astype(np.uint8)
    axes.imshow(codes, origin="upper", aspect="auto", extent=(x, x + width, y + height, y))


def _colour_bar(axes: "Axes", y: float, options: Options) -> None:
    """The colours of heatmaps between what their ends mean."""
    low, high = COLOURS[options.colours]
    left, right = f"{low}: no participation", f"{high}: the highest"
    x = 2 * _GAP + _width(left)
    shades = coloured(np.linspace(0, 1, 64)[None], options.colours)
    _image(axes, shades, x, y + 0.1 * _LINE, 9 * _SIZE, 0.8 * _LINE)
    _write(axes, _GAP, y, left, math.inf)
    _write(axes, x + 9 * _SIZE + _GAP, y, right, math.inf)

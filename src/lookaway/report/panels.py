"""Figures of image panels, set by matplotlib, as wide as a paper's columns."""

import math
import unicodedata
import warnings
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from lookaway.report.options import COLOURS, POINTS, Options
from lookaway.report.overlays import coloured

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_GAP = 6.0  # pt
_SIZE = 7.0  # pt, of letters
_LINE, _HEAD = 1.3 * _SIZE, 1.6 * _SIZE
_DPI = {"svg": 200, "pdf": 300, "png": 300, "webp": 200}
_UNDATED = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
# What files need to be the same in each build, and as text; the rest is the user's style.
_RC: dict[Any, Any] = {
    "svg.hashsalt": "lookaway",
    "svg.fonttype": "none",
    "svg.image_inline": True,
    "pdf.fonttype": 42,  # journals refuse matplotlib's own, type 3
    "savefig.bbox": None,
    "text.usetex": False,  # a name is no TeX
    "text.parse_math": False,  # nor is a $ in it
    "axes.grid": False,
    "xtick.minor.visible": False,
    "ytick.minor.visible": False,
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
        figure.savefig(buffer, format=kind, dpi=_DPI[kind], metadata=_UNDATED.get(kind))
    return buffer.getvalue()


def panel_rows(
    rows: Sequence[tuple[str, Sequence[Panel | None]]],
    options: Options,
    *,
    between: Sequence[str] = (),
    colour_bar: bool = True,
    note: str = "",
) -> "Figure":
    """Rows of panels under their names, then the colours of heatmaps and a note.

    Args:
        rows: each row's name, which may be empty, and its panels; None leaves a place free.
        options: the width and the colour map.
        between: what stands left of each panel of a row, in the gap before it.
        colour_bar: whether the colours of heatmaps are explained.
        note: below all, on as many lines as it needs.
    """
    from matplotlib.figure import Figure

    with _style():
        width, across = POINTS[options.columns], max(len(panels) for _, panels in rows)
        names = [name for _, panels in rows for panel in panels if panel for name in panel.rows]
        margin = min(max(map(_width, names)) + 3, 0.35 * width / across) if names else 0.0
        gap = _GAP + margin + (_GAP + max(map(_width, between)) if between else 0.0)
        side = (width - 2 * _GAP - margin - (across - 1) * gap) / across
        noted = _wrapped(note, width - 2 * _GAP)
        below = (colour_bar * 1.5 + len(noted)) * _LINE + _GAP
        heights = [_row_height(name, panels, side) for name, panels in rows]
        figure = Figure(figsize=(width / 72, (sum(heights) + below + _GAP) / 72), dpi=72)
        y = _GAP
        for (name, panels), height in zip(rows, heights, strict=True):
            if name:
                _write(figure, _GAP, y, name, width - 2 * _GAP, fontweight="bold")
            for place, panel in enumerate(panels):
                x, top = _GAP + margin + place * (side + gap), y + _HEAD * bool(name)
                if panel:
                    _draw(figure, panel, x, top + _LINE * bool(panel.columns), side, margin)
                if between:
                    middle = x - gap / 2, top + (side - _LINE) / 2
                    _write(figure, *middle, between[place], gap, horizontalalignment="center")
            y += height
        if colour_bar:
            _colour_bar(figure, y, options)
            y += 1.5 * _LINE
        for line in noted:
            _write(figure, _GAP, y, line, width)
            y += _LINE
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


def _wrapped(text: str, room: float) -> list[str]:
    lines: list[str] = []
    for word in clear(text).split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _width(longer) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _row_height(name: str, panels: Sequence[Panel | None], side: float) -> float:
    """Of a row of panels with its text and the gap below it, pt."""
    heights = [0.0]
    for panel in filter(None, panels):
        lines = _LINE * (len(panel.lines) + bool(panel.columns))
        shape = (0, 1) if panel.pixels is None else panel.pixels.shape
        heights.append(side * shape[0] / shape[1] + lines)
    return max(heights) + _HEAD * bool(name) + _GAP


def _write(figure: "Figure", x: float, y: float, text: str, room: float, **font: Any) -> None:
    """Write on one line; x and y are its top left, pt from the figure's."""
    width, height = 72 * figure.get_size_inches()
    shown = fitted(text, room, **font)
    place = x / width, 1 - (y + 0.8 * _LINE) / height
    figure.text(*place, shown, fontsize=_SIZE, **font)


def _draw(figure: "Figure", panel: Panel, x: float, y: float, side: float, margin: float) -> None:
    """Draw a panel, its image's top left at x and y, pt from the figure's."""
    if panel.pixels is not None:
        high, wide = panel.pixels.shape[:2]
        axes = _image(figure, panel.pixels, x, y, side, side * high / wide)
        for names, size, room, put in (
            (panel.rows, high, margin - 3, axes.set_yticks),
            (panel.columns, wide, side / max(1, len(panel.columns)), axes.set_xticks),
        ):
            middles = (np.arange(len(names)) + 0.5) * size / max(1, len(names)) - 0.5
            put(middles, [fitted(name, room) for name in names], fontsize=_SIZE)
        axes.tick_params(length=0, pad=2, labelleft=True, labeltop=True, labelbottom=False)
        y += side * high / wide
    for place, line in enumerate(panel.lines):
        _write(figure, x, y + place * _LINE + 1, line, side)


def _image(
    figure: "Figure", pixels: np.ndarray, x: float, y: float, width: float, height: float
) -> Any:
    """Axes that an image (H, W, 3) in [0, 1] fills, in pt from the figure's top left."""
    whole, high = 72 * figure.get_size_inches()
    place = (x / whole, 1 - (y + height) / high, width / whole, height / high)
    axes = figure.add_axes(place, frameon=False, xticks=[], yticks=[])
    codes = (255 * np.clip(pixels, 0, 1)).round().astype(np.uint8)
    axes.imshow(codes, origin="upper", aspect="auto")
    return axes


def _colour_bar(figure: "Figure", y: float, options: Options) -> None:
    """The colours of heatmaps between what their ends mean."""
    low, high = COLOURS[options.colours]
    left, right = f"{low}: no participation", f"{high}: the highest"
    x = 2 * _GAP + _width(left)
    shades = coloured(np.linspace(0, 1, 64)[None], options.colours)
    _image(figure, shades, x, y + 0.1 * _LINE, 9 * _SIZE, 0.8 * _LINE)
    _write(figure, _GAP, y, left, math.inf)
    _write(figure, x + 9 * _SIZE + _GAP, y, right, math.inf)

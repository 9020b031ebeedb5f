"""Pictures in rows, as SVG: one image in every model, and one image in every layer."""

import unicodedata
from collections.abc import Sequence
from html import escape

import numpy as np

from lookaway.analysis.frames import Frames
from lookaway.errors import InputError
from lookaway.report.figure import POINTS
from lookaway.report.pictured import Pictured, PicturedImages
from lookaway.report.pictures import TILE, Tile, data_uri, overlay, picture

_GAP = 8  # px
_POINTS = 7.5  # of the letters, on paper
_MOST_LAYERS = 24
_ROWS = 8  # more are set in two blocks where there are two columns


def image_of(found: PicturedImages, name: str | None) -> Pictured:
    """A pictured image by its name; the first one where none is given.

    Raises:
        InputError: no image of that name is pictured.
    """
    if not found.images:
        raise InputError("the study pictures no image; set explain.pictured above 0")
    names = [image.image for image in found.images]
    if name is None:
        return found.images[0]
    if name not in names:
        listed = ", ".join(map(repr, names[:10])) + (", …" if len(names) > 10 else "")
        raise InputError(f"no image {name!r} is pictured; possible: {listed}")
    return found.images[names.index(name)]


def every_model(
    frames: Frames, found: PicturedImages, name: str | None, policy: str, columns: int
) -> str:
    """One image: a row for each model, clean, attacked, and the heatmaps over ε, as SVG."""
    shown = picture(frames, found, image_of(found, name), policy)
    skipped = 0 if columns == 2 else 2  # one column has room for the heatmaps alone
    rows = [(strip.model, strip.tiles[skipped:]) for strip in shown.strips]
    return _rows(rows, columns)


def every_layer(
    frames: Frames, found: PicturedImages, name: str | None, model: str, policy: str, columns: int
) -> str:
    """One image and model: a row for each layer, the heatmaps clean and over ε, as SVG."""
    image = image_of(found, name)
    attack = frames.plan["settings"]["attacks"][0]
    pixels = image.pixels.astype(np.float64) / 255.0
    names = ["clean", *(f"ε = {epsilon:g}" for epsilon in frames.plan["settings"]["epsilons"])]
    rows = []
    for layer in shown_layers(frames, model):
        maps = [
            found.clean_map(image, model, layer, policy),
            *found.attacked_maps(image, model, layer, policy, attack, model),
        ]
        tiles = [
            Tile(
                data_uri(overlay(pixels, one) if one.max() > 0 else pixels),
                (head,),
                f"{layer}, {head}",
            )
            for head, one in zip(names, maps, strict=True)
        ]
        rows.append((layer, tuple(tiles)))
    return _grid(rows, columns)


def shown_layers(frames: Frames, model: str) -> list[str]:
    """A model's layers in order; where there are more than 24, evenly spaced ones."""
    last = frames.plan["last_layers"][model]
    layers = list(dict.fromkeys([*frames.plan["layers"][model], last]))
    if len(layers) <= _MOST_LAYERS:
        return layers
    places = np.linspace(0, len(layers) - 1, _MOST_LAYERS).round().astype(int)
    return [layers[place] for place in places]


def _rows(rows: Sequence[tuple[str, tuple[Tile, ...]]], columns: int) -> str:
    """Rows of tiles, each below its name; the tiles' lines are under them."""
    width = max(len(tiles) for _, tiles in rows) * (TILE + _GAP) + _GAP
    ink = _Ink(width, columns)
    y = float(_GAP)
    for name, tiles in rows:
        ink.text(_GAP, y + ink.size, name, width - 2 * _GAP, "bold")
        y += ink.line
        for column, tile in enumerate(tiles):
            x = _GAP + column * (TILE + _GAP)
            ink.tile(x, y + 4, tile)
            for number, said in enumerate(tile.lines):
                words = said.removeprefix("NISSIM ") if columns == 1 else said
                mark = " ×" if tile.wrong and number == 1 else ""
                room = TILE - (1.2 * ink.size if mark else 0)
                shown = cut(words, room, ink.size) + mark
                ink.text(x, y + TILE + 4 + (number + 1) * ink.line, shown, TILE)
        y += TILE + 4 + max(len(tile.lines) for tile in tiles) * ink.line + _GAP
    return ink.svg(y)


def _grid(rows: Sequence[tuple[str, tuple[Tile, ...]]], columns: int) -> str:
    """Rows of tiles, each beside its name, in as many blocks as columns; tiles have heads."""
    blocks = columns if len(rows) > _ROWS else 1
    left, each = int(1.6 * TILE), -(-len(rows) // blocks)
    block = left + max(len(tiles) for _, tiles in rows) * (TILE + _GAP) + 2 * _GAP
    ink = _Ink(blocks * block, columns)
    top = _GAP + ink.line + _GAP
    for place, (name, tiles) in enumerate(rows):
        x0, y = (place // each) * block + _GAP, top + (place % each) * (TILE + 4)
        ink.text(x0, y + TILE / 2 + ink.size / 2, name, left - _GAP)
        for column, tile in enumerate(tiles):
            x = x0 + left + column * (TILE + _GAP)
            ink.tile(x, y, tile)
            if place % each == 0:
                ink.text(x, _GAP + ink.size, " ".join(tile.lines), TILE)
    return ink.svg(top + each * (TILE + 4))


class _Ink:
    """What is drawn so far, with letters as large as they are to be on paper."""

    def __init__(self, width: int, columns: int) -> None:
        self.width = width
        self.size = _POINTS * width / POINTS[columns]
        self.line = 1.25 * self.size
        self._parts: list[str] = []

    def text(self, x: float, y: float, words: str, room: float, weight: str = "normal") -> None:
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{self.size:.1f}" font-weight="{weight}">'
            f"{escape(cut(words, room, self.size))}</text>"
        )

    def tile(self, x: float, y: float, tile: Tile) -> None:
        self._parts.append(
            f'<image x="{x:g}" y="{y:g}" width="{TILE}" height="{TILE}" href="{tile.source}">'
            f"<title>{escape(tile.alt)}</title></image>"
        )

    def svg(self, height: float) -> str:
        size = f"{self.width} {height + _GAP:g}"
        width, high = size.split()
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{high}" '
            f'viewBox="0 0 {size}" font-family="sans-serif" fill="#222222">'
            f'<rect width="100%" height="100%" fill="white"/>{"".join(self._parts)}</svg>'
        )


def cut(words: str, room: float, size: float) -> str:
    """As many letters as there is room for, without what turns or hides letters."""
    plain = "".join(
        letter for letter in " ".join(words.split()) if unicodedata.category(letter)[0] != "C"
    )
    most = max(3, int(room / (0.5 * size)))
    return plain if len(plain) <= most else plain[: most - 1] + "…"

"""Pictures in rows, as SVG: one image in every model, and one image in every layer."""

from collections.abc import Sequence

import numpy as np

from lookaway.analysis.frames import Frames
from lookaway.errors import InputError
from lookaway.report.ink import GAP, Ink, cut
from lookaway.report.options import Options
from lookaway.report.pictured import Pictured, PicturedImages
from lookaway.report.pictures import TILE, Tile, data_uri, heatmap_on, picture

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


def every_model(frames: Frames, found: PicturedImages, policy: str, options: Options) -> str:
    """One image: a row for each model, clean, attacked, and the heatmaps over ε, as SVG."""
    shown = picture(frames, found, image_of(found, options.image), policy, options)
    skipped = 0 if options.columns == 2 else 2  # one column has room for the heatmaps alone
    return rows_of_tiles([(strip.model, strip.tiles[skipped:]) for strip in shown.strips], options)


def every_layer(
    frames: Frames, found: PicturedImages, model: str, policy: str, options: Options
) -> str:
    """One image and model: a row for each layer, the heatmaps clean and over ε, as SVG."""
    image = image_of(found, options.image)
    attack = frames.attacks[0]
    pixels = image.rgb
    names = ["clean", *(f"ε = {epsilon:g}" for epsilon in frames.plan.settings.epsilons)]
    rows = []
    for layer in shown_layers(frames, model):
        maps = [
            found.clean_map(image, model, layer, policy),
            *found.attacked_maps(image, model, layer, policy, attack, model),
        ]
        tiles = [
            Tile(
                data_uri(heatmap_on(pixels, one, options)),
                (head,),
                f"{layer}, {head}",
            )
            for head, one in zip(names, maps, strict=True)
        ]
        rows.append((layer, tuple(tiles)))
    return _grid(rows, options)


def shown_layers(frames: Frames, model: str) -> list[str]:
    """A model's layers in order; where there are more than 24, evenly spaced ones."""
    layers = frames.plan.explained_layers(model)
    if len(layers) <= _MOST_LAYERS:
        return layers
    places = np.linspace(0, len(layers) - 1, _MOST_LAYERS).round().astype(int)
    return [layers[place] for place in places]


def rows_of_tiles(rows: Sequence[tuple[str, tuple[Tile, ...]]], options: Options) -> str:
    """Rows of tiles, each below its name; the tiles' lines are under them."""
    width = max(len(tiles) for _, tiles in rows) * (TILE + GAP) + GAP
    ink = Ink(width, options.columns)
    y = float(GAP)
    for name, tiles in rows:
        ink.text(GAP, y + ink.size, name, width - 2 * GAP, "bold")
        y += ink.line
        for column, tile in enumerate(tiles):
            x = GAP + column * (TILE + GAP)
            ink.picture(x, y + 4, tile.source, tile.alt, (TILE, TILE))
            for number, said in enumerate(tile.lines):
                words = said.removeprefix("NISSIM ") if options.columns == 1 else said
                mark = " ×" if tile.wrong and number == 1 else ""
                room = TILE - (1.2 * ink.size if mark else 0)
                shown = cut(words, room, ink.size) + mark
                ink.text(x, y + TILE + 4 + (number + 1) * ink.line, shown, TILE)
        y += TILE + 4 + max(len(tile.lines) for tile in tiles) * ink.line + GAP
    ink.bar(GAP, y + ink.line, options)
    return ink.svg(y + ink.line)


def _grid(rows: Sequence[tuple[str, tuple[Tile, ...]]], options: Options) -> str:
    """Rows of tiles, each beside its name, in as many blocks as columns; tiles have heads."""
    blocks = options.columns if len(rows) > _ROWS else 1
    left, each = int(1.6 * TILE), -(-len(rows) // blocks)
    block = left + max(len(tiles) for _, tiles in rows) * (TILE + GAP) + 2 * GAP
    ink = Ink(blocks * block, options.columns)
    top = GAP + ink.line + GAP
    for place, (name, tiles) in enumerate(rows):
        x0, y = (place // each) * block + GAP, top + (place % each) * (TILE + 4)
        ink.text(x0, y + TILE / 2 + ink.size / 2, name, left - GAP)
        for column, tile in enumerate(tiles):
            x = x0 + left + column * (TILE + GAP)
            ink.picture(x, y, tile.source, tile.alt, (TILE, TILE))
            if place % each == 0:
                ink.text(x, GAP + ink.size, " ".join(tile.lines), TILE)
    bottom = top + each * (TILE + 4) + ink.line
    ink.bar(GAP, bottom, options)
    return ink.svg(bottom)

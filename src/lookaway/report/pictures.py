"""Stored images, signs and maps to pictures: an image over ε, with what the model looks at."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import polars as pl
from PIL import Image

from lookaway.analysis.frames import Frames
from lookaway.report.colour_maps import ColourMap, turbo
from lookaway.report.options import Options
from lookaway.report.pictured import Pictured, PicturedImages

TILE = 132  # px
_OVERLAY = 0.55
_DEAD = 0.85  # grey


@dataclass(frozen=True)
class Tile:
    """One small picture and the lines under it."""

    source: str
    lines: tuple[str, ...]
    alt: str
    wrong: bool = False


@dataclass(frozen=True)
class Strip:
    """What one model sees in one image, clean and attacked."""

    model: str
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Picture:
    """One image and its strips."""

    image: str
    label: str
    strips: tuple[Strip, ...]


def grown(heat: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A map (h, w), enlarged bilinearly to (width, height)."""
    image = Image.fromarray(heat.astype(np.float32))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def overlay(pixels: np.ndarray, heat: np.ndarray, colours: ColourMap = turbo) -> np.ndarray:
    """Lay a map, coloured, over an image.

    Args:
        pixels: (H, W, 3) in [0, 1].
        heat: (h, w) in [0, 1], enlarged bilinearly.
        colours: of the map.

    Returns:
        (H, W, 3) in [0, 1].
    """
    heat = grown(heat, (pixels.shape[1], pixels.shape[0]))
    return (1 - _OVERLAY) * pixels + _OVERLAY * colours(np.clip(heat, 0.0, 1.0))


def heatmap_on(pixels: np.ndarray, heat: np.ndarray, options: Options) -> np.ndarray:
    """A heatmap, raw or over its image; of a dead map the image alone, or grey.

    Args:
        pixels: (H, W, 3) in [0, 1].
        heat: (h, w) in [0, 1]; zeros where dead.
        options: colours, and whether it is laid over the image.

    Returns:
        (H, W, 3) in [0, 1].
    """
    dead = not heat.max() > 0
    if options.heatmaps == "overlaid":
        return pixels if dead else overlay(pixels, heat, options.colour_map)
    if dead:
        return np.full(pixels.shape, _DEAD)
    size = (pixels.shape[1], pixels.shape[0])
    return options.colour_map(np.clip(grown(heat, size), 0.0, 1.0))


def picture(
    frames: Frames,
    found: PicturedImages,
    image: Pictured,
    policy: str,
    options: Options,
    source: str | None = None,
) -> Picture:
    """What every model sees in an image, clean and attacked.

    Args:
        frames: of a run.
        found: its pictured images.
        image: one of them.
        policy: the explained class.
        options: how heatmaps are drawn.
        source: whose perturbations; None: each model's own.

    Raises:
        StoreError: a map or a sign is missing or damaged.
    """
    attack = frames.attacks[0]
    clean = image.rgb
    strips = []
    for model in frames.models:
        maker = model if source is None else source
        layer = frames.plan.last_layers[model]
        rows = frames.pictured_rows.filter(
            pl.col("image") == image.image,
            pl.col("variant") == found.variant,
            pl.col("model") == model,
            pl.col("attack") == attack,
            pl.col("source") == maker,
            pl.col("layer") == layer,
            pl.col("explained_class") == policy,
        ).sort("epsilon")
        attacked = [
            found.attacked(image, attack, maker, epsilon) for epsilon in rows["epsilon"].to_list()
        ]
        clean_map = found.clean_map(image, model, layer, policy)
        attacked_maps = found.attacked_maps(image, model, layer, policy, attack, maker)
        strips.append(
            Strip(model, _tiles(clean, attacked, clean_map, attacked_maps, rows, options))
        )
    return Picture(image.image, image.label, tuple(strips))


def _tiles(
    clean: np.ndarray,
    attacked: Sequence[np.ndarray],
    clean_map: np.ndarray,
    attacked_maps: np.ndarray,
    found: pl.DataFrame,
    options: Options,
) -> tuple[Tile, ...]:
    measured = list(found.iter_rows(named=True))
    first = measured[0]
    said = f"{first['clean_class']} {first['clean_confidence']:.0%}"
    tiles = [
        Tile(data_uri(clean), ("clean",), "the clean image"),
        Tile(
            data_uri(attacked[-1]),
            ("attacked", f"ε = {measured[-1]['epsilon']:g}"),
            "the attacked image",
        ),
        Tile(
            data_uri(heatmap_on(clean, clean_map, options)),
            ("clean", said, *(("dead map",) if first["clean_dead"] else ())),
            "heatmap of the clean image",
            wrong=first["clean_class"] != first["label"],
        ),
    ]
    for row, changed, attacked_map in zip(measured, attacked, attacked_maps, strict=True):
        dead = ("dead map",) if row["attacked_dead"] else ()
        tiles.append(
            Tile(
                data_uri(heatmap_on(changed, attacked_map, options)),
                (
                    f"ε = {row['epsilon']:g}",
                    f"{row['attacked_class']} {row['attacked_confidence']:.0%}",
                    f"NISSIM {row['nissim']:.3f}",
                    *dead,
                ),
                f"heatmap at ε = {row['epsilon']:g}",
                wrong=row["attacked_class"] != row["label"],
            )
        )
    return tuple(tiles)


def data_uri(pixels: np.ndarray) -> str:
    """A tile as a data URI; pixels (H, W, 3) in [0, 1]."""
    picture = Image.fromarray((np.clip(pixels, 0, 1) * 255).round().astype(np.uint8))
    buffer = BytesIO()
    picture.resize((TILE, TILE), Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()

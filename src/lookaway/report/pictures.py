"""Stored images, signs and maps to pictures: an image over ε, with what the model looks at."""

import base64
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import polars as pl
from PIL import Image

from lookaway.analysis.frames import Frames
from lookaway.report.pictured import Pictured, PicturedImages

TILE = 132  # px
_OVERLAY = 0.55


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


def turbo(values: np.ndarray) -> np.ndarray:
    """Colours of a heatmap: blue is no participation, red the highest.

    A polynomial fit of the Turbo map (A. Mikhailov, 2019), without its almost black first tenth.

    Args:
        values: (H, W) in [0, 1].

    Returns:
        (H, W, 3) float in [0, 1].
    """
    shifted = 0.1 + 0.9 * values
    powers = np.stack([shifted**power for power in range(6)], axis=-1)
    red = [0.13572138, 4.61539260, -42.66032258, 132.13108234, -152.94239396, 59.28637943]
    green = [0.09140261, 2.19418839, 4.84296658, -14.18503333, 4.27729857, 2.82956604]
    blue = [0.10667330, 12.64194608, -60.58204836, 110.36276771, -89.90310912, 27.34824973]
    colours: np.ndarray = np.clip(powers @ np.array([red, green, blue]).T, 0.0, 1.0)
    return colours


def overlay(pixels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Lay a map, coloured, over an image.

    Args:
        pixels: (H, W, 3) in [0, 1].
        heat: (h, w) in [0, 1], enlarged bilinearly.

    Returns:
        (H, W, 3) in [0, 1].
    """
    size = (pixels.shape[1], pixels.shape[0])
    grown = Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    colours = turbo(np.clip(np.asarray(grown), 0.0, 1.0))
    return (1 - _OVERLAY) * pixels + _OVERLAY * colours


def picture(frames: Frames, found: PicturedImages, image: Pictured, policy: str) -> Picture:
    """What every model sees in an image, clean and under its own perturbations.

    Args:
        frames: of a run.
        found: its pictured images.
        image: one of them.
        policy: the explained class.

    Raises:
        StoreError: a map or a sign is missing or damaged.
    """
    attack = frames.plan["settings"]["attacks"][0]
    clean = image.pixels.astype(np.float64) / 255.0
    strips = []
    for model in frames.models:
        layer = frames.plan["last_layers"][model]
        rows = frames.rows.filter(
            pl.col("image") == image.image,
            pl.col("variant") == found.variant,
            pl.col("model") == model,
            pl.col("attack") == attack,
            pl.col("source") == model,
            pl.col("layer") == layer,
            pl.col("explained_class") == policy,
        ).sort("epsilon")
        signs = found.signs(image, attack, model)
        clean_map = found.clean_map(image, model, layer, policy)
        attacked_maps = found.attacked_maps(image, model, layer, policy, attack, model)
        strips.append(Strip(model, _tiles(clean, signs, clean_map, attacked_maps, rows)))
    return Picture(image.image, image.label, tuple(strips))


def _tiles(
    clean: np.ndarray,
    signs: np.ndarray,
    clean_map: np.ndarray,
    attacked_maps: np.ndarray,
    found: pl.DataFrame,
) -> tuple[Tile, ...]:
    measured = list(found.iter_rows(named=True))
    first = measured[0]
    said = f"{first['clean_class']} {first['clean_confidence']:.0%}"
    strongest = np.clip(clean + measured[-1]["epsilon"] * signs, 0.0, 1.0)
    tiles = [
        Tile(data_uri(clean), ("clean",), "the clean image"),
        Tile(
            data_uri(strongest),
            ("attacked", f"ε = {measured[-1]['epsilon']:g}"),
            "the attacked image",
        ),
        Tile(
            data_uri(overlay(clean, clean_map) if not first["clean_dead"] else clean),
            ("clean", said, *(("dead map",) if first["clean_dead"] else ())),
            "heatmap of the clean image",
            wrong=first["clean_class"] != first["label"],
        ),
    ]
    for row, attacked_map in zip(measured, attacked_maps, strict=True):
        attacked = np.clip(clean + row["epsilon"] * signs, 0.0, 1.0)
        dead = ("dead map",) if row["attacked_dead"] else ()
        tiles.append(
            Tile(
                data_uri(overlay(attacked, attacked_map) if not row["attacked_dead"] else attacked),
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

"""Colours of heatmaps and of changes, laid over images."""

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from lookaway.data.pixels import as_8_bit
from lookaway.errors import DataError, InputError
from lookaway.report.options import Options

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

LOST, GAINED = (0.463, 0.165, 0.514), (0.106, 0.471, 0.216)  # purple and green: of nothing else
_OPACITY = 0.55
_DEAD = 0.85  # grey


@cache
def colour_map(name: str) -> "Colormap":
    """matplotlib's colour map of that name; of Turbo without its almost black first tenth."""
    import matplotlib
    from matplotlib.colors import ListedColormap

    whole = matplotlib.colormaps[name]
    if name != "turbo":
        return whole
    return ListedColormap(whole(np.linspace(0.1, 1.0, 256)), name)


def coloured(heat: np.ndarray, name: str) -> np.ndarray:
    """The colours (..., 3) in [0, 1] of values (...) in [0, 1]."""
    colours: np.ndarray = colour_map(name)(np.clip(heat, 0.0, 1.0))[..., :3]
    return colours


def enlarged(heat: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A map (h, w), enlarged bilinearly to (width, height)."""
    image = Image.fromarray(heat.astype(np.float32))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def shrunk(pixels: np.ndarray, side: int) -> np.ndarray:
    """An image (H, W, 3) in [0, 1] as (side, side, 3)."""
    whole = Image.fromarray((255 * pixels).round().astype(np.uint8))
    return np.asarray(whole.resize((side, side), Image.Resampling.LANCZOS)) / 255.0


def hatched(pixels: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) in [0, 1] under diagonal stripes: its map is dead."""
    height, width = pixels.shape[:2]
    period = max(8, round(width / 14))
    down, right = np.mgrid[0:height, 0:width]
    on = ((down + right) % period < period / 4)[..., None]
    striped: np.ndarray = np.where(on, 0.45 * pixels + 0.55, 0.65 * pixels + 0.35 * 110 / 255)
    return striped


def heatmap_on(pixels: np.ndarray, heat: np.ndarray, options: Options) -> np.ndarray:
    """A heatmap, raw or over its image; of a dead map the image, or grey, hatched.

    Args:
        pixels: (H, W, 3) in [0, 1].
        heat: (h, w) in [0, 1], enlarged bilinearly; zeros where dead.
        options: the colour map, and whether it is laid over the image.

    Returns:
        (H, W, 3) in [0, 1].
    """
    raw = options.heatmaps == "raw"
    if not heat.max() > 0:
        return hatched(np.full(pixels.shape, _DEAD) if raw else pixels)
    colours = coloured(enlarged(heat, (pixels.shape[1], pixels.shape[0])), options.colours)
    return colours if raw else (1 - _OPACITY) * pixels + _OPACITY * colours


def overlay(
    image: Any, heatmap: Any, *, colours: str = "turbo", heatmaps: str = "overlaid"
) -> Image.Image:
    """A heatmap laid over its image, as the page draws it.

    Args:
        image: one image: a PIL image, or an array or a tensor, uint8 or float in [0, 1], (H, W),
            (H, W, C) or, as tensors mostly are, (C, H, W); C is 1 or 3.
        heatmap: (h, w) in [0, 1], of any size, as ``heatmap(maps)[0]`` gives it; all zeros where
            the map is dead: then the image, or grey, under stripes.
        colours: ``turbo``, blue to red, or ``viridis``, perceptually even.
        heatmaps: ``overlaid`` on the image or ``raw``.

    Returns:
        RGB, of the image's size.

    Raises:
        InputError: an argument is none of those.

    >>> overlay(np.zeros((8, 12, 3), np.uint8), np.array([[0.0, 1.0]])).size
    (12, 8)
    """
    try:
        pixels = np.asarray(as_8_bit(image).convert("RGB")) / 255.0
    except DataError as error:
        raise InputError(f"image is {error}") from error
    heat = np.asarray(heatmap.detach().cpu() if hasattr(heatmap, "detach") else heatmap, np.float32)
    if heat.ndim != 2 or not heat.size:
        raise InputError(f"heatmap must be one map (h, w); got the shape {heat.shape}")
    if not (heat.min() >= 0.0 and heat.max() <= 1.0):
        raise InputError(
            f"heatmap must lie in [0, 1]; got {heat.min():g} to {heat.max():g}. Of an explainer's "
            "raw maps lookaway.heatmap(maps) makes heatmaps"
        )
    drawn = heatmap_on(pixels, heat, Options(colours=colours, heatmaps=heatmaps))
    return Image.fromarray((255 * drawn).round().astype(np.uint8))


def mean_heatmap(heat: np.ndarray | None, side: int, colours: str) -> np.ndarray:
    """The colours (side, side, 3) of a mean map (h, w) in [0, 1]; grey where there is none."""
    if heat is None:
        return np.full((side, side, 3), _DEAD)
    return coloured(enlarged(heat, (side, side)), colours)


def change_colours(change: np.ndarray | None, scale: float, side: int) -> np.ndarray:
    """White where nothing changed, purple where participation was lost, green where gained.

    Args:
        change: (h, w) in [-1, 1]; None: unknown, and grey.
        scale: the change of full colour.
        side: of the result, px.

    Returns:
        (side, side, 3) in [0, 1].
    """
    if change is None:
        return np.full((side, side, 3), _DEAD)
    share = enlarged(change, (side, side))[..., None] / (scale or 1.0)
    ends = np.where(share < 0, np.array(LOST), np.array(GAINED))
    mixed: np.ndarray = 1.0 + np.clip(np.abs(share), 0.0, 1.0) * (ends - 1.0)
    return mixed


def tinted(pixels: np.ndarray, change: np.ndarray, colour: tuple[float, ...]) -> np.ndarray:
    """A change in one colour over the pale image.

    Args:
        pixels: (H, W, 3) in [0, 1].
        change: (H, W), at most 1; what is not above 0 does not show.
        colour: of a change of 1.

    Returns:
        (H, W, 3) in [0, 1].
    """
    pale = 1.0 - 0.35 * (1.0 - pixels.mean(axis=2, keepdims=True))
    share = np.clip(change, 0.0, 1.0)[..., None]
    mixed: np.ndarray = (1.0 - share) * pale + share * np.array(colour)
    return mixed

"""What a network looks at in a few images, clean and attacked, as one picture."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from lookaway.report.options import Options
from lookaway.report.overlays import heatmap_on

_SIDE, _GAP, _FRAME = 128, 4, 3  # px
_WRONG = (213, 94, 0)


def watched(
    pixels: np.ndarray, attacked: np.ndarray, maps: Sequence[np.ndarray], right: np.ndarray
) -> Image.Image:
    """Images in columns; the clean image, its heatmap and the attacked image's, from top to bottom.

    Wrong predictions have a frame; a dead map is the image alone.

    Args:
        pixels: (N, C, H, W) in [0, 1], C 1 or 3.
        attacked: the same shape.
        maps: of the clean images and of the attacked ones, (N, h, w) each, at least 0.
        right: (2, N) bool: whether the clean and the attacked images are told rightly.

    Returns:
        RGB, 128 px high for each of the three rows.
    """
    count, _, height, width = pixels.shape
    size = max(1, round(_SIDE * width / height)), _SIDE
    whole = (size[0] + _GAP) * count - _GAP, 3 * (size[1] + _GAP) - _GAP
    found = Image.new("RGB", whole, "white")
    draw = ImageDraw.Draw(found)
    for column in range(count):
        clean, changed = (_enlarged(each[column], size) for each in (pixels, attacked))
        tiles = [clean, _seen(clean, maps[0][column]), _seen(changed, maps[1][column])]
        for row, tile in enumerate(tiles):
            corner = column * (size[0] + _GAP), row * (size[1] + _GAP)
            found.paste(Image.fromarray((255 * tile).round().astype(np.uint8)), corner)
            if row and not right[row - 1, column]:
                end = corner[0] + size[0] - 1, corner[1] + size[1] - 1
                draw.rectangle([corner, end], outline=_WRONG, width=_FRAME)
    return found


def _enlarged(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image (C, H, W) as (height, width, 3)."""
    rgb = np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0)
    whole = Image.fromarray((255 * rgb).round().astype(np.uint8))
    return np.asarray(whole.resize(size, Image.Resampling.BILINEAR)) / 255.0


def _seen(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    peak = heat.max()
    return heatmap_on(image, heat / peak if peak > 0 else heat, Options())

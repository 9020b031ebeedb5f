"""Where a face lies in an image, from a box or from five points, and its pixels cut out upright."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import map_coordinates

from lookaway.data.pixels import channels_last

# The square around a box of a face is this much wider at each side, as a share of the box's longer
# side, unless a study says otherwise: a head from chin to hair. It may leave the image.
MARGIN = 0.1

# Left eye, right eye, tip of the nose, left and right corner of the mouth, as a viewer sees them,
# in a square of 112 px: what ArcFace and most face recognition since is trained on.
TEMPLATE_SIZE = 112
TEMPLATE = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)


@dataclass(frozen=True)
class Pose:
    """Where the prepared square lies in an image.

    Its point (u, v) in [0, 1]² is the image's point (x + across·u − down·v, y + down·u + across·v),
    in px of the upright image, whose upper left corner is (0, 0).
    """

    x: float
    y: float
    across: float
    down: float

    def seen(self, points: np.ndarray) -> np.ndarray:
        """Where points (n, 2) of the image lie in the square, as (u, v).

        >>> Pose(10.0, 20.0, 50.0, 0.0).seen(np.array([[35.0, 20.0]])).tolist()
        [[0.5, 0.0]]
        """
        given = (points - (self.x, self.y)) @ (1, 1j) / complex(self.across, self.down)
        return np.stack([given.real, given.imag], axis=1)


def around(
    left: Any, top: Any, width: Any, height: Any, margin: float = MARGIN
) -> tuple[Any, Any, Any]:
    """Give the square around a box, with a margin: left, top and side; for arrays of boxes too.

    >>> [round(float(number), 3) for number in around(10, 20, 50, 100)]
    [-25.0, 10.0, 120.0]
    """
    side = np.maximum(width, height) * (1 + 2 * margin)
    return left + (width - side) / 2, top + (height - side) / 2, side


def fitted(points: np.ndarray) -> np.ndarray:
    """Fit the similarity transforms that bring five points nearest to the template.

    Least squares in the template's square (Umeyama 1991; in the plane, a line through complex
    numbers).

    Args:
        points: (N, 5, 2) float64, x and y in px, in the template's order.

    Returns:
        (N, 4) float64: x, y, across and down of a pose; NaN where points are not finite, coincide
        or have nothing in common with the template.
    """
    template = np.array(TEMPLATE) @ (1, 1j) / TEMPLATE_SIZE
    target = template - template.mean()
    with np.errstate(all="ignore"):
        given = points[..., 0] + 1j * points[..., 1]
        centre = given.mean(axis=1)
        offsets = given - centre[:, None]
        spread = (np.abs(offsets) ** 2).sum(axis=1)
        shared = (offsets.conj() * target).sum(axis=1)
        turn = spread / shared  # the square's upper edge, from left to right
        origin = centre - template.mean() * turn
        poses = np.stack([origin.real, origin.imag, turn.real, turn.imag], axis=1)
        alike = np.abs(shared) ** 2 / spread / (np.abs(target) ** 2).sum()
        fits = (spread > 1e-12 * (1 + np.abs(centre) ** 2)) & (alike > 1e-6)
    poses[~(fits & np.isfinite(poses).all(axis=1))] = np.nan
    return poses


def aligned(image: Image.Image, pose: Pose, size: int) -> np.ndarray:
    """Cut the posed square out of an image, upright.

    Bilinear; where it shrinks, antialiased: the image is shrunk first, so that the similarity
    transform is left with a scale of 1. What lies outside the image repeats its edge.

    Args:
        image: RGB, or grey (L).
        pose: where the square lies.
        size: side of the result in px.

    Returns:
        (size, size, C) uint8: three channels, or one.

    >>> aligned(Image.new("RGB", (40, 30)), Pose(5.0, 5.0, 20.0, 0.0), 16).shape
    (16, 16, 3)
    """
    step = math.hypot(pose.across, pose.down) / size  # px of the image in a px of the square
    left, right, wide = _span(pose.x, image.width, step)
    top, bottom, high = _span(pose.y, image.height, step)
    if step > 1:
        box = (left, top, right, bottom)
        image = image.resize((wide, high), Image.Resampling.BILINEAR, box=box)
    centres = (np.arange(size) + 0.5) / size
    u, v = centres[None, :], centres[:, None]
    x = (pose.x + pose.across * u - pose.down * v - left) * (wide / (right - left)) - 0.5
    y = (pose.y + pose.down * u + pose.across * v - top) * (high / (bottom - top)) - 0.5
    pixels = channels_last(image).astype(np.float32)
    channels = [
        map_coordinates(pixels[..., channel], [y, x], order=1, mode="nearest")
        for channel in range(pixels.shape[2])
    ]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def _span(start: float, length: int, step: float) -> tuple[float, float, int]:
    """The part of a side that is shrunk: from, to, and to how many px.

    Whole steps counted from the square's corner, so that an unturned square needs no
    interpolation after that.
    """
    if step <= 1:
        return 0.0, float(length), length
    first = start % step
    count = math.floor((length - first) / step + 1e-9)
    if count < 1:
        return 0.0, float(length), 1
    return first, min(first + count * step, float(length)), count

"""An image, whatever its mode, to 8-bit RGB on the study's grid."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from lookaway.errors import DataError

Image.init()
# Formats that Pillow reads by itself, if it was built with them; its EPS reader, say, would run
# another program. A JPEG of several pictures is called MPO once it is open.
FORMATS = tuple(
    kind
    for kind in ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
    if kind in Image.OPEN
)
ENDINGS = tuple(
    sorted(end for end, kind in Image.registered_extensions().items() if kind in (*FORMATS, "MPO"))
)

_LONGEST = 16  # sides: what lies further from the centre of a strip cannot reach the grid


def decode(raw: bytes) -> Image.Image:
    """Decode an image file to RGB, upright.

    EXIF orientation is honoured, 16-bit greys are scaled to 8 bit, alpha is dropped, and of an
    animation the first picture counts.

    Args:
        raw: the file's content.

    Raises:
        DataError: it is no image that can be read, with the reason.
    """
    try:
        with Image.open(BytesIO(raw), formats=FORMATS) as opened:
            opened.load()
            image = ImageOps.exif_transpose(opened)
            return _rgb(image)
    except UnidentifiedImageError as error:
        raise DataError("not an image file" if raw else "an empty file") from error
    except DataError:
        raise
    except Exception as error:  # decoders of broken files raise all kinds
        raise DataError(f"cannot be decoded: {error}") from error


def to_grid(image: Image.Image, size: int) -> np.ndarray:
    """Bring an RGB image to the grid: shorter side resized, then the centre cut out.

    Bilinear and antialiased, sizes and offsets as torchvision's ``Resize`` and ``CenterCrop``.

    Args:
        image: RGB.
        size: side of the grid in px.

    Returns:
        (size, size, 3) uint8.

    >>> to_grid(Image.new("RGB", (40, 30)), 16).shape
    (16, 16, 3)
    """
    width, height = image.size
    short = min(width, height)
    if max(width, height) > _LONGEST * short:
        reach = _LONGEST * short + (max(width, height) - _LONGEST * short) % 2
        left, top = max(0, (width - reach) // 2), max(0, (height - reach) // 2)
        image = image.crop((left, top, min(width, left + reach), min(height, top + reach)))
        width, height = image.size
    if width <= height:
        resized = (size, int(size * height / width))
    else:
        resized = (int(size * width / height), size)
    if resized != (width, height):
        image = image.resize(resized, Image.Resampling.BILINEAR)
    left, top = round((resized[0] - size) / 2.0), round((resized[1] - size) / 2.0)
    return np.asarray(image.crop((left, top, left + size, top + size)))


def as_floats(grids: Sequence[np.ndarray]) -> np.ndarray:
    """A batch of pixels from 8-bit grids.

    Args:
        grids: (H, W, 3) uint8 each.

    Returns:
        (N, 3, H, W) float32 in [0, 1], contiguous.
    """
    batch = np.stack(grids).transpose(0, 3, 1, 2).astype(np.float32)
    return np.ascontiguousarray(batch) / np.float32(255.0)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise DataError("floating-point pixels, whose range is not known; save it as 8 or 16 bit")
    if image.mode.startswith("I"):  # 16-bit greys: convert() would clip them
        grey = np.asarray(image, dtype=np.float64) / 65535.0 * 255.0
        return Image.fromarray(np.clip(grey, 0, 255).round().astype(np.uint8)).convert("RGB")
    return image.convert("RGB")

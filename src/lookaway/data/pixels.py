"""An image, whatever its mode, to 8-bit RGB or grey on the study's grid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from lookaway.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

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

STATED = "stated range"  # in a decoded image's ``info``: the range of values that its file states

_LONGEST = 16  # sides: what lies further from the centre of a strip cannot reach the grid
_NARROW = 255.0  # the largest number of 8 bit
_FULL = (0.0, 65535.0)
_SAVE = "save it as 8 bit"
_GIVE = f"give data.range: [low, high], or {_SAVE}"


def decode(raw: bytes, value_range: Sequence[float] | None = None) -> Image.Image:
    """Decode an image file to RGB, upright.

    EXIF orientation is honoured, alpha is dropped, and of an animation the first picture counts.
    Greys of more than 8 bit and floating-point pixels are scaled to 8 bit: from ``value_range``,
    or the range that the file states (a TIFF's tags), or that of its format (16-bit PNG, PGM and
    unsigned TIFF). Where none is known, or 16-bit pixels fit into 8 bit, the image is refused.
    Images whose white is the smallest number are turned round.

    Args:
        raw: the file's content.
        value_range: the numbers that become black and white, in wide pixels; what lies beyond is
            black or white too. None: as the file says.

    Raises:
        DataError: it is no image that can be read, with the reason; what stands before its first
            colon is the same for all images of a kind.
    """
    try:
        with Image.open(BytesIO(raw), formats=FORMATS) as opened:
            stored = _Stored.of(opened)
            opened.load()
            return _rgb(ImageOps.exif_transpose(opened), stored, value_range)
    except UnidentifiedImageError as error:
        if raw.startswith((b"II*\0", b"MM\0*")):
            raise DataError(f"a TIFF whose kind of pixels is not read: {_SAVE}") from error
        raise DataError("not an image file" if raw else "an empty file") from error
    except DataError:
        raise
    except Exception as error:  # decoders of broken files raise all kinds
        raise DataError(f"cannot be decoded: {error}") from error


def as_8_bit(given: Any) -> Image.Image:
    """An image in memory as an 8-bit one.

    Args:
        given: a PIL image; or an array or a tensor, uint8 or float in [0, 1], which is rounded:
            (H, W); (H, W, C), or of a tensor (C, H, W); C is 1 or 3.

    Returns:
        RGB, or grey (L).

    Raises:
        DataError: it is none of these.

    >>> as_8_bit(np.full((2, 4, 3), 0.5)).size
    (4, 2)
    """
    if isinstance(given, Image.Image):
        if given.mode.startswith(("I", "F")):
            raise DataError(f"a PIL image of mode {given.mode}: more than 8 bit; {_SAVE}")
        return given if given.mode in ("L", "RGB") else given.convert("RGB")
    is_tensor = hasattr(given, "detach")  # without importing PyTorch
    pixels = given.detach().cpu().numpy() if is_tensor else given
    if not isinstance(pixels, np.ndarray):
        raise DataError(
            f"a {type(given).__name__}: an image is a PIL image, an array or a tensor, uint8 or "
            "float in [0, 1]"
        )
    if pixels.ndim == 3 and pixels.shape[0 if is_tensor else 2] not in (1, 3):
        is_tensor = not is_tensor
    if pixels.ndim == 3 and is_tensor:
        pixels = pixels.transpose(1, 2, 0)
    channels = pixels.shape[2] if pixels.ndim == 3 else 1 if pixels.ndim == 2 else 0
    if not pixels.size or channels not in (1, 3):
        raise DataError(
            f"an image of shape {tuple(given.shape)}: possible are (H, W), (H, W, C) or (C, H, W), "
            "C 1 or 3, one image at a time"
        )
    if np.issubdtype(pixels.dtype, np.floating):
        lowest, highest = float(pixels.min()), float(pixels.max())
        if not 0.0 <= lowest <= highest <= 1.0:
            raise DataError(
                f"float pixels from {lowest:g} to {highest:g}: they must lie in [0, 1], before any "
                "normalisation, which belongs to the network"
            )
        pixels = (pixels * 255.0).round().astype(np.uint8)
    elif pixels.dtype != np.uint8:
        raise DataError(f"pixels of type {pixels.dtype}: possible are uint8, or float in [0, 1]")
    return as_picture(np.ascontiguousarray(pixels if pixels.ndim == 3 else pixels[..., None]))


def white_is_lowest(image: Image.Image) -> bool:
    """Whether white is the smallest number in an opened TIFF's pixels, as Pillow gives them."""
    wide = image.mode.startswith(("I", "F"))  # 8-bit ones Pillow turns round
    return wide and getattr(image, "tag_v2", {}).get(262) == 0


def to_grid(image: Image.Image, size: int) -> np.ndarray:
    """Bring an image to the grid: shorter side resized, then the centre cut out.

    Bilinear and antialiased, sizes and offsets as torchvision's ``Resize`` and ``CenterCrop``.

    Args:
        image: RGB, or grey (L).
        size: side of the grid in px.

    Returns:
        (size, size, C) uint8: three channels, or one.

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
    return channels_last(image.crop((left, top, left + size, top + size)))


def channels_last(image: Image.Image) -> np.ndarray:
    """The pixels of an RGB or grey image: (H, W, 3) or (H, W, 1) uint8."""
    return np.asarray(image).reshape(image.height, image.width, -1)


def as_picture(grid: np.ndarray) -> Image.Image:
    """An RGB or grey image of (H, W, 3) or (H, W, 1) uint8."""
    return Image.fromarray(grid[..., 0] if grid.shape[2] == 1 else grid)


def as_floats(grids: Sequence[np.ndarray]) -> np.ndarray:
    """A batch of pixels from 8-bit grids.

    Args:
        grids: (H, W, C) uint8 each.

    Returns:
        (N, C, H, W) float32 in [0, 1], contiguous.
    """
    batch = np.stack(grids).transpose(0, 3, 1, 2).astype(np.float32)
    return np.ascontiguousarray(batch) / np.float32(255.0)


def floats_on(device: str, grids: np.ndarray) -> "Tensor":
    """The same bits as ``as_floats``, made where a model works: bytes travel there.

    Args:
        device: of PyTorch.
        grids: (N, H, W, C) uint8.

    Returns:
        (N, C, H, W) float32 in [0, 1], contiguous.
    """
    import torch

    pixels = torch.from_numpy(grids).to(device).permute(0, 3, 1, 2)
    # By a tensor that is there: CUDA would multiply by the rounded reciprocal of a number.
    whole = torch.tensor(255.0, device=device)
    return pixels.to(torch.float32, memory_format=torch.contiguous_format).div_(whole)


@dataclass(frozen=True)
class _Stored:
    """How a file holds pixels that Pillow does not bring to 8 bit rightly by itself.

    Attributes:
        wide: whether a sample has more than 8 bit.
        range: of a sample, in the file's own numbers; None: not known.
        stated: whether the file itself states the range, beyond what its format says.
        scale: the file's own number is what Pillow gives times this; None: not known.
        wraps: whether Pillow gives the upper half of the numbers as negative ones.
        inverted: whether white is the smallest number.
    """

    wide: bool
    range: tuple[float, float] | None = _FULL
    stated: bool = False
    scale: float | None = 1.0
    wraps: bool = False
    inverted: bool = False

    @classmethod
    def of(cls, opened: ImageFile.ImageFile) -> "_Stored":
        """Ask an image that is not loaded yet.

        Raises:
            DataError: its pixels would be read wrongly.
        """
        tags = getattr(opened, "tag_v2", None)
        if tags is not None:
            return cls._of_tiff(tags, white_is_lowest(opened))
        decoder, _, _, how = opened.tile[0] if opened.tile else ("", None, 0, "")
        if opened.format == "JPEG2000":  # brought to 16 bit; Pillow does not say from how many
            return cls(opened.mode.startswith("I"), scale=None)
        if str(decoder).startswith("ppm") and isinstance(how, tuple):  # brought to 8 or 16 bit
            highest = float(how[1])
            return cls(highest > _NARROW, (0.0, highest), scale=highest / _FULL[1])
        return cls(wide=";16" in str(how))

    @classmethod
    def _of_tiff(cls, tags: Mapping[int, Any], inverted: bool) -> "_Stored":
        bits, kind = (_first(tags.get(tag, 1)) for tag in (258, 339))
        unsigned = kind == 1
        if bits <= 8 and kind == 2:
            raise DataError("8-bit pixels with a sign: save it as unsigned 8 bit")
        usual = (0.0, 2.0**bits - 1) if unsigned and bits <= 16 else None
        stated = _stated(tags, unsigned) or usual
        return cls(
            wide=bits > 8,
            range=stated,
            stated=stated != usual,
            wraps=unsigned and bits == 32,
            inverted=inverted,
        )


def _stated(tags: Mapping[int, Any], unsigned: bool) -> tuple[float, float] | None:
    """The range in SMinSampleValue and SMaxSampleValue, or in Min- and MaxSampleValue."""
    for lowest, highest in ((340, 341), (280, 281)):
        if highest in tags and (unsigned or lowest in tags):
            low, high = float(_first(tags.get(lowest, 0))), float(_first(tags[highest]))
            if -np.inf < low < high < np.inf:
                return low, high
    return None


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) else value


def _rgb(image: Image.Image, stored: _Stored, value_range: Sequence[float] | None) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        rgb = Image.fromarray(_to_8_bit(image, stored, value_range)).convert("RGB")
        if stored.stated and value_range is None:
            rgb.info[STATED] = stored.range
        return rgb
    if stored.wide:  # Pillow keeps the upper 8 bit, or (PPM) scales to 8
        if value_range is not None or stored.stated:
            raise DataError(f"colours of more than 8 bit: their range cannot be set; {_SAVE}")
        colours = [place for place, band in enumerate(image.getbands()) if band not in "Aa"]
        if stored.range == _FULL and np.asarray(image)[..., colours].max() < 2:
            raise DataError(f"16-bit colours that are all but black: if that is a fault, {_SAVE}")
    return image.convert("RGB")


def _to_8_bit(
    image: Image.Image, stored: _Stored, value_range: Sequence[float] | None
) -> np.ndarray:
    """The greys of more than 8 bit in 8."""
    values = np.asarray(image, dtype=np.float64) * (stored.scale or 1.0)
    if stored.wraps:
        values[values < 0] += 2.0**32
    if not np.isfinite(values).all():
        raise DataError("pixels that are NaN or infinite: mend or remove it")
    lowest, highest = values.min(), values.max()
    found = f"they go from {lowest:g} to {highest:g}"
    if value_range is not None:
        low, high = value_range
        if stored.scale is None:
            raise DataError(f"JPEG 2000 of more than 8 bit: its range cannot be set; {_SAVE}")
        if highest < low or lowest > high:
            raise DataError(f"pixels outside data.range: {found}, it from {low:g} to {high:g}")
    elif stored.range is None:
        kind = "floating-point" if image.mode == "F" else "integer"
        raise DataError(f"{kind} pixels whose range is not known: {found}; {_GIVE}")
    else:
        low, high = stored.range
        if stored.stated and (lowest < low or highest > high):
            raise DataError(f"pixels outside the range that the file states: {found}; {_GIVE}")
        if stored.range == _FULL and highest <= _NARROW:
            raise DataError(f"16-bit pixels that fit into 8 bit: {found}; {_GIVE}")
    scaled = (values - low) / (high - low)
    scaled = 1.0 - scaled if stored.inverted else scaled
    eight_bit: np.ndarray = np.clip(scaled * 255.0, 0.0, 255.0).round().astype(np.uint8)
    return eight_bit

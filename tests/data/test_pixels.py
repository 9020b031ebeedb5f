"""Files of every mode reach the grid as upright 8-bit RGB."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import CenterCrop, Resize

from lookaway.data.pixels import FORMATS, as_floats, decode, to_grid
from lookaway.errors import DataError

RNG = np.random.default_rng(0)


def encoded(image, kind="PNG", **options):
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@settings(max_examples=40, deadline=None)
@given(st.integers(5, 90), st.integers(5, 90), st.integers(16, 64))
def test_the_grid_is_what_torchvision_resizes_and_crops(width, height, size):
    assume(max(width, height) <= 16 * min(width, height))
    image = Image.fromarray(RNG.integers(0, 255, (height, width, 3), dtype=np.uint8))
    theirs = CenterCrop(size)(Resize(size)(image))
    np.testing.assert_array_equal(to_grid(image, size), np.asarray(theirs))


def test_a_strip_5000_times_as_long_as_wide_is_cut_before_it_is_enlarged():
    grid = to_grid(Image.new("RGB", (1, 5000), (9, 8, 7)), 224)
    assert grid.shape == (224, 224, 3)
    assert (grid == (9, 8, 7)).all()


def test_exif_orientation_is_honoured():
    image = Image.fromarray(RNG.integers(0, 255, (8, 12, 3), dtype=np.uint8))
    exif = image.getexif()
    exif[0x0112] = 6  # turned a quarter
    turned = decode(encoded(image, exif=exif))
    np.testing.assert_array_equal(np.asarray(turned), np.rot90(np.asarray(image), -1))


def test_sixteen_bit_greys_are_scaled_not_clipped():
    values = np.array([[0, 32768, 65535]], dtype=np.uint16)
    got = np.asarray(decode(encoded(Image.fromarray(values))))
    np.testing.assert_array_equal(got[0, :, 0], [0, 128, 255])


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "1"])
def test_every_common_mode_becomes_rgb(mode):
    assert decode(encoded(Image.new(mode, (6, 5)))).mode == "RGB"


def test_cmyk_jpeg_becomes_rgb():
    image = decode(encoded(Image.new("CMYK", (6, 5), (0, 255, 255, 0)), "JPEG"))
    red, green, blue = np.asarray(image)[2, 3]
    assert red > 200
    assert max(green, blue) < 60


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "empty"),
        (b"just text", "not an image"),
        (encoded(Image.new("RGB", (64, 64)), "JPEG")[:300], "cannot be decoded"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    ],
)
def test_what_is_no_image_gives_its_reason(raw, reason):
    with pytest.raises(DataError, match=reason):
        decode(raw)


def test_float_pixels_have_no_known_range_and_are_refused():
    with pytest.raises(DataError, match="range"):
        decode(encoded(Image.new("F", (4, 4)), "TIFF"))


def test_floats_are_channels_first_in_zero_to_one():
    grid = RNG.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    batch = as_floats([grid, grid])
    assert batch.shape == (2, 3, 4, 4)
    assert batch.dtype == np.float32
    np.testing.assert_array_equal(batch[1, 2], grid[..., 2].astype(np.float32) / np.float32(255))


WHOLE = {
    kind: encoded(Image.fromarray(RNG.integers(0, 255, (40, 48, 3), dtype=np.uint8)), kind)
    for kind in FORMATS
    if kind != "DIB"
}


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_however_a_file_is_damaged_it_is_an_image_or_a_reason(kind, data):
    raw = bytearray(WHOLE[kind])
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    try:
        assert decode(bytes(raw[:cut] if data.draw(st.booleans()) else raw)).mode == "RGB"
    except DataError as error:
        assert str(error)

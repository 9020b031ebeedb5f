"""Files of every mode reach the grid as upright 8-bit RGB."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import CenterCrop, Resize

from corpus import tiff
from lookaway.data.pixels import (
    FORMATS,
    STATED,
    as_floats,
    as_picture,
    decode,
    floats_on,
    to_grid,
)
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


# Wide pixels: a grey row of three numbers each


def greys(raw, value_range=None):
    """The row in 8 bit, or why there is none."""
    try:
        found = np.asarray(decode(raw, value_range))
    except DataError as error:
        return str(error)
    assert (found == found[..., :1]).all()
    return found[0, :, 0].tolist()


def row(kind, *numbers):
    return np.array([numbers], dtype=kind)


CT, MIDDLE = (-1000, 1000, 3000), [0, 128, 255]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("kind", "numbers", "value_range"),
    [
        ("i2", CT, [-1000, 3000]),
        ("i4", CT, [-1000, 3000]),
        ("f4", CT, [-1000, 3000]),
        ("u2", (0, 2048, 4095), [0, 4095]),
        ("u2", (0, 128, 255), [0, 255]),
        ("f4", (0, 0.5, 1), [0, 1]),
    ],
)
def test_a_given_range_becomes_black_to_white_and_without_it_the_image_is_refused(
    order, kind, numbers, value_range
):
    raw = tiff(row(kind, *numbers), order)
    assert greys(raw, value_range) == MIDDLE
    if kind == "u2" and numbers[2] > 255:
        assert greys(raw) == [0, 8, 16]  # as every 16-bit image without a sign
    else:
        assert "data.range: [low, high]" in greys(raw)


def test_the_upper_half_of_32_bit_is_no_negative_number():
    raw = tiff(row("u4", 0, 2**31, 2**32 - 1))
    assert greys(raw, [0, 2.0**32 - 1]) == MIDDLE
    assert greys(tiff(row("u4", 0, 50, 100), max=100)) == MIDDLE


def test_what_lies_beyond_a_given_range_is_black_or_white():
    assert greys(tiff(row("i2", -2000, 1000, 9999)), [-1000, 3000]) == MIDDLE


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("kind", "numbers", "stated"),
    [
        ("i2", CT, {"smin": -1000, "smax": 3000}),
        ("i4", CT, {"smin": -1000, "smax": 3000}),
        ("f4", (0, 0.5, 1), {"smin": 0.0, "smax": 1.0}),
        ("u2", (0, 2048, 4095), {"max": 4095}),
        ("u2", (0, 128, 255), {"smax": 255}),
    ],
)
def test_a_range_that_a_tiff_states_is_taken_and_told(order, kind, numbers, stated):
    raw = tiff(row(kind, *numbers), order, **stated)
    assert greys(raw) == MIDDLE
    low, high = decode(raw).info[STATED]
    assert (low, high) == (min(numbers), max(numbers))
    assert greys(raw, [low, high + high - low])[2] == 128  # the study's word is the last
    assert "outside the range that the file states" in greys(
        tiff(row(kind, *(2 * number for number in numbers)), order, **stated)
    )


def test_white_as_the_smallest_number_is_turned_round():
    for kind, numbers, value_range in (
        ("u2", (0, 32768, 65535), None),
        ("f4", (0, 0.5, 1), [0, 1]),
    ):
        black = greys(tiff(row(kind, *numbers), photometric=1), value_range)
        white = greys(tiff(row(kind, *numbers), photometric=0), value_range)
        assert [255 - value for value in black] == pytest.approx(white, abs=1)
        assert white[0] == 255
    assert greys(tiff(row("u1", 0, 128, 255), photometric=0)) == [255, 127, 0]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_pixels_that_fit_into_8_are_refused_unless_their_range_is_given(kind):
    raw = encoded(Image.fromarray(row("u2", 0, 128, 255)), kind)
    assert greys(raw).startswith("16-bit pixels that fit into 8 bit: they go from 0 to 255; give")
    assert greys(raw, [0, 255]) == MIDDLE
    assert greys(encoded(Image.fromarray(row("u2", 0, 128, 256)), kind)) == [0, 0, 1]


def test_a_pgm_s_own_highest_number_is_white_and_a_range_is_in_its_numbers():
    raw = b"P5\n3 1\n300\n" + np.array([0, 150, 300], ">u2").tobytes()
    assert greys(raw) == [0, 128, 255]
    assert greys(raw, [0, 600]) == [0, 64, 128]


def colours(value):
    """A PNG of 16-bit colours, all of one value."""
    line = b"\0" + np.full(12, value, ">u2").tobytes()
    body = {
        b"IHDR": struct.pack(">IIBBBBB", 4, 2, 16, 2, 0, 0, 0),
        b"IDAT": zlib.compress(2 * line),
    }
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in {**body, b"IEND": b""}.items()
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_16_bit_colours_are_read_unless_they_are_black_or_a_range_is_given():
    assert greys(colours(40_000))[:3] == [156] * 3
    assert "all but black" in greys(colours(200))
    assert "their range cannot be set" in greys(colours(40_000), [0, 4095])


@pytest.mark.parametrize(
    ("raw", "value_range", "reason"),
    [
        (tiff(row("f4", 0, 0.5, float("nan"))), [0, 1], "NaN or infinite"),
        (tiff(row("f4", 0, 0.5, 1)), [5, 9], "outside data.range: they go from 0 to 1"),
        (tiff(row("i1", 0, 5, -1)), None, "8-bit pixels with a sign"),
        (tiff(row("f8", 0, 0.5, 1)), None, "a TIFF whose kind of pixels is not read"),
    ],
)
def test_pixels_that_would_be_read_wrongly_are_refused(raw, value_range, reason):
    assert reason in greys(raw, value_range)


def test_a_range_changes_no_8_bit_image():
    raw = encoded(Image.fromarray(RNG.integers(0, 255, (8, 12, 3), dtype=np.uint8)))
    assert decode(raw, [0, 10]).tobytes() == decode(raw).tobytes()


def test_a_grey_image_has_one_channel_on_the_grid_and_as_floats():
    image = Image.fromarray(RNG.integers(0, 255, (20, 30, 3), dtype=np.uint8))
    grid = to_grid(image.convert("L"), 16)
    assert grid.shape == (16, 16, 1)
    luminance = to_grid(image, 16).astype(float) @ (0.299, 0.587, 0.114)
    np.testing.assert_allclose(grid[..., 0], luminance, atol=1.5)
    assert as_floats([grid, grid]).shape == (2, 1, 16, 16)
    assert as_picture(grid).mode == "L"
    np.testing.assert_array_equal(np.asarray(as_picture(grid)), grid[..., 0])


def test_floats_are_channels_first_in_zero_to_one():
    grid = RNG.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    batch = as_floats([grid, grid])
    assert batch.shape == (2, 3, 4, 4)
    assert batch.dtype == np.float32
    np.testing.assert_array_equal(batch[1, 2], grid[..., 2].astype(np.float32) / np.float32(255))


def test_floats_made_on_a_device_are_the_same_bits():
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    found = floats_on("cpu", every)
    assert found.is_contiguous()
    np.testing.assert_array_equal(found.numpy(), as_floats(every))


WHOLE = {
    kind: encoded(Image.fromarray(RNG.integers(0, 255, (40, 48, 3), dtype=np.uint8)), kind)
    for kind in FORMATS
    if kind != "DIB"
}
WHOLE["wide"] = tiff(RNG.integers(-1000, 3000, (30, 40), dtype=np.int32), smin=-1000, smax=3000)


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

"""Image folders as the world has them: ``python tests/corpus.py DIR`` makes one.

Every file is either usable or to be set aside; ``make`` says which, and why.
"""

import os
import pickle
import struct
import sys
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

USED = "used"
PLAIN, NAMES, DAMAGED = "plain", 'names "<b>&\n🙂', "damaged"
_SIDES = (24, 20)


def make(root: Path) -> dict[str, str]:
    """Draw the corpus.

    Args:
        root: a folder that does not exist yet.

    Returns:
        For the name of each file ``USED`` or a part of the reason why it is set aside.
    """
    expected: dict[str, str] = {}
    for name, (raw, outcome) in {**_formats(), **_names(), **_damaged(), **_twins()}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
        expected[name] = outcome
    return expected | _special(root)


def noise(seed: int, width: int = _SIDES[0], height: int = _SIDES[1]) -> Image.Image:
    """A seeded picture of noise."""
    random = np.random.default_rng(seed)
    return Image.fromarray(random.integers(0, 255, (height, width, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    """A picture as the content of a file."""
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(orientation: int) -> bytes:
    """The picture of seed 8 as a camera that was held otherwise stores it, with its EXIF note."""
    undo = [None, None, *map(Image.Transpose, (0, 3, 1, 5, 2, 6, 4))]
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = noise(8)
    return encoded(
        image if orientation == 1 else image.transpose(undo[orientation]), "PNG", exif=exif
    )


def tiff(pixels: np.ndarray, order: str = "<", photometric: int = 1, **stated: float) -> bytes:
    """An uncompressed grey TIFF of any type of number.

    Args:
        pixels: (H, W).
        order: ``<`` or ``>``, of bytes.
        photometric: 0: the smallest number is white; 1: it is black.
        stated: the tags ``smin``, ``smax``, ``min``, ``max``.
    """
    height, width = pixels.shape
    raw = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    short, long, signed, real = (3, "HH"), (4, "I"), (9, "i"), (11, "f")
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    entries = {
        256: (long, width),
        257: (long, height),
        258: (short, 8 * pixels.dtype.itemsize),
        259: (short, 1),
        262: (short, photometric),
        277: (short, 1),
        278: (long, height),
        279: (long, len(raw)),
        339: (short, kind),
    }
    for name, value in stated.items():
        tag = {"smin": 340, "smax": 341, "min": 280, "max": 281}[name]
        entries[tag] = (real if kind == 3 else short if tag < 300 else signed, value)
    entries[273] = (long, 8 + 2 + 12 * (len(entries) + 1) + 4)
    file = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, 8)
    file += struct.pack(f"{order}H", len(entries))
    for tag, ((number, form), value) in sorted(entries.items()):
        values = (value, 0) if form == "HH" else (value,)
        file += struct.pack(f"{order}HHI{form}", tag, number, 1, *values)
    return file + struct.pack(f"{order}I", 0) + raw


def _formats() -> dict[str, tuple[bytes, str]]:
    """Whatever Pillow reads, in every mode."""
    picture = noise(1)
    deep = np.random.default_rng(2).integers(0, 65535, _SIDES[::-1], dtype=np.uint16)
    frames = [noise(seed) for seed in (3, 4, 5)]
    moving = {"save_all": True, "append_images": frames[1:], "duration": 40}
    files = {
        "rgb.png": encoded(noise(10), "PNG"),
        "rgb.jpg": encoded(noise(11), "JPEG"),
        "progressive.jpg": encoded(noise(12), "JPEG", progressive=True),
        "rgb.bmp": encoded(noise(13), "BMP"),
        "rgb.webp": encoded(noise(14), "WEBP"),
        "rgb.tif": encoded(noise(15), "TIFF"),
        "rgb.ppm": encoded(noise(16), "PPM"),
        "cmyk.jpg": encoded(picture.convert("CMYK"), "JPEG"),
        "16-bit.png": encoded(Image.fromarray(deep), "PNG"),
        "16-bit.tif": encoded(Image.fromarray(deep), "TIFF"),
        "palette.png": encoded(picture.convert("P"), "PNG"),
        "palette-see-through.png": encoded(picture.convert("P"), "PNG", transparency=0),
        "alpha.png": encoded(picture.convert("RGBA"), "PNG"),
        "grey.png": encoded(picture.convert("L"), "PNG"),
        "grey.jpg": encoded(picture.convert("L"), "JPEG"),
        "grey-alpha.png": encoded(picture.convert("LA"), "PNG"),
        "one-bit.png": encoded(picture.convert("1"), "PNG"),
        "lab.tif": encoded(Image.new("LAB", _SIDES, (90, 128, 128)), "TIFF"),
        "moving.gif": encoded(frames[0], "GIF", **moving),
        "moving.webp": encoded(frames[0], "WEBP", lossless=True, **moving),
        "pages.tif": encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:]),
        "1x1.png": encoded(noise(20, 1, 1), "PNG"),
        "1x5000.png": encoded(noise(21, 1, 5000), "PNG"),
        "5000x1.jpg": encoded(noise(22, 5000, 1), "JPEG"),
        "a-jpeg-in-truth.png": encoded(noise(23), "JPEG"),
        "more-behind.jpg": encoded(noise(24), "JPEG") + b"and more",
    }
    files |= {f"exif-{place}.png": turned(place) for place in range(1, 9)}
    return {f"{PLAIN}/{name}": (raw, USED) for name, raw in files.items()}


def _names() -> dict[str, tuple[bytes, str]]:
    """Names that are not kind to tables, pages, shells and other systems."""
    names = [
        "line\nbreak.png",
        "tab\tand\rreturn.png",
        'it\'s "quoted".png',
        "🙂 smile.png",
        "\u202egnp.right-to-left.png",
        "<script>alert(1)</script>.png",
        "$(reboot);`id`|&.png",
        "-rf *.png",
        "dots..png",
        " leading and trailing .png",
        "back\\slash.png",
        "%s{0}{{x}}{% raw %}.png",
        "Case.png",
        "case.png",
        "e\u0301 composed otherwise.png",
        "\u00e9 composed otherwise.png",
        "x" * 251 + ".png",
        "=cmd()|x.png",
        "CON.png",
    ]
    return {
        f"{NAMES}/{name}": (encoded(noise(100 + place), "PNG"), USED)
        for place, name in enumerate(names)
    }


def _damaged() -> dict[str, tuple[bytes, str]]:
    """What only looks like an image."""
    png, jpeg = encoded(noise(30), "PNG"), encoded(noise(31, 200, 200), "JPEG")
    wrong_sum = bytearray(png)
    wrong_sum[len(png) // 2] ^= 0xFF
    files = {
        "truncated.jpg": (jpeg[: len(jpeg) // 2], "cannot be decoded"),
        "truncated.png": (png[: len(png) // 2], "cannot be decoded"),
        "truncated.gif": (encoded(noise(32), "GIF")[:-300], "cannot be decoded"),
        "header-alone.png": (png[:20], "cannot be decoded"),
        "altered.png": (bytes(wrong_sum), "cannot be decoded"),
        "empty.jpg": (b"", "an empty file"),
        "zeros.png": (bytes(500), "not an image file"),
        "<script>alert(1)</script>.jpg": (b"x", "not an image file"),
        "text.jpg": (b"just text\n", "not an image file"),
        "page.png": (b"<html><script>alert(1)</script></html>", "not an image file"),
        "drawing.png": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not an image file"),
        "program.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        "pickle.png": (pickle.dumps(_Calls()), "not an image file"),
        "bomb.png": (_bomb(30_000), "cannot be decoded"),
        "nothing-in-it.png": (_bomb(0), "not an image file"),
        "fractions.tif": (encoded(Image.new("F", (4, 4)), "TIFF"), "floating-point pixels"),
        "tomography.tif": (tiff(np.array([[-1000, 3000]], np.int32)), "range is not known"),
        "8-bit-in-16.png": (encoded(Image.fromarray(np.full((4, 4), 9, np.uint16)), "PNG"), "fit"),
        "notes.txt": (b"hello", "not named as an image file"),
        "Thumbs.db": (b"x", "not named as an image file"),
        "no-ending": (png, "not named as an image file"),
    }
    good = {f"good-{place}.png": (encoded(noise(40 + place), "PNG"), USED) for place in range(4)}
    return {f"{DAMAGED}/{name}": found for name, found in {**files, **good}.items()}


def _twins() -> dict[str, tuple[bytes, str]]:
    """The same content within a class, and across classes; two classes that differ by case."""
    same = encoded(noise(50), "PNG")
    within = {f"ann/{place}.png": same for place in range(8)}
    across = {"Ann/same.png": same, "Ann/alike.png": encoded(noise(51), "PNG")}
    others = {f"Ann/{place}.png": encoded(noise(60 + place), "PNG") for place in range(4)}
    return {name: (raw, USED) for name, raw in {**within, **across, **others}.items()}


def _special(root: Path) -> dict[str, str]:
    """Links, pipes, and what may not be read."""
    folder = root / DAMAGED
    good = encoded(noise(70), "PNG")
    (root / "list.csv").write_text("x")
    (root / "loop").symlink_to("loop")
    (root / "around").symlink_to(".", target_is_directory=True)
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "nowhere.png").symlink_to("nothing-there.png")
    (folder / "circle").symlink_to("..", target_is_directory=True)
    (folder / "linked.png").symlink_to(root / PLAIN / "rgb.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.png").mkdir()
    (folder / "folder.png" / "deeper.png").write_bytes(good)
    (folder / "locked.png").write_bytes(encoded(noise(71), "PNG"))
    (folder / "locked.png").chmod(0)
    (folder / ".hidden.png").write_bytes(b"not looked at")
    strange = os.fsdecode(b"not-unicode-\xff.png")
    (folder / strange).write_bytes(good)
    return {
        "list.csv": "beside the class folders",
        "loop": "a link that loops",
        "around": "a link to a folder around it",
        f"{DAMAGED}/loop.png": "Too many levels of symbolic links",
        f"{DAMAGED}/nowhere.png": "No such file",
        f"{DAMAGED}/circle": "a link to a folder",
        f"{DAMAGED}/linked.png": USED,
        f"{DAMAGED}/pipe.png": "no regular file",
        f"{DAMAGED}/folder.png/deeper.png": USED,
        f"{DAMAGED}/locked.png": USED if os.geteuid() == 0 else "Permission denied",
        f"{DAMAGED}/not-unicode-\\udcff.png": "not valid Unicode",
    }


class _Calls:
    """Would run a program if it were unpickled."""

    def __reduce__(self):
        return (os.system, ("touch lookaway-was-here",))


def _bomb(side: int) -> bytes:
    """A PNG of a few bytes that says that it has side × side pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        whole = kind + body
        return struct.pack(">I", len(body)) + whole + struct.pack(">I", zlib.crc32(whole))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"")), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


if __name__ == "__main__":
    for name, outcome in sorted(make(Path(sys.argv[1])).items()):
        print(f"{name!r}: {outcome}")  # noqa: T201

"""Small copies of a run's test images, together in one file: what the page's gallery shows."""

import math
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING

import polars as pl
from PIL import Image

from lookaway.data.pixels import as_picture
from lookaway.hashing import digest_json
from lookaway.study.identity import Identity
from lookaway.study.store import Store

if TYPE_CHECKING:
    from lookaway.study.images import Images

MOST = 500  # images
SIDE = 64  # px


def small_images(test: pl.DataFrame) -> pl.DataFrame:
    """The test images that have a small copy: the pictured ones, then others by their hash.

    None where the study pictures none.
    """
    if not test["pictured"].any():
        return test.clear()
    return test.sort(~pl.col("pictured"), "sha256", "image").head(MOST)


def name_of(identity: Identity, variant: str, small: pl.DataFrame) -> str:
    """The file of these images' small copies."""
    content = [identity.preparation(variant), small["sha256"].to_list()]
    return f"images/{digest_json(content)[:32]}.webp"


def columns_of(count: int) -> int:
    """How many of them stand in a row, from the left, rows from the top."""
    return math.isqrt(max(0, count - 1)) + 1


def keep_thumbnails(images: "Images", store: Store, size: int) -> None:
    """Write the small copies of the first variant's test images, where they are not there.

    Raises:
        DataError: an image is not what was scanned.
        StoreError: the file cannot be written.
    """
    variant = next(iter(images.variants))
    small = small_images(store.samples_of("test", variant))
    name = name_of(store.identity, variant, small)
    if small.is_empty() or _is_whole(store.read_bytes(name)):
        return
    records = {record.image: record for record in images.parts["test"]}
    columns = columns_of(small.height)
    room = (SIDE * columns, SIDE * -(-small.height // columns))
    sheet = Image.new("RGB", room)
    for place, image in enumerate(small["image"]):
        picture = as_picture(images.grid(variant, records[image], size)).convert("RGB")
        tile = picture.resize((SIDE, SIDE), Image.Resampling.BOX if size > SIDE else None)
        sheet.paste(tile, (SIDE * (place % columns), SIDE * (place // columns)))
    store.keep_with(name, partial(sheet.save, format="WEBP", quality=70, method=4))


def _is_whole(raw: bytes | None) -> bool:
    try:
        with Image.open(BytesIO(raw or b""), formats=("WEBP",)) as sheet:
            sheet.load()
    except (OSError, ValueError):
        return False
    return True

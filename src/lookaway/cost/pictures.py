"""A few images to try a study on: of its own folder, or made where its images are imagined."""

import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from PIL import Image

from lookaway.cost.counts import Counts
from lookaway.data.folder import FolderSource, ImageSource, Record
from lookaway.errors import DataError

SIDE = 1.5  # of a made picture, in sides of the study's grid


def make_pictures(folder: Path, count: int, side: int) -> None:
    """Make JPEG files of smooth colours and some noise, in two classes.

    Args:
        folder: where to.
        count: how many.
        side: px.
    """
    random = np.random.default_rng(0)
    for index in range(count):
        coarse = random.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        smooth = Image.fromarray(coarse).resize((side, side), Image.Resampling.BILINEAR)
        noise = random.normal(0.0, 6.0, (side, side, 3))
        pixels = (np.asarray(smooth) + noise).clip(0, 255).astype(np.uint8)
        path = folder / f"n{index % 2:06d}" / f"{index:04d}_01.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, quality=90)


def few_pictures(counts: Counts, made: Path, count: int) -> tuple[ImageSource, list[Record], float]:
    """Images to try a study on, read as a study reads them.

    Args:
        counts: of the study.
        made: a folder of pictures, for a study whose images are imagined.
        count: how many records; some come again where there are fewer images.

    Returns:
        Where they come from, their records, and the seconds that reading takes for one.

    Raises:
        DataError: none can be read.
    """
    source = FolderSource(made) if counts.source is None else counts.source
    records = counts.some if counts.source is not None else source.listed()
    seconds = 0.0
    if isinstance(source, FolderSource):
        began = time.perf_counter()
        read = list(source.read(record.image for record in records))
        seconds = (time.perf_counter() - began) / len(read)
        records = [found for _, found in read if isinstance(found, Record)]
        if not records:
            name, reason = read[0]
            raise DataError(f"none of {len(read)} images can be read, such as {name!r}: {reason}")
    if counts.source is None:
        labels = _spread(counts.classes, len(records))
        records = [
            Record(record.image, label, record.sha256)
            for record, label in zip(records, labels, strict=True)
        ]
    return source, list(islice(cycle(records), count)), seconds


def _spread(classes: Sequence[str], count: int) -> list[str]:
    return [classes[index * len(classes) // count] for index in range(count)]

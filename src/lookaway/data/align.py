"""Faces found in a study's images, so that each can be cut out and brought upright."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lookaway.data.cascade import CascadeAligner
from lookaway.data.folder import ImageSource, Record, in_order
from lookaway.data.landmarks import LandmarkAligner
from lookaway.data.pose import MARGIN, Pose, aligned
from lookaway.errors import DataError, nearest

__all__ = ["ALIGNERS", "Aligner", "Pose", "aligned", "check_found", "find_faces", "open_aligner"]

ALIGNERS: tuple[str, ...] = ("none", "cascade", "landmarks")

_KEEP_EVERY = 10.0  # seconds


class Aligner(Protocol):
    """Finds the face of an image.

    Attributes:
        name: the variant's.
        about: every setting that changes the result, as plain JSON data: the key of what is cached.
        needs_pixels: whether ``find`` looks at them; else it may be given None.
    """

    name: str
    about: dict[str, Any]
    needs_pixels: bool

    def find(self, image_name: str, pixels: np.ndarray | None) -> Pose | None:
        """Find the largest face in (H, W, 3) uint8 RGB, upright; None: there is none."""


def open_aligner(
    name: str, landmarks: Path | None = None, margin: float = MARGIN
) -> Aligner | None:
    """Open an aligner by its name.

    Args:
        name: one of ``ALIGNERS``.
        landmarks: for the aligner of that name: a CSV file, or a folder of CSV files.
        margin: of the square around a box of a face; see ``CascadeAligner``.

    Returns:
        The aligner; None for ``none``.

    Raises:
        DataError: there is no such aligner, or the landmarks cannot be read.
    """
    if name == "none":
        return None
    if name == "cascade":
        return CascadeAligner(margin)
    if name != "landmarks":
        raise DataError(
            f"there is no aligner {name!r}; possible: {', '.join(ALIGNERS)}."
            + nearest(name, ALIGNERS)
        )
    if landmarks is None:
        raise DataError(
            "the variant 'landmarks' needs a CSV file of five points or a box for each image, or "
            "a folder of such files, such as VGGFace2's bb_landmark: give it as data.landmarks"
        )
    return LandmarkAligner(Path(landmarks), margin)


def find_faces(
    aligner: Aligner,
    source: ImageSource,
    records: Sequence[Record],
    known: Mapping[str, Pose | None],
    advance: Callable[[int], None],
    keep: Callable[[dict[str, Pose | None]], None],
) -> dict[str, Pose | None]:
    """Find the face of every image, several images at once.

    Args:
        aligner: finds them; the cascade leaves other threads free to run.
        source: gives the images, upright.
        records: the images.
        known: what an earlier call kept; not looked for again.
        advance: told how many images are done, the known ones first.
        keep: given all that is found so far, every ten seconds and at the end, also where the
            search is interrupted.

    Returns:
        A pose, or None where there is no face, by the image's name, in the order of ``records``.

    Raises:
        DataError: an image is not what was scanned.
    """

    def find(record: Record) -> Pose | None:
        if not aligner.needs_pixels:
            return aligner.find(record.image, None)
        return aligner.find(record.image, np.asarray(source.open(record)))

    found = {record.image: known[record.image] for record in records if record.image in known}
    advance(len(found))
    left = [record for record in records if record.image not in found]
    pool = ThreadPoolExecutor(max_workers=_workers(aligner))
    kept = time.monotonic()
    try:
        for record, pose in in_order(pool, find, left):
            found[record.image] = pose
            advance(1)
            if time.monotonic() - kept >= _KEEP_EVERY:
                keep(dict(found))
                kept = time.monotonic()
    finally:
        pool.shutdown(cancel_futures=True)
        keep(dict(found))
    return {record.image: found[record.image] for record in records}


def check_found(aligner: Aligner, found: Mapping[str, Pose | None]) -> None:
    """Stop a study of which most images would have no face.

    Raises:
        DataError: there is no face in more than half of the images.
    """
    missing = [name for name, pose in found.items() if pose is None]
    if 2 * len(missing) <= len(found):
        return
    shown = ", ".join(repr(name) for name in missing[:3])
    told = (
        f"the aligner {aligner.name!r} finds no face in {len(missing)} of {len(found)} images, "
        f"such as {shown}; "
    )
    if isinstance(aligner, LandmarkAligner):
        raise DataError(
            told + "names in the CSV must match the images' paths below the data folder, with or "
            f"without the ending and a leading train/, test/ or val/: the CSV has "
            f"{aligner.example!r}, the images have {missing[0]!r}. Mend the names, or take the "
            "variant 'cascade' or 'none'"
        )
    raise DataError(
        told + "it sees upright faces from the front. Take the variant 'landmarks' with a face "
        "detector's points or boxes as a CSV file, or the variant 'none'"
    )


def _workers(aligner: Aligner) -> int:
    return (os.cpu_count() or 1) if aligner.needs_pixels else 1

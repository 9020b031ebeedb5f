"""How long it takes to find a face."""

import csv
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from lookaway.data.align import find_faces, open_aligner
from lookaway.data.folder import ImageSource, Record

_ROWS = 5_000  # of a made file of landmarks


def face_seconds(variant: str, source: ImageSource, records: Sequence[Record]) -> float:
    """Seconds for an image, on all processors.

    Landmarks are read from a made file, for those of the study may not be there.

    Args:
        variant: none, cascade or landmarks.
        source: of the images.
        records: images to look into.
    """
    if variant == "none":
        return 0.0
    with tempfile.TemporaryDirectory(prefix="lookaway-plan-") as folder:
        path: Path | None = None
        if variant == "landmarks":
            path = Path(folder) / "landmarks.csv"
            records = _make_landmarks(path)
        began = time.perf_counter()
        aligner = open_aligner(variant, path)
        if aligner is not None:
            find_faces(aligner, source, records, {}, lambda _: None, lambda _: None)
        return (time.perf_counter() - began) / len(records)


def _make_landmarks(path: Path) -> list[Record]:
    """A file of five points for each of many images, as VGGFace2 has them; and the images."""
    names = [f"n{index // 100:06d}/{index % 100:04d}_01" for index in range(_ROWS)]
    points = (30.3, 51.7, 65.5, 51.5, 48.0, 71.7, 33.5, 92.4, 62.7, 92.2)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["NAME_ID", *(f"P{index}{axis}" for index in range(1, 6) for axis in "XY")])
        rows.writerows(
            [name, *(value + index % 7 for value in points)] for index, name in enumerate(names)
        )
    return [Record(f"{name}.jpg", name.partition("/")[0], "") for name in names]

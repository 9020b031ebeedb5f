"""The faces that an aligner found in a run's images: searched once, kept, read again."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from lookaway.data.align import Aligner, Pose, check_found, find_faces
from lookaway.data.folder import ImageSource, Record
from lookaway.data.landmarks import LandmarkAligner
from lookaway.errors import StoreError
from lookaway.hashing import digest_json
from lookaway.progress import Reporter
from lookaway.study.files import check_columns
from lookaway.study.store import Store

_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "image": pl.String,
    "sha256": pl.String,
    **dict.fromkeys(("x", "y", "across", "down"), pl.Float64),
}
_POINTS_FILE = "faces/points.parquet"
_POINTS: dict[str, pl.DataType | type[pl.DataType]] = {
    "image": pl.String,
    **dict.fromkeys((f"{axis}{place}" for place in range(1, 6) for axis in "xy"), pl.Float64),
}


def find_poses(
    aligner: Aligner,
    source: ImageSource,
    records: Sequence[Record],
    store: Store | None,
    progress: Reporter,
) -> dict[str, Pose | None]:
    """Where each image's face lies, from what the run keeps, or searched for now and kept.

    Raises:
        DataError: the aligner finds no face in more than half of the images.
        StoreError: the run cannot be written.
    """
    about = digest_json(aligner.about)
    content = {record.image: record.sha256 for record in records}
    known = {} if store is None else _known(store, aligner.name, about, content)

    def keep(found: Mapping[str, Pose | None]) -> None:
        if store is not None and len(found) > len(known):
            store.write_frame(
                f"faces/{aligner.name}.parquet", _frame(found, content), {"about": about}
            )

    with progress.stage(f"{aligner.name}: finding faces", len(records), "images") as advance:
        found = find_faces(aligner, source, records, known, advance, keep)
    check_found(aligner, found)
    return found


def keep_points(aligner: LandmarkAligner, records: Sequence[Record], store: Store | None) -> None:
    """Keep the five points of each image that has some, px of the upright image.

    Raises:
        DataError: several names in the landmarks could be an image's.
        StoreError: the run cannot be written.
    """
    found = [(record.image, aligner.points(record.image)) for record in records]
    rows = [(image, *points.ravel().tolist()) for image, points in found if points is not None]
    if store is not None:
        store.write_frame(_POINTS_FILE, pl.DataFrame(rows, schema=_POINTS, orient="row"))


def read_points(store: Store) -> dict[str, np.ndarray]:
    """Five points (5, 2) by image, px of the upright image; empty where none were given.

    Raises:
        StoreError: they are damaged.
    """
    path = store.folder / _POINTS_FILE
    if not path.is_file():
        return {}
    frame = store.read_frame(path)
    check_columns(frame, _POINTS, path)
    return {image: np.array(numbers).reshape(5, 2) for image, *numbers in frame.iter_rows()}


def read_poses(store: Store, variant: str) -> dict[str, Pose | None]:
    """The poses of a run's variant, by image; empty for one without an aligner.

    Raises:
        StoreError: they are missing or damaged.
    """
    if variant == "none":
        return {}
    path = store.folder / f"faces/{variant}.parquet"
    frame = store.read_frame(path)
    check_columns(frame, _SCHEMA, path)
    return _poses(frame)


def _known(
    store: Store, variant: str, about: str, content: Mapping[str, str]
) -> dict[str, Pose | None]:
    """What was found before, by the same aligner in the same images."""
    name = f"faces/{variant}.parquet"
    if not (store.folder / name).is_file():
        return {}
    try:
        frame = store.read_frame(store.folder / name)
        metadata = store.read_metadata(store.folder / name)
        check_columns(frame, _SCHEMA, store.folder / name)
    except StoreError:
        store.note_damage(name)
        return {}
    if metadata.get("about") != about:
        return {}
    same = frame["sha256"] == frame["image"].replace_strict(
        content, default="", return_dtype=pl.String
    )
    return _poses(frame.filter(same))


def _frame(found: Mapping[str, Pose | None], content: Mapping[str, str]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            (
                image,
                content[image],
                *((None,) * 4 if pose is None else (pose.x, pose.y, pose.across, pose.down)),
            )
            for image, pose in found.items()
        ],
        schema=_SCHEMA,
        orient="row",
    )


def _poses(frame: pl.DataFrame) -> dict[str, Pose | None]:
    return {
        image: None if pose[0] is None else Pose(*pose) for image, _, *pose in frame.iter_rows()
    }

"""A study's images: scanned, divided, and prepared in each of its variants."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from lookaway.data.align import Pose, aligned, open_aligner
from lookaway.data.duplicates import duplicates
from lookaway.data.folder import ImageSource, Record
from lookaway.data.pixels import as_floats, to_grid
from lookaway.data.samples import open_source
from lookaway.data.split import PARTS, draw_classes, split
from lookaway.errors import DataError
from lookaway.hashing import digest_json
from lookaway.progress import Reporter
from lookaway.study.faces import find_poses
from lookaway.study.schemas import SAMPLE_SCHEMA
from lookaway.study.settings import Study
from lookaway.study.store import Store


@dataclass(frozen=True)
class Variant:
    """The images in one preparation.

    Attributes:
        name: none, cascade or landmarks.
        parts: records of train, val and test; without those that are set aside.
        poses: where each image's face lies; None where none was found. Empty without an aligner.
        about: the aligner and its settings; empty without one.
    """

    name: str
    parts: dict[str, list[Record]]
    poses: Mapping[str, Pose | None]
    about: Mapping[str, Any]

    @property
    def without_face(self) -> list[str]:
        """Names of the images in which no face was found, of those that are used or set aside."""
        return [image for image, pose in self.poses.items() if pose is None]


@dataclass(frozen=True)
class Images:
    """A study's images.

    Attributes:
        source: where they come from.
        classes: names, in order.
        parts: records of train, val and test, before any variant sets some aside.
        pictured: names of the test images that are shown; every variant has them.
        set_aside: names of files that were not used, and why.
        variants: by name, in the study's order.
    """

    source: ImageSource
    classes: list[str]
    parts: dict[str, list[Record]]
    pictured: frozenset[str]
    set_aside: dict[str, str]
    variants: dict[str, Variant]

    def grid(self, variant: str, record: Record, size: int) -> np.ndarray:
        """One image as a variant has it, (size, size, 3) uint8.

        Raises:
            DataError: it is not what was scanned.
        """
        return prepared_grid(self.source, record, self.variants[variant].poses, size)

    def samples(self) -> pl.DataFrame:
        """Every image: its part, the variants that have it, and those that found no face in it."""
        used = {
            name: {record.image for part in variant.parts.values() for record in part}
            for name, variant in self.variants.items()
        }
        unseen = {name: set(variant.without_face) for name, variant in self.variants.items()}
        return pl.DataFrame(
            [
                (
                    record.image,
                    record.label,
                    part,
                    record.image in self.pictured,
                    record.sha256,
                    [name for name in self.variants if record.image in used[name]],
                    [name for name in self.variants if record.image in unseen[name]],
                )
                for part, records in self.parts.items()
                for record in records
            ],
            schema=SAMPLE_SCHEMA,
            orient="row",
        )

    def plan(self) -> dict[str, Any]:
        """What of the images changes results, as plain data."""
        return {
            "classes": self.classes,
            "images": {part: _hashed(records) for part, records in self.parts.items()},
            "variants": {
                name: {
                    "aligner": dict(variant.about),
                    "without_face": len(variant.without_face),
                    "images": {part: _hashed(records) for part, records in variant.parts.items()},
                }
                for name, variant in self.variants.items()
            },
            "duplicates": duplicates(self.parts),
            "set_aside": self.set_aside,
        }


class Grids:
    """Some of a study's images on its grid, loaded when they are asked for.

    Args:
        images: of the study.
        variant: how they are prepared.
        records: which of them.
        size: of the grid, px.
    """

    def __init__(self, images: Images, variant: str, records: list[Record], size: int) -> None:
        self._images, self._variant, self._records, self._size = images, variant, records, size
        self._indices = {name: index for index, name in enumerate(images.classes)}

    def __len__(self) -> int:
        return len(self._records)

    def grid(self, index: int) -> np.ndarray:
        """One image, (H, W, 3) uint8."""
        return self._images.grid(self._variant, self._records[index], self._size)

    def label(self, index: int) -> int:
        """One image's class, by its index."""
        return self._indices[self._records[index].label]

    def load(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Pixels (N, 3, H, W) in [0, 1] and labels (N,)."""
        pixels = as_floats([self.grid(index) for index in indices])
        labels = [self.label(index) for index in indices]
        return torch.from_numpy(pixels), torch.tensor(labels, dtype=torch.int64)


def prepared_grid(
    source: ImageSource, record: Record, poses: Mapping[str, Pose | None], size: int
) -> np.ndarray:
    """One image on the grid: its face aligned where one was found, else its centre.

    Args:
        source: where it comes from.
        record: the image.
        poses: of faces, by image.
        size: side of the grid in px.

    Raises:
        DataError: it is not what was scanned.
    """
    image, pose = source.open(record), poses.get(record.image)
    return to_grid(image, size) if pose is None else aligned(image, pose, size)


def find_images(study: Study, store: Store | None, progress: Reporter) -> Images:
    """Scan and divide a study's images, and find the faces in them where a variant needs them.

    Args:
        study: checked settings.
        store: the run's files, where faces that were found are kept; None: nowhere.
        progress: told of the images done.

    Raises:
        DataError: with the reason why a study cannot be made of them.
    """
    aligners = {
        name: open_aligner(name, Path(study.data.landmarks) if study.data.landmarks else None)
        for name in study.data.variants
    }
    source = open_source(study.data.folder)
    with progress.stage("images: reading", None, "images") as advance:
        scan = source.scan(advance)
    chosen = study.data.split
    fractions = {part: float(getattr(chosen, part)) for part in PARTS}
    records = scan.records
    if not records:
        raise DataError(
            f"no image can be read in {study.data.folder!r}: {_reasons(scan.set_aside)}"
        )
    if study.data.classes is None and scan.empty:
        listed = ", ".join(repr(name) for name in scan.empty[:10])
        raise DataError(
            f"{len(scan.empty)} class folders hold no usable image: {listed}; add images or remove "
            "the folders"
        )
    if study.data.classes is not None:
        needed = sum(fraction > 0 for fraction in fractions.values())
        records, _ = draw_classes(records, study.data.classes, chosen.seed, needed)
    classes = sorted({record.label for record in records})
    if len(classes) < 2:
        raise DataError(f"only one class has usable images: {classes[0]!r}; at least 2 are needed")
    parts = split(records, fractions, chosen.seed)
    variants: dict[str, Variant] = {}
    for name, aligner in aligners.items():
        poses = find_poses(aligner, source, records, store, progress) if aligner else {}
        variants[name] = Variant(
            name,
            _with_faces(name, parts, poses) if study.data.without_face == "drop" else parts,
            poses,
            aligner.about if aligner else {},
        )
    shown = set.intersection(*(set(variant.parts["test"]) for variant in variants.values()))
    pictured = _pictured([r for r in parts["test"] if r in shown], study.explain.pictured)
    return Images(source, classes, parts, pictured, scan.set_aside, variants)


def _with_faces(
    variant: str, parts: dict[str, list[Record]], poses: Mapping[str, Pose | None]
) -> dict[str, list[Record]]:
    """The parts without the images in which no face was found.

    Raises:
        DataError: a class loses all its images of a part.
    """
    kept = {
        part: [record for record in records if poses.get(record.image, True) is not None]
        for part, records in parts.items()
    }
    lost = [
        f"{label!r} ({part})"
        for part, records in parts.items()
        for label in sorted(
            {record.label for record in records} - {record.label for record in kept[part]}
        )
    ]
    if lost:
        raise DataError(
            f"{variant} finds no face in any image of {len(lost)} classes' parts: "
            f"{', '.join(lost[:10])}; set without_face: crop, add images, or remove these classes"
        )
    return kept


def _hashed(records: list[Record]) -> dict[str, Any]:
    return {
        "count": len(records),
        "sha256": digest_json([[r.image, r.label, r.sha256] for r in records]),
    }


def _reasons(set_aside: dict[str, str]) -> str:
    if not set_aside:
        return "its class folders are empty"
    name, reason = next(iter(set_aside.items()))
    return f"{len(set_aside)} files were set aside, such as {name!r} ({reason})"


def _pictured(test: list[Record], count: int) -> frozenset[str]:
    """Images to show: one of each class in turn, by hash, until there are enough."""
    by_class: dict[str, list[str]] = {}
    for record in sorted(test, key=lambda record: record.sha256):
        by_class.setdefault(record.label, []).append(record.image)
    chosen: list[str] = []
    turn = 0
    while len(chosen) < min(count, len(test)):
        chosen += [names[turn] for _, names in sorted(by_class.items()) if turn < len(names)]
        turn += 1
    return frozenset(chosen[:count])

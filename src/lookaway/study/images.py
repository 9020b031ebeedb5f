"""A study's images: scanned, divided, and prepared in each of its variants."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from lookaway.data.align import Aligner, Pose, aligned, open_aligner
from lookaway.data.duplicates import duplicates
from lookaway.data.folder import ImageSource, Record, Scan
from lookaway.data.landmarks import LandmarkAligner
from lookaway.data.pixels import to_grid
from lookaway.data.samples import open_source
from lookaway.data.split import (
    PARTS,
    check_classes,
    check_parts,
    check_unsaid,
    draw_classes,
    keep_parts,
    split,
)
from lookaway.errors import DataError
from lookaway.hashing import digest_json
from lookaway.models.stages import LabelledImages
from lookaway.progress import Reporter
from lookaway.rows import SAMPLE_SCHEMA
from lookaway.study.faces import find_poses, keep_points
from lookaway.study.grid_cache import GridCache
from lookaway.study.json_files import ImageList, PartImages, VariantPlan
from lookaway.study.settings import FolderSplit, Study
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
        channels: of the pixels: 3, or 1 for grey.
        cache: of those that were prepared in this run.
        order: every class in the order in which networks count them; None: sorted names.
    """

    source: ImageSource
    classes: list[str]
    parts: dict[str, list[Record]]
    pictured: frozenset[str]
    set_aside: dict[str, str]
    variants: dict[str, Variant]
    channels: int = 3
    cache: GridCache = field(default_factory=GridCache)
    order: list[str] | None = None

    def grid(self, variant: str, record: Record, size: int) -> np.ndarray:
        """One image as a variant has it, (size, size, C) uint8.

        Raises:
            DataError: it is not what was scanned.
        """
        poses = self.variants[variant].poses
        return self.cache.get(
            (variant, record.image, size),
            lambda: prepared_grid(self.source, record, poses, size, self.channels),
        )

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
        """What of the images changes results, as the plan's fields."""
        return {
            "classes": self.classes,
            "images": _hashed(self.parts),
            "variants": {
                name: VariantPlan(
                    aligner=dict(variant.about),
                    without_face=len(variant.without_face),
                    images=_hashed(variant.parts),
                )
                for name, variant in self.variants.items()
            },
            "duplicates": duplicates(self.parts),
            "set_aside": self.set_aside,
        }


class Grids(LabelledImages):
    """Some of a study's images on its grid, loaded when they are asked for."""

    def __init__(self, images: Images, variant: str, records: list[Record], size: int) -> None:
        self._images, self._variant, self._records, self._size = images, variant, records, size
        self._indices = {name: index for index, name in enumerate(images.classes)}

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        record = self._records[index]
        grid = self._images.grid(self._variant, record, self._size)
        return torch.from_numpy(grid.transpose(2, 0, 1).copy()), self._indices[record.label]


def prepared_grid(
    source: ImageSource,
    record: Record,
    poses: Mapping[str, Pose | None],
    size: int,
    channels: int = 3,
) -> np.ndarray:
    """One image on the grid: its face aligned where a pose says so, else its centre.

    Grey is luminance: 0.299 R + 0.587 G + 0.114 B (ITU-R 601, Pillow's L).

    Returns:
        (size, size, C) uint8.

    Raises:
        DataError: it is not what was scanned.
    """
    image, pose = source.open(record), poses.get(record.image)
    if channels == 1:
        image = image.convert("L")
    return to_grid(image, size) if pose is None else aligned(image, pose, size)


def divide(
    study: Study, records: Sequence[Record], count: int | None
) -> tuple[list[Record], dict[str, list[Record]]]:
    """The images that a study uses, of all or of so many classes, and its parts.

    Returns:
        The used images, in order, and those of train, val and test.

    Raises:
        DataError: they cannot be divided as the study says.
    """
    check_classes(records)
    chosen, used = study.data.split, list(records)
    if isinstance(chosen, FolderSplit):
        tasks = {spec.train for spec in study.models} - {"none"}
        needed = PARTS if tasks - {"enrol"} else ("train", "test") if tasks else ("test",)
        check_parts(records, needed, chosen.by)
        if count is not None:
            used = draw_classes(records, count, chosen.seed, 1, needed)
        return used, keep_parts(used, needed, chosen.by)
    if not chosen.model_fields_set & {*PARTS}:
        check_unsaid(records)
    fractions = {part: float(getattr(chosen, part)) for part in PARTS}
    if count is not None:
        at_least = sum(fraction > 0 for fraction in fractions.values())
        used = draw_classes(records, count, chosen.seed, at_least)
    return used, split(used, fractions, chosen.seed)


def find_images(
    study: Study, store: Store | None, progress: Reporter, given: ImageSource | None = None
) -> Images:
    """Scan and divide a study's images, and find the faces in them where a variant needs them.

    Faces that were found are kept in the store, if there is one.

    Raises:
        DataError: with the reason why a study cannot be made of them.
    """
    place = Path(study.data.points) if study.data.points else None
    aligners = {name: open_aligner(name, place, study.data.margin) for name in study.data.variants}
    pointed = aligners.get("landmarks") or (
        open_aligner("landmarks", place, study.data.margin) if place else None
    )
    source = given or open_source(study.data.source, study.data.range)
    with progress.stage("images: reading", None, "images") as advance:
        scan = source.scan(advance)
    if not scan.records:
        raise DataError(
            f"no image can be read in {study.data.source!r}: {_reasons(scan.set_aside)}"
        )
    for line in _warnings(scan):
        progress.warn(line)
    if study.data.classes is None and scan.empty:
        listed = ", ".join(repr(name) for name in scan.empty[:10])
        raise DataError(
            f"{len(scan.empty)} class folders hold no usable image: {listed}; add images or remove "
            "the folders"
        )
    records, parts = divide(study, scan.records, study.data.classes)
    classes = sorted({record.label for record in records})
    if len(classes) < 2:
        raise DataError(f"only one class has usable images: {classes[0]!r}; at least 2 are needed")
    variants: dict[str, Variant] = {}
    if isinstance(pointed, LandmarkAligner):
        keep_points(pointed, records, store)
    for name, aligner in aligners.items():
        poses = find_poses(aligner, source, records, store, progress) if aligner else {}
        variants[name] = Variant(
            name,
            _with_faces(name, parts, poses) if study.data.without_face == "drop" else parts,
            poses,
            _about(aligner, pointed),
        )
    shown = set.intersection(*(set(variant.parts["test"]) for variant in variants.values()))
    pictured = _pictured([r for r in parts["test"] if r in shown], study.explain.pictured)
    return Images(
        source,
        classes,
        parts,
        pictured,
        scan.set_aside,
        variants,
        study.data.channels,
        order=scan.order,
    )


def _about(aligner: Aligner | None, pointed: Aligner | None) -> dict[str, Any]:
    """What changes a variant's results: of its aligner, and of points that tell its regions."""
    if aligner is None or pointed is None or aligner.name == pointed.name:
        return aligner.about if aligner else {}
    return {**aligner.about, "points": pointed.about["sha256"]}


def _warnings(scan: Scan) -> Iterator[str]:
    """What a user should know of the files, as lines: those set aside, and ranges that differ."""
    by_kind: dict[str, list[str]] = {}
    for name, reason in scan.set_aside.items():
        by_kind.setdefault(reason.partition(":")[0], []).append(name)
    if by_kind:
        often = sorted(by_kind.values(), key=len, reverse=True)
        told = [f"{len(names)} as {names[0]!r} ({scan.set_aside[names[0]]})" for names in often[:3]]
        others = sum(map(len, often[3:]))
        told += [f"{others} for other reasons"] if others else []
        many = "1 file is" if len(scan.set_aside) == 1 else f"{len(scan.set_aside)} files are"
        line = f"{many} set aside; the page lists them: {'; '.join(told)}"
        yield "".join(letter if letter.isprintable() else " " for letter in line)
    if len(scan.stated) > 1:
        told = [f"{low:g} to {high:g}" for low, high in scan.stated[:3]]
        more = ", …" if len(scan.stated) > 3 else ""
        yield (
            f"the files' tags state {len(scan.stated)} different ranges of their pixels "
            f"({', '.join(told)}{more}), and each image is scaled by its own; data.range: "
            "[low, high] scales all alike"
        )


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


def _hashed(parts: Mapping[str, list[Record]]) -> PartImages:
    found = {}
    for part, records in parts.items():
        content = [[record.image, record.label, record.sha256] for record in records]
        found[part] = ImageList(count=len(records), sha256=digest_json(content))
    return PartImages(**found)


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
    turns = zip_longest(*(names for _, names in sorted(by_class.items())))
    chosen = [name for turn in turns for name in turn if name is not None]
    return frozenset(chosen[:count])

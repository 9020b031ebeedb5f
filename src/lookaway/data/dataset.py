"""A Dataset of the caller's, of pairs of an image and its label, to records."""

import operator
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image

from lookaway.data.folder import Record, Scan
from lookaway.data.pixels import as_8_bit
from lookaway.errors import DataError, InputError, LookawayError
from lookaway.hashing import digest

GIVEN = "given:dataset"  # in place of a folder: images that the caller gives in Python


class DatasetSource:
    """The images of a map-style Dataset, torch's or any with a length and places.

    Args:
        dataset: of pairs of an image (see ``as_8_bit``) and a label: its class's name, or its place
            among ``dataset.classes`` or in ``dataset.class_to_idx``.

    Raises:
        InputError: it has no length, or no places.

    Attributes:
        classes: what the dataset calls its classes, in its order; None where its labels do.
    """

    def __init__(self, dataset: Any) -> None:
        if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
            raise InputError(
                f"data is a {type(dataset).__name__}; give a folder, a table, or a Dataset of "
                "(image, label) with a length and places (no loader, no IterableDataset)"
            )
        self._dataset = dataset
        self._one_at_a_time = Lock()  # few datasets can be read by several threads
        self.classes = classes_of(dataset)

    def scan(self, advance: Callable[[int], None] = lambda _: None) -> Scan:
        """Read every item once; images are named by their places.

        Raises:
            DataError: an item is no image with its label; with its place.
        """
        records = []
        for place in range(len(self._dataset)):
            image, label = self._item(place)
            records.append(Record(f"{place:06d}", self._name(place, label), _digest(image)))
            advance(1)
        return Scan(sorted(records, key=lambda record: record.label), order=self.classes)

    def listed(self) -> list[Record]:
        """Every item; see ``ImageSource.listed``."""
        return self.scan().records

    def open(self, record: Record) -> Image.Image:
        """Give one image as RGB; see ``ImageSource.open``."""
        image, _ = self._item(int(record.image))
        if _digest(image) != record.sha256:
            raise DataError(
                f"item {int(record.image)} of the dataset is another image when it is read again: "
                "leave out what it draws at random (augmentation)"
            )
        return image.convert("RGB")

    def _item(self, place: int) -> tuple[Image.Image, Any]:
        try:
            with self._one_at_a_time:
                item = self._dataset[place]
        except LookawayError:
            raise
        except Exception as error:  # a user's dataset fails in its own way
            raise DataError(
                f"item {place} of the dataset cannot be read: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise DataError(
                f"item {place} of the dataset is a {type(item).__name__}; give pairs of an image "
                "and its label"
            )
        try:
            return as_8_bit(item[0]), item[1]
        except DataError as error:
            raise DataError(f"item {place} of the dataset is {error}") from error

    def _name(self, place: int, label: Any) -> str:
        if isinstance(label, str) and label:
            return label
        try:
            index = operator.index(label)
        except TypeError as error:
            raise DataError(
                f"the label of item {place} of the dataset is {label!r}; give a class's name, or "
                "its whole number"
            ) from error
        if self.classes is None:
            raise DataError(
                f"the label of item {place} of the dataset is {index}, and the dataset has no "
                "classes (a list of their names) and no class_to_idx; give it one, or names as "
                "labels"
            )
        if not 0 <= index < len(self.classes):
            raise DataError(
                f"the label of item {place} of the dataset is {index}, of {len(self.classes)} "
                "classes"
            )
        return self.classes[index]


def classes_of(dataset: Any) -> list[str] | None:
    """The names of a dataset's classes, of one that is a part of it too."""
    by_name = getattr(dataset, "class_to_idx", None)
    names = getattr(dataset, "classes", None)
    if isinstance(by_name, Mapping):
        names = sorted(by_name, key=lambda name: int(by_name[name]))
        if [int(by_name[name]) for name in names] != list(range(len(names))):
            raise InputError("class_to_idx of the dataset must number the classes from 0 on")
    if names is not None:
        found = [str(name) for name in names]
        if len(set(found)) < len(found):
            raise InputError(f"classes of the dataset has a name twice: {found}")
        return found
    inner = getattr(dataset, "dataset", None)  # as torch's Subset has it
    return None if inner is None else classes_of(inner)


def _digest(image: Image.Image) -> str:
    pixels = np.asarray(image)
    return digest(f"{pixels.shape}", pixels.tobytes())

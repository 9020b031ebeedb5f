"""The images that ship with a dependency, so that a study can run without any of its own."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lookaway.data.dataset import GIVEN, DatasetSource
from lookaway.data.folder import FolderSource, ImageSource, Record, Scan
from lookaway.data.remote import RemoteSource
from lookaway.data.table import TableSource, is_table
from lookaway.errors import DataError
from lookaway.hashing import digest
from lookaway.places import AnyPath, RemotePath, to_path

PREFIX = "sample:"


class LfwPatches:
    """200 grey patches of 25×25 px, half of them faces: scikit-image's subset of LFW."""

    def __init__(self) -> None:
        from skimage.data import lfw_subset

        self._patches = (np.asarray(lfw_subset()) * 255.0).round().astype(np.uint8)

    def scan(self, advance: Callable[[int], None] = lambda _: None) -> Scan:
        """List the patches: the first hundred are faces."""
        records = [
            Record(f"{label.replace(' ', '-')}/{index:03d}", label, digest(patch.tobytes()))
            for index, patch in enumerate(self._patches)
            for label in ["face" if index < 100 else "no face"]
        ]
        advance(len(records))
        return Scan(records)

    def listed(self) -> list[Record]:
        """The patches; see ``ImageSource.listed``."""
        return self.scan().records

    def open(self, record: Record) -> Image.Image:
        """Give one patch as RGB."""
        return Image.fromarray(self._patches[int(record.image[-3:])]).convert("RGB")


SAMPLES: dict[str, Callable[[], ImageSource]] = {"lfw_subset": LfwPatches}


def open_source(
    place: str | AnyPath | Any, value_range: Sequence[float] | None = None
) -> ImageSource:
    """Open an image folder, a table, a Dataset, or a sample by its name.

    Args:
        place: a Dataset of (image, label); a path or URL, of a table where it ends so; or
            ``sample:`` and the name of a sample, such as ``sample:lfw_subset``.
        value_range: of wide pixels; see ``decode``. Samples have none.

    Raises:
        DataError: there is no such folder, table or sample.
        InputError: there is no such kind of URL.
        RemoteError: the URL's store cannot be reached, or refuses.
    """
    if not isinstance(place, str | Path | RemotePath):
        return DatasetSource(place)
    if place == GIVEN:
        raise DataError(
            "the images are a Dataset that is given in Python: data=dataset of run_study or export"
        )
    if not str(place).startswith(PREFIX):
        root = to_path(place)
        if is_table(root) and not root.is_dir():
            return TableSource(root, value_range)
        if isinstance(root, RemotePath):
            return RemoteSource(root, value_range)
        return FolderSource(root, value_range)
    name = str(place).removeprefix(PREFIX)
    if name not in SAMPLES:
        raise DataError(f"there is no sample {name!r}; possible: {', '.join(SAMPLES)}")
    return SAMPLES[name]()

"""The images that ship with a dependency, so that a study can run without any of its own."""

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from lookaway.data.folder import FolderSource, ImageSource, Record, Scan
from lookaway.data.remote import RemoteSource
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


SAMPLES: dict[str, type[LfwPatches]] = {"lfw_subset": LfwPatches}


def open_source(folder: str | AnyPath, value_range: Sequence[float] | None = None) -> ImageSource:
    """Open an image folder, or a sample by its name.

    Args:
        folder: a path or URL, or ``sample:`` and the name of a sample, such as
            ``sample:lfw_subset``.
        value_range: of wide pixels; see ``decode``. Samples have none.

    Raises:
        DataError: there is no such folder or sample.
        InputError: there is no such kind of URL.
        RemoteError: the URL's store cannot be reached, or refuses.
    """
    if not str(folder).startswith(PREFIX):
        root = to_path(folder)
        if isinstance(root, RemotePath):
            return RemoteSource(root, value_range)
        return FolderSource(root, value_range)
    name = str(folder).removeprefix(PREFIX)
    if name not in SAMPLES:
        raise DataError(f"there is no sample {name!r}; possible: {', '.join(SAMPLES)}")
    return SAMPLES[name]()

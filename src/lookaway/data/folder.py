"""An image folder, root/class/image, to records; what cannot be read is set aside."""

import errno
import os
import re
import unicodedata
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from PIL import Image

from lookaway.data.pixels import ENDINGS, STATED, decode
from lookaway.errors import DataError
from lookaway.hashing import digest
from lookaway.places import AnyPath

_IN_HAND = 32
_PART = re.compile(
    "(?:(?P<train>train|training|gallery)|(?P<val>val|valid|validation|eval|evaluation|dev)"
    "|(?P<test>test|testing|probes?))(?:[ _-]?(?:set|data|images))?",
    re.IGNORECASE,
)
# Left by systems, archives and programs; what begins with a dot is left out too.
_SYSTEM = {
    "__macosx",
    "__pycache__",
    "lost+found",
    "$recycle.bin",
    "system volume information",
    "@eadir",
    "#recycle",
}
BESIDE = "beside the class folders, not in one"
_LOOP = "a link that loops"

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Record:
    """One usable image.

    Attributes:
        image: its name: the path below the folder, with slashes.
        label: its class, by name.
        sha256: of its content.
        part: train, val or test, where the folder that it lies in, or the table, says so.
        subject: whom or what it shows, where that is known and is not its class.
    """

    image: str
    label: str
    sha256: str
    part: str | None = None
    subject: str | None = None


@dataclass(frozen=True)
class Scan:
    """What a source holds.

    Attributes:
        records: usable images, by class and name.
        set_aside: names of files that were not used, and why.
        empty: classes without a usable image.
        stated: the ranges of values that files state of themselves, in order.
        order: every class in the order in which networks count them; None: sorted names.
    """

    records: list[Record]
    set_aside: dict[str, str] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)
    stated: list[tuple[float, float]] = field(default_factory=list)
    order: list[str] | None = None

    @property
    def classes(self) -> list[str]:
        """The classes in order: sorted names."""
        return sorted({record.label for record in self.records})


class ImageSource(Protocol):
    """Where a study's images come from."""

    def scan(self, advance: Callable[[int], None]) -> Scan:
        """List every image, reading each once; ``advance`` is told how many were read."""

    def listed(self) -> list[Record]:
        """Every image by its name, without reading it: its hash may be empty."""

    def open(self, record: Record) -> Image.Image:
        """Give one image as RGB; raise DataError if it is not what was scanned."""


def part_of(folder: str) -> str | None:
    """The part that a folder's name stands for: train (or gallery), val, test (or probe), or none.

    >>> part_of("Validation"), part_of("training_set"), part_of("alice")
    ('val', 'train', None)
    """
    found = _PART.fullmatch(folder)
    return None if found is None else found.lastgroup


def canonical(name: str) -> str:
    """An image's name in Unicode's composed form (NFC), with slashes: what other files may vary."""
    return unicodedata.normalize("NFC", name.replace("\\", "/"))


def is_hidden(name: str) -> bool:
    """Whether a file or folder is left out by its name: hidden, or a system's own."""
    return name.startswith(".") or name.casefold() in _SYSTEM


@dataclass(frozen=True)
class Entry:
    """What lies directly in a folder.

    Attributes:
        name: of the file or folder.
        is_folder: whether it is one.
        odd: why it is no class folder; empty for one that is.
    """

    name: str
    is_folder: bool
    odd: str


class Files(ABC):
    """Image files by their names, each read several times, and each time the same.

    Args:
        value_range: of wide pixels; see ``decode``.
    """

    _readers = min(8, (os.cpu_count() or 2) + 2)  # files that are read at once

    def __init__(self, value_range: Sequence[float] | None = None) -> None:
        self.value_range = value_range
        self._stated: set[tuple[float, float]] = set()

    @abstractmethod
    def scan(self, advance: Callable[[int], None] = lambda _: None) -> Scan:
        """See ``ImageSource.scan``."""

    @abstractmethod
    def listed(self) -> list[Record]:
        """See ``ImageSource.listed``."""

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, Record | str]]:
        """Read files once, several at a time: each name's record, or why there is none."""
        with ThreadPoolExecutor(max_workers=self._readers) as pool:
            yield from in_order(pool, self._read, names)

    def open(self, record: Record) -> Image.Image:
        """Give one image as RGB; see ``ImageSource.open``."""
        try:
            raw = self._content(record.image)
        except OSError as error:
            raise DataError(
                f"{record.image!r} was there when the study began and cannot be read now: {error}"
            ) from error
        if digest(raw) != record.sha256:
            raise DataError(f"{record.image!r} changed while the study ran; start a new run")
        return decode(raw, self.value_range)

    @abstractmethod
    def _content(self, name: str) -> bytes:
        """A file's content; OSError or DataError says why there is none."""

    @abstractmethod
    def _record(self, name: str, sha256: str) -> Record:
        """The record of a name and its content's hash."""

    def _read(self, name: str) -> Record | str:
        """A record, or the reason why there is none."""
        try:
            name.encode()
            raw = self._content(name)
            image = decode(raw, self.value_range)
        except UnicodeEncodeError:
            return "a name that is not valid Unicode; rename it"
        except OSError as error:
            return f"cannot be read: {error.strerror or error}"
        except DataError as error:
            return str(error)
        if STATED in image.info:
            self._stated.add(image.info[STATED])
        return self._record(name, digest(raw))


class ClassFolders(Files):
    """Images below ``root/class/``, at any depth; classes are the folders' names.

    Where the folders of the root are parts by their names (see ``part_of``) and hold folders and no
    image, as in VGGFace2, classes are the folders below those, and each image knows its part.
    Folders beside them without images, such as VGGFace2's lists of boxes and landmarks, are left
    alone. Hidden and system folders are left out at any depth.

    Args:
        root: the folder.
        value_range: of wide pixels; see ``decode``.

    Raises:
        DataError: it is not there, or holds no class folder.
    """

    root: AnyPath

    def __init__(self, root: AnyPath, value_range: Sequence[float] | None = None) -> None:
        super().__init__(value_range)
        self.root = root
        try:
            if not self.root.exists():
                raise DataError(f"the folder {str(self.root)!r} does not exist")
            if not self.root.is_dir():
                raise DataError(f"{str(self.root)!r} is a file; give a folder root/class/image")
            entries = self._shown("")
            self._stray = {entry.name: entry.odd for entry in entries if entry.odd}
            folders = sorted(entry.name for entry in entries if not entry.odd)
            parts = [name for name in folders if self._divided(name)]
            others = [name for name in folders if name not in parts]
            self._parted = bool(parts) and all(map(self._without_images, others))
            if self._parted:
                self._stray |= dict.fromkeys(others, BESIDE)
                inner = [
                    (f"{part}/{entry.name}", entry.odd)
                    for part in parts
                    for entry in sorted(self._shown(part), key=lambda entry: entry.name)
                ]
                self._stray |= {name: odd for name, odd in inner if odd}
                folders = [name for name, odd in inner if not odd]
            self._folders = folders
        except (OSError, ValueError) as error:
            raise DataError(f"the folder {str(self.root)!r} cannot be read: {error}") from error
        if not self._folders:
            raise DataError(
                f"the folder {str(self.root)!r} holds no class folders; images are expected as "
                "root/class/image, such as faces/alice/01.jpg"
            )

    def scan(self, advance: Callable[[int], None] = lambda _: None) -> Scan:
        """Read every file once: its content's hash, and whether it can be decoded."""
        records: list[Record] = []
        set_aside = {_printable(name): self._stray[name] for name in sorted(self._stray)}
        for name, found in self.read(self._files(set_aside)):
            if isinstance(found, Record):
                records.append(found)
            else:
                set_aside[_printable(name)] = found
            advance(1)
        records.sort(key=lambda record: record.label)  # a class may lie in several parts
        used = {record.label for record in records}
        classes = sorted({folder.rpartition("/")[2] for folder in self._folders})
        empty = [name for name in classes if name not in used]
        return Scan(records, set_aside, empty, sorted(self._stated))

    def listed(self) -> list[Record]:
        """Every file that is named as an image, with an empty hash; see ``ImageSource.listed``."""
        names = (name for name in self._files({}) if name.lower().endswith(ENDINGS))
        records = [self._record(name, "") for name in names]
        return sorted(records, key=lambda record: record.label)

    @abstractmethod
    def _entries(self, folder: str) -> list[Entry]:
        """What lies directly in a folder below the root."""

    @abstractmethod
    def _files(self, set_aside: dict[str, str]) -> Iterator[str]:
        """The files of the class folders: a folder's own by name, then those of each in it."""

    def _shown(self, folder: str) -> list[Entry]:
        return [entry for entry in self._entries(folder) if not is_hidden(entry.name)]

    def _divided(self, name: str) -> bool:
        """Whether a folder of the root is a part, with the classes' folders in it."""
        if part_of(name) is None:
            return False
        shown = self._shown(name)
        return any(entry.is_folder for entry in shown) and not any(map(_is_image, shown))

    def _without_images(self, name: str) -> bool:
        return not any(entry.is_folder or _is_image(entry) for entry in self._shown(name))

    def _read(self, name: str) -> Record | str:
        """A record, or the reason why there is none."""
        if not name.lower().endswith(ENDINGS):
            return "not named as an image file"
        return super()._read(name)

    def _record(self, name: str, sha256: str) -> Record:
        top, below = name.split("/")[:2]
        return (
            Record(name, below, sha256, part_of(top)) if self._parted else Record(name, top, sha256)
        )


class FolderSource(ClassFolders):
    """The images of a folder of this machine; see ``ClassFolders``."""

    root: Path

    def __init__(self, root: Path | str, value_range: Sequence[float] | None = None) -> None:
        super().__init__(Path(root), value_range)

    def _entries(self, folder: str) -> list[Entry]:
        return [self._entry(found) for found in os.scandir(self.root / folder)]

    def _entry(self, found: os.DirEntry[str]) -> Entry:
        try:
            is_folder = found.is_dir()
        except OSError as error:
            return Entry(found.name, False, _LOOP if error.errno == errno.ELOOP else BESIDE)
        if not is_folder:
            return Entry(found.name, False, BESIDE)
        if found.is_symlink() and self.root.resolve().is_relative_to(Path(found.path).resolve()):
            return Entry(found.name, True, "a link to a folder around it")
        return Entry(found.name, True, "")

    def _files(self, set_aside: dict[str, str]) -> Iterator[str]:
        def unreadable(error: OSError) -> None:
            name = Path(error.filename).relative_to(self.root).as_posix()
            set_aside[_printable(name)] = f"a folder that cannot be read: {error.strerror}"

        for top in self._folders:
            for folder, below, files in os.walk(self.root / top, onerror=unreadable):
                below[:] = sorted(name for name in below if not is_hidden(name))
                for link in [name for name in below if (Path(folder) / name).is_symlink()]:
                    name = (Path(folder) / link).relative_to(self.root).as_posix()
                    set_aside[_printable(name)] = "a link to a folder; only classes may be links"
                for file in sorted(files):
                    if not is_hidden(file):
                        yield (Path(folder) / file).relative_to(self.root).as_posix()

    def _content(self, name: str) -> bytes:
        path = self.root / name
        if path.exists() and not path.is_file():
            raise DataError("no regular file")  # reading a pipe would wait for ever
        return path.read_bytes()


def _is_image(entry: Entry) -> bool:
    """Whether it is a file that is named as an image."""
    return entry.odd == BESIDE and entry.name.lower().endswith(ENDINGS)


def _printable(name: str) -> str:
    """A file's name as text, also where it is not valid Unicode."""
    return name.encode(errors="backslashreplace").decode()


def in_order(
    pool: ThreadPoolExecutor, work: Callable[[Item], Outcome], items: Iterable[Item]
) -> Iterator[tuple[Item, Outcome]]:
    """Give results in the items' order, with no more than a few in hand at once."""
    waiting: deque[tuple[Item, Future[Outcome]]] = deque()
    for item in items:
        waiting.append((item, pool.submit(work, item)))
        if len(waiting) >= _IN_HAND:
            first, future = waiting.popleft()
            yield first, future.result()
    for item, future in waiting:
        yield item, future.result()

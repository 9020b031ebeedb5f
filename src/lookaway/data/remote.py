"""The images of an object store: listed class by class, read several at once, kept nowhere."""

from collections.abc import Iterator, Sequence

from lookaway.data.folder import BESIDE, ClassFolders, Entry, is_hidden
from lookaway.places import RemotePath

_ODD_PARTS = ("", ".", "..")


class RemoteSource(ClassFolders):
    """The images below a URL; see ``ClassFolders``.

    A class is one listing, an image one request, and no more of them are in memory than are read
    at once. It can be pickled; each process connects by itself.

    Raises:
        RemoteError: the store cannot be reached, or refuses.
    """

    root: RemotePath
    _readers = 16  # for they wait for the network

    def __init__(self, root: RemotePath, value_range: Sequence[float] | None = None) -> None:
        super().__init__(root, value_range)

    def _entries(self, folder: str) -> list[Entry]:
        return [
            Entry(name, is_folder, "" if is_folder else BESIDE)
            for name, is_folder in (self.root / folder).entries()
        ]

    def _files(self, set_aside: dict[str, str]) -> Iterator[str]:
        for top in self._folders:
            for key in sorted((self.root / top).below(), key=_walked):
                name = f"{top}/{key}"
                parts = key.split("/")
                if any(part in _ODD_PARTS for part in parts):
                    set_aside[name] = "a key that is no path; rename it"
                elif not any(map(is_hidden, parts)):
                    yield name

    def _content(self, name: str) -> bytes:
        return (self.root / name).read_bytes()


def _walked(key: str) -> list[tuple[bool, str]]:
    """The order of a folder's files, then of those in each folder in it, as they are walked."""
    *folders, file = key.split("/")
    return [*((True, folder) for folder in folders), (False, file)]

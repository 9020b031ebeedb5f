"""Where files lie: in a folder of this machine, or in an object store, named by a URL."""

import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from lookaway.errors import InputError, LookawayError, RemoteError

# What fsspec opens each with, and how to install that.
_CLIENTS = {
    "s3": "pip install 'lookaway[s3]'",
    "gs": "pip install gcsfs",
    "az": "pip install adlfs",
}
_POSSIBLE = ", ".join(f"{scheme}://" for scheme in _CLIENTS)
_OPTIONS = {"s3": {"max_concurrency": 1}}  # one request for each object, not a HEAD before it
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)
_COLLAPSED = re.compile(rf"({'|'.join(_CLIENTS)}):/[^/]")  # what pathlib makes of a URL
_NO_BUCKET = re.compile("(bucket|container) does not exist", re.IGNORECASE)
_REFUSED_CONDITIONS = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


@dataclass(frozen=True, order=True)
class RemotePath:
    """An object of an object store, or the objects below a prefix, read and written as a path.

    It has the part of pathlib's interface that lookaway uses. Nothing is cached: what was written
    is listed at once. A prefix is a folder while an object lies below it.

    Attributes:
        scheme: of the URL, such as ``s3``.
        key: the bucket, and the key in it.

    Raises:
        RemoteError: by every method that asks the store, where it cannot be reached or refuses.
    """

    scheme: str
    key: PurePosixPath

    def __str__(self) -> str:
        return f"{self.scheme}://{self.key}"

    def __truediv__(self, name: str) -> "RemotePath":
        return RemotePath(self.scheme, self.key / name)

    @property
    def name(self) -> str:
        """The last part."""
        return self.key.name

    @property
    def stem(self) -> str:
        """The last part without its ending."""
        return self.key.stem

    @property
    def suffix(self) -> str:
        """The ending, with its dot."""
        return self.key.suffix

    @property
    def parent(self) -> "RemotePath":
        """What it lies in."""
        return RemotePath(self.scheme, self.key.parent)

    def resolve(self) -> "RemotePath":
        """The same without ``..``."""
        return RemotePath(self.scheme, PurePosixPath(posixpath.normpath(self.key)))

    def relative_to(self, other: "RemotePath") -> PurePosixPath:
        """The rest below another; ValueError where it does not lie there."""
        if self.scheme != other.scheme:
            raise ValueError(f"{str(self)!r} does not lie in {str(other)!r}")
        return self.key.relative_to(other.key)

    def exists(self) -> bool:
        """Whether there is an object, or one below it."""
        return self._kind() != ""

    def is_file(self) -> bool:
        """Whether it is an object."""
        return self._kind() == "file"

    def is_dir(self) -> bool:
        """Whether an object lies below it."""
        return self._kind() == "directory"

    def iterdir(self) -> Iterator["RemotePath"]:
        """What lies directly below, in order; nothing where it is no folder."""
        return (self / name for name, _ in self.entries())

    def entries(self) -> list[tuple[str, bool]]:
        """The names directly below and whether each is a folder, in order, from one listing."""
        with suppress(FileNotFoundError), self._told():
            found = self._files.ls(str(self.key), detail=True)
            names = ((self._below(entry["name"]), entry["type"]) for entry in found)
            return sorted({(name, kind == "directory") for name, kind in names if name})
        return []

    def below(self) -> list[str]:
        """The keys of all objects below, less its own, in order, from one listing."""
        with suppress(FileNotFoundError), self._told():
            found = map(self._below, self._files.find(str(self.key)))
            return sorted(name for name in found if name and not name.endswith("/"))
        return []

    def read_bytes(self) -> bytes:
        """The object's content; FileNotFoundError where there is none."""
        with self._told():
            return bytes(self._files.cat_file(str(self.key)))

    def read_text(self, encoding: str = "utf-8") -> str:
        """The object's content as text; FileNotFoundError where there is none."""
        return self.read_bytes().decode(encoding)

    def write_bytes(self, raw: bytes) -> None:
        """Write an object, which appears whole."""
        with self._told():
            self._files.pipe_file(str(self.key), raw)

    def create(self, raw: bytes) -> bool:
        """Write an object where there is none; False where there is, or where another came first.

        Some stores heed no such condition, and write.
        """
        return self._written_if(raw, mode="create")

    def replace_as(self, old: bytes, raw: bytes) -> bool:
        """Write in place of just this content; False where it is another by now.

        S3 alone heeds the condition to the last moment.
        """
        try:
            with self._told():
                tag = self._files.info(str(self.key)).get("ETag")
            same = self.read_bytes() == old
        except FileNotFoundError:
            return False
        condition = {"IfMatch": tag} if self.scheme == "s3" and tag else {}
        return same and self._written_if(raw, **condition)

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove an object."""
        try:
            with self._told():
                self._files.rm_file(str(self.key))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def _kind(self) -> str:
        """``file``, ``directory``, or nothing where nothing is there."""
        with suppress(FileNotFoundError), self._told():
            return str(self._files.info(str(self.key))["type"])
        return ""

    def _below(self, key: str) -> str:
        """A key without this one's; empty where it does not lie below."""
        start = f"{self.key}/"
        return key.removeprefix(start) if key.startswith(start) else ""

    def _written_if(self, raw: bytes, **condition: str) -> bool:
        with self._told():
            try:
                self._files.pipe_file(str(self.key), raw, **condition)
            except FileExistsError:
                return False
            except OSError as error:
                answer = getattr(error.__cause__, "response", None) or {}
                if answer.get("Error", {}).get("Code") not in _REFUSED_CONDITIONS:
                    raise
                return False
        return True

    @property
    def _files(self) -> Any:
        """The store's client: fsspec keeps one for each process."""
        try:
            import fsspec

            given = _OPTIONS.get(self.scheme, {})
            return fsspec.filesystem(self.scheme, use_listings_cache=False, **given)
        except ImportError as error:
            raise RemoteError(
                f"{str(self)!r} needs a package that is not installed ({error}): "
                f"{_CLIENTS[self.scheme]}"
            ) from error

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell what a client raises, each in its own way, but for an object that is not there."""
        try:
            yield
        except LookawayError:
            raise
        except FileNotFoundError as error:
            if not _NO_BUCKET.search(str(error)):
                raise FileNotFoundError(2, "No such object", str(self)) from error
            raise RemoteError(
                f"there is no bucket {self.key.parts[0]!r}; make it, or mend {str(self)!r}"
            ) from error
        except Exception as error:
            # Clients raise errors of their own, and ValueErrors of addresses; the rest are bugs.
            if type(error).__module__ == "builtins" and not isinstance(error, OSError | ValueError):
                raise
            reason = str(error) or type(error).__name__
            raise RemoteError(
                f"{str(self)!r} cannot be used: {reason}; {_advice(error)}"
            ) from error


AnyPath = Path | RemotePath


def is_remote(given: str | AnyPath) -> bool:
    """Whether this is a URL.

    Raises:
        InputError: it was one, until pathlib took its second slash.
    """
    text = str(given)
    if _COLLAPSED.match(text):
        raise InputError(f"{text!r} was a URL before it became a Path; give it as text")
    return _URL.match(text) is not None


def to_path(given: str | AnyPath) -> AnyPath:
    """A path of this machine, or of an object store where a URL is given.

    Args:
        given: a path, or a URL such as ``s3://bucket/runs/first``.

    Raises:
        InputError: there is no such kind of URL, or it names no bucket.

    >>> str(to_path("s3://bucket/runs/") / "first")
    's3://bucket/runs/first'
    """
    if isinstance(given, RemotePath):
        return given
    found = _URL.match(str(given)) if is_remote(given) else None
    if found is None:
        return Path(given)
    scheme, key = found[1].lower(), PurePosixPath(found[2])
    if scheme not in _CLIENTS:
        raise InputError(f"{str(given)!r} is a URL of an unknown kind; possible: {_POSSIBLE}")
    if not key.parts or key.is_absolute() or ".." in key.parts:
        raise InputError(f"{str(given)!r} must name a bucket, as in {scheme}://bucket/runs/first")
    return RemotePath(scheme, key)


def local_path(given: str | AnyPath, what: str) -> Path:
    """A path of this machine.

    Args:
        given: a path.
        what: it is for, for the error.

    Raises:
        InputError: it is remote.
    """
    if is_remote(given):
        raise InputError(f"{what} must lie on this machine; copy {str(given)!r} here first")
    return Path(str(given))


def files_in(folder: AnyPath, pattern: str) -> list[AnyPath]:
    """The files directly in a folder whose names match, in order; none where it is not there."""
    if isinstance(folder, RemotePath):
        names = [name for name, is_folder in folder.entries() if not is_folder]
        return [folder / name for name in names if fnmatchcase(name, pattern)]
    return sorted(path for path in folder.glob(pattern) if path.is_file())


def lies_in(inner: AnyPath, outer: AnyPath) -> bool:
    """Whether a path lies in a folder, or is that folder."""
    first, second = inner.resolve(), outer.resolve()
    try:
        if isinstance(first, RemotePath):
            return isinstance(second, RemotePath) and first.relative_to(second) is not None
        return isinstance(second, Path) and first.is_relative_to(second)
    except ValueError:
        return False


def _advice(error: Exception) -> str:
    kind = type(error).__name__
    if isinstance(error, PermissionError) or "Credential" in kind or "Token" in kind:
        return (
            "check the credentials (for S3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a "
            "profile), and that they may list, read, write and delete there"
        )
    if "Connect" in kind or "Timeout" in kind or "Endpoint" in kind:
        return "check the network, and AWS_ENDPOINT_URL for a server of your own"
    return "what is stored stays, and the same command goes on from there"


def size_of(path: AnyPath) -> int:
    """The bytes of a file, or of an object."""
    return len(path.read_bytes()) if isinstance(path, RemotePath) else path.stat().st_size

"""Files of a run's folder: whole or absent, checked, and read without running what is in them."""

import io
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
import polars as pl
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from lookaway.errors import StoreError
from lookaway.places import AnyPath, RemotePath, files_in, to_path
from lookaway.study.changes import differences
from lookaway.study.checksum import embed, is_whole, placeholder
from lookaway.study.fields import STORED

_CHECKSUM = "checksum"  # where JSON, Parquet and safetensors keep it
# Polars panics at some files that are no Parquet at all, though their checksum fits.
_UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    RecursionError,
    SafetensorError,
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
)

_Model = TypeVar("_Model", bound=BaseModel)


class Files:
    """Reads and writes the files of one folder; every error names the file.

    JSON, Parquet, safetensors and YAML carry their own checksum, and reading one that was cut,
    altered or renamed is an error.

    Args:
        folder: where they are: a path, or a URL such as ``s3://bucket/runs/first``.
        tell: given a line for each damaged file that is made again.

    Attributes:
        damaged: the names of the files that were found damaged and are made again.
    """

    def __init__(
        self, folder: AnyPath | str, tell: Callable[[str], object] = lambda _line: None
    ) -> None:
        self.folder = to_path(folder)
        self.damaged: list[str] = []
        self._tell = tell

    def note_damage(self, name: str) -> None:
        """Tell, once, that a file is damaged and is made again."""
        if name not in self.damaged:
            self.damaged.append(name)
            path = str(self.folder / name)
            self._tell(f"{path!r} is missing or altered since it was written; it is made again")

    def read_model(self, name: str, kind: type[_Model]) -> _Model | None:
        """What a JSON file of the run holds, or None where it is not there.

        Raises:
            StoreError: it is damaged, or holds something else; with the place.
        """
        path = self.folder / name
        try:
            if not path.is_file():
                return None
            value = json.loads(_whole(path))
            del value[_CHECKSUM]
            model = kind.model_validate_json(json.dumps(value), context=STORED)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            place = ".".join(map(str, fault["loc"])) or "the top"
            odd = f"{place}: {fault['msg'].removeprefix('Value error, ')}"
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise StoreError(
                f"{str(path)!r} cannot be read: {error}; run the study again, and it is made again"
            ) from error
        else:  # what is absent would be read as its default
            odd = ", ".join(islice(differences(value, model.model_dump(mode="json")), 3))
            if not odd:
                return model
        raise StoreError(f"{str(path)!r} is not what lookaway writes: at {odd}")

    def sound_model(self, name: str, kind: type[_Model]) -> _Model | None:
        """What a JSON file holds, or None where it is not there or damaged, which is told."""
        try:
            return self.read_model(name, kind)
        except StoreError:
            self.note_damage(name)
            return None

    def write_model(self, name: str, value: BaseModel) -> None:
        """Write a JSON file whole."""
        held = value.model_dump(mode="json")

        def text(place: str) -> bytes:
            whole = json.dumps({**held, _CHECKSUM: place}, indent=2, ensure_ascii=False)
            return f"{whole}\n".encode()

        self.write_checked(name, text)

    def write_yaml(self, name: str, text: str) -> None:
        """Write a YAML file whole, its checksum in a comment at its end."""
        self.write_checked(name, lambda place: f"{text}# {_CHECKSUM}: {place}\n".encode())

    def write_text(self, name: str, text: str) -> None:
        """Write a text file whole, without a checksum."""
        self.write_bytes(name, text.encode())

    def write_bytes(self, name: str, raw: bytes) -> None:
        """Write a file whole."""
        self._write(self.folder / name, raw)

    def write_with(self, name: str, write: Callable[[IO[bytes]], object]) -> None:
        """Write a file whole, whose content another library makes."""
        buffer = io.BytesIO()
        write(buffer)
        self.write_bytes(name, buffer.getvalue())

    def keep_with(self, name: str, write: Callable[[IO[bytes]], object]) -> None:
        """Write such a file unless just this is there already; another content is told."""
        buffer = io.BytesIO()
        write(buffer)
        if self.read_bytes(name) != buffer.getvalue():
            if (self.folder / name).exists():
                self.note_damage(name)
            self.write_bytes(name, buffer.getvalue())

    def read_bytes(self, name: str) -> bytes | None:
        """A file's content, or None where it is not there or cannot be read."""
        try:
            return (self.folder / name).read_bytes()
        except OSError:
            return None

    def listed(self, folder: str, pattern: str = "*") -> list[AnyPath]:
        """The files directly in a folder whose names match, in order; no hidden ones."""
        return [path for path in files_in(self.folder / folder, pattern) if path.name[0] != "."]

    def remove(self, name: str) -> None:
        """Remove a file that is no longer needed, and its folder when that is empty."""
        path = self.folder / name
        try:
            path.unlink(missing_ok=True)
            if isinstance(path, RemotePath):
                return  # where nothing lies below, no folder is left
            if path.parent.is_dir() and not any(path.parent.iterdir()):
                path.parent.rmdir()
        except OSError as error:
            raise StoreError(f"{str(path)!r} cannot be removed: {error}") from error

    def write_frame(
        self, name: str, frame: pl.DataFrame, metadata: dict[str, str] | None = None
    ) -> None:
        """Write a Parquet file whole."""

        def parquet(place: str) -> bytes:
            buffer = io.BytesIO()
            frame.write_parquet(buffer, metadata={**(metadata or {}), _CHECKSUM: place})
            return buffer.getvalue()

        self.write_checked(name, parquet)

    def read_frame(self, path: AnyPath) -> pl.DataFrame:
        """Read a Parquet file; see ``read_frame_with``."""
        return self.read_frame_with(path)[0]

    def read_frame_with(
        self, path: AnyPath, columns: Sequence[str] = ()
    ) -> tuple[pl.DataFrame, dict[str, str]]:
        """Read a Parquet file, or some columns of it, and what was kept with it.

        Raises:
            StoreError: it is missing or damaged.
        """
        with _readable(path):
            raw = _whole(path)
            frame = pl.read_parquet(raw, columns=list(columns) or None)
            return frame, pl.read_parquet_metadata(io.BytesIO(raw))

    def read_metadata(self, path: AnyPath) -> dict[str, str]:
        """What was kept with a Parquet or safetensors file.

        Raises:
            StoreError: it is missing or damaged.
        """
        with _readable(path):
            raw = _whole(path)
            if path.suffix == ".parquet":
                return pl.read_parquet_metadata(io.BytesIO(raw))
            header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
            return dict(json.loads(header["__metadata__"][_CHECKSUM])[0])

    def write_arrays(
        self,
        name: str,
        arrays: Mapping[str, np.ndarray],
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Write a safetensors file whole."""
        whole = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
        # One entry, for safetensors writes several in any order.
        kept = json.dumps(dict(metadata or {}))
        self.write_checked(
            name, lambda place: save_arrays(whole, {_CHECKSUM: f'[{kept}, "{place}"]'})
        )

    def read_arrays(self, path: AnyPath) -> dict[str, np.ndarray]:
        """Read a safetensors file.

        Raises:
            StoreError: it is missing or damaged.
        """
        with _readable(path):
            return load_arrays(_whole(path))

    def is_whole(self, name: str) -> bool:
        """Whether a file is there and is what was written, by its own checksum."""
        path = self.folder / name
        return is_whole(self.read_bytes(name) or b"", path.name)

    def write_checked(self, name: str, content: Callable[[str], bytes]) -> None:
        """Write a file with its checksum in the place of the placeholder that it is given."""
        path, place = self.folder / name, placeholder()
        self._write(path, embed(content(place), place, path.name))

    def _write(self, path: AnyPath, raw: bytes) -> None:
        """Write aside, then rename: a file is whole or absent, as an object is by itself."""
        if isinstance(path, RemotePath):
            path.write_bytes(raw)
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not of tempfile, whose files are their owner's alone: the user's umask decides.
            aside = path.with_name(f".{secrets.token_hex(8)}.part")
            try:
                with aside.open("xb") as file:
                    file.write(raw)
                    file.flush()
                    os.fsync(file.fileno())
                aside.replace(path)
            except BaseException:
                aside.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise StoreError(
                f"{str(path)!r} cannot be written: {error.strerror or error}; what is stored "
                "stays, and the same command goes on from there"
            ) from error


def check_writable(folder: Path) -> None:
    """Refuse a folder that is not there and cannot be made, or cannot be written.

    Raises:
        StoreError: with the folder.
    """
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise StoreError(f"{str(folder)!r} cannot be written; give another --out")


@contextmanager
def _readable(path: AnyPath) -> Iterator[None]:
    """Tell which file cannot be read."""
    try:
        yield
    except _UNREADABLE as error:
        raise StoreError(
            f"{str(path)!r} is missing or damaged ({error}); delete it and run the study again"
        ) from error


def check_columns(
    frame: pl.DataFrame, schema: Mapping[str, pl.DataType | type[pl.DataType]], path: AnyPath
) -> None:
    """Refuse a frame that lacks a column, or has it of another type.

    Raises:
        StoreError: with the columns.
    """
    odd = [name for name, kind in schema.items() if frame.schema.get(name) != kind]
    if odd:
        raise StoreError(f"{str(path)!r} is not what lookaway writes: at {', '.join(odd[:3])}")


def _whole(path: AnyPath) -> bytes:
    """A file's content; ValueError where it is not what was written."""
    raw = path.read_bytes()
    if not is_whole(raw, path.name):
        raise ValueError("its checksum does not fit: it was cut or altered")
    return raw

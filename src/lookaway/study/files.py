"""Files of a run's folder: whole or absent, and read without running anything in them."""

import io
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from lookaway.errors import StoreError


class Files:
    """Reads and writes the files of one folder; every error names the file.

    Args:
        folder: where they are.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def read_json(self, name: str) -> dict[str, Any] | None:
        """A JSON file of the run, or None where it is not there.

        Raises:
            StoreError: it is damaged.
        """
        path = self.folder / name
        try:
            if not path.is_file():
                return None
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise StoreError(f"{str(path)!r} cannot be read: {error}") from error
        if not isinstance(value, dict):
            raise StoreError(f"{str(path)!r} is not what lookaway writes")
        return value

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a JSON file whole."""
        self.write_text(name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Write a text file whole."""
        self._write(self.folder / name, text.encode("utf-8"))

    def write_bytes(self, name: str, raw: bytes) -> None:
        """Write a file whole."""
        self._write(self.folder / name, raw)

    def write_with(self, name: str, write: Callable[[IO[bytes]], object]) -> None:
        """Write a file whole, whose content another library makes."""
        buffer = io.BytesIO()
        write(buffer)
        self.write_bytes(name, buffer.getvalue())

    def read_bytes(self, name: str) -> bytes | None:
        """A file's content, or None where it is not there or cannot be read."""
        try:
            return (self.folder / name).read_bytes()
        except OSError:
            return None

    def remove(self, name: str) -> None:
        """Remove a file that is no longer needed, and its folder when that is empty."""
        path = self.folder / name
        try:
            path.unlink(missing_ok=True)
            if path.parent.is_dir() and not any(path.parent.iterdir()):
                path.parent.rmdir()
        except OSError as error:
            raise StoreError(f"{str(path)!r} cannot be removed: {error}") from error

    def write_frame(
        self, name: str, frame: pl.DataFrame, metadata: dict[str, str] | None = None
    ) -> None:
        """Write a Parquet file whole."""
        self._write(self.folder / name, as_parquet(frame, metadata))

    def read_frame(self, path: Path) -> pl.DataFrame:
        """Read a Parquet file.

        Raises:
            StoreError: it is missing or damaged.
        """
        try:
            return pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise StoreError(
                f"{str(path)!r} is missing or damaged ({error}); delete it and run the study again"
            ) from error

    def write_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> bytes:
        """Write a safetensors file whole; its content."""
        raw: bytes = save_arrays({key: np.ascontiguousarray(a) for key, a in arrays.items()})
        self._write(self.folder / name, raw)
        return raw

    def read_arrays(self, path: Path) -> dict[str, np.ndarray]:
        """Read a safetensors file.

        Raises:
            StoreError: it is missing or damaged.
        """
        try:
            return load_arrays(path.read_bytes())
        except (OSError, SafetensorError) as error:
            raise StoreError(
                f"{str(path)!r} is missing or damaged ({error}); run the study again"
            ) from error

    def _write(self, path: Path, raw: bytes) -> None:
        """Write aside, then rename: a file is whole or absent."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, aside = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(raw)
                    file.flush()
                    os.fsync(file.fileno())
                Path(aside).chmod(0o644)
                Path(aside).replace(path)
            except BaseException:
                Path(aside).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise StoreError(
                f"{str(path)!r} cannot be written: {error.strerror or error}; what is stored "
                "stays, and the same command goes on from there"
            ) from error


def as_parquet(frame: pl.DataFrame, metadata: dict[str, str] | None = None) -> bytes:
    """A frame as the content of a Parquet file."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, metadata=metadata)
    return buffer.getvalue()

"""A run's numbers, read file by file: what is in memory follows from one cell, not from the run."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from lookaway.errors import StoreError
from lookaway.rows import ROW_SCHEMA, SHUFFLED_SCHEMA
from lookaway.study.files import Files, check_columns

_SCHEMAS = {"rows": ROW_SCHEMA, "shuffled": SHUFFLED_SCHEMA}


def scan(
    files: Files, folder: str, stem: str = "*", columns: Sequence[str] = ()
) -> Iterator[pl.DataFrame]:
    """The stored frames of a folder, one at a time, in the order of cells.

    Args:
        files: of the run.
        folder: rows, shuffled or statistics.
        stem: a pattern of the cells' names.
        columns: those to read; empty: all.

    Raises:
        StoreError: there are none, or a file is damaged.
    """
    paths = files.listed(folder, f"{stem}.parquet")
    if not paths:
        raise StoreError(f"{str(files.folder)!r} holds no {folder} yet; run the study again")
    schema: Mapping[str, Any] | None = _SCHEMAS.get(folder)
    for path in paths:
        frame = files.read_frame(path, columns)
        schema = schema or dict(frame.schema)
        wanted = {name: kind for name, kind in schema.items() if not columns or name in columns}
        check_columns(frame, wanted, path)
        yield frame


def count(files: Files) -> tuple[int, int]:
    """How many rows there are, and in how many of them a map is dead.

    Raises:
        StoreError: there are none, or a file is damaged.
    """
    rows = dead = 0
    for frame in scan(files, "rows", columns=["clean_dead", "attacked_dead"]):
        rows += frame.height
        dead += int((frame["clean_dead"] | frame["attacked_dead"]).sum())
    return rows, dead

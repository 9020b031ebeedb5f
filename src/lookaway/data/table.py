"""A table of images to records: a CSV or Parquet file with a row for each."""

import csv
import errno
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import polars as pl

from lookaway.data.folder import Files, Record, Scan, part_of
from lookaway.errors import DataError, LookawayError, nearest
from lookaway.places import AnyPath, is_remote, to_path

ENDINGS = (".csv", ".parquet")
COLUMNS = ("image", "label", "part", "subject")
_TOLD = 5  # rows with a fault
_FEW = 20  # values of a column that may be parts
_part_of = cache(part_of)
_MISSING = "cannot be found"


@dataclass(frozen=True)
class _Row:
    """A row's cells as text, and where it stands."""

    where: str
    cells: Mapping[str, str]


def is_table(place: str | AnyPath) -> bool:
    """Whether a path is that of a table, by its ending."""
    return str(place).lower().endswith(ENDINGS)


def has_parts(path: AnyPath) -> bool:
    """Whether a table says each image's part, by its header.

    Raises:
        DataError: it is not there, or lacks a column.
    """
    return "part" in _read(path)[0]


def plain_name(image: str) -> str:
    """The name of a table's image: its path, without what stands before an absolute one.

    >>> plain_name("a/1.png"), plain_name("/data/1.png"), plain_name("s3://faces/1.png")
    ('a/1.png', 'data/1.png', 's3/faces/1.png')
    """
    if "://" in image:
        image = re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*)://", r"\1/", image)
    return image.lstrip("/")


class TableSource(Files):
    """The images that a table lists: columns image, label and, where known, part and subject.

    ``image`` is a path below the table's folder, an absolute one, or a URL of an object store.
    Every cell is text: a label ``01`` stays so. Other columns are left alone.

    Args:
        path: a CSV file with commas and a header, in UTF-8, or a Parquet file.
        value_range: of wide pixels; see ``decode``.

    Raises:
        DataError: it is not there, or rows of it cannot be used; each is named.
        RemoteError: the URL's store cannot be reached, or refuses.
    """

    def __init__(self, path: AnyPath, value_range: Sequence[float] | None = None) -> None:
        super().__init__(value_range)
        self._path = path
        columns, rows = _read(path)
        self._rows: dict[str, _Row] = {}
        faults: list[str] = []
        for row in rows:
            name = plain_name(row.cells["image"])
            fault = _fault(row, columns)
            if not fault and name in self._rows:
                fault = f"the image of {self._rows[name].where} again, {row.cells['image']!r}"
            if fault:
                faults.append(f"{row.where}: {fault}")
            self._rows.setdefault(name, row)
        self._refuse(faults)
        if not self._rows:
            raise DataError(f"the table {str(path)!r} has no rows")

    def scan(self, advance: Callable[[int], None] = lambda _: None) -> Scan:
        """Read every image once, in the table's order within a class.

        Raises:
            DataError: images that the table lists are not there.
        """
        records, set_aside = [], {}
        for name, found in self.read(self._rows):
            if isinstance(found, Record):
                records.append(found)
            else:
                set_aside[name] = found
            advance(1)
        gone = [name for name, reason in set_aside.items() if reason.endswith(_MISSING)]
        self._refuse(
            [
                f"{self._rows[name].where}: {str(self._place(name))!r} does not exist"
                for name in gone
            ]
        )
        records.sort(key=lambda record: record.label)
        used = {record.label for record in records}
        labels = {row.cells["label"] for row in self._rows.values()}
        return Scan(records, set_aside, sorted(labels - used), sorted(self._stated))

    def listed(self) -> list[Record]:
        """Every row's image, with an empty hash; see ``ImageSource.listed``."""
        return sorted((self._record(name, "") for name in self._rows), key=lambda r: r.label)

    def _record(self, name: str, sha256: str) -> Record:
        cells = self._rows[name].cells
        return Record(
            name,
            cells["label"],
            sha256,
            _part_of(cells["part"]) if "part" in cells else None,
            cells.get("subject"),
        )

    def _content(self, name: str) -> bytes:
        if name not in self._rows:
            raise FileNotFoundError(errno.ENOENT, "the table has no such image")
        place = self._place(name)
        if isinstance(place, Path) and place.exists() and not place.is_file():
            raise DataError("no regular file")  # reading a pipe would wait for ever
        try:
            return place.read_bytes()
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, _MISSING) from error

    def _place(self, name: str) -> AnyPath:
        given = self._rows[name].cells["image"]
        if is_remote(given):
            return to_path(given)
        return Path(given) if given.startswith("/") else self._path.parent / given

    def _refuse(self, faults: list[str]) -> None:
        if faults:
            more = f"; and {len(faults) - _TOLD} more" if len(faults) > _TOLD else ""
            raise DataError(f"the table {str(self._path)!r}, {'; '.join(faults[:_TOLD])}{more}")


def _fault(row: _Row, columns: Sequence[str]) -> str:
    """What is wrong with a row, or nothing."""
    for column in columns:
        cell = row.cells.get(column, "")
        if not cell:
            others = "; give it for every row, or for none" if column in COLUMNS[2:] else ""
            return f"no {column}{others}"
        if cell != cell.strip() or not cell.isprintable():
            return f"the {column} {cell!r} has blanks or signs around or in it that do not show"
    image, part = row.cells["image"], row.cells.get("part")
    if part is not None and _part_of(part) is None:
        return f"the part is {part!r}; possible: train, val, test"
    try:
        if "://" in image:
            to_path(image)
    except LookawayError as error:
        return str(error)
    if not plain_name(image) or (".." in image and ".." in image.split("/")):
        return f"the image {image!r} leads out of the table's folder; give its absolute path"
    return ""


def _read(path: AnyPath) -> tuple[list[str], Iterator[_Row]]:
    """The columns that are used, and the rows of a table."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"the table {str(path)!r} cannot be read: {reason}") from error
    return (_parquet if path.suffix.lower() == ".parquet" else _csv)(path, raw)


def _csv(path: AnyPath, raw: bytes) -> tuple[list[str], Iterator[_Row]]:
    try:
        reader = csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""), strict=True)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(f"the table {str(path)!r}, line {line}: not UTF-8") from error
    header = next(reader, [])
    places = _columns(path, header)

    def rows() -> Iterator[_Row]:
        doubtful = {place: set[str]() for place in range(len(header)) if "part" not in places}
        try:
            for cells in reader:
                where = f"line {reader.line_num}"
                if not any(cells):
                    continue
                if len(cells) != len(header):
                    raise DataError(
                        f"the table {str(path)!r}, {where}: {len(cells)} cells for "
                        f"{len(header)} columns"
                    )
                for place, values in doubtful.items():
                    values.add(cells[place] if len(values) < _FEW else "")
                yield _Row(where, {name: cells[place] for name, place in places.items()})
        except csv.Error as error:
            raise DataError(f"the table {str(path)!r}, line {reader.line_num}: {error}") from error
        for place, values in doubtful.items():
            _check_unnamed(path, header[place], values)

    return [*places], rows()


def _parquet(path: AnyPath, raw: bytes) -> tuple[list[str], Iterator[_Row]]:
    try:
        frame = pl.read_parquet(io.BytesIO(raw))
    except pl.exceptions.PolarsError as error:
        told = str(error).partition("\n")[0]
        raise DataError(f"the table {str(path)!r} is no Parquet file: {told}") from error
    places = _columns(path, frame.columns)
    used = frame.select(frame.columns[place] for place in places.values())
    for name, kind in used.schema.items():
        if not (kind in (pl.String, pl.Categorical, pl.Enum) or kind.is_integer()):
            raise DataError(
                f"the table {str(path)!r}: the column {name!r} holds {kind}; possible are text and "
                "whole numbers"
            )
    for column in frame.columns if "part" not in places else []:
        if frame[column].dtype in (pl.String, pl.Categorical, pl.Enum):
            _check_unnamed(path, column, {*frame[column].cast(pl.String).fill_null("").unique()})
    texts = used.select(pl.all().cast(pl.String).fill_null(""))
    texts.columns = [*places]
    rows = (_Row(f"row {n}", cells) for n, cells in enumerate(texts.iter_rows(named=True), start=1))
    return [*places], rows


def _columns(path: AnyPath, header: Sequence[str]) -> dict[str, int]:
    """The places of the columns that are used, by name."""
    names = [column.strip().lower() for column in header]
    twice = [name for name in COLUMNS if names.count(name) > 1]
    missing = [name for name in COLUMNS[:2] if name not in names]
    if twice or missing:
        what = f"more than one column {twice[0]!r}" if twice else f"no column {missing[0]!r}"
        near = "" if twice else nearest(missing[0], names, 1)
        raise DataError(
            f"the table {str(path)!r} has {what}, but {', '.join(header)[:200]!r}.{near} Needed "
            "are image (a path or URL) and label; part (train, val, test) and subject where known"
        )
    return {name: names.index(name) for name in COLUMNS if name in names}


def _check_unnamed(path: AnyPath, column: str, values: set[str]) -> None:
    """Refuse to divide anew images whose parts stand in a column of another name."""
    parts = {value for value in values if part_of(value)}
    if len(parts) > 1 and parts == values:
        raise DataError(
            f"the table {str(path)!r}: the column {column!r} holds {', '.join(sorted(parts))}, "
            "which are parts; call it part, and they are kept, or leave it out"
        )

"""Faces as a detector's CSV files tell them: five points or a box for each image.

VGGFace2's ``loose_landmark_*.csv`` and ``loose_bb_*.csv`` are such files. Coordinates are px of the
upright image, after its EXIF orientation is applied.
"""

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import polars as pl

from lookaway.data.folder import canonical, is_hidden, part_of
from lookaway.data.pose import MARGIN, TEMPLATE, TEMPLATE_SIZE, Pose, around, fitted
from lookaway.errors import DataError, listed

_NAMES = ("name_id", "image")
_POINTS = (
    [f"p{index}{axis}" for index in range(1, 6) for axis in "xy"],
    [f"{axis}{index}" for index in range(1, 6) for axis in "xy"],
)
_BOX = (["x", "y", "w", "h"],)
_EXPECTED = (
    "a column NAME_ID or image is expected, with P1X,P1Y,…,P5X,P5Y (or x1,y1,…,x5,y5) "
    "or X,Y,W,H (or x,y,w,h) or both"
)
_FORM = "give a CSV file, or a folder of CSV files, of five points or a box for each image"
_ROWS = 50_000  # at once, so that what is derived from them stays small
# A row's rank among those of its image: points before boxes, usable ones first.
_FITTED, _DEGENERATE, _BOXED, _NOTHING = range(4)


class LandmarkAligner:
    """Faces from CSV files; see the module.

    Five points are brought to ArcFace's template by a similarity transform. A row of a box alone
    gives the square around it, with a margin, unless another row of that image has points. Of
    several rows the one with the largest face counts: by the box's area, else by the area that
    the points span; then the first. Points that coincide or are not finite are no face.

    An image's name matches as it is, without its ending, without a leading train/, test/ or val/,
    or without both; and where no row does, in another Unicode form or with backslashes.

    Args:
        path: a CSV file, or a folder of CSV files.
        margin: how much wider the square around a box is at each side, as a share of its longer
            side.

    Raises:
        DataError: there is no such file, or it cannot be read; with file and line.
    """

    name = "landmarks"
    needs_pixels = False

    def __init__(self, path: Path, margin: float = MARGIN) -> None:
        files = _files(path)
        self.about: dict[str, Any] = {
            "aligner": self.name,
            "version": 1,
            "template": [list(point) for point in TEMPLATE],
            "template_size": TEMPLATE_SIZE,
            "margin": margin,
            "sha256": [_sha256(file) for file in files],
        }
        parts = [part for file in files for part in _read(file, margin)]
        ranked = pl.concat([rows for rows, _, _ in parts]) if parts else pl.DataFrame()
        if ranked.is_empty():
            raise DataError(f"{listed(map(str, files))}: no rows; {_EXPECTED}")
        self.example: str = ranked["name"][0]
        best = (
            ranked.with_row_index("row")
            .sort("name", "rank", "area", "row", descending=[False, False, True, False])
            .unique("name", keep="first", maintain_order=True)
            .filter(pl.col("rank").is_in([_FITTED, _BOXED]))
        )
        self._names = best["name"].rechunk()
        chosen = best["row"].to_numpy()
        self._poses = np.concatenate([poses for _, poses, _ in parts])[chosen]
        self._points = np.concatenate([points for _, _, points in parts])[chosen]
        self._otherwise: dict[str, list[str]] = {}  # names that are not canonical, by what they are
        for given in self._names.filter(self._names.str.contains(r"[^\x00-\x7F]|\\")):
            if given != canonical(given):
                self._otherwise.setdefault(canonical(given), []).append(given)

    def find(self, image_name: str, pixels: np.ndarray | None = None) -> Pose | None:
        """Look an image up by its path below the data folder, with slashes.

        Returns:
            The square, or None where the files tell no face.

        Raises:
            DataError: several names in the files could be this image's.
        """
        place = self._place_of(image_name)
        return None if place is None else Pose(*map(float, self._poses[place]))

    def points(self, image_name: str) -> np.ndarray | None:
        """Look an image's five points up: (5, 2) float64 px, None where it has none; see ``find``.

        Raises:
            DataError: several names in the files could be this image's.
        """
        place = self._place_of(image_name)
        found: np.ndarray | None = None if place is None else self._points[place]
        return None if found is None or np.isnan(found).any() else found

    def _place_of(self, image_name: str) -> int | None:
        """The place of an image among the names of the files, however they spell it.

        Raises:
            DataError: several names in the files could be this image's.
        """
        names = _spellings(image_name)
        for name in names:
            index = self._place(name)
            if index is not None:
                return index
        for name in dict.fromkeys(map(canonical, names)):
            alike = [name] if self._place(name) is not None else []
            alike += self._otherwise.get(name, [])
            if len(alike) > 1:
                raise DataError(
                    f"{' and '.join(map(repr, alike))} in the landmarks differ in Unicode form or "
                    f"slashes alone, and either may be {image_name!r}; give one of them its name"
                )
            if alike:
                return self._place(alike[0])
        return None

    def _place(self, name: str) -> int | None:
        """The place of a name among those of the files."""
        index = int(self._names.search_sorted(name))
        return index if index < len(self._names) and self._names[index] == name else None


def _spellings(image_name: str) -> list[str]:
    """The names that an image may have in a file, the most exact first."""
    part, _, rest = image_name.partition("/")
    names = [image_name, rest] if rest and part_of(part) else [image_name]
    bare = [str(PurePosixPath(name).with_suffix("")) for name in names]
    return [name for pair in zip(names, bare, strict=True) for name in dict.fromkeys(pair)]


def _files(path: Path) -> list[Path]:
    try:
        if not path.exists():
            raise DataError(f"the landmarks {str(path)!r} do not exist; {_FORM}")
        if not path.is_dir():
            return [path]
        files = sorted(
            file
            for file in path.iterdir()
            if file.suffix.lower() == ".csv" and not is_hidden(file.name)
        )
    except (OSError, ValueError) as error:
        raise DataError(f"the landmarks {str(path)!r} cannot be read: {error}") from error
    if not files:
        raise DataError(f"the folder {str(path)!r} holds no CSV file; {_FORM}")
    return files


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from error


@dataclass(frozen=True)
class _Columns:
    """The header's own spelling of what is read; no points or no box: an empty list."""

    name: str
    points: list[str]
    box: list[str]


def _is_parquet(file: Path) -> bool:
    return file.suffix.lower() == ".parquet"


def _header(file: Path) -> _Columns:
    try:
        if _is_parquet(file):
            return _columns(file, list(pl.read_parquet_schema(file)))
        with file.open(newline="", encoding="utf-8-sig", errors="replace") as opened:
            return _columns(file, next(csv.reader(opened), []))
    except (OSError, csv.Error, pl.exceptions.PolarsError) as error:
        kind = "Parquet" if _is_parquet(file) else "CSV"
        raise DataError(f"{file} cannot be read as a {kind} file: {error}") from error


def _columns(file: Path, given: list[str]) -> _Columns:
    names = [column.strip().lower() for column in given]
    twice = sorted({column for column in names if names.count(column) > 1})
    if twice:
        raise DataError(f"{file}, line 1: more than one column {twice[0]!r}")

    def spelled(choices: tuple[list[str], ...]) -> list[str]:
        whole = [choice for choice in choices if set(choice) <= set(names)]
        return [given[names.index(column)] for column in whole[0]] if whole else []

    columns = _Columns(
        name="".join(spelled(tuple([name] for name in _NAMES))),
        points=spelled(_POINTS),
        box=spelled(_BOX),
    )
    if not columns.name or not (columns.points or columns.box):
        raise DataError(f"{file}, line 1: the columns are {', '.join(given)[:200]!r}; {_EXPECTED}")
    return columns


def _read(file: Path, margin: float) -> Iterator[tuple[pl.DataFrame, np.ndarray, np.ndarray]]:
    """Names, ranks and areas of a file's rows, some at a time, their poses (N, 4) and points."""
    columns = _header(file)
    numbers = columns.points + columns.box
    used = [columns.name, *numbers]
    try:
        frame = (
            pl.read_parquet(file, columns=used).cast(
                {columns.name: pl.String, **dict.fromkeys(numbers, pl.Float64)}
            )
            if _is_parquet(file)
            else pl.read_csv(
                file,
                columns=used,
                infer_schema=False,
                schema_overrides=dict.fromkeys(numbers, pl.Float64),
                glob=False,
            )
        )
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _fault(file, columns, str(error).split("\n")[0]) from error
    place = pl.col(columns.name)  # as ``table.plain_name``
    plain = place.str.replace(r"^([A-Za-z][A-Za-z0-9+.-]*)://", "${1}/").str.strip_chars_start("/")
    frame = frame.with_columns(
        pl.when(place.str.contains("^/|://")).then(plain).otherwise(place).alias(columns.name)
    )
    for rows in frame.iter_slices(_ROWS):
        blank = rows.select(pl.all_horizontal(pl.all().is_null())).to_series()
        yield _ranked(file, columns, rows.filter(~blank), margin)


def _ranked(
    file: Path, columns: _Columns, rows: pl.DataFrame, margin: float
) -> tuple[pl.DataFrame, np.ndarray, np.ndarray]:
    pointed, numbers = _group(file, columns, rows, columns.points)
    points = numbers.T.reshape(5, 2, -1).transpose(2, 0, 1)
    boxed, box = _group(file, columns, rows, columns.box)
    if rows[columns.name].null_count():
        raise _fault(file, columns, "a row has no name")
    with np.errstate(all="ignore"):
        x, y, width, height = box.T
        left, top, side = around(x, y, width, height, margin)
        squares = np.stack([left, top, side, np.zeros_like(side)], axis=1)
        squares[~((width > 0) & (height > 0) & np.isfinite(squares).all(axis=1))] = np.nan
        poses = np.where(pointed[:, None], fitted(points), squares)
        usable = ~np.isnan(poses[:, 0])
        extent = (points.max(axis=1) - points.min(axis=1)).prod(axis=1)
        area = np.where(np.isnan(squares[:, 0]), extent, width * height)
    rank = np.where(
        pointed,
        np.where(usable, _FITTED, _DEGENERATE),
        np.where(usable & boxed, _BOXED, _NOTHING),
    )
    ranked = pl.DataFrame(
        {
            "name": rows[columns.name],
            "rank": rank.astype(np.uint8),
            "area": np.nan_to_num(area, nan=0.0),
        }
    )
    return ranked, poses, points


def _group(
    file: Path, columns: _Columns, rows: pl.DataFrame, group: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Which rows have a group of columns, and its numbers; NaN where they have none."""
    if not group:
        width = 4 if group is columns.box else 10
        return np.zeros(len(rows), dtype=bool), np.full((width, len(rows)), np.nan).T
    numbers = rows.select(group)
    absent = (
        numbers.select(pl.sum_horizontal(pl.all().is_null().cast(pl.UInt32))).to_series().to_numpy()
    )
    if ((absent > 0) & (absent < len(group))).any():
        raise _fault(file, columns, "a row has some of its numbers only")
    return absent == 0, numbers.to_numpy()


def _fault(file: Path, columns: _Columns, reason: str) -> DataError:
    """Find the first line that cannot be used; row by row, as only a file with one needs it."""
    if _is_parquet(file):
        return DataError(f"{file} cannot be read: {reason}")
    with file.open(newline="", encoding="utf-8-sig", errors="replace") as opened:
        reader = csv.reader(opened)
        try:
            header = next(reader)
            for row in reader:
                wrong = _wrong(header, columns, row)
                if wrong:
                    return DataError(f"{file}, line {reader.line_num}: {wrong}")
        except csv.Error as error:
            return DataError(f"{file}, line {reader.line_num}: {error}")
    return DataError(f"{file} cannot be read: {reason}")


def _wrong(header: list[str], columns: _Columns, row: list[str]) -> str:
    """What is wrong with a row, or nothing."""
    cells = dict(zip(header, row, strict=False))
    if not any(row):
        return ""
    if len(row) > len(header):
        return f"{len(row)} cells, but {len(header)} columns"
    name = cells.get(columns.name, "")
    if "�" in name:
        return f"the name {name!r} is not UTF-8"
    if not name:
        return f"no name in the column {columns.name}"
    for group in (columns.points, columns.box):
        empty = [column for column in group if not cells.get(column)]
        if empty and len(empty) < len(group):
            return f"no number in the column {empty[0]}"
        for column in group:
            if column not in empty and not _is_number(cells[column]):
                return f"{column} is {cells[column]!r}, not a number"
    return ""


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell

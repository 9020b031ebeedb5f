"""Which two images are compared: LFW's ``pairs.txt``, or a table of pairs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import polars as pl

from lookaway.data.folder import canonical
from lookaway.errors import DataError, shown
from lookaway.places import local_path

_FORM = "give LFW's pairs.txt, or a CSV with the columns a, b, same (1 or 0) and, if known, fold"
_SAME = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@dataclass(frozen=True)
class Pair:
    """Two images that are compared.

    Attributes:
        a: the probe's name, below the image folder.
        b: the reference's.
        same: whether they show one person.
        fold: the part of the pairs that it belongs to; empty where nothing says so.
    """

    a: str
    b: str
    same: bool
    fold: str = ""


def read_pairs(source: str | Path | pl.DataFrame, images: Sequence[str]) -> list[Pair]:
    """Read pairs, and find their images.

    Args:
        source: LFW's ``pairs.txt`` (``name 1 4``: images 1 and 4 of a person; ``name 1 other 2``:
            of two), whose folds are kept; or a CSV or frame with a, b and same, and fold or not.
        images: the names of all images below their folder; those of pairs may lack the ending.

    Raises:
        DataError: the pairs cannot be read, or name an image that is not there.
    """
    if isinstance(source, pl.DataFrame):
        found, where = _table(source, "the frame"), "the frame"
    else:
        path = local_path(source, "pairs")
        where = str(path)
        try:
            if path.suffix.lower() == ".csv":
                found = _table(pl.read_csv(path, infer_schema=False, glob=False), where)
            else:
                found = _lfw(path.read_text(encoding="utf-8-sig").splitlines(), where)
        except (OSError, UnicodeDecodeError, pl.exceptions.PolarsError) as error:
            raise DataError(f"the pairs {where!r} cannot be read ({error}); {_FORM}") from error
    known = _spelled(images)
    missing = [name for pair in found for name in (pair.a, pair.b) if canonical(name) not in known]
    if missing:
        raise DataError(
            f"{where} names {len(missing)} images that are not there, such as "
            f"{shown(missing[0], 80)!r}; there is {shown(images[0], 80) if images else 'none'!r}. "
            "Names are paths below the image folder, with or without the ending"
        )
    if not found:
        raise DataError(f"{where} holds no pair; {_FORM}")
    return [
        Pair(known[canonical(each.a)], known[canonical(each.b)], each.same, each.fold)
        for each in found
    ]


def _spelled(images: Iterable[str]) -> dict[str, str]:
    """Images by their names with and without the ending."""
    found: dict[str, str] = {}
    for image in images:
        found.setdefault(canonical(str(PurePosixPath(image).with_suffix(""))), image)
    return found | {canonical(image): image for image in images}


def _lfw(lines: Sequence[str], where: str) -> list[Pair]:
    """The pairs of a file of LFW's form; the first line has folds and pairs a fold, or pairs."""
    head = lines[0].split() if lines else []
    if not head or len(head) > 2 or not all(number.isdecimal() for number in head):
        raise DataError(f"{where}, line 1: the number of folds and of pairs is expected; {_FORM}")
    folds, count = (1, int(head[0])) if len(head) == 1 else (int(head[0]), int(head[1]))
    pairs: list[Pair] = []
    for number, line in enumerate(lines[1:], start=2):
        parts = line.split("\t") if "\t" in line else line.split()
        if not any(parts):
            continue
        same = len(parts) == 3
        if len(parts) not in (3, 4) or not (parts[1].isdecimal() and parts[-1].isdecimal()):
            raise DataError(
                f"{where}, line {number}: {shown(line, 80)!r} is no pair: `name 1 4` or "
                "`name 1 other 2`"
            )
        other = parts[0] if same else parts[2]
        fold = str(len(pairs) // (2 * count) + 1) if count and folds > 1 else ""
        pairs.append(Pair(_image(parts[0], parts[1]), _image(other, parts[-1]), same, fold))
    if len(pairs) != 2 * folds * count:
        raise DataError(
            f"{where} holds {len(pairs)} pairs, but its first line says {2 * folds * count}: it "
            "was cut or altered"
        )
    return pairs


def _image(person: str, number: str) -> str:
    return f"{person}/{person}_{int(number):04d}"


def _table(frame: pl.DataFrame, where: str) -> list[Pair]:
    missing = [column for column in ("a", "b", "same") if column not in frame.columns]
    if missing:
        raise DataError(f"{where} has no column {', '.join(missing)}; {_FORM}")
    names = ["a", "b", "same", *(["fold"] if "fold" in frame.columns else [])]
    pairs = []
    for number, row in enumerate(frame.select(pl.col(names).cast(pl.String)).iter_rows(), 1):
        a, b, same, *fold = row
        if not a or not b or str(same).lower() not in _SAME:
            raise DataError(f"{where}, pair {number}: {row} is no pair; {_FORM}")
        pairs.append(Pair(a, b, _SAME[same.lower()], (fold[0] or "") if fold else ""))
    return pairs

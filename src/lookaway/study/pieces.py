"""Files that grow: frames and arrays in pieces, each under the key of what made it."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import polars as pl

Names = tuple[str | float | None, ...]  # what a piece is called in its columns


class Wanted(NamedTuple):
    """A piece that a study asks for.

    Attributes:
        id: its key.
        names: what the study calls it, in the columns of ``Pieces``.
    """

    id: str
    names: Names


class Pieces:
    """A frame in pieces, in the order of its rows.

    Args:
        columns: what a piece's rows have in common, and what tells pieces apart.
        frames: each piece's key, its names and its rows.
    """

    def __init__(
        self, columns: Sequence[str], frames: Mapping[str, tuple[Names, pl.DataFrame]]
    ) -> None:
        self.columns, self.frames = list(columns), dict(frames)
        self._whole: pl.DataFrame | None = None

    @classmethod
    def of(cls, columns: Sequence[str], frame: pl.DataFrame, known: Iterable[Wanted]) -> "Pieces":
        """A frame divided into known pieces, some of which may have no rows."""
        known = list(known)
        if not known:
            return cls(columns, {})
        parts = frame.partition_by(list(columns), maintain_order=True, as_dict=True)
        nothing = frame.clear()
        return cls(columns, {id_: (names, parts.get(names, nothing)) for id_, names in known})

    @classmethod
    def read(cls, columns: Sequence[str], frame: pl.DataFrame, told: str) -> "Pieces":
        """A stored frame, some or all of whose columns were read, by what ``told`` said of it."""
        frames: dict[str, tuple[Names, pl.DataFrame]] = {}
        start = 0
        for id_, count, *names in json.loads(told):
            frames[id_] = tuple(names), frame.slice(start, count)
            start += count
        found = cls(columns, frames)
        found._whole = frame
        return found

    def told(self) -> str:
        """Which pieces stand where, as text."""
        return json.dumps(
            [[id_, frame.height, *names] for id_, (names, frame) in self.frames.items()]
        )

    def chosen(self, wanted: Sequence[Wanted]) -> pl.DataFrame:
        """The rows of some pieces, in their order and under their present names.

        Raises:
            KeyError: one is not there.
        """
        every = [Wanted(id_, names) for id_, (names, _) in self.frames.items()]
        if self._whole is not None and every == [*wanted]:
            return self._whole
        found = [self._named(self.frames[id_], names) for id_, names in wanted]
        return pl.concat(found) if found else pl.DataFrame()

    def only(self, ids: Collection[str]) -> "Pieces":
        """Those of some keys."""
        return Pieces(self.columns, {id_: each for id_, each in self.frames.items() if id_ in ids})

    def with_those_of(self, other: "Pieces", wanted: Sequence[Wanted]) -> "Pieces":
        """These and more, those that are wanted first, in their order and with their names."""
        there = {**self.frames, **other.frames}
        kept = {
            id_: (names, self._named(there[id_], names)) for id_, names in wanted if id_ in there
        }
        rest = {id_: there[id_] for id_ in sorted(there.keys() - kept.keys())}
        return Pieces(self.columns, {**kept, **rest})

    def frame(self) -> pl.DataFrame:
        """All rows."""
        return pl.concat([frame for _, frame in self.frames.values()]).rechunk()

    def _named(self, piece: tuple[Names, pl.DataFrame], names: Names) -> pl.DataFrame:
        old, frame = piece
        changed = {
            column: pl.lit(new, pl.String)
            for column, before, new in zip(self.columns, old, names, strict=True)
            if before != new and isinstance(new, str) and column in frame.columns
        }
        return frame.with_columns(**changed) if changed else frame

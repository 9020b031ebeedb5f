"""A measurement in memory, as what sums up a run reads it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from lookaway.places import AnyPath
from lookaway.study.json_files import Plan
from lookaway.study.store import CellResult, Store


class Held(Store):
    """Cells of one model and one variant that are in no folder.

    Args:
        plan: of the measurement.
        samples: its images, as ``rows.SAMPLE_SCHEMA`` says.
        cells: what was measured.
    """

    def __init__(self, plan: Plan, samples: pl.DataFrame, cells: Sequence[CellResult]) -> None:
        super().__init__(Path("nowhere: in memory"))
        self._plan, self._samples, self._cells = plan, samples, cells

    def read_plan(self) -> Plan:
        """See ``Store.read_plan``."""
        return self._plan

    def samples(self) -> pl.DataFrame:
        """See ``Store.samples``."""
        return self._samples

    def scan(
        self,
        folder: str,
        columns: Sequence[str] = (),
        variant: str | None = None,
        model: str | None = None,
    ) -> Iterator[pl.DataFrame]:
        """See ``Store.scan``; every cell is of the one model and variant."""
        for cell in self._cells:
            frame: pl.DataFrame = getattr(cell, folder)
            yield frame.select(columns) if columns else frame

    def listed(self, folder: str, pattern: str = "*") -> list[AnyPath]:
        """There are no files."""
        return []

    def cells_with_maps(self) -> Iterator[tuple[pl.DataFrame, dict[str, np.ndarray]]]:
        """See ``Store.cells_with_maps``."""
        return ((cell.rows, cell.maps) for cell in self._cells)

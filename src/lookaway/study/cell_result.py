"""What was measured of a cell."""

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from lookaway.perturbation import Perturbation
from lookaway.study.parts import Part


@dataclass(frozen=True)
class CellResult:
    """What was measured of a cell.

    Attributes:
        rows: see ``rows.ROW_SCHEMA``.
        statistics: of the last layer's maps; see ``rows.statistic_rows``.
        shuffled: see ``rows.SHUFFLED_SCHEMA``.
        maps: native maps ÷ their maximum, float16, by ``map_key``: (n, h, w) of clean images,
            (n, E, h, w) of attacked ones; and the maxima, float32.
        perturbations: of the model's own attacks, by name, for every image of the cell
            where other models need them, else for the pictured ones.
        scores: of a gallery's cell; see ``keys.score_key``.
        part: what of the cell was measured; None: all that the study asks for.
    """

    rows: pl.DataFrame
    statistics: pl.DataFrame
    shuffled: pl.DataFrame
    maps: dict[str, np.ndarray]
    perturbations: dict[str, Perturbation]
    scores: dict[str, np.ndarray] = field(default_factory=dict)
    part: Part | None = None

    @classmethod
    def of_perturbations(cls, perturbations: dict[str, Perturbation]) -> "CellResult":
        """One of which nothing else is wanted."""
        return cls(pl.DataFrame(), pl.DataFrame(), pl.DataFrame(), {}, perturbations)

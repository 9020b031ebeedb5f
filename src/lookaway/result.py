"""A stored run, read back: its rows and the frames that sum them up. No torch here."""

from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from lookaway.analysis import summary
from lookaway.errors import StoreError
from lookaway.study.store import Store


class Result:
    """The rows and summaries of a run.

    Args:
        folder: where it is stored.

    Raises:
        StoreError: there is no run.
    """

    def __init__(self, folder: Path | str) -> None:
        self.store = Store(folder)
        self.folder = self.store.folder
        self.plan = self.store.read_plan()

    def __repr__(self) -> str:
        return f"Result({str(self.folder)!r}, {len(self.rows())} rows)"

    @property
    def report(self) -> Path:
        """The page."""
        return self.folder / "report.html"

    @property
    def manifest(self) -> dict[str, Any]:
        """Settings, versions, seeds and hashes of the finished run.

        Raises:
            StoreError: the run is not finished.
        """
        manifest = self.store.read_json("manifest.json")
        if manifest is None:
            raise StoreError(
                f"the run in {str(self.folder)!r} is not finished; the command that began it goes "
                "on where it stopped"
            )
        return manifest

    def rows(self) -> pl.DataFrame:
        """Every measurement: one row for each image, attack, source, ε, layer and class policy."""
        return self._rows

    def samples(self) -> pl.DataFrame:
        """Every image: its class, its part (train, val, test), its hash, whether it is pictured."""
        return self.store.samples()

    def accuracy(self) -> pl.DataFrame:
        """Accuracy for each ε, 0 included; see ``analysis.summary.accuracy``."""
        return summary.accuracy(self._rows)

    def mod(self) -> pl.DataFrame:
        """Mean observed dissimilarity for each ε; see ``analysis.summary.mod``."""
        return summary.mod(self._rows)

    def vid(self, per: str = "image", include_zero: bool = False) -> pl.DataFrame:
        """Variation in dissimilarity over ε; see ``analysis.summary.vid``."""
        return summary.vid(self._rows, per, include_zero)

    def spread(self) -> pl.DataFrame:
        """Standard deviation of NISSIM over the images; see ``analysis.summary.spread``."""
        return summary.spread(self._rows)

    def psnr(self) -> pl.DataFrame:
        """Mean PSNR for each ε, in dB; see ``analysis.summary.psnr``."""
        return summary.psnr(self._rows)

    @cached_property
    def _rows(self) -> pl.DataFrame:
        return self.store.rows()


def open_result(folder: Path | str) -> Result:
    """Open a finished run.

    Args:
        folder: of the run.

    Raises:
        StoreError: there is no run there, it is not finished, or it is damaged.
    """
    result = Result(folder)
    result.store.check_rows(result.manifest)
    return result

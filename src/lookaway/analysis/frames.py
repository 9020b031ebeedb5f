"""All summaries of a run's rows, each computed once."""

from functools import cached_property
from typing import Any

import polars as pl

from lookaway.analysis import summary


class Frames:
    """Rows and what sums them up.

    Args:
        rows: measurements.
        plan: what the run is.
    """

    def __init__(self, rows: pl.DataFrame, plan: dict[str, Any]) -> None:
        self.rows, self.plan = rows, plan

    @cached_property
    def accuracy(self) -> pl.DataFrame:
        """See ``summary.accuracy``."""
        return summary.accuracy(self.rows)

    @cached_property
    def psnr(self) -> pl.DataFrame:
        """See ``summary.psnr``."""
        return summary.psnr(self.rows)

    @cached_property
    def mod(self) -> pl.DataFrame:
        """See ``summary.mod``."""
        return summary.mod(self.rows)

    @cached_property
    def spread(self) -> pl.DataFrame:
        """See ``summary.spread``."""
        return summary.spread(self.rows)

    @cached_property
    def vid(self) -> dict[str, pl.DataFrame]:
        """Of the last layers, for each way of reading eq. 4; see ``summary.vid``."""
        return {way: summary.vid(self.last(self.rows), way) for way in summary.VID_WAYS}

    @property
    def policies(self) -> list[str]:
        """The explained classes of the study, in its order."""
        return list(self.plan["settings"]["explain"]["explained_class"])

    @property
    def models(self) -> list[str]:
        """The models, in the study's order."""
        return [spec["name"] for spec in self.plan["settings"]["models"]]

    @cached_property
    def dead_pairs(self) -> int:
        """Rows in which a map is dead."""
        return int((self.rows["clean_dead"] | self.rows["attacked_dead"]).sum())

    def last(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows of each model's last layer, models in the study's order."""
        last = self.plan["last_layers"]
        order = {name: place for place, name in enumerate(self.models)}
        kept = frame.filter(
            pl.col("layer") == pl.col("model").replace_strict(last, return_dtype=pl.String)
        )
        return kept.sort(
            pl.col("model").replace_strict(order, return_dtype=pl.Int64), maintain_order=True
        )

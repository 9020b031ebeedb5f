"""A stored run's rows and all that sums them up, each computed once."""

from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from lookaway.analysis import (
    comparison,
    conventions,
    direction,
    outcomes,
    regions,
    scale,
    summary,
)
from lookaway.study.store import Store

REGIONS = "regions.safetensors"


class Frames:
    """A run's frames.

    Args:
        store: the run's files.

    Raises:
        StoreError: there is no run.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.plan: dict[str, Any] = store.read_plan()

    # What is stored

    @cached_property
    def rows(self) -> pl.DataFrame:
        """Every measurement."""
        return self.store.rows()

    @cached_property
    def compared(self) -> pl.DataFrame:
        """Each clean heatmap against another image's."""
        return self.store.shuffled()

    @cached_property
    def looks(self) -> pl.DataFrame:
        """What was measured from the stored maps, models in the study's order."""
        return self._ordered(self.store.looks())

    @cached_property
    def regions(self) -> dict[str, np.ndarray] | None:
        """The regions that were given to this run, by image."""
        path = self.store.folder / REGIONS
        return regions.unpack(self.store.read_arrays(path)) if path.is_file() else None

    @property
    def policies(self) -> list[str]:
        """The explained classes of the study, in its order."""
        return list(self.plan["settings"]["explain"]["explained_class"])

    @property
    def policy(self) -> str:
        """The explained class of the headlines: the clean image's where the study has it.

        Under ``own`` an attack that flips the prediction changes what is explained, too.
        """
        return "clean" if "clean" in self.policies else self.policies[0]

    @property
    def ordered_policies(self) -> list[str]:
        """The explained classes, that of the headlines first."""
        return sorted(self.policies, key=lambda policy: policy != self.policy)

    @property
    def models(self) -> list[str]:
        """The models, in the study's order."""
        return [spec["name"] for spec in self.plan["settings"]["models"]]

    @property
    def top(self) -> float:
        """The study's largest ε."""
        return float(max(self.plan["settings"]["epsilons"]))

    @property
    def several_layers(self) -> bool:
        """Whether a model is explained at more than its last layer."""
        last = self.plan["last_layers"]
        return any(set(layers) != {last[model]} for model, layers in self.plan["layers"].items())

    @cached_property
    def dead_pairs(self) -> int:
        """Rows in which a map is dead."""
        return int((self.rows["clean_dead"] | self.rows["attacked_dead"]).sum())

    @cached_property
    def shared_rows(self) -> pl.DataFrame | None:
        """The measurements of images that every variant has; None where all have the same."""
        images = self.rows.select("image", "variant").unique()
        everywhere = (
            images.group_by("image").len().filter(pl.col("len") == images["variant"].n_unique())
        )
        if everywhere.height * images["variant"].n_unique() == images.height:
            return None
        return self.rows.join(everywhere, on="image", how="semi", maintain_order="left")

    # Of every layer

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
    def shuffled(self) -> pl.DataFrame:
        """See ``scale.shuffled``."""
        return scale.shuffled(self.compared)

    @cached_property
    def excess(self) -> pl.DataFrame:
        """See ``scale.excess``."""
        return scale.excess(self.rows, self.compared)

    @cached_property
    def by_depth(self) -> pl.DataFrame:
        """See ``scale.by_depth``."""
        return self._ordered(scale.by_depth(self.rows, self.excess))

    # Of each model's last layer

    @cached_property
    def last_rows(self) -> pl.DataFrame:
        """The measurements of each model's last layer."""
        return self.last(self.rows)

    @cached_property
    def vid(self) -> dict[str, pl.DataFrame]:
        """For each way of reading eq. 4; see ``summary.vid``."""
        return {way: summary.vid(self.last_rows, way) for way in summary.VID_WAYS}

    @cached_property
    def inside(self) -> pl.DataFrame | None:
        """The share of participation inside the run's regions, where it has some."""
        return None if self.regions is None else regions.inside_frame(self.store, self.regions)

    @cached_property
    def direction(self) -> pl.DataFrame:
        """See ``direction.direction``."""
        return direction.direction(self.looks, inside=self.inside)

    @cached_property
    def outcomes(self) -> pl.DataFrame:
        """See ``outcomes.outcomes``."""
        return outcomes.outcomes(self.last_rows)

    @cached_property
    def transfer(self) -> pl.DataFrame:
        """See ``outcomes.transfer``."""
        return outcomes.transfer(scale.beside_noise(self.last_rows))

    @cached_property
    def compare_models(self) -> pl.DataFrame:
        """See ``comparison.compare_models``."""
        return comparison.compare_models(self.last_rows)

    @cached_property
    def conventions(self) -> pl.DataFrame:
        """See ``conventions.conventions``."""
        measure = self.plan["settings"]["measure"]
        return conventions.conventions(self.last_rows, self.looks, measure["ssim"], measure["grid"])

    @cached_property
    def robustness_of_ranking(self) -> pl.DataFrame:
        """See ``conventions.robustness_of_ranking``."""
        measure = self.plan["settings"]["measure"]
        reference = (self.policy, measure["ssim"], str(measure["grid"]))
        return conventions.robustness_of_ranking(self.conventions, self.models, reference)

    def to_keep(self) -> dict[str, pl.DataFrame]:
        """The frames that a run keeps as files, by name."""
        names = ["accuracy", "psnr", "mod", "spread", "shuffled", "excess", "by_depth"]
        names += ["direction", "outcomes", "transfer", "compare_models", "conventions"]
        kept: dict[str, pl.DataFrame] = {name: getattr(self, name) for name in names}
        kept["vid"] = pl.concat(self.vid.values())
        kept["robustness_of_ranking"] = self.robustness_of_ranking
        return kept

    def last(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows of each model's last layer, models in the study's order."""
        last = self.plan["last_layers"]
        return self._ordered(
            frame.filter(
                pl.col("layer") == pl.col("model").replace_strict(last, return_dtype=pl.String)
            )
        )

    def _ordered(self, frame: pl.DataFrame) -> pl.DataFrame:
        order = {name: place for place, name in enumerate(self.models)}
        places = pl.col("model").replace_strict(order, return_dtype=pl.Int64)
        return frame.sort(places, maintain_order=True)

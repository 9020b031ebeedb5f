"""A stored run's rows and all that sums them up, each computed once.

A run of many rows is never read whole: see ``Parts`` and ``Streamed``.
"""

from collections.abc import Iterable, Iterator
from functools import cached_property

import numpy as np
import polars as pl

from lookaway.analysis import (
    conventions,
    loaded,
    regions,
    summary,
)
from lookaway.analysis.grouped import SETTING
from lookaway.analysis.parts import Parts
from lookaway.analysis.streamed import Streamed
from lookaway.registry import short_name
from lookaway.study.keys import ModelKey
from lookaway.study.settings import Study
from lookaway.study.store import Store

REGIONS = "regions.safetensors"


def _summary(name: str) -> cached_property[pl.DataFrame]:
    """A frame of ``Streamed``, made when it is asked for and then kept."""
    return cached_property(lambda frames: frames._frame(name))


class Frames:
    """A run's frames.

    Args:
        store: the run's files.
        only: names of the only images that count; None: all.

    Raises:
        StoreError: there is no run.
    """

    def __init__(self, store: Store, only: Iterable[str] | None = None) -> None:
        self.store = store
        self.plan = store.read_plan()
        self._only = only

    @cached_property
    def parts(self) -> Parts:
        """Its rows, a part at a time."""
        return Parts(self.store, self.plan, self._only)

    @cached_property
    def _streamed(self) -> Streamed:
        return Streamed(self.parts, self.plan, lambda: self.inside)

    # What is stored, whole

    @cached_property
    def rows(self) -> pl.DataFrame:
        """Every measurement."""
        return self._counted(self.store.frame("rows"))

    @cached_property
    def statistics(self) -> pl.DataFrame:
        """What was measured of the last layers' maps, models in the study's order."""
        return self._ordered(self._counted(self.store.frame("statistics")))

    # A few of them

    @cached_property
    def images(self) -> list[str]:
        """The names of the images that were measured, sorted."""
        return self.parts.images()

    @cached_property
    def pictured_rows(self) -> pl.DataFrame:
        """The measurements of the pictured images, models in the study's order."""
        return self._ordered(self._of_pictured("rows"))

    @cached_property
    def pictured_statistics(self) -> pl.DataFrame:
        """What was measured of the pictured images' maps."""
        return self._of_pictured("statistics")

    def _of_pictured(self, folder: str) -> pl.DataFrame:
        images = self.store.samples().filter("pictured")["image"].implode()
        return pl.concat(
            frame.filter(pl.col("image").is_in(images)) for frame in self.store.scan(folder)
        )

    def last_parts(self, variant: str, policy: str) -> Iterator[pl.DataFrame]:
        """The measured NISSIM of the last layers, a part at a time.

        Args:
            variant: of the images.
            policy: the explained class.

        Returns:
            Frames with variant, model, attack, source, epsilon and nissim.
        """
        columns = [*SETTING, "epsilon", "nissim"]
        same = {"variant": variant, "explained_class": policy}
        read = ["image", *columns, "layer", "explained_class"]
        for part in self.parts.split("model", "epsilon"):
            yield self.parts.read("rows", read, part | same).select(columns)

    @cached_property
    def regions(self) -> dict[str, np.ndarray] | None:
        """The regions that were given to this run, by image."""
        path = self.store.folder / REGIONS
        return regions.unpack(self.store.read_arrays(path)) if path.is_file() else None

    @property
    def attacks(self) -> list[str]:
        """The names of the study's attacks, in its order."""
        return self.plan.attacks

    @property
    def method(self) -> str:
        """The name of the study's explainer."""
        return short_name(self.settings.explain.method)

    @property
    def policies(self) -> list[str]:
        """The explained classes of the study, in its order."""
        return list(self.settings.explain.explained_class)

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
        """The names of the models, in the study's order."""
        return self.plan.models

    @property
    def sources(self) -> list[str]:
        """The models whose perturbations all models get, in the study's order."""
        return list(self.settings.transfer_from)

    @property
    def variants(self) -> list[str]:
        """The ways in which the images were prepared, in the study's order."""
        return list(self.settings.data.variants)

    @property
    def epsilons(self) -> list[float]:
        """The ε of the study, in its order; pixels are in [0, 1]."""
        return [float(epsilon) for epsilon in self.settings.epsilons]

    @property
    def settings(self) -> Study:
        """The study's settings, as its plan holds them."""
        return self.plan.settings

    @property
    def top(self) -> float:
        """The study's largest ε."""
        return max(self.epsilons)

    @property
    def several_layers(self) -> bool:
        """Whether a model is explained at more than its last layer."""
        return any(len(self.plan.explained_layers(model)) > 1 for model in self.models)

    @property
    def several_variants(self) -> bool:
        """Whether the images were prepared in more than one way."""
        return len(self.variants) > 1

    @cached_property
    def counts(self) -> tuple[int, int]:
        """How many rows there are, and in how many of them a map is dead."""
        return self.store.count()

    @cached_property
    def shared(self) -> "Frames | None":
        """Frames of the images that every variant has; None where all have the same."""
        test = self.store.samples().filter(pl.col("part") == "test")
        there = test.filter(pl.col("variants").list.len() > 0)
        everywhere = there.filter(pl.col("variants").list.len() == len(self.variants))
        if everywhere.height == there.height:
            return None
        return Frames(self.store, everywhere["image"])

    def _counted(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows of the images that count."""
        if self.parts.only is None:
            return frame
        return frame.filter(pl.col("image").is_in(self.parts.only))

    def _frame(self, name: str) -> pl.DataFrame:
        """A frame, made a part of the run at a time; variants in the study's order."""
        return self._streamed[name].sort(self._place("variant"), maintain_order=True)

    # Of every layer: see the functions of these names in ``summary`` and ``scale``

    accuracy = _summary("accuracy")
    psnr = _summary("psnr")
    unattacked = _summary("unattacked")
    mod = _summary("mod")
    spread = _summary("spread")
    shuffled = _summary("shuffled")
    excess = _summary("excess")

    @cached_property
    def loaded(self) -> pl.DataFrame:
        """Of the models that were only loaded; see ``loaded.loaded``."""
        return loaded.loaded(self._predictions(), self.plan.classes)

    def _predictions(self) -> Iterator[tuple[str, str, pl.DataFrame]]:
        """For each variant and model that was only loaded, its predictions for clean images."""
        columns = ["image", "label", "clean_class"]
        for variant in self.variants:
            for place, spec in enumerate(self.settings.models):
                if spec.train == "none":
                    stem = ModelKey(variant, place, spec.name).cells
                    found = pl.concat(  # an image is in one cell alone
                        self._counted(frame.unique("image")).group_by(columns[1:]).len()
                        for frame in self.store.scan("rows", stem, columns)
                    )
                    total = found.group_by(columns[1:]).agg(pl.col("len").sum())
                    if total.height:
                        yield variant, spec.name, total.sort(columns[1:])

    @cached_property
    def by_depth(self) -> pl.DataFrame:
        """See ``scale.by_depth``."""
        found = self._frame("by_depth")
        return self._ordered(found.sort("depth", maintain_order=True))

    # Of each model's last layer: see the modules ``direction``, ``outcomes`` and ``comparison``

    direction = _summary("direction")
    outcomes = _summary("outcomes")
    transfer = _summary("transfer")
    compare_models = _summary("compare_models")

    @cached_property
    def last_rows(self) -> pl.DataFrame:
        """The measurements of each model's last layer."""
        return self.last(self.rows)

    @cached_property
    def vid(self) -> dict[str, pl.DataFrame]:
        """For each way of reading eq. 4; see ``summary.vid``."""
        return {way: self._frame(f"vid_{way}") for way in summary.VID_WAYS}

    @cached_property
    def vid_with_zero(self) -> dict[str, pl.DataFrame]:
        """The same with ε = 0 as a level."""
        return {way: self._frame(f"vid_{way}_with_zero") for way in summary.VID_WAYS}

    @cached_property
    def inside(self) -> pl.DataFrame | None:
        """The share of participation inside the run's regions, where it has some."""
        return None if self.regions is None else regions.inside_frame(self.store, self.regions)

    @cached_property
    def conventions(self) -> pl.DataFrame:
        """See ``conventions.conventions``."""
        return conventions.with_scopes(self._frame("conventions"))

    @cached_property
    def robustness_of_ranking(self) -> pl.DataFrame:
        """See ``conventions.robustness_of_ranking``."""
        measure = self.settings.measure
        reference = (self.policy, measure.ssim, str(measure.grid))
        return conventions.robustness_of_ranking(self.conventions, self.models, reference)

    def to_keep(self) -> dict[str, pl.DataFrame]:
        """The frames that a run keeps as files, by name."""
        names = ["accuracy", "psnr", "unattacked", "mod", "spread", "shuffled", "excess"]
        names += ["by_depth", "direction", "outcomes", "transfer", "compare_models", "conventions"]
        kept: dict[str, pl.DataFrame] = {name: getattr(self, name) for name in names}
        kept["vid"] = pl.concat(self.vid.values())
        kept["robustness_of_ranking"] = self.robustness_of_ranking
        kept["loaded"] = self.loaded
        return kept

    def last(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows of each model's last layer, models in the study's order."""
        last = self.plan.last_layers
        return self._ordered(
            frame.filter(
                pl.col("layer") == pl.col("model").replace_strict(last, return_dtype=pl.String)
            )
        )

    def _ordered(self, frame: pl.DataFrame) -> pl.DataFrame:
        places = self._place("model"), self._place("variant")
        return frame.sort(places, maintain_order=True)

    def _place(self, key: str) -> pl.Expr:
        """Where a model or a variant stands in the study."""
        names = self.models if key == "model" else self.variants
        order = {name: place for place, name in enumerate(names)}
        return pl.col(key).replace_strict(order, return_dtype=pl.Int64)

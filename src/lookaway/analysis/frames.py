"""A stored run's rows and all that sums them up, each computed once.

A run of many rows is never read whole: see ``Parts`` and ``Streamed``.
"""

from collections.abc import Iterable, Iterator
from functools import cached_property

import numpy as np
import polars as pl

from lookaway.analysis import (
    by_class,
    by_group,
    comparisons,
    conventions,
    failing,
    loaded,
    regions,
    sanity,
    summary,
)
from lookaway.analysis.aimed import without_shaped
from lookaway.analysis.described import Described
from lookaway.analysis.grouped import SETTING
from lookaway.analysis.parts import Parts
from lookaway.analysis.streamed import Streamed
from lookaway.study.store import Store
from lookaway.study.thumbnails import name_of, small_images

REGIONS = "regions.safetensors"


def _summary(name: str) -> cached_property[pl.DataFrame]:
    """A frame of ``Streamed``, made when it is asked for and then kept."""
    return cached_property(lambda frames: frames._frame(name))


class Frames(Described):
    """A run's frames, as one of its methods has them: the study's first ones, or see ``of``.

    Args:
        store: the run's files.
        only: names of the only images that count; None: all.

    Raises:
        StoreError: there is no run.
    """

    def __init__(self, store: Store, only: Iterable[str] | None = None) -> None:
        super().__init__(store.read_plan())
        self.store = store
        self._only = only

    def of(self, method: str, attack: str | None = None) -> "Frames":
        """The same run's frames, of another of its methods; what is read stays read."""
        attack = attack or self.attacks[0]
        if (method, attack) == (self.method, self.attack):
            return self
        found = Frames(self.store, self._only)
        found.method, found.attack = method, attack
        found.__dict__ |= {"parts": self.parts, "_streamed": self._streamed}
        return found

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
        """Every measurement, of every method."""
        return self._counted(self.store.frame("rows"))

    @cached_property
    def statistics(self) -> pl.DataFrame:
        """What was measured of the last layers' maps, of every method, models in order."""
        return self.ordered(self._counted(without_shaped(self.store.frame("statistics"))))

    # A few of them

    @cached_property
    def images(self) -> list[str]:
        """The names of the images that were measured, sorted."""
        return self.parts.images()

    @cached_property
    def small(self) -> pl.DataFrame:
        """The samples of which the first variant has small copies, in their order; see there."""
        test = small_images(self.store.samples_of("test", self.variants[0]))
        if test.is_empty():
            return test
        name = name_of(self.store.identity, self.variants[0], test)
        return test if (self.store.folder / name).is_file() else test.clear()

    @cached_property
    def shown_rows(self) -> pl.DataFrame:
        """The measurements of the images that pages show, models in the study's order.

        Of those with a small copy alone, of the last layers.
        """
        return self.ordered(self._of_shown("rows"))

    @cached_property
    def shown_statistics(self) -> pl.DataFrame:
        """What was measured of these images' maps."""
        return self._of_shown("statistics")

    @cached_property
    def pictured_rows(self) -> pl.DataFrame:
        """The measurements of the pictured images, models in the study's order."""
        return self.shown_rows.filter(pl.col("image").is_in(self._pictured))

    @cached_property
    def _pictured(self) -> pl.Series:
        return self.store.samples().filter("pictured")["image"].implode()

    def _of_shown(self, folder: str) -> pl.DataFrame:
        here = pl.col("image").is_in(self._pictured)
        small = pl.col("image").is_in(self.small["image"].implode())
        if folder == "rows":
            last = self.plan.last_layers
            layers = pl.col("model").replace_strict(last, return_dtype=pl.String)
            small &= pl.col("layer") == layers
        return pl.concat(
            frame.filter(here | small, pl.col("method") == self.method)
            for frame in self.store.scan(folder)
        )

    def last_parts(self, variant: str, policy: str) -> Iterator[pl.DataFrame]:
        """The measured NISSIM of the last layers, a part at a time.

        Returns:
            Frames with variant, model, attack, source, epsilon and nissim.
        """
        columns = [*SETTING, "epsilon", "nissim"]
        same = {"variant": variant, "method": self.method, "explained_class": policy}
        read = ["image", *columns, "method", "layer", "explained_class"]
        for part in self.parts.split("model", "epsilon"):
            yield self.parts.read("rows", read, part | same).select(columns)

    @cached_property
    def regions(self) -> dict[str, np.ndarray] | None:
        """The regions that were given to this run, by image."""
        path = self.store.folder / REGIONS
        return regions.unpack(self.store.read_arrays(path)) if path.is_file() else None

    @property
    def each_method(self) -> "list[Frames]":
        """The run's frames as each of its methods has them, in the study's order."""
        return [self.of(method, self.attack) for method in self.methods]

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
        return Frames(self.store, everywhere["image"]).of(self.method, self.attack)

    def _counted(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows of the images that count."""
        if self.parts.only is None:
            return frame
        return frame.filter(pl.col("image").is_in(self.parts.only))

    def whole(self, name: str) -> pl.DataFrame:
        """A frame of every method, made a part of the run at a time; variants in their order."""
        if name == "robustness_of_ranking":
            return pl.concat(one.robustness_of_ranking for one in self.each_method)
        found = self._streamed[name].sort(self._place("variant"), maintain_order=True)
        if name == "conventions":
            return conventions.with_scopes(found)
        if name == "failing":
            return failing.with_holm(found)
        return (
            self.ordered(found.sort("depth", maintain_order=True)) if name == "by_depth" else found
        )

    def _frame(self, name: str) -> pl.DataFrame:
        """What of a frame is of this method, or of none."""
        found = self.whole(name)
        if "method" not in found.columns:
            return found
        return found.filter(pl.col("method").eq(self.method).fill_null(value=True))

    # Of every layer: see the functions of these names in ``summary`` and ``scale``

    accuracy = _summary("accuracy")
    psnr = _summary("psnr")
    reached = _summary("reached")
    unattacked = _summary("unattacked")
    mod = _summary("mod")
    spread = _summary("spread")
    shuffled = _summary("shuffled")
    excess = _summary("excess")
    by_depth = _summary("by_depth")

    @cached_property
    def loaded(self) -> pl.DataFrame:
        """Of the models that were only loaded; see ``loaded.loaded``."""
        return loaded.loaded(self._predictions(), self.plan.classes)

    def _predictions(self) -> Iterator[tuple[str, str, pl.DataFrame]]:
        """For each variant and model that was only loaded, its predictions for clean images."""
        columns = ["image", "label", "clean_class"]
        for variant in self.variants:
            for spec in self.settings.models:
                if spec.train == "none":
                    found = pl.concat(  # an image is in one cell alone
                        self._counted(frame.unique("image")).group_by(columns[1:]).len()
                        for frame in self.store.scan("rows", columns, variant, spec.name)
                    )
                    total = found.group_by(columns[1:]).agg(pl.col("len").sum())
                    if total.height:
                        yield variant, spec.name, total.sort(columns[1:])

    # Of each model's last layer: see the modules of these names, and ``outcomes.transfer``,
    # ``comparison.compare_models``

    aimed = _summary("aimed")
    place = _summary("place")
    beside_nissim = _summary("beside_nissim")
    direction = _summary("direction")
    outcomes = _summary("outcomes")
    failing = _summary("failing")
    decomposition = _summary("decomposition")
    equal_accuracy = _summary("equal_accuracy")
    dead = _summary("dead")
    transfer = _summary("transfer")
    compare_models = _summary("compare_models")
    robust_training = _summary("robust_training")
    networks = _summary("networks")
    network_pairs = _summary("network_pairs")

    # Of galleries: see ``comparisons``

    verification = _summary("verification")
    verification_shift = _summary("verification_shift")

    @property
    def targeted(self) -> list[str]:
        """The attacks whose targets are known: of galleries' own people."""
        told = self.verification.filter(pl.col("measure").str.starts_with("success@"))
        return [name for name in self.attacks if name in told["attack"]]

    face_regions = _summary("face_regions")

    by_class = _summary("by_class")

    @cached_property
    def confusion(self) -> pl.DataFrame:
        """What is predicted for each class; see ``by_class.confusion``."""
        return by_class.confusion_of(self.parts)

    @cached_property
    def by_group(self) -> pl.DataFrame | None:
        """By the groups of people that the run keeps, of all methods; None where it has none."""
        return by_group.of_run(self)

    @cached_property
    def similarities(self) -> pl.DataFrame:
        """Histograms of each gallery's similarities; see ``comparisons.similarity_histograms``."""
        return comparisons.of_all(comparisons.similarity_histograms, self.store, self.plan)

    @cached_property
    def det(self) -> pl.DataFrame:
        """DET curves of each gallery; see ``comparisons.det_frame``."""
        return comparisons.of_all(comparisons.det_frame, self.store, self.plan)

    @cached_property
    def last_rows(self) -> pl.DataFrame:
        """The measurements of each model's last layer, of every method."""
        return self.last(self.rows)

    @cached_property
    def vid(self) -> dict[str, pl.DataFrame]:
        """For each way of reading eq. 4; see ``summary.vid``."""
        return {way: self._frame(f"vid_{way}") for way in summary.VID_WAYS}

    @cached_property
    def sanity(self) -> pl.DataFrame:
        """Beside weights drawn anew, of this method; empty where the run has none."""
        return sanity.of_run(self)

    @cached_property
    def inside(self) -> pl.DataFrame | None:
        """The share of participation inside regions, where the run has some; of all methods."""
        return None if self.regions is None else regions.inside_frame(self.store, self.regions)

    @cached_property
    def robustness_of_ranking(self) -> pl.DataFrame:
        """The rankings by this method; see ``conventions.robustness_of_ranking``."""
        measure = self.settings.measure
        reference = (self.method, self.policy, measure.ssim, str(measure.grid))
        found = self.whole("conventions")
        return conventions.robustness_of_ranking(found, self.models, reference)

    def to_keep(self) -> dict[str, pl.DataFrame]:
        """The frames that a run keeps as files, by name, of every method."""
        names = ["accuracy", "psnr", "reached", "unattacked", "mod", "spread", "shuffled"]
        names += ["excess", "aimed", "by_class", "by_depth", "direction", "outcomes"]
        names += ["failing", "dead", "place", "beside_nissim"]
        names += ["decomposition", "equal_accuracy", "transfer", "compare_models", "conventions"]
        names += [] if self.robust_training.is_empty() else ["robust_training"]
        names += [] if self.networks.is_empty() else ["networks", "network_pairs"]
        names += ["face_regions"] if self.aligned else []
        kept = {name: self.whole(name) for name in [*names, "robustness_of_ranking"]}
        kept["vid"] = pl.concat(self.whole(f"vid_{way}") for way in summary.VID_WAYS)
        kept["loaded"] = self.loaded
        if self.galleries:
            names = ["verification", "verification_shift"]
            kept |= {name: self.whole(name) for name in names} | {"det": self.det}
        if self.by_group is not None:
            kept["by_group"] = self.by_group
        return kept

    def last(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows of each model's last layer, models in the study's order."""
        last = self.plan.last_layers
        layers = pl.col("model").replace_strict(last, return_dtype=pl.String)
        return self.ordered(frame.filter(pl.col("layer") == layers))

    def ordered(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows by model, then by variant, in the study's order."""
        places = self._place("model"), self._place("variant")
        return frame.sort(places, maintain_order=True)

    def _place(self, key: str) -> pl.Expr:
        """Where a model or a variant stands in the study."""
        names = self.models if key == "model" else self.variants
        order = {name: place for place, name in enumerate(names)}
        return pl.col(key).replace_strict(order, return_dtype=pl.Int64)

"""The frames that sum up what was measured, whether it is stored or in memory. No torch here."""

from abc import ABC, abstractmethod
from functools import cached_property
from html import escape
from pathlib import Path

import polars as pl

from lookaway.analysis import summary
from lookaway.analysis.by_group import by_group
from lookaway.analysis.direction import direction
from lookaway.analysis.frames import Frames
from lookaway.analysis.regions import inside_frame, read_regions
from lookaway.analysis.subgroups import by_group as rates_by_group
from lookaway.analysis.subgroups import read_groups
from lookaway.errors import InputError
from lookaway.report.figure import Figure
from lookaway.report.figures import Figures
from lookaway.report.options import Options
from lookaway.report.tables import headline_table


class Summaries(ABC):
    """The rows and summaries of what was measured."""

    @cached_property
    @abstractmethod
    def frames(self) -> Frames:
        """What sums it up."""

    def _repr_html_(self) -> str:
        """The headline table and the chart of MOD, for a notebook."""
        table = headline_table(self.frames).html()
        chart = self.figure("mod").svg()
        return f"<div><p><code>{escape(repr(self))}</code></p>{table}{chart}</div>"

    def figures(self) -> dict[str, str]:
        """The names of the run's figures, and what each shows."""
        return Figures(self.frames).titles()

    def figure(
        self,
        name: str,
        *,
        columns: int = 2,
        image: str | None = None,
        colours: str = "turbo",
        heatmaps: str = "overlaid",
        order: str = "last-first",
    ) -> Figure:
        """A figure; it shows itself in a notebook, and ``save("mod.pdf")`` writes it.

        Args:
            name: one of ``figures()``, or a kind such as ``mod``: that of the headlines' explained
                class.
            columns: of a paper that it is to be as wide as: 1 (252 pt) or 2 (516 pt).
            image: for figures of one image, its name; None: the first pictured one, or for an
                example of an attack, the first that it flips.
            colours: of heatmaps: ``turbo``, blue to red, or ``viridis``, perceptually even.
            heatmaps: ``overlaid`` on the image or ``raw``.
            order: of all layers of a model: ``last-first``, the last one top left, as in the
                paper, or ``first-last``.

        Raises:
            InputError: there is no such figure or image, or an option is none of those.
            StoreError: what it shows is missing or damaged.
        """
        return Figures(self.frames).figure(name, Options(columns, image, colours, heatmaps, order))

    def rows(self) -> pl.DataFrame:
        """Every measurement: a row for each image, attack, source, ε, method, layer and policy."""
        return self.frames.rows

    def samples(self) -> pl.DataFrame:
        """Every image: its class, its part (train, val, test), its hash, whether it is pictured.

        ``variants``: those that have it; ``no_face``: those that found no face in it.
        """
        return self.frames.store.samples()

    def accuracy(self, *, shared: bool = False) -> pl.DataFrame:
        """Accuracy for each ε, 0 included; see ``analysis.summary.accuracy``.

        Args:
            shared: only of the images that every variant has.
        """
        return self._shared(shared).accuracy

    def mod(self, *, shared: bool = False) -> pl.DataFrame:
        """Mean observed dissimilarity for each ε; see ``analysis.summary.mod``.

        Args:
            shared: only of the images that every variant has.
        """
        return self._shared(shared).whole("mod")

    def _shared(self, shared: bool) -> Frames:
        return (self.frames.shared if shared else None) or self.frames

    def vid(self, per: str = "image", include_zero: bool = False) -> pl.DataFrame:
        """Variation in dissimilarity over ε, of the last layers; see ``analysis.summary.vid``.

        As in ``frames/vid.parquet`` and on the page. Of every layer, where the run fits into
        memory: ``analysis.summary.vid(result.rows(), per, include_zero)``.
        """
        summary.check_way(per)
        return self.frames.whole(f"vid_{per}_with_zero" if include_zero else f"vid_{per}")

    def spread(self) -> pl.DataFrame:
        """Standard deviation of NISSIM over the images; see ``analysis.summary.spread``."""
        return self.frames.whole("spread")

    def psnr(self) -> pl.DataFrame:
        """Mean PSNR for each ε, in dB; see ``analysis.summary.psnr``."""
        return self.frames.psnr

    def reached(self) -> pl.DataFrame:
        """How large changes are in the networks' own input; see ``analysis.summary.reached``."""
        return self.frames.reached

    def unattacked(self) -> pl.DataFrame:
        """Share of images that an attack did not change; see ``analysis.summary.unattacked``."""
        return self.frames.unattacked

    def shuffled(self) -> pl.DataFrame:
        """The shuffled baseline of each model; see ``analysis.scale.shuffled``."""
        return self.frames.whole("shuffled")

    def excess(self) -> pl.DataFrame:
        """The shift beyond that of noise of the same size; see ``analysis.scale.excess``."""
        return self.frames.whole("excess")

    def aimed(self) -> pl.DataFrame:
        """The shift beyond that of the attack's own change, not aimed; see ``analysis.aimed``."""
        return self.frames.whole("aimed")

    def place(self) -> pl.DataFrame:
        """MOD between its floor and the attack on the explanation; see ``analysis.place``."""
        return self.frames.whole("place")

    def beside_nissim(self) -> pl.DataFrame:
        """At a common resolution, how far apart, how much; see ``analysis.beside_nissim``."""
        return self.frames.whole("beside_nissim")

    def by_depth(self) -> pl.DataFrame:
        """MOD, excess and dead maps of every layer; see ``analysis.scale.by_depth``."""
        return self.frames.whole("by_depth")

    def direction(
        self, per: str = "setting", regions: str | Path | pl.DataFrame | None = None
    ) -> pl.DataFrame:
        """Where the attention went, in the last layers; see ``analysis.direction``.

        Args:
            per: ``setting`` (means over the images, and how many stayed, moved, …) or ``image``.
            regions: boxes or masks; see ``analysis.regions.read_regions``. None: those that were
                given to ``lookaway report``, if any.

        Raises:
            InputError: ``per`` is unknown.
            DataError: the regions cannot be used.
        """
        frames = self.frames
        inside = frames.inside
        if regions is not None:
            found = read_regions(regions, frames.images)
            inside = inside_frame(frames.store, found)
        if per == "setting" and regions is None:
            return frames.whole("direction")
        return direction(frames.statistics, per, inside)

    def outcomes(self) -> pl.DataFrame:
        """NISSIM, accuracy and confidence by outcome; see ``analysis.outcomes.outcomes``."""
        return self.frames.whole("outcomes")

    def failing(self) -> pl.DataFrame:
        """How well NISSIM tells flips, beside plain predictors; see ``analysis.failing``."""
        return self.frames.whole("failing")

    def decomposition(self) -> pl.DataFrame:
        """Each excess: what follows from more flips, and the rest; see ``decomposition``."""
        return self.frames.whole("decomposition")

    def equal_accuracy(self) -> pl.DataFrame:
        """MOD of attack and control where both leave the same accuracy; see ``equal_accuracy``."""
        return self.frames.whole("equal_accuracy")

    def dead(self) -> pl.DataFrame:
        """MOD as the share of dead pairs and MOD of living ones; see ``analysis.dead``."""
        return self.frames.whole("dead")

    def verification(
        self,
        per: str = "perturbation",
        groups: str | Path | pl.DataFrame | None = None,
        column: str = "group",
    ) -> pl.DataFrame:
        """Error rates of the comparisons of a study's galleries; see ``analysis.verification``.

        Args:
            per: ``perturbation`` (clean ones too); ``decision``: how far the explanation moved, by
                what became of the comparison (see ``analysis.comparisons.shift_by_decision``); or
                ``threshold``: points of DET curves.
            groups: of people, for rates in each and the largest gap (see
                ``analysis.subgroups.group_rates``): a CSV, Parquet or frame with ``label`` or
                ``image``, and a column of groups.
            column: its name.

        Raises:
            InputError: no model of the study has ``train: enrol``, or ``per`` is unknown.
            DataError: the groups cannot be used.
        """
        names = {"perturbation": "verification", "decision": "verification_shift"}
        if per not in (*names, "threshold"):
            raise InputError(f"per={per!r} is unknown; possible: {', '.join(names)}, threshold")
        if not self.frames.galleries:
            raise InputError(
                "no model of this study has enrolled people (train: enrol); of a gallery in "
                "memory la.verify tells the same"
            )
        if groups is None:
            return self.frames.det if per == "threshold" else self.frames.whole(names[per])
        if per != "perturbation":
            raise InputError(f"groups are told per perturbation; got per={per!r}")
        frames = self.frames
        known = read_groups(groups, column, frames.store.samples())
        return pl.concat(
            rates_by_group(frames.store, frames.plan, variant, model, known)
            for variant in frames.variants
            for model in frames.galleries
        )

    def by_group(
        self, groups: str | Path | pl.DataFrame | None = None, column: str = "group"
    ) -> pl.DataFrame:
        """Every number by group of people, and the largest gap; see ``analysis.by_group``.

        Args:
            groups: of people: a CSV, Parquet or frame with ``label`` or ``image``, such as a
                study's own table, and a column of groups. None: those that were given to
                ``lookaway report``.
            column: its name.

        Raises:
            InputError: no groups are given, and the run keeps none.
            DataError: the groups cannot be used.
        """
        if groups is not None:
            known = read_groups(groups, column, self.frames.store.samples())
            return by_group(self.frames, known)
        if self.frames.by_group is None:
            raise InputError(
                "this run keeps no groups of people; give a table with label or image and a column "
                "of groups"
            )
        return self.frames.by_group

    def face_regions(self) -> pl.DataFrame:
        """Where on aligned faces the layers look, and what moved; see ``analysis.face_regions``.

        Raises:
            InputError: no variant of the study aligns faces.
        """
        if not self.frames.aligned:
            raise InputError(
                "no variant of this study aligns faces (data.variants: [cascade] or [landmarks]), "
                "so that a place means another part of the face in each image"
            )
        return self.frames.whole("face_regions")

    def transfer(self) -> pl.DataFrame:
        """Accuracy, MOD and excess, source × target; see ``analysis.outcomes.transfer``."""
        return self.frames.whole("transfer")

    def by_class(self) -> pl.DataFrame:
        """Accuracy, MOD and excess of each true class; see ``analysis.by_class``."""
        return self.frames.whole("by_class")

    def compare_models(self) -> pl.DataFrame:
        """Models in pairs on the same images; see ``analysis.comparison.compare_models``."""
        return self.frames.whole("compare_models")

    def networks(self, per: str = "network") -> pl.DataFrame:
        """What holds for networks whatever their training; see ``analysis.networks.networks``.

        Empty where the study trains none with several ``training.seeds``.

        Args:
            per: ``network``, or ``pair`` of networks.

        Raises:
            InputError: ``per`` is unknown.
        """
        names = {"network": "networks", "pair": "network_pairs"}
        if per not in names:
            raise InputError(f"per={per!r} is unknown; possible: {', '.join(names)}")
        return self.frames.whole(names[per])

    def robust_training(self) -> pl.DataFrame:
        """Networks trained plainly beside the same trained on attacked images.

        See ``analysis.robust_training.robust_training``.
        """
        return self.frames.whole("robust_training")

    def conventions(self) -> pl.DataFrame:
        """MOD, excess and VID under other conventions; see ``analysis.conventions``."""
        return self.frames.whole("conventions")

    def robustness_of_ranking(self) -> pl.DataFrame:
        """In how many conventions each ranking holds; see ``analysis.conventions``."""
        return self.frames.whole("robustness_of_ranking")

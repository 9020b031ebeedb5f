"""One cell: its images are perturbed, explained and compared, as far as its job asks for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch

from lookaway.attacks.base import Attack
from lookaway.baseline import Compared, compare_images
from lookaway.data.folder import Record
from lookaway.data.pixels import floats_on
from lookaway.explainers.base import Explainer
from lookaway.hashing import random_signs
from lookaway.kernel import MeasureSettings, measure_images, perturbations_of
from lookaway.measured import Found
from lookaway.models.classifier import Classifier
from lookaway.perturbation import NOISE, Perturbation, Source
from lookaway.rows import Subject
from lookaway.shaped import measure_controls
from lookaway.study.beside import Each
from lookaway.study.identity import Identity
from lookaway.study.job import Given, Job
from lookaway.study.kept import cell_result
from lookaway.study.parts import Part
from lookaway.study.prepare import Prepared
from lookaway.study.store import CellResult


@dataclass(frozen=True)
class Shard:
    """A cell's images and how they are measured.

    Attributes:
        job: the cell.
        prepared: the study, its images and plan.
        names: of the images.
        grids: (N, H, W, C) uint8.
        labels: (N,) int64.
        noise: of the noise control.
        pictured: (N,) bool: whose perturbations, and maps of every layer, are kept.
        part: what of it is measured.
    """

    job: Job
    prepared: Prepared
    names: list[str]
    grids: np.ndarray
    labels: np.ndarray
    noise: Perturbation
    pictured: np.ndarray
    part: Part

    @classmethod
    def load(cls, prepared: Prepared, job: Job, each: Each = map) -> "Shard":
        """Read a cell's images, and draw their noise.

        Raises:
            DataError: one is not what was scanned.
        """
        images, study = prepared.images, prepared.study
        test = images.variants[job.key.variant].parts["test"]
        records = [test[index] for index in job.images]

        def read(record: Record) -> tuple[np.ndarray, np.ndarray]:
            grid = images.grid(job.key.variant, record, study.data.image_size)
            return grid, random_signs(study.data.split.seed, grid.transpose(2, 0, 1))

        grids, signs = zip(*each(read, records), strict=True)
        return cls(
            job,
            prepared,
            names=[record.image for record in records],
            grids=np.stack(grids),
            labels=np.array([images.classes.index(one.label) for one in records], dtype=np.int64),
            noise=Perturbation.of_signs(torch.from_numpy(np.stack(signs)), prepared.plan.norm),
            pictured=np.array([record.image in images.pictured for record in records]),
            part=Identity(prepared.plan).whole(job.spec.name),
        )

    @property
    def settings(self) -> MeasureSettings:
        """How the images are measured."""
        study, plan, model = self.prepared.study, self.prepared.plan, self.job.spec.name
        return MeasureSettings(
            epsilons=self.part.epsilons,
            layers=self.part.layers,
            last=plan.last_layers[model],
            policies=tuple(study.explain.explained_class),
            ssim=study.measure.ssim,
            grid=study.measure.grid,
            common=plan.common,
            quantize=study.quantize,
            batch_size=plan.batch_sizes[model],
            noise_seed=study.data.split.seed,
            scores=self.job.spec.train == "enrol",
        )

    @property
    def attacks(self) -> list[Attack]:
        """Those that are run, made anew."""
        study, names = self.prepared.study, self.prepared.plan.perturbing(self.part)
        run = [attack for attack in study.attacks if attack.name in names]
        return [attack.make(study.data.split.seed) for attack in run]

    @property
    def explainers(self) -> list[Explainer]:
        """Those that explain, made anew."""
        methods = self.prepared.study.explain.methods
        return [method.make() for method in methods if method.name in self.part.methods]

    def measure(
        self, clf: Classifier, given: Given, advance: Callable[[int], None] = lambda _: None
    ) -> Found:
        """What the kernel finds: in all images, then of layers that only the pictured ones have."""
        attacks, explainers, settings = self.attacks, self.explainers, self.settings
        few = self.prepared.study.explain.layers_of == "pictured"
        others = tuple(layer for layer in settings.layers if layer != settings.last)
        of_all = tuple(layer for layer in settings.layers if layer not in others or not few)
        every, given = np.arange(len(self.names)), self._given(given)
        given[NOISE, None] = self.noise
        images, labels = self.tensors
        measured = measure_images(
            clf,
            images,
            labels,
            replace(settings, layers=of_all),
            attacks,
            explainers,
            given=given,
            keep=torch.from_numpy(self.pictured),
            advance=advance,
            only=self.part.met if of_all else (),
        )
        found = [(every, measured)]
        if few and others and self.pictured.any():
            places = every[self.pictured]
            rest = measure_images(
                clf,
                images[places],
                labels[places],
                replace(settings, layers=others, scores=False),
                attacks,
                explainers,
                given={source: each.of(places) for source, each in given.items()},
                own={name: each.of(places) for name, each in measured.perturbations.items()},
                only=self.part.met,
            )
            found.append((places, rest))
        return found

    def _given(self, given: Given) -> dict[Source, Perturbation]:
        """Of other models' perturbations those by the attacks and at the ε of the part."""
        names, levels = self.prepared.plan.perturbing(self.part), self.prepared.study.epsilons
        places = [levels.index(epsilon) for epsilon in self.part.epsilons]
        return {
            source: each.at(places) if each.codes.shape[1] > 1 else each
            for source, each in given.items()
            if source[0] in names
        }

    def measure_controls(
        self, clf: Classifier, found: Found, given: Given, advance: Callable[[], None]
    ) -> Found:
        """What the kernel finds under controls with the attacks' own shape."""
        return measure_controls(
            clf,
            *self.tensors,
            self.names,
            self.settings,
            self.explainers,
            found,
            self._given(given),
            self.prepared.study.controls.counts,
            advance,
            self.part.shaped,
        )

    def compare(self, clf: Classifier, found: Found) -> list[Compared]:
        """Its clean heatmaps against each other."""
        return compare_images(clf, *self.tensors, self.names, self.settings, self.explainers, found)

    @cached_property
    def tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Pixels (N, C, H, W) in [0, 1], where the models work, and labels (N,)."""
        return floats_on(self.prepared.device, self.grids), torch.from_numpy(self.labels)


def do_cell(
    clf: Classifier,
    shard: Shard,
    given: Given,
    advance: Callable[[int], None] = lambda _: None,
) -> list[CellResult]:
    """Perturb, explain and compare every image of a cell, as far as its job asks for it."""
    parts = shard.job.parts or (shard.part,)
    sweeps = _Sweeps(len(shard.names), parts, advance)
    results = []
    for part in parts:
        one = replace(shard, part=part)
        with clf.held():
            found = one.measure(clf, given, partial(sweeps.first, part))
            shaped = one.measure_controls(clf, found, given, sweeps.next) if part.shaped else []
            compared = one.compare(clf, found)
        subject, settings, kept = subject_of(clf, one), one.settings, _kept(found, one)
        made = cell_result(found, shaped, subject, settings, shard.pictured, compared, kept)
        results.append(replace(made, part=part))
    return results


def subject_of(clf: Classifier, shard: Shard) -> Subject:
    """What a cell's measurements are about."""
    job, prepared, settings = shard.job, shard.prepared, shard.settings
    trace = clf.trace((shard.grids.shape[1], shard.grids.shape[2]))
    layers = {name: trace.layers[name] for name in settings.layers}
    return Subject(
        model=job.spec.name,
        variant=job.key.variant,
        images=shard.names,
        labels=shard.labels,
        classes=[*prepared.images.classes, *prepared.plan.other_classes(job.spec.name)],
        epsilons=settings.epsilons,
        layers={name: (each.depth, "x".join(map(str, each.size))) for name, each in layers.items()},
        seed=prepared.study.seed_of(job.spec),
    )


class _Sweeps:
    """Tells of a cell's images as they are done, though they are gone through again and again."""

    def __init__(self, images: int, parts: Sequence[Part], advance: Callable[[int], None]) -> None:
        self._total = sum(len(part.met) + len(part.shaped) for part in parts)
        self._images, self._advance, self._done, self._told = images, advance, 0, 0

    def first(self, part: Part, images: int) -> None:
        """Some images have met all perturbations of a part but the controls of their own shape."""
        self._add(images * len(part.met))

    def next(self) -> None:
        """All images have met another control."""
        self._add(self._images)

    def _add(self, done: int) -> None:
        self._done += done
        whole = self._done // self._total
        self._advance(whole - self._told)
        self._told = whole


def perturb_cell(clf: Classifier, shard: Shard) -> dict[str, Perturbation]:
    """A model's own perturbations of a cell's images, just as ``do_cell`` makes them."""
    return perturbations_of(clf, *shard.tensors, shard.settings, shard.attacks, shard.explainers)


def _kept(found: Found, shard: Shard) -> dict[str, Perturbation]:
    """Of a source for the others the perturbations of every image, else of the pictured ones."""
    perturbations = found[0][1].perturbations
    if shard.job.spec.name in shard.prepared.study.transfer_from:
        return perturbations
    return {name: each.of(shard.pictured) for name, each in perturbations.items()}

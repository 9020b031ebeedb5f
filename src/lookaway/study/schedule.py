"""The schedule of a run: its cells, what each needs of others, and what is kept of it."""

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import groupby, product

from lookaway.perturbation import Perturbation, Source
from lookaway.study.beside import Behind
from lookaway.study.job import Job
from lookaway.study.keys import CellKey, trained_name
from lookaway.study.session import Session
from lookaway.study.store import CellResult
from lookaway.study.trained import trained_bytes, weights_made
from lookaway.study.worker import Worker


def cells(session: Session) -> list[Job]:
    """Every cell, models one after the other, each on one variant of the images after the other.

    Sources of transfer come first, for the others need their perturbations.
    """
    prepared, identity = session.prepared, session.store.identity
    study = prepared.study
    sources_first = sorted(study.models, key=lambda spec: spec.name not in study.transfer_from)
    return [
        Job(spec, identity.cell(variant, spec.name, place), images)
        for spec, variant in product(sources_first, prepared.images.variants)
        for place, images in enumerate(identity.shards(variant))
    ]


@dataclass(frozen=True)
class Open:
    """What is to be done yet.

    Attributes:
        jobs: cells, of each what is missing, in order.
        perturbing: cells whose perturbations others need, or are missing, and no job makes first.
        units: how much is to be measured: images, each under one perturbation, at one ε, by one
            explainer and at one layer.
        wanted: of how much.
    """

    jobs: list[Job]
    perturbing: list[Job]
    units: int
    wanted: int

    @property
    def stages(self) -> list[tuple[str, list[Job], int]]:
        """What is done, one after the other: what it is called, its cells and their images."""
        named = [("perturbations for the others", self.perturbing), ("measuring", self.jobs)]
        return [(what, jobs, sum(len(job.images) for job in jobs)) for what, jobs in named if jobs]

    def told(self) -> str:
        """How much is stored, and how much is to be measured, as a sentence."""
        share = math.floor(100 * (1 - self.units / self.wanted))
        return (
            f"{share} % of what the study asks for is stored; to be measured: {self.units:,} of "
            f"{self.wanted:,} pairs of maps, in {len(self.jobs):,} cells"
        )


def open_jobs(session: Session) -> Open:
    """What of every cell is not done yet, with the hash of its model's trained weights."""
    sources, store = session.study.transfer_from, session.store
    jobs, perturbing, units, wanted = [], [], 0, 0
    for model, same_model in groupby(cells(session), key=lambda job: job.model):
        mine = list(same_model)
        spec = mine[0].spec
        weights = weights_made(store, model, spec)
        source, scored = spec.name in sources, spec.train == "enrol"
        for job in mine:
            left = store.missing(job.key, weights, scored=scored, source=source)
            units += left.units * len(job.images)
            wanted += left.wanted * len(job.images)
            ready = job.of(left.parts, weights)
            jobs += [ready] if left.parts else []
            # Sources that need each other's perturbations make them before all cells.
            first = bool(left.parts) and source and len(sources) > 1
            if left.signs or (first and not store.has_perturbations(job.key, weights)):
                perturbing.append(ready.only_perturbing())
    return Open(jobs, perturbing, units, wanted)


def sources_of(session: Session, key: CellKey) -> list[CellKey]:
    """The cells of other models whose perturbations a cell is given."""
    return [
        session.store.identity.cell(key.variant, spec.name, key.shard)
        for spec in session.study.models
        if spec.name in session.study.transfer_from and spec.name != key.model
    ]


def given_to(session: Session, job: Job) -> dict[Source, Perturbation]:
    """The perturbations that other models made of a cell's images.

    Raises:
        StoreError: they are missing or damaged.
    """
    if job.perturbs_only:
        return {}
    data = session.study.data
    shape = (data.channels, data.image_size, data.image_size)
    return {
        (attack, source.model): perturbation
        for source in sources_of(session, job.key)
        for attack, perturbation in session.store.read_perturbations(source, shape).items()
    }


def keep(session: Session, job: Job, results: Sequence[CellResult]) -> None:
    """Store what a worker gave."""
    if job.perturbs_only:
        session.store.write_perturbations(job.key, results[0].perturbations, job.weights)
    else:
        session.store.write_cell(job.key, results, job.weights)


def run_here(session: Session, left: Open) -> None:
    """Do what is not done yet, one cell after the other, in this process.

    The next cell's images are read, and the last one's files written, beside a cell's work.
    """
    everything = [*left.perturbing, *left.jobs]
    following = dict(zip(map(id, everything), everything[1:], strict=False))
    with closing(Worker(session.prepared)) as worker, Behind() as behind:
        for what, jobs, _ in left.stages:
            for model, same_model in groupby(jobs, key=lambda job: job.model):
                mine = list(same_model)
                images = sum(len(job.images) for job in mine)
                name = f"{trained_name(model.name, model.variant)}: {what}"
                with session.progress.stage(name, images, "images") as advance:
                    for job in mine:
                        weights = partial(trained_bytes, session.store, job.model, job.spec)
                        given = given_to(session, job)
                        found = worker.do(job, given, weights, advance, following.get(id(job)))
                        behind.do(partial(keep, session, job, found))
                    behind.wait()  # others may need its perturbations

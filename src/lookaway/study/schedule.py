"""The schedule of a run: its cells, what each needs of others, and what is kept of it."""

from collections.abc import Sequence
from itertools import groupby, product

from lookaway.perturbation import Perturbation, Source
from lookaway.study.keys import CellKey, shards, trained_name
from lookaway.study.prepare import Prepared
from lookaway.study.session import Session
from lookaway.study.settings import Study
from lookaway.study.store import CellResult
from lookaway.study.trained import trained_bytes, weights_made
from lookaway.study.worker import Job, Worker


def cells(prepared: Prepared) -> list[Job]:
    """Every cell, models one after the other, each on one variant of the images after the other.

    Sources of transfer come first, for the others need their perturbations.
    """
    study = prepared.study
    sources_first = sorted(
        enumerate(study.models), key=lambda found: found[1].name not in study.transfer_from
    )
    return [
        Job(spec, CellKey(variant.name, index, spec.name, place), images)
        for (index, spec), variant in product(sources_first, prepared.images.variants.values())
        for place, images in enumerate(shards(len(variant.parts["test"]), prepared.plan.shard))
    ]


def open_jobs(session: Session) -> list[Job]:
    """Every cell that is not done yet, in order, with the hash of its model's trained weights."""
    found = []
    for model, same_model in groupby(cells(session.prepared), key=lambda job: job.model):
        jobs = list(same_model)
        weights = weights_made(session.store, model, jobs[0].spec)
        found += [
            job.with_weights(weights)
            for job in jobs
            if not session.store.has_cell(job.key, weights, scored=job.spec.train == "enrol")
        ]
    return found


def open_perturbations(session: Session, jobs: Sequence[Job]) -> list[Job]:
    """Of the cells to be done, the perturbations of sources that need each other's."""
    study, store = session.study, session.store
    if len(study.transfer_from) < 2:
        return []
    return [
        job.only_perturbing()
        for job in jobs
        if job.spec.name in study.transfer_from
        and not store.has_perturbations(job.key, job.weights)
    ]


def sources_of(study: Study, key: CellKey) -> list[CellKey]:
    """The cells of other models whose perturbations a cell is given."""
    return [
        CellKey(key.variant, index, spec.name, key.shard)
        for index, spec in enumerate(study.models)
        if spec.name in study.transfer_from and spec.name != key.model
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
        for source in sources_of(session.study, job.key)
        for attack, perturbation in session.store.read_perturbations(source, shape).items()
    }


def keep(session: Session, job: Job, result: CellResult) -> None:
    """Store what a worker gave."""
    if job.perturbs_only:
        session.store.write_perturbations(job.key, result.perturbations, job.weights)
    else:
        session.store.write_cell(job.key, result, job.weights)


def run_here(session: Session) -> None:
    """Do every cell that is not done yet, one after the other, in this process."""
    worker = Worker(session.prepared)
    left = open_jobs(session)
    for jobs, what in (
        (open_perturbations(session, left), "perturbations for the others"),
        (left, "measuring"),
    ):
        for model, same_model in groupby(jobs, key=lambda job: job.model):
            mine = list(same_model)
            images = sum(len(job.images) for job in mine)
            name = f"{trained_name(model.name, model.variant)}: {what}"
            with session.progress.stage(name, images, "images") as advance:
                for job in mine:

                    def weights(job: Job = job) -> bytes | None:
                        return trained_bytes(session.store, job.model, job.spec)

                    keep(session, job, worker.do(job, given_to(session, job), weights, advance))

"""The engine of one machine: cell after cell, in this process."""

from collections.abc import Sequence
from functools import partial
from itertools import groupby

from lookaway.progress import Reporter
from lookaway.study.cells import Job, keep, open_jobs, open_signs, transferred
from lookaway.study.keys import trained_name
from lookaway.study.prepare import Prepared
from lookaway.study.settings import Study
from lookaway.study.store import Store
from lookaway.study.trained import trained_bytes
from lookaway.study.worker import Worker


def run_cells(study: Study, prepared: Prepared, store: Store, progress: Reporter) -> None:
    """Do every cell that is not done yet.

    Args:
        study: the settings.
        prepared: its images and plan.
        store: the run's files.
        progress: told of the models and of the images done.
    """
    worker = Worker(study, prepared)

    def do(jobs: Sequence[Job], what: str) -> None:
        for name, its_jobs in groupby(jobs, key=_model):
            mine = list(its_jobs)
            images = sum(len(job.cell.images) for job in mine)
            with progress.stage(f"{name}: {what}", images, "images") as advance:
                for job in mine:
                    key = job.cell.key
                    given = {} if job.signs_only else transferred(study, store, key)
                    weights = partial(trained_bytes, store, key, job.spec)
                    keep(study, prepared, store, job, worker.do(job, given, weights, advance))

    left = open_jobs(study, prepared, store)
    do(open_signs(study, store, left), "perturbations for the others")
    do(left, "attacking, explaining, comparing")


def _model(job: Job) -> str:
    return trained_name(job.cell.key.model, job.cell.key.variant)

"""The study again with weights drawn anew: does what it measures know the network at all?"""

from dataclasses import replace
from itertools import groupby
from typing import get_args

import numpy as np
import polars as pl

from lookaway.baseline import compare_images
from lookaway.errors import ModelError
from lookaway.kernel import measure_images
from lookaway.models.precision import computing
from lookaway.models.randomise import Part
from lookaway.study.cell import Shard, subject_of
from lookaway.study.job import Job
from lookaway.study.kept import cell_result
from lookaway.study.schedule import cells
from lookaway.study.session import Session
from lookaway.study.trained import drawn_model, trained_bytes, weights_made

PARTS: tuple[Part, ...] = get_args(Part)
_REFITTED = 32  # images for the statistics of batch norms


def measure_sanity(session: Session) -> None:
    """Measure each model with weights drawn anew that is not measured yet, where it is asked for.

    At the last layer, under the study's first attack and noise, on the images of the first cell of
    each model on the first variant. A gallery, whose head is no layer, is left out.
    """
    if not session.study.controls.sanity:
        return
    first = next(iter(session.prepared.images.variants))
    firsts = [
        next(same)
        for model, same in groupby(cells(session), key=lambda job: job.model)
        if model.variant == first
    ]
    firsts = [job for job in firsts if job.spec.train != "enrol"]  # whose head is no layer
    jobs = [(job, part) for job in firsts for part in PARTS]
    with session.progress.stage("weights drawn anew", len(jobs), "models") as advance:
        for job, part in jobs:
            _measure(session, job, part)
            advance(1)


def _measure(session: Session, job: Job, part: Part) -> None:
    store, prepared = session.store, session.prepared
    made_with = {"weights": weights_made(store, job.model, job.spec)}
    names = store.identity.sanity(job.model, part)
    if all(store.made_with(name, made_with["weights"]) for name in names):
        return
    shard = Shard.load(prepared, job)
    pixels, labels = shard.tensors
    settings = replace(shard.settings, layers=(shard.settings.last,), statistics=False)
    trained = trained_bytes(store, job.model, job.spec)
    try:
        with computing():
            clf = drawn_model(prepared, job.spec, trained, part, pixels[:_REFITTED])
        found = measure_images(clf, pixels, labels, settings, shard.attacks[:1], shard.explainers)
    except ModelError as error:  # it ends in no one linear layer, or gives nothing finite so
        what = {"head": "its head", "all": "all its weights"}[part]
        session.progress.warn(f"{job.spec.name} with {what} drawn anew is not measured: {error}")
        return
    nothing = np.full(len(shard.names), fill_value=False)
    whole = [(np.arange(len(shard.names)), found)]
    compared = compare_images(clf, pixels, labels, shard.names, settings, shard.explainers, whole)
    made = cell_result(whole, [], subject_of(clf, shard), settings, nothing, compared, {})
    for name, frame in zip(names, (made.rows, made.shuffled), strict=True):
        store.write_frame(name, frame.with_columns(weights=pl.lit(part)), made_with)

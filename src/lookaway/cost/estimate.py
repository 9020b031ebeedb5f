"""What a whole study would take: its images counted, times what one image took in a trial."""

import math
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lookaway.cost.counts import SAMPLE, Counts, imagined, listed
from lookaway.cost.trial import (
    KINDS,
    LEAST,
    SECONDS,
    CellTrial,
    TrainingTrial,
    open_bench,
    try_cells,
    try_training,
)
from lookaway.errors import InputError
from lookaway.progress import Reporter, Silent, Terminal
from lookaway.study.machine import Machine
from lookaway.study.plan import open_study
from lookaway.study.settings import ModelSpec, Study
from lookaway.study.shards import likely_count

TRIAL = 16  # images


@dataclass(frozen=True)
class ModelCost:
    """What one model of a study takes, on all variants of the images.

    Attributes:
        model: its name.
        cells: how many it has.
        images: test images in them.
        seconds: of the cells.
        trained: what is trained: head, fully_connected, all or none; enrol: templates are made.
        training_seconds: of all its trainings.
        bytes: stored, by kind.
        training_memory: bytes that hold the frozen trunk's outputs while it is trained.
    """

    model: str
    cells: int
    images: int
    seconds: float
    trained: str
    training_seconds: float
    bytes: Mapping[str, int]
    training_memory: int


@dataclass(frozen=True)
class Estimate:
    """What a study would take.

    Attributes:
        imagined: whether the images were not listed but imagined.
        read: images that are read, before classes are drawn.
        classes: how many.
        parts: how many images train, val and test have, in each variant.
        variants: names.
        models: each model's part.
        stages: seconds of each stage, in order, by how many machines like this one train networks
            and do cells; all else is done by one process. First of one.
        memory: bytes of memory of this machine, where the models work.
        trial_images: how many images each model was tried on.
        trial_seconds: how long all trials took together.
        machine: what the trial ran on.
    """

    imagined: bool
    read: int
    classes: int
    parts: Mapping[str, int]
    variants: tuple[str, ...]
    models: tuple[ModelCost, ...]
    stages: Mapping[int, Mapping[str, float]]
    memory: int
    trial_images: int
    trial_seconds: float
    machine: str

    @property
    def bytes(self) -> dict[str, int]:
        """Bytes stored, by kind."""
        return {kind: sum(model.bytes[kind] for model in self.models) for kind in (*KINDS, "heads")}

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data, totals too."""
        return {
            **asdict(self),
            "cells": sum(model.cells for model in self.models),
            "bytes": self.bytes,
            "stages": self.stages[1],
            "workers": [
                {"workers": count, "seconds": sum(stages.values()), **stages}
                for count, stages in self.stages.items()
            ],
        }


def estimate(
    study: str | Path | Mapping[str, Any],
    *,
    data: str | Path | None = None,
    images: int | None = None,
    classes: int | None = None,
    workers: Sequence[int] = (),
    trial: int = TRIAL,
    trust_code: bool = False,
    progress: bool = True,
) -> Estimate:
    """Estimate what a study would take, from a short trial on this machine.

    Args:
        study: a study file, or what one holds, as a dictionary.
        data: an image folder in place of the study's ``data.folder``.
        images: imagine so many images in all, in place of listing the folder, which need not be
            there then.
        classes: of how many classes; None: as the study draws.
        workers: numbers of machines to tell the time for, beside one.
        trial: images that each model is tried on, at least 6.
        trust_code: whether code of the user's own that the study names may run.
        progress: show how far the trial is on stderr.

    Raises:
        InputError: a number makes no sense.
        StudyError: the study or its models cannot be used; it holds every problem.
        DataError: the images cannot be used.
    """
    _check(images, classes, workers, trial)
    reporter: Reporter = Terminal() if progress else Silent()
    checked, lines, source = open_study(
        study, SAMPLE if images is not None else data, trust_code=trust_code
    )
    counts = (
        listed(checked, classes, trial)
        if images is None
        else imagined(checked, images, classes, trial)
    )
    began, models = time.perf_counter(), []
    with open_bench(checked, counts, trial, lines, source) as bench:
        shard, machine = bench.prepared.plan.shard, _machine_of(checked, counts)
        with reporter.stage("trial", len(checked.models), "models") as advance:
            for index, spec in enumerate(checked.models):
                with _threads_of(machine):
                    cells = try_cells(bench, index)
                training = try_training(bench, index)
                models.append(_model(checked, spec, counts, shard, cells, training))
                advance(1)
    once = {"reading": counts.read * bench.reading, "faces": counts.used * bench.faces}
    variants = checked.data.variants
    return Estimate(
        imagined=images is not None,
        read=counts.read,
        classes=len(counts.classes),
        parts=counts.parts,
        variants=tuple(variants),
        models=tuple(models),
        stages={
            count: once | _shared(count, len(machine.devices), models, len(variants))
            for count in (1, *workers)
        },
        memory=machine.memory,
        trial_images=trial,
        trial_seconds=time.perf_counter() - began,
        machine=_told(machine),
    )


def _check(images: int | None, classes: int | None, workers: Sequence[int], trial: int) -> None:
    for name, value, least in (
        ("images", images, 1),
        ("classes", classes, 2),
        *(("workers", count, 1) for count in workers),
        ("trial", trial, LEAST),
    ):
        if value is not None and value < least:
            raise InputError(f"--{name} must be at least {least}; got {value}")


def _model(
    study: Study,
    spec: ModelSpec,
    counts: Counts,
    shard: int,
    tried: CellTrial,
    training: TrainingTrial,
) -> ModelCost:
    """A model's part of the study: its images, times what one took."""
    variants, test = len(study.data.variants), counts.parts["test"]
    images, cells = variants * test, variants * likely_count(test, shard)
    taken = tried.of(cells, images, variants * min(study.explain.pictured, test))
    epochs, adversarial = spec.epochs or study.training.epochs, study.adversarial(spec)
    train, val = counts.parts["train"], counts.parts["val"]
    kept = val if adversarial else train + val
    checks = math.ceil(epochs / adversarial.check_every) if adversarial else 0
    seconds = training.once * kept + checks * training.attacked * val
    seconds += epochs * (training.learnt * train + training.checked * val)
    return ModelCost(
        model=spec.name,
        cells=cells,
        images=images,
        seconds=taken.pop(SECONDS),
        trained=spec.train,
        training_seconds=seconds * variants,
        bytes={kind: round(size) for kind, size in taken.items()}
        | {"heads": variants * training.weight_bytes},
        training_memory=kept * training.kept_bytes,
    )


def _machine_of(study: Study, counts: Counts) -> Machine:
    """Where the study works, and in how many processes at a time."""
    machine = Machine.found(study.run.device)
    if study.run.engine == "ray":
        return replace(machine, devices=machine.devices[:1])
    images = len(study.data.variants) * counts.parts["test"] * len(study.models)
    return machine.in_processes(images) if study.run.device == "auto" else machine


@contextmanager
def _threads_of(machine: Machine) -> Iterator[None]:
    """As many threads as each of a machine's processes has."""
    if len(machine.devices) == 1:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // len(machine.devices)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _shared(
    workers: int, processes: int, models: Sequence[ModelCost], variants: int
) -> dict[str, float]:
    """Seconds of what workers share: trainings and cells, whole ones, the next to whom is free.

    Each worker's processes share its cells.
    """
    busy = [0.0] * workers
    for span in [model.training_seconds / variants for model in models] * variants:
        busy[busy.index(min(busy))] += span
    cells = sum(model.cells for model in models)
    share = math.ceil(cells / (workers * processes)) / cells
    return {"training": max(busy), "cells": share * sum(model.seconds for model in models)}


def _told(machine: Machine) -> str:
    count = len(machine.devices)
    if machine.device.startswith("cuda"):
        name = torch.cuda.get_device_name(machine.device)
        return f"{count} times {name}" if count > 1 else name
    threads = torch.get_num_threads()
    return (
        f"{platform.processor() or platform.machine()}, {os.cpu_count() or 1} processors, "
        f"{threads} thread{'s' if threads > 1 else ''}"
        + (f", cells in {count} processes, as if each were alone" if count > 1 else "")
    )

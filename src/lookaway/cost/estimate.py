"""What a whole study would take: its images counted, times what one image took in a trial."""

import math
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from lookaway.cost.counts import Counts, imagined, listed
from lookaway.cost.trial import KINDS, LEAST, SAMPLE, ModelTrial, open_bench, try_model
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
class WorkersCost:
    """The study's time on so many machines like this one.

    Attributes:
        workers: how many train networks and do cells; all else is done by one process.
        seconds: from reading the images to the numbers behind the page.
        training_seconds: of these, while workers train.
        cells_seconds: while they do cells.
        bytes_per_second: of results that come from the workers while they do cells.
    """

    workers: int
    seconds: float
    training_seconds: float
    cells_seconds: float
    bytes_per_second: float


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
        reading_seconds: to read every image once, in the beginning.
        faces_seconds: to find the faces of all variants.
        memory: bytes of memory of this machine, where the models work.
        workers: the time with one worker, and with more.
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
    reading_seconds: float
    faces_seconds: float
    memory: int
    workers: tuple[WorkersCost, ...]
    trial_images: int
    trial_seconds: float
    machine: str

    @property
    def stages(self) -> dict[str, float]:
        """Seconds of each stage with one worker, in order."""
        return {
            "reading": self.reading_seconds,
            "faces": self.faces_seconds,
            "training": sum(model.training_seconds for model in self.models),
            "cells": sum(model.seconds for model in self.models),
        }

    @property
    def bytes(self) -> dict[str, int]:
        """Bytes stored, by kind."""
        kinds = {kind: 0 for model in self.models for kind in model.bytes}
        for model in self.models:
            for kind, size in model.bytes.items():
                kinds[kind] += size
        return kinds

    @property
    def training_memory(self) -> int:
        """The most memory that a training needs for the outputs of its frozen trunk."""
        return max(model.training_memory for model in self.models)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data, totals too."""
        return {
            **asdict(self),
            "cells": sum(model.cells for model in self.models),
            "stages": self.stages,
            "bytes": self.bytes,
            "training_memory": self.training_memory,
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
    if images is not None:
        counts = imagined(checked, images, classes)
    else:
        counts = listed(checked, classes, trial)
    began = time.perf_counter()
    found = {}
    with open_bench(checked, counts, trial, lines, source) as bench:
        with reporter.stage("trial", len(checked.models), "models") as advance:
            for index, spec in enumerate(checked.models):
                found[spec.name] = try_model(bench, index)
                advance(1)
        reading, faces = counts.read * bench.reading, counts.used * bench.faces
        shard, device = bench.prepared.plan.shard, bench.prepared.device
    models = tuple(
        _model(checked, spec, counts, found[spec.name], shard) for spec in checked.models
    )
    return Estimate(
        imagined=images is not None,
        read=counts.read,
        classes=len(counts.classes),
        parts=counts.parts,
        variants=tuple(checked.data.variants),
        models=models,
        reading_seconds=reading,
        faces_seconds=faces,
        memory=Machine.found(checked.run.device).memory,
        workers=tuple(
            _on(count, models, reading + faces, len(checked.data.variants))
            for count in dict.fromkeys([1, *workers])
        ),
        trial_images=trial,
        trial_seconds=time.perf_counter() - began,
        machine=_machine(device),
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
    study: Study, spec: ModelSpec, counts: Counts, trial: ModelTrial, shard: int
) -> ModelCost:
    """A model's part of the study: its images, times what one took."""
    variants, test = len(study.data.variants), counts.parts["test"]
    images, cells = variants * test, variants * likely_count(test, shard)
    pictured = variants * min(study.explain.pictured, test)
    stored = {
        kind: round(
            cells * trial.file_bytes[kind]
            + images * trial.image_bytes[kind]
            + pictured * trial.pictured_bytes[kind]
        )
        for kind in KINDS
    }
    epochs, adversarial = spec.epochs or study.training.epochs, study.adversarial(spec)
    train, val = counts.parts["train"], counts.parts["val"]
    kept = val if adversarial else train + val
    training = trial.trunk * kept + epochs * trial.epoch * (train + val / 3)
    if adversarial:
        training += math.ceil(epochs / adversarial.check_every) * trial.check * val
    return ModelCost(
        model=spec.name,
        cells=cells,
        images=images,
        seconds=trial.image * images + trial.pictured * pictured,
        trained=spec.train,
        training_seconds=training * variants,
        bytes={**stored, "heads": variants * trial.weight_bytes},
        training_memory=kept * trial.kept_bytes,
    )


def _on(workers: int, models: Sequence[ModelCost], once: float, variants: int) -> WorkersCost:
    """Workers share the trainings and the cells, whole ones; the rest stays with one process."""
    cells = sum(model.cells for model in models)
    share = -(-cells // workers) / cells
    parallel = share * sum(model.seconds for model in models)
    spans = [model.training_seconds / variants for model in models] * variants
    training = max(_shared(workers, spans))
    results = sum(size for model in models for kind, size in model.bytes.items() if kind in KINDS)
    return WorkersCost(workers, once + training + parallel, training, parallel, results / parallel)


def _shared(workers: int, spans: Sequence[float]) -> list[float]:
    """When each worker is done, the next of whom is free takes the next piece of work."""
    busy = [0.0] * workers
    for span in spans:
        busy[busy.index(min(busy))] += span
    return busy


def _machine(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    count = os.cpu_count() or 1
    return (
        f"{platform.processor() or platform.machine()}, {count} processors, "
        f"{threads} thread{'s' if threads > 1 else ''}"
    )

"""An estimate in tables and sentences."""

from typing import NamedTuple

from rich.filesize import decimal as size_of

from lookaway.cost.estimate import Estimate
from lookaway.report.wording import listed
from lookaway.written import percent

_STAGES = {
    "reading": ("reading every image once", "one process"),
    "faces": ("finding faces", "one process"),
    "training": ("training", "workers"),
    "cells": ("measuring (cells)", "workers"),
}
_KINDS = {
    "rows": "a row for each image, perturbation, ε, layer and explained class",
    "maps": "native maps of the last layer; of all layers for pictured images",
    "signs": "perturbations of the sources; of all models for pictured images",
    "shuffled": "each clean heatmap against another image's",
    "statistics": "where participation went, for each row of the last layer",
    "scores": "cosines of a gallery's images with every template",
    "heads": "trained weights, or templates",
}
_TRAINED = {"none": "nothing", "fully_connected": "fully connected", "enrol": "templates"}


class Table(NamedTuple):
    """A table of text."""

    title: str
    heads: list[str]
    rows: list[list[str]]


def tables(found: Estimate) -> list[Table]:
    """What is trained, the cells, what is stored, and the time."""
    trained = [_training(found)] if found.stages[1]["training"] else []
    return [*trained, _cells(found), _stored(found), _time(found)]


def _training(found: Estimate) -> Table:
    rows = [
        [
            model.model,
            _TRAINED.get(model.trained, model.trained),
            duration(model.training_seconds),
            size_of(model.training_memory),
        ]
        for model in found.models
    ]
    rows.append(["together", "", duration(found.stages[1]["training"]), ""])
    parts = found.parts
    title = f"Training on {parts['train']:,} images, checked on {parts['val']:,}{_in_ways(found)}"
    return Table(title, ["model", "trained", "time", "in memory"], rows)


def _cells(found: Estimate) -> Table:
    numbers = [
        (model.cells, model.images, model.seconds, sum(model.bytes.values()))
        for model in found.models
    ]
    cells, images, seconds, stored = (sum(column) for column in zip(*numbers, strict=True))
    names = [*(model.model for model in found.models), "together"]
    rows = [
        [name, f"{cells:,}", f"{images:,}", duration(seconds), size_of(stored)]
        for name, (cells, images, seconds, stored) in zip(
            names, [*numbers, (cells, images, seconds, stored)], strict=True
        )
    ]
    title = (
        f"Cells: {found.parts['test']:,} test images of {found.classes:,} classes"
        f"{_in_ways(found)}, of {found.read:,} images{' (imagined)' if found.imagined else ''}"
    )
    return Table(title, ["model", "cells", "images", "time", "stored"], rows)


def _in_ways(found: Estimate) -> str:
    count = len(found.variants)
    return "" if count == 1 else f", prepared in {count} ways ({', '.join(found.variants)})"


def _stored(found: Estimate) -> Table:
    total = sum(found.bytes.values())
    rows = [
        [kind, _KINDS[kind], size_of(size), percent(size / total)]
        for kind, size in found.bytes.items()
        if size
    ]
    rows.append(["together", "", size_of(total), ""])
    return Table("Stored", ["folder", "what", "size", "share"], rows)


def _time(found: Estimate) -> Table:
    runs = found.stages.values()
    rows = [
        [what, who, *(duration(stages[stage]) for stages in runs)]
        for stage, (what, who) in _STAGES.items()
    ]
    rows.append(["together", "", *(duration(sum(stages.values())) for stages in runs)])
    heads = [f"{count} worker{'s' if count > 1 else ''}" for count in found.stages]
    return Table("Time on machines like this one", ["what", "done by", *heads], rows)


def sentences(found: Estimate) -> list[str]:
    """What does not fit, how it was measured and what is not in it."""
    images = "sample images" if found.imagined else "images of the folder"
    return [
        *_memory(found),
        f"Each model was tried with random weights on {found.trial_images} {images} "
        f"({found.machine}; {duration(found.trial_seconds)}), as if every attack changed the "
        "class and every image had a face."
        + (" Reading files is not in it." if found.imagined else ""),
        "Not in it: summing up, tables, figures and the page; pictured images; the drift of "
        "bfloat16, 16 images of each model; hashing what is stored; a slow disk or network.",
    ]


def _memory(found: Estimate) -> list[str]:
    large = [
        f"{model.model} {size_of(model.training_memory)}"
        for model in found.models
        if model.training_memory > found.memory / 2
    ]
    if not large:
        return []
    return [
        "Training holds the frozen trunk's outputs for every image in memory: "
        f"{listed(large)}, of {size_of(found.memory)} on this machine. It cannot be done so: take "
        "fewer images or classes, or train: head, which holds one vector for each image."
    ]


def duration(seconds: float) -> str:
    """A time as a person says it.

    >>> [duration(seconds) for seconds in (0, 0.25, 90, 5400, 86400, 864000000)]
    ['0', '0.25 s', '90 s', '90 min', '24 h', '10,000 days']
    """
    for unit, size, most in (("s", 1.0, 120), ("min", 60.0, 120), ("h", 3600.0, 48)):
        if seconds < most * size:
            return f"{seconds / size:.3g} {unit}" if seconds else "0"
    days = seconds / 86400
    return f"{days:,.0f} days" if days >= 100 else f"{days:.3g} days"

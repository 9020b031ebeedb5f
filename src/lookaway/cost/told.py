"""An estimate in tables and sentences."""

from collections.abc import Sequence
from dataclasses import dataclass

from lookaway.cost.estimate import Estimate, WorkersCost
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
_TRAINED = {
    "none": "nothing",
    "head": "head",
    "fully_connected": "fully connected",
    "all": "all",
    "enrol": "templates",
}
_PREFIXES = ("", "k", "M", "G", "T", "P", "E")


@dataclass(frozen=True)
class Table:
    """A table of text."""

    title: str
    heads: list[str]
    rows: list[list[str]]


def tables(found: Estimate) -> list[Table]:
    """What is trained, the cells, what is stored, and the time.

    Args:
        found: the estimate.
    """
    trained = [_training(found)] if found.stages["training"] else []
    return [*trained, _cells(found), _stored(found), _time(found)]


def sentences(found: Estimate) -> list[str]:
    """What dominates, what does not fit, how it was measured and what is not in it.

    Args:
        found: the estimate.
    """
    return [*_dominant(found), *_memory(found), *_measured(found)]


def _training(found: Estimate) -> Table:
    rows = [
        [
            model.model,
            _TRAINED[model.trained],
            duration(model.training_seconds),
            _quantity(model.training_memory, "B"),
        ]
        for model in found.models
    ]
    rows.append(["together", "", duration(found.stages["training"]), ""])
    title = (
        f"Training on {found.parts['train']:,} images, checked on {found.parts['val']:,}"
        f"{_in_ways(found)}"
    )
    return Table(title, ["model", "trained", "time", "in memory"], rows)


def _cells(found: Estimate) -> Table:
    models = found.models
    stored = [sum(model.bytes.values()) for model in models]
    rows = [
        [
            model.model,
            f"{model.cells:,}",
            f"{model.images:,}",
            duration(model.seconds),
            _quantity(size, "B"),
        ]
        for model, size in zip(models, stored, strict=True)
    ]
    rows.append(
        [
            "together",
            f"{sum(model.cells for model in models):,}",
            f"{sum(model.images for model in models):,}",
            duration(found.stages["cells"]),
            _quantity(sum(stored), "B"),
        ]
    )
    title = (
        f"Cells: {found.parts['test']:,} test images of {found.classes:,} classes"
        f"{_in_ways(found)}, of {found.read:,} images{' (imagined)' if found.imagined else ''}"
    )
    heads = ["model", "cells", "images", "time", "stored"]
    return Table(title, heads, rows)


def _in_ways(found: Estimate) -> str:
    count = len(found.variants)
    return "" if count == 1 else f", prepared in {count} ways ({', '.join(found.variants)})"


def _stored(found: Estimate) -> Table:
    total = sum(found.bytes.values())
    rows = [
        [kind, _KINDS[kind], _quantity(size, "B"), percent(size / total)]
        for kind, size in found.bytes.items()
        if size
    ]
    rows.append(["together", "", _quantity(total, "B"), ""])
    return Table("Stored", ["folder", "what", "size", "share"], rows)


def _time(found: Estimate) -> Table:
    rows = []
    for stage, seconds in found.stages.items():
        what, who = _STAGES[stage]
        spans = [_of_workers(run).get(stage, seconds) for run in found.workers]
        rows.append([what, who, *map(duration, spans)])
    rows.append(["together", "", *(duration(run.seconds) for run in found.workers)])
    rows.append(
        [
            "results that arrive while cells are done",
            "",
            *(f"{_quantity(run.bytes_per_second, 'B')}/s" for run in found.workers),
        ]
    )
    counts = [run.workers for run in found.workers]
    heads = [f"{count} worker{'s' if count > 1 else ''}" for count in counts]
    return Table("Time on machines like this one", ["what", "done by", *heads], rows)


def _of_workers(run: WorkersCost) -> dict[str, float]:
    """Seconds of the stages that workers share."""
    return {"training": run.training_seconds, "cells": run.cells_seconds}


def _dominant(found: Estimate) -> list[str]:
    told = []
    first, *others = found.workers
    for run in [first, *others[-1:]]:
        stages = {**found.stages, **_of_workers(run)}
        stage = max(stages, key=lambda name: stages[name])
        whose = "training_seconds" if stage == "training" else "seconds"
        line = (
            f"With {_workers(run.workers)}, {_STAGES[stage][0]} takes "
            f"{percent(stages[stage] / run.seconds)} of the time"
        )
        if stage in ("training", "cells"):
            spans = {model.model: float(getattr(model, whose)) for model in found.models}
            model = max(spans, key=lambda name: spans[name])
            line += f", {model} {percent(spans[model] / sum(spans.values()))} of that"
        told.append(f"{line}.")
    kind = max(found.bytes, key=lambda name: found.bytes[name])
    share = found.bytes[kind] / sum(found.bytes.values())
    told.append(f"Of what is stored, {percent(share)} are {kind}: {_KINDS[kind]}.")
    return told


def _memory(found: Estimate) -> list[str]:
    here = _quantity(found.memory, "B")
    kept = [model for model in found.models if model.training_memory > found.memory / 2]
    told = []
    if kept:
        sizes = [f"{model.model} {_quantity(model.training_memory, 'B')}" for model in kept]
        told.append(
            "Training holds the frozen trunk's outputs for every image in memory: "
            f"{_listed(sizes)}, of {here} on this machine. It cannot be done so: take fewer images "
            "or classes, or train: head, which holds one vector for each image."
        )
    return told


def _measured(found: Estimate) -> list[str]:
    pictures = "sample images" if found.imagined else "images of the folder"
    return [
        f"Each model was tried with random weights on {found.trial_images} {pictures} "
        f"({found.machine}; {duration(found.trial_seconds)}), as if every attack changed the "
        "class and every image had a face."
        + (" Reading files is not in it." if found.imagined else ""),
        "Not in it: summing up, tables, figures and the page; pictured images; the drift of "
        "bfloat16, 16 images of each model; hashing what is stored; a slow disk or network.",
    ]


def duration(seconds: float) -> str:
    """A time as a person says it.

    >>> [duration(seconds) for seconds in (0, 0.25, 90, 5400, 86400, 8640000)]
    ['0', '0.25 s', '90 s', '90 min', '24 h', '100 days']
    """
    for unit, size, most in (("s", 1.0, 120), ("min", 60.0, 120), ("h", 3600.0, 48)):
        if seconds < most * size:
            return f"{seconds / size:.3g} {unit}" if seconds else "0"
    return f"{_rounded(seconds / 86400)} days"


def _quantity(amount: float, unit: str) -> str:
    """An amount with a prefix.

    >>> _quantity(1.5e15, "B"), _quantity(999.6e6, "B"), _quantity(0, "B")
    ('1.5 PB', '1 GB', '0')
    """
    if not amount:
        return "0"
    power = 0
    while abs(amount) >= 999.5 and power < len(_PREFIXES) - 1:
        amount, power = amount / 1000.0, power + 1
    return f"{_rounded(amount)} {_PREFIXES[power]}{unit}"


def _rounded(number: float) -> str:
    """Three digits, and no exponent."""
    return f"{number:,.0f}" if number >= 999.5 else f"{number:.3g}"


def _workers(count: int) -> str:
    return "one worker" if count == 1 else f"{count} workers"


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"

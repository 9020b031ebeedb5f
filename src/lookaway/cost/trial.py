"""A study tried on a few images: real cells and steps of training, timed, their files weighed.

Networks have random weights, for what they hold changes no cost, so none is fetched.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lookaway.cost.counts import SAMPLE, Counts
from lookaway.data.align import find_faces, open_aligner
from lookaway.data.folder import Files, Record
from lookaway.errors import DataError
from lookaway.memory import kept_memory
from lookaway.models.classifier import Classifier
from lookaway.models.folding import fold_batch_norm
from lookaway.models.gallery import Gallery
from lookaway.models.randomise import refit
from lookaway.models.randomness import seeded
from lookaway.models.stages import AT_ONCE, Stage, stages
from lookaway.models.training import Recipe, one_pass, optimizer_of
from lookaway.progress import Silent
from lookaway.study.cell import Shard, do_cell, perturb_cell
from lookaway.study.grid_cache import grid_cache
from lookaway.study.identity import Identity
from lookaway.study.images import Grids, Variant
from lookaway.study.job import Given, Job
from lookaway.study.keys import CellKey
from lookaway.study.load import load_model
from lookaway.study.prepare import Prepared, prepare, training_precision
from lookaway.study.settings import ModelSpec, Split, Study
from lookaway.study.store import Store
from lookaway.study.trained import placed, quick
from lookaway.study.yaml_lines import Lines

LEAST = 6  # images of a trial
KINDS = {  # of a cell's files, and their endings
    "rows": "parquet",
    "maps": "safetensors",
    "signs": "safetensors",
    "shuffled": "parquet",
    "statistics": "parquet",
    "scores": "safetensors",
}
SECONDS = "seconds"  # beside these kinds
_LEARNT, _CHECKED = 8, 4  # images of a trial of training


@dataclass(frozen=True)
class CellTrial:
    """What one model's cells take: seconds, and bytes by kind of file.

    Attributes:
        cell: a cell, whatever is in it.
        image: each image of it.
        pictured: a pictured one, beyond that.
    """

    cell: dict[str, float]
    image: dict[str, float]
    pictured: dict[str, float]

    def of(self, cells: int, images: int, pictured: int) -> dict[str, float]:
        """What so many cells, images and pictured images take."""
        return {
            kind: cells * self.cell[kind] + images * each + pictured * self.pictured[kind]
            for kind, each in self.image.items()
        }


@dataclass(frozen=True)
class TrainingTrial:
    """What one model's training takes.

    Attributes:
        once: seconds for an image that goes through a frozen trunk once, or is enrolled.
        learnt: seconds for a training image in an epoch.
        checked: seconds for a validation image in an epoch.
        attacked: seconds for one in an epoch that is checked under attack.
        kept_bytes: of memory that hold an image while a frozen trunk's head is trained.
        weight_bytes: of the trained weights.
    """

    once: float = 0.0
    learnt: float = 0.0
    checked: float = 0.0
    attacked: float = 0.0
    kept_bytes: int = 0
    weight_bytes: int = 0


@dataclass(frozen=True)
class Bench:
    """Where models are tried.

    Attributes:
        study: the whole one.
        prepared: a small one, whose networks need no weights; all its images are test images.
        store: of the small one.
        reading: seconds to read an image.
        faces: seconds to find the face in one, all variants together.
    """

    study: Study
    prepared: Prepared
    store: Store
    reading: float
    faces: float

    @property
    def records(self) -> list[Record]:
        """The images that models are tried on."""
        return self.prepared.images.parts["test"]


@contextmanager
def open_bench(
    study: Study, counts: Counts, images: int, lines: Lines | None, source: str
) -> Iterator[Bench]:
    """A place to try a study's models on so many images, at least ``LEAST``; nothing stays.

    Raises:
        StudyError: a model cannot be used.
        DataError: the images cannot be read.
    """
    with (
        tempfile.TemporaryDirectory(prefix="lookaway-plan-") as folder,
        kept_memory(),
        grid_cache(Path(folder)) as cache,
    ):
        prepared = prepare(_small(study), lines, None, Silent(), source)
        readable, reading = _read(counts)
        records = list(islice(cycle(readable), images))
        here = Variant("none", dict.fromkeys(("train", "val", "test"), records), {}, {})
        few = replace(
            prepared.images,
            source=counts.source,
            classes=list(counts.classes),
            parts=here.parts,
            pictured=frozenset(),
            variants={"none": here},
            cache=cache,
        )
        faces = 0.0
        if "cascade" in study.data.variants and (aligner := open_aligner("cascade", None)):
            faces = _timed(
                lambda: find_faces(
                    aligner, counts.source, records, {}, lambda _: None, lambda _: None
                )
            ) / len(records)
        store = Store(Path(folder) / "run")
        store.use(prepared.plan, None)
        yield Bench(study, replace(prepared, images=few), store, reading, faces)


def _small(study: Study) -> Study:
    """The same study on sample images, with networks that need no weights.

    Where the clean and the attacked image's own classes are explained, the trial explains two
    classes that are never the same, as if every attack changed the class.
    """
    data: dict[str, Any] = dict.fromkeys(("table", "classes", "landmarks", "range"))
    data |= {"folder": SAMPLE, "variants": ["none"], "split": Split(seed=study.data.split.seed)}
    untrained: dict[str, Any] = dict.fromkeys(("checkpoint", "averaged", "classes", "enrol"))
    untrained |= {"pretrained": False, "other_classes": "cut"}
    loaded = {"train": "none"}
    own = set(study.explain.explained_class) == {"own", "clean"}
    explained = {"explained_class": ["clean", "label"]} if own else {}
    return study.model_copy(
        update={
            "data": study.data.model_copy(update=data),
            "explain": study.explain.model_copy(update=explained),
            "models": [
                spec.model_copy(
                    update=untrained | (loaded if spec.timm and spec.train != "enrol" else {})
                )
                for spec in study.models
            ],
        }
    )


def _read(counts: Counts) -> tuple[list[Record], float]:
    """Images to try a study on, and the seconds that reading one takes, as a study reads it."""
    if not isinstance(counts.source, Files):
        return counts.some, 0.0
    began = time.perf_counter()
    read = list(counts.source.read(record.image for record in counts.some))
    seconds = (time.perf_counter() - began) / len(read)
    records = [found for _, found in read if isinstance(found, Record)]
    if not records:
        name, reason = read[0]
        raise DataError(f"none of {len(read)} images can be read, such as {name!r}: {reason}")
    return records, seconds


def try_cells(bench: Bench, index: int) -> CellTrial:
    """Try the cells of the model at a place of the study."""
    study, spec = bench.study, bench.prepared.study.models[index]
    clf = quick(_network(bench, spec), bench.prepared, spec)
    half, whole = len(bench.records) // 2, len(bench.records)
    few = _cell(bench, clf, spec, half, pictured=False)  # which warms up, too
    many = _cell(bench, clf, spec, whole, pictured=False)
    image = {kind: (many[kind] - few[kind]) / (whole - half) for kind in KINDS}
    cell = {kind: few[kind] - half * image[kind] for kind in KINDS}
    image[SECONDS], cell[SECONDS] = many[SECONDS] / whole, 0.0
    more = dict.fromkeys(image, 0.0)
    if study.explain.pictured:
        shown = _cell(bench, clf, spec, half, pictured=True)
        more = {kind: (shown[kind] - few[kind]) / half for kind in KINDS}
        more[SECONDS] = max(0.0, shown[SECONDS] / half - image[SECONDS])
    if len(study.transfer_from) > 1 and spec.name in study.transfer_from:
        # Sources that need each other's perturbations make them once more, before all cells.
        shard = _shard(bench, spec, LEAST, pictured=False)
        image[SECONDS] += _timed(lambda: perturb_cell(clf, shard)) / LEAST
    return CellTrial(cell, image, more)


def _network(bench: Bench, spec: ModelSpec) -> Classifier:
    """A model with random weights, where it works.

    Its batch norms have the statistics of noise: an untrained network's activations grow or vanish
    from layer to layer otherwise, and numbers near zero are slow.
    """
    clf, _ = load_model(bench.prepared.study, spec, bench.prepared.images.classes)
    random = torch.Generator().manual_seed(0)
    noise = torch.rand(4, clf.channels, *clf.sides_at(), generator=random)
    refit(clf, clf.module, noise)
    return placed(clf, bench.prepared)


def _cell(
    bench: Bench, clf: Classifier, spec: ModelSpec, count: int, *, pictured: bool
) -> dict[str, float]:
    """Do a cell of so many images, as an engine does; its seconds, and the bytes of its files."""
    shard = _shard(bench, spec, count, pictured)
    sources = [name for name in bench.study.transfer_from if name != spec.name]
    given: Given = {
        (attack.name, each): shard.noise for each in sources for attack in bench.study.attacks
    }
    key, store = shard.job.key, bench.store
    seconds = _timed(lambda: store.write_cell(key, do_cell(clf, shard, given)))
    names = {kind: f"{kind}/{key.id}.{ending}" for kind, ending in KINDS.items()}
    sizes = {kind: len(store.read_bytes(name) or b"") for kind, name in names.items()}
    return {**sizes, SECONDS: seconds}


def _shard(bench: Bench, spec: ModelSpec, count: int, pictured: bool) -> Shard:
    of_model = Identity(bench.prepared.plan).model("none", spec.name)
    job = Job(spec, CellKey("none", spec.name, 0, of_model.id, of_model), range(count))
    return replace(Shard.load(bench.prepared, job), pictured=np.full(count, pictured))


def try_training(bench: Bench, index: int) -> TrainingTrial:
    """Try the training of the model at a place of the study: each of its steps once.

    Raises:
        ModelError: it cannot be trained as the study asks.
    """
    study, spec = bench.study, bench.study.models[index]
    if spec.train == "none":
        return TrainingTrial()
    clf = _network(bench, bench.prepared.study.models[index])
    whole, size = spec.train == "all", study.data.image_size
    if not whole:
        fold_batch_norm(clf)
    if isinstance(clf, Gallery):
        pixels = torch.rand(_LEARNT, clf.channels, size, size)
        with torch.no_grad():
            seconds = _timed(lambda: clf(pixels))
        return TrainingTrial(once=seconds / _LEARNT, weight_bytes=clf.templates.nbytes)
    precision = training_precision(study, None, bench.prepared.device)
    rate = spec.learning_rate or study.training.learning_rate
    recipe = Recipe(1, study.training.batch_size, rate, 0, precision)
    learnt, checked = (
        Grids(bench.prepared.images, "none", list(islice(cycle(bench.records), count)), size)
        for count in (_LEARNT, _CHECKED)
    )
    adversarial = study.adversarial(spec)
    module = clf.module.requires_grad_(True)
    began = time.perf_counter()
    found = stages(
        clf, spec.train, learnt, checked, precision, adversarial.make() if adversarial else None
    )
    once = (time.perf_counter() - began) / (_CHECKED + (0 if adversarial else _LEARNT))
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in found.learning)
    optimizer = optimizer_of([p for p in module.parameters() if p.requires_grad], recipe)

    def seconds_of(stage: Stage, batch: int, optimizer: torch.optim.Optimizer | None) -> float:
        every = list(range(stage.count))
        return _timed(lambda: one_pass(stage, every, batch, optimizer)) / stage.count

    with seeded(recipe.seed):
        module.train(whole)
        _, learning = (seconds_of(found.fit, recipe.batch_size, optimizer) for _ in range(2))
        module.eval()
        with torch.no_grad():
            checking, *attacked = (
                seconds_of(stage, AT_ONCE, None)
                for stage in (found.check, found.met, found.robust)
                if stage is not None
            )
    inputs, _ = next(iter(found.check.load([[0]])))
    weights = [
        each for name, each in module.state_dict().items() if whole or name in found.learning
    ]
    return TrainingTrial(
        once=0.0 if whole else once,
        learnt=learning,
        checked=checking,
        attacked=sum(attacked),
        kept_bytes=inputs.nbytes if inputs.is_floating_point() else 0,  # else an image as it was
        weight_bytes=sum(each.nbytes for each in weights),
    )


def _timed(work: Callable[[], object]) -> float:
    """The seconds that some work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began

"""A study tried on a few images: its real cells and trainings, timed, and their files weighed.

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
from torch import nn

from lookaway.cost.counts import Counts
from lookaway.data.align import find_faces, open_aligner
from lookaway.data.folder import Files, Record
from lookaway.data.samples import PREFIX, open_source
from lookaway.errors import DataError
from lookaway.hashing import seed_from
from lookaway.memory import kept_memory
from lookaway.models.classifier import Classifier
from lookaway.models.folding import fold_batch_norm
from lookaway.models.gallery import Gallery
from lookaway.models.stages import stages
from lookaway.models.training import Recipe, train
from lookaway.perturbation import Perturbation
from lookaway.progress import Silent
from lookaway.study.grid_cache import grid_cache
from lookaway.study.identity import Identity
from lookaway.study.images import Grids, Variant
from lookaway.study.keys import CellKey
from lookaway.study.load import load_model
from lookaway.study.prepare import Prepared, prepare, training_precision
from lookaway.study.settings import ModelSpec, Split, Study
from lookaway.study.store import Store
from lookaway.study.trained import placed, quick
from lookaway.study.worker import Given, Job, Shard, do_cell, perturb_cell
from lookaway.study.yaml_lines import Lines

LEAST = 6  # images of a trial
SAMPLE = f"{PREFIX}lfw_subset"  # in place of images that are imagined
KINDS = {  # of a cell's files, and their endings
    "rows": "parquet",
    "maps": "safetensors",
    "signs": "safetensors",
    "shuffled": "parquet",
    "statistics": "parquet",
    "scores": "safetensors",
}
_LEARNT, _CHECKED, _EPOCHS = 8, 2, 3  # of a trained trial


@dataclass(frozen=True)
class ModelTrial:
    """What one model takes: seconds, and bytes by kind of file.

    Attributes:
        image: seconds for a test image of a variant.
        pictured: seconds for a pictured one, beyond that.
        file_bytes: of a cell's files, whatever is in them.
        image_bytes: for each image.
        pictured_bytes: for a pictured one, beyond that.
        trunk: seconds of a training for an image, once.
        epoch: seconds for a training image in an epoch; a validation image takes a third.
        check: seconds to check a network on an attacked validation image; 0 where none is.
        kept_bytes: of memory that hold an image while a frozen trunk's head is trained.
        weight_bytes: of the trained weights.
    """

    image: float
    pictured: float
    file_bytes: dict[str, float]
    image_bytes: dict[str, float]
    pictured_bytes: dict[str, float]
    trunk: float = 0.0
    epoch: float = 0.0
    check: float = 0.0
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
    """A place to try a study's models; nothing stays.

    Args:
        study: checked settings.
        counts: of its images.
        images: how many to try it on, at least ``LEAST``.
        lines: of the study file, for errors.
        source: its name, for errors.

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
        its_source = counts.source or open_source(SAMPLE)
        records, reading = _read(counts, images)
        here = Variant("none", dict.fromkeys(("train", "val", "test"), records), {}, {})
        few = replace(
            prepared.images,
            source=its_source,
            classes=list(counts.classes),
            parts=here.parts,
            pictured=frozenset(),
            variants={"none": here},
            cache=cache,
        )
        faces = 0.0
        if "cascade" in study.data.variants and (aligner := open_aligner("cascade", None)):
            began = time.perf_counter()
            find_faces(aligner, its_source, records, {}, lambda _: None, lambda _: None)
            faces = (time.perf_counter() - began) / len(records)
        store = Store(Path(folder) / "run")
        store.use(prepared.plan, None)
        yield Bench(study, replace(prepared, images=few), store, reading, faces)


def try_model(bench: Bench, index: int) -> ModelTrial:
    """Try one model.

    Args:
        bench: the study.
        index: the model's place in it.

    Raises:
        ModelError: it cannot be trained as the study asks.
    """
    study, spec = bench.study, bench.prepared.study.models[index]
    clf = quick(_network(bench, spec), bench.prepared, spec)
    half, whole = len(bench.records) // 2, len(bench.records)

    def cell(count: int, pictured: bool = False) -> tuple[float, dict[str, int]]:
        return _cell(bench, clf, _key(bench, spec.name), count, pictured)

    _, few = cell(half)  # which warms up, too
    seconds, many = cell(whole)
    image = seconds / whole
    each = {kind: (many[kind] - few[kind]) / (whole - half) for kind in KINDS}
    found = ModelTrial(
        image=image + _perturbing(bench, clf, index),
        pictured=0.0,
        file_bytes={kind: few[kind] - half * each[kind] for kind in KINDS},
        image_bytes=each,
        pictured_bytes=dict.fromkeys(KINDS, 0.0),
    )
    if study.explain.pictured:
        seconds, shown = cell(half, pictured=True)
        more = {kind: (shown[kind] - few[kind]) / half for kind in KINDS}
        found = replace(found, pictured=max(0.0, seconds / half - image), pictured_bytes=more)
    if study.models[index].train == "none":
        return found
    return _trained(bench, index, found)


def _small(study: Study) -> Study:
    """The same study on sample images, with networks that need no weights.

    Where the clean and the attacked image's own classes are explained, the trial explains two
    classes that are never the same, as if every attack changed the class.
    """
    own = set(study.explain.explained_class) == {"own", "clean"}
    nothing = {
        "folder": SAMPLE,
        "table": None,
        "classes": None,
        "variants": ["none"],
        "landmarks": None,
    }
    data = study.data.model_copy(
        update={**nothing, "range": None, "split": Split(seed=study.data.split.seed)}
    )
    untrained: dict[str, Any] = {"pretrained": False, "checkpoint": None, "averaged": None}
    untrained |= {"classes": None, "other_classes": "cut"}
    explain = study.explain.model_copy(
        update={"explained_class": ["clean", "label"]} if own else {}
    )
    models = [
        spec.model_copy(
            update=untrained
            | {"enrol": None}
            | ({"train": "none"} if spec.timm and spec.train != "enrol" else {})
        )
        for spec in study.models
    ]
    return study.model_copy(update={"data": data, "models": models, "explain": explain})


def _read(counts: Counts, count: int) -> tuple[list[Record], float]:
    """Images to try a study on, and the seconds that reading one takes, as a study reads it."""
    records, seconds = counts.some, 0.0
    if isinstance(counts.source, Files):
        began = time.perf_counter()
        read = list(counts.source.read(record.image for record in records))
        seconds = (time.perf_counter() - began) / len(read)
        records = [found for _, found in read if isinstance(found, Record)]
        if not records:
            name, reason = read[0]
            raise DataError(f"none of {len(read)} images can be read, such as {name!r}: {reason}")
    if counts.source is None:
        every = open_source(SAMPLE).listed()
        sample = every[:: max(1, len(every) // count)]
        labels = cycle(counts.classes)
        records = [replace(record, label=next(labels)) for record in sample]
    return list(islice(cycle(records), count)), seconds


def _network(bench: Bench, spec: ModelSpec) -> Classifier:
    """A model with random weights that keep its activations in range, where it works."""
    clf, _ = load_model(bench.prepared.study, spec, bench.prepared.images.classes)
    settle(clf)
    return placed(clf, bench.prepared)


def settle(clf: Classifier) -> None:
    """Make the statistics of batch norm those of a batch of noise, in place.

    An untrained network's activations grow or vanish from layer to layer otherwise, and numbers
    near zero are slow.
    """
    norms = [part for part in clf.module.modules() if isinstance(part, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    sides = clf.input_size or (224, 224)
    noise = torch.rand(4, clf.channels, *sides, generator=torch.Generator().manual_seed(0))
    if not norms:
        return
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        clf.module(clf.prepare(noise))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval()
        norm.momentum = momentum


def _cell(
    bench: Bench, clf: Classifier, key: CellKey, count: int, pictured: bool
) -> tuple[float, dict[str, int]]:
    """Do a cell of so many images, as an engine does; its seconds, and the bytes of its files."""
    study, store = bench.study, bench.store
    shard = _shard(bench, key, count, pictured)
    sides = (study.data.image_size, study.data.image_size)
    shape = (count, study.data.channels, *sides)
    signs = 2 * np.random.default_rng(seed_from("signs", count)).integers(0, 2, shape) - 1
    given: Given = {
        (attack.name, source): Perturbation.of_signs(
            signs.astype(np.int8), bench.prepared.plan.norm
        )
        for source in study.transfer_from
        for attack in study.attacks
        if source != key.model
    }

    def work() -> None:
        store.write_cell(key, do_cell(clf, shard, given))

    seconds = _timed(work)
    names = {kind: f"{kind}/{key.id}.{ending}" for kind, ending in KINDS.items()}
    return seconds, {kind: len(store.read_bytes(name) or b"") for kind, name in names.items()}


def _key(bench: Bench, model: str) -> CellKey:
    """A cell of the trial, whatever it holds."""
    of_model = Identity(bench.prepared.plan).model("none", model)
    return CellKey("none", model, 0, of_model.id, of_model)


def _perturbing(bench: Bench, clf: Classifier, index: int) -> float:
    """Seconds of a source's perturbations for the other sources, for an image."""
    name, sources = bench.study.models[index].name, bench.study.transfer_from
    if len(sources) < 2 or name not in sources:
        return 0.0
    shard = _shard(bench, _key(bench, name), LEAST, pictured=False)
    return _timed(lambda: perturb_cell(clf, shard)) / LEAST


def _shard(bench: Bench, key: CellKey, count: int, pictured: bool) -> Shard:
    spec = next(each for each in bench.prepared.study.models if each.name == key.model)
    job = Job(spec, key, range(count))
    return replace(Shard.load(bench.prepared, job), pictured=np.full(count, pictured))


def _trained(bench: Bench, index: int, found: ModelTrial) -> ModelTrial:
    """With what training takes: the real one, of a few images and epochs."""
    study, spec = bench.study, bench.study.models[index]
    clf = _network(bench, bench.prepared.study.models[index])
    if spec.train != "all":
        fold_batch_norm(clf)
    if isinstance(clf, Gallery):
        pixels = torch.rand(_LEARNT, clf.channels, *[study.data.image_size] * 2)
        with torch.no_grad():
            seconds = _timed(lambda: clf(pixels))
        return replace(found, trunk=seconds / _LEARNT, weight_bytes=clf.templates.nbytes)
    precision = training_precision(study, None, bench.prepared.device)
    rate = spec.learning_rate or study.training.learning_rate
    recipe = Recipe(_EPOCHS, min(_LEARNT, study.training.batch_size), rate, 0, precision)
    size = study.data.image_size
    learnt, checked = (
        Grids(bench.prepared.images, "none", list(islice(cycle(bench.records), count)), size)
        for count in (_LEARNT, _CHECKED)
    )
    kept = 0
    if spec.train != "all":
        clf.module.requires_grad_(True)
        fit = stages(clf, spec.train, checked, checked, precision).fit
        kept = next(iter(fit.load([[0]])))[0].nbytes
    stamps = [time.perf_counter()]
    adversarial = study.adversarial(spec)
    training = train(
        clf,
        spec.train,
        learnt,
        checked,
        recipe,
        lambda _: stamps.append(time.perf_counter()),
        adversary=replace(adversarial.make(), check_every=_EPOCHS) if adversarial else None,
    )
    last = 2 if adversarial else 1  # whose last epoch alone is checked under attack
    epoch = (stamps[-last] - stamps[1]) / (_EPOCHS - last)
    before = 0.0 if spec.train == "all" else max(0.0, stamps[1] - stamps[0] - epoch)
    check = max(0.0, stamps[-1] - stamps[-2] - epoch) if adversarial else 0.0
    return replace(
        found,
        trunk=before / (_CHECKED if adversarial else _LEARNT + _CHECKED),
        epoch=epoch / (_LEARNT + _CHECKED / 3),
        check=check / _CHECKED,
        kept_bytes=kept,
        weight_bytes=sum(value.nbytes for value in training.weights.values()),
    )


def _timed(work: Callable[[], object]) -> float:
    """The seconds that some work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began

"""One model tried on a few images: its real cells and training steps, timed, counted, stored."""

from dataclasses import dataclass, replace

import numpy as np

from lookaway.hashing import seed_from
from lookaway.models.classifier import Classifier
from lookaway.models.folding import fold_batch_norm
from lookaway.models.rehearsal import Rehearsal, Work, counted, rehearse, settle, timed
from lookaway.models.training import Recipe
from lookaway.perturbation import Perturbation
from lookaway.study.images import Grids
from lookaway.study.keys import CellKey
from lookaway.study.prepare import Prepared, load_model, training_precision
from lookaway.study.settings import ModelSpec, Study
from lookaway.study.store import Store
from lookaway.study.trained import placed, quick
from lookaway.study.worker import Given, Job, Shard, do_cell, perturb_cell

KINDS = {  # of a cell's files, and their endings
    "rows": "parquet",
    "maps": "safetensors",
    "signs": "safetensors",
    "shuffled": "parquet",
    "statistics": "parquet",
}
_TRAINED_ON = 8  # images of a rehearsed training
_NOTHING = Work(0.0, 0.0)


@dataclass(frozen=True)
class ModelTrial:
    """What one model takes.

    Attributes:
        image: for each test image of a variant.
        pictured: for a pictured one, beyond that.
        file_bytes: of each cell's files, by kind, whatever is in them.
        image_bytes: for each image, by kind.
        pictured_bytes: for a pictured one, beyond that, by kind.
        training: None where nothing is trained.
    """

    image: Work
    pictured: Work
    file_bytes: dict[str, float]
    image_bytes: dict[str, float]
    pictured_bytes: dict[str, float]
    training: Rehearsal | None


@dataclass(frozen=True)
class Bench:
    """Where models are tried.

    Attributes:
        study: the whole one.
        small: the same on a few images, with networks that need no weights.
        prepared: the small one's images and plan; all images are test images of one variant.
        store: of the small one.
    """

    study: Study
    small: Study
    prepared: Prepared
    store: Store

    @property
    def images(self) -> int:
        """How many images there are."""
        return len(self.prepared.images.parts["test"])

    def load(self, spec: ModelSpec) -> Classifier:
        """A model with random weights that keep its activations in range, where it works."""
        clf, _ = load_model(self.small, spec, self.prepared.images.classes)
        settle(clf)
        return placed(clf, self.prepared)


def try_model(bench: Bench, index: int) -> ModelTrial:
    """Try one model.

    Args:
        bench: the study.
        index: the model's place in it.

    Raises:
        ModelError: it cannot be trained as the study asks.
    """
    study, spec = bench.study, bench.small.models[index]
    training = _training(bench, index) if study.models[index].train != "none" else None
    clf = quick(bench.load(spec), bench.prepared, spec)
    cells = _Cells(bench, index, spec, clf)
    half = bench.images // 2
    warm, flops = cells.counted(half)
    whole = cells.run(bench.images)
    image = Work(whole.seconds / whole.images, flops / half)
    pictured, pictured_bytes = _NOTHING, dict.fromkeys(KINDS, 0.0)
    if study.explain.pictured:
        _, flops = cells.counted(1, pictured=True)
        shown = cells.run(half, pictured=True)
        pictured = Work(
            max(0.0, shown.seconds / half - image.seconds), max(0.0, flops - image.flops)
        )
        pictured_bytes = {kind: (shown.stored[kind] - warm.stored[kind]) / half for kind in KINDS}
    if len(study.transfer_from) > 1 and spec.name in study.transfer_from:
        image += cells.signs(half)
    each = {
        kind: (whole.stored[kind] - warm.stored[kind]) / (whole.images - half) for kind in KINDS
    }
    return ModelTrial(
        image=image,
        pictured=pictured,
        file_bytes={kind: warm.stored[kind] - half * each[kind] for kind in KINDS},
        image_bytes=each,
        pictured_bytes=pictured_bytes,
        training=training,
    )


def _training(bench: Bench, index: int) -> Rehearsal:
    study, spec = bench.study, bench.study.models[index]
    clf = bench.load(bench.small.models[index])
    if spec.train != "all":
        fold_batch_norm(clf)
    recipe = Recipe(
        epochs=1,
        batch_size=study.training.batch_size,
        learning_rate=spec.learning_rate or study.training.learning_rate,
        seed=0,
        precision=training_precision(study, None, bench.prepared.device),
    )
    images = bench.prepared.images
    few = Grids(images, "none", images.parts["test"][:_TRAINED_ON], study.data.image_size)
    return rehearse(clf, spec.train, few, recipe)


@dataclass(frozen=True)
class _Cell:
    """What one cell of a trial took, and the bytes of its files."""

    images: int
    seconds: float
    stored: dict[str, int]


@dataclass(frozen=True)
class _Cells:
    """A model's cells, one after the other under one key."""

    bench: Bench
    index: int
    spec: ModelSpec
    clf: Classifier

    def counted(self, count: int, *, pictured: bool = False) -> tuple[_Cell, int]:
        """Do a cell and count its operations; whatever comes after it finds all warmed up."""
        done: list[_Cell] = []
        flops = counted(lambda: done.append(self.run(count, pictured=pictured)))
        return done[0], flops

    def run(self, count: int, *, pictured: bool = False) -> _Cell:
        """Do a cell of so many images, as an engine does, and measure what it took."""
        store, shard = self.bench.store, self._shard(count, pictured=pictured)
        key, given = shard.job.key, self._given(count)

        def work() -> None:
            result = do_cell(self.clf, shard, given)
            kept = result.perturbations
            if self.spec.name not in self.bench.study.transfer_from:
                kept = {name: each.of(shard.pictured) for name, each in kept.items()}
            store.write_cell(key, result, kept)

        seconds = timed(work)
        stored = {
            kind: len(store.read_bytes(f"{kind}/{key.stem}.{ending}") or b"")
            for kind, ending in KINDS.items()
        }
        return _Cell(count, seconds, stored)

    def signs(self, count: int) -> Work:
        """What a source's perturbations for the other sources take, for an image."""
        shard = self._shard(count)
        flops = counted(lambda: perturb_cell(self.clf, shard))
        seconds = timed(lambda: perturb_cell(self.clf, shard))
        return Work(seconds / count, flops / count)

    def _shard(self, count: int, *, pictured: bool = False) -> Shard:
        job = Job(self.spec, CellKey("none", self.index, self.spec.name, 0), range(count))
        shard = Shard.load(self.bench.prepared, job)
        return replace(shard, pictured=np.full(count, pictured))

    def _given(self, count: int) -> Given:
        """Random signs of the sources, for so many images."""
        small = self.bench.small
        shape = (count, small.data.channels, small.data.image_size, small.data.image_size)
        signs = 2 * np.random.default_rng(seed_from("signs", count)).integers(0, 2, shape) - 1
        change = Perturbation.of_signs(signs.astype(np.int8))
        return {
            (attack.name, spec.name): change
            for spec in small.models
            for attack in small.attacks
            if spec.name in small.transfer_from and spec.name != self.spec.name
        }

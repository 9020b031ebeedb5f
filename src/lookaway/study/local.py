"""The engine of one machine: cell after cell, in this process."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import numpy as np

from lookaway.models.classifier import Classifier
from lookaway.progress import Reporter
from lookaway.study.cell import CellSettings, Shard, attack_signs, run_cell
from lookaway.study.keys import trained_name
from lookaway.study.prepare import Prepared
from lookaway.study.settings import ModelSpec, Study
from lookaway.study.store import CellKey, Store, shards
from lookaway.study.trained import Grids, ready_model, weights_made


@dataclass(frozen=True)
class Cell:
    """A cell and the images in it."""

    key: CellKey
    images: range


def cells(study: Study, prepared: Prepared) -> list[tuple[ModelSpec, list[Cell]]]:
    """Every model with its cells, for each variant of the images.

    Sources of transfer come first, for the others need their signs.
    """
    specs = sorted(
        enumerate(study.models), key=lambda found: found[1].name not in study.transfer_from
    )
    return [
        (
            spec,
            [
                Cell(CellKey(variant.name, index, spec.name, place), shard)
                for place, shard in enumerate(
                    shards(len(variant.parts["test"]), prepared.plan["shard"])
                )
            ],
        )
        for index, spec in specs
        for variant in prepared.images.variants.values()
    ]


def run_cells(study: Study, prepared: Prepared, store: Store, progress: Reporter) -> None:
    """Do every cell that is not done yet."""
    if len(study.transfer_from) > 1:
        _make_signs(study, prepared, store, progress)
    for work in _unfinished(study, prepared, store, store.has_cell):
        title = f"{work.title}: attacking, explaining, comparing"
        with progress.stage(title, work.images, "images") as advance:
            for cell in work.missing:
                shard = load_shard(study, prepared, store, cell)
                output = run_cell(work.clf, cell.key.model, shard, work.settings, advance)
                kept = _kept_signs(study, cell.key.model, shard, output.signs)
                store.write_cell(
                    cell.key, output.rows, output.maps, kept, work.weights, output.shuffled
                )


def _make_signs(study: Study, prepared: Prepared, store: Store, progress: Reporter) -> None:
    """The signs of sources that need each other's, before any of their cells."""

    def done(key: CellKey, weights: str) -> bool:
        return store.has_cell(key, weights) or store.has_signs(key, weights)

    for work in _unfinished(study, prepared, store, done, only=study.transfer_from):
        title = f"{work.title}: perturbations for the others"
        with progress.stage(title, work.images, "images") as advance:
            for cell in work.missing:
                shard = load_shard(study, prepared, store, cell, transferred=False)
                signs = attack_signs(work.clf, shard, work.settings)
                store.write_signs(cell.key, signs, work.weights)
                advance(len(cell.images))


@dataclass(frozen=True)
class _Unfinished:
    """A model that is ready, and its cells that are not done."""

    title: str
    clf: Classifier
    settings: CellSettings
    weights: str
    missing: list[Cell]

    @property
    def images(self) -> int:
        return sum(len(cell.images) for cell in self.missing)


def _unfinished(
    study: Study,
    prepared: Prepared,
    store: Store,
    done: Callable[[CellKey, str], bool],
    only: Collection[str] | None = None,
) -> Iterator[_Unfinished]:
    """Each model (of those named) that has something left to do."""
    for spec, its_cells in cells(study, prepared):
        first = its_cells[0].key
        weights = weights_made(store, first, spec)
        missing = [cell for cell in its_cells if not done(cell.key, weights)]
        if missing and (only is None or spec.name in only):
            clf = ready_model(study, prepared, store, first, spec)
            settings = cell_settings(study, prepared, spec)
            yield _Unfinished(
                trained_name(first.model, first.variant), clf, settings, weights, missing
            )


def cell_settings(study: Study, prepared: Prepared, spec: ModelSpec) -> CellSettings:
    """What the cells of a model need of the study."""
    return CellSettings(
        attacks=tuple(study.attacks),
        epsilons=tuple(study.epsilons),
        quantize=study.quantize,
        method=study.explain.method,
        layers=tuple(prepared.plan["layers"][spec.name]),
        last=prepared.plan["last_layers"][spec.name],
        explained_class=tuple(study.explain.explained_class),
        ssim=study.measure.ssim,
        grid=study.measure.grid,
        noise_seed=study.data.split.seed,
        batch_size=prepared.batch_size(spec.name),
        layers_of=study.explain.layers_of,
    )


def load_shard(
    study: Study, prepared: Prepared, store: Store, cell: Cell, *, transferred: bool = True
) -> Shard:
    """A cell's images, and the signs of the sources for them."""
    images = prepared.images
    test = images.variants[cell.key.variant].parts["test"]
    records = [test[index] for index in cell.images]
    grids = Grids(images, cell.key.variant, records, study.data.image_size)
    given: dict[tuple[str, str], np.ndarray] = {}
    for index, spec in enumerate(study.models):
        is_source = spec.name in study.transfer_from and spec.name != cell.key.model
        if transferred and is_source:
            key = CellKey(cell.key.variant, index, spec.name, cell.key.shard)
            for attack, packed in store.read_signs(key).items():
                given[attack, spec.name] = packed
    return Shard(
        variant=cell.key.variant,
        images=tuple(record.image for record in records),
        grids=np.stack([grids.grid(index) for index in range(len(records))]),
        labels=np.array([grids.label(index) for index in range(len(records))], dtype=np.int64),
        classes=tuple(images.classes),
        pictured=np.array([record.image in images.pictured for record in records]),
        transferred=given,
    )


def _kept_signs(
    study: Study, model: str, shard: Shard, signs: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """A source's signs for every image; another model's for the pictured ones."""
    if model in study.transfer_from:
        return signs
    return {attack: packed[shard.pictured] for attack, packed in signs.items()}

"""A study's cells: which there are, and what each is given and leaves, whoever does the work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lookaway.study.cell_data import CellOutput, CellSettings, Shard
from lookaway.study.images import Grids
from lookaway.study.keys import CellKey, other_classes, shards
from lookaway.study.prepare import Prepared
from lookaway.study.settings import ModelSpec, Study
from lookaway.study.store import Store
from lookaway.study.trained import weights_made


@dataclass(frozen=True)
class Cell:
    """A cell and the places of its images among the variant's test images."""

    key: CellKey
    images: range


@dataclass(frozen=True)
class Job:
    """A cell to be done.

    Attributes:
        spec: its model.
        cell: which cell.
        weights: the hash of the model's trained weights; empty for one that is not trained.
        signs_only: whether only the signs of its own attacks are wanted.
    """

    spec: ModelSpec
    cell: Cell
    weights: str
    signs_only: bool = False


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


def open_jobs(study: Study, prepared: Prepared, store: Store) -> list[Job]:
    """Every cell that is not done yet, in order."""
    return [
        Job(spec, cell, weights)
        for spec, its_cells in cells(study, prepared)
        for weights in [weights_made(store, its_cells[0].key, spec)]
        for cell in its_cells
        if not store.has_cell(cell.key, weights)
    ]


def open_signs(study: Study, store: Store, jobs: Sequence[Job]) -> list[Job]:
    """Of the cells to be done, the signs of sources that need each other's, which come first."""
    if len(study.transfer_from) < 2:
        return []
    return [
        Job(job.spec, job.cell, job.weights, signs_only=True)
        for job in jobs
        if job.spec.name in study.transfer_from and not store.has_signs(job.cell.key, job.weights)
    ]


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


def sources_of(study: Study, key: CellKey) -> list[CellKey]:
    """The cells of other models whose signs a cell is given."""
    return [
        CellKey(key.variant, index, spec.name, key.shard)
        for index, spec in enumerate(study.models)
        if spec.name in study.transfer_from and spec.name != key.model
    ]


def transferred(study: Study, store: Store, key: CellKey) -> dict[tuple[str, str], np.ndarray]:
    """The signs of the sources for a cell's images, by attack and source.

    Raises:
        StoreError: they are missing or damaged.
    """
    return {
        (attack, source.model): packed
        for source in sources_of(study, key)
        for attack, packed in store.read_signs(source).items()
    }


def load_shard(
    study: Study,
    prepared: Prepared,
    cell: Cell,
    given: Mapping[tuple[str, str], np.ndarray] | None = None,
) -> Shard:
    """A cell's images.

    Args:
        study: the settings.
        prepared: its images.
        cell: which.
        given: the signs of the sources for them; None: none.
    """
    images = prepared.images
    test = images.variants[cell.key.variant].parts["test"]
    records = [test[index] for index in cell.images]
    grids = Grids(images, cell.key.variant, records, study.data.image_size)
    return Shard(
        variant=cell.key.variant,
        images=tuple(record.image for record in records),
        grids=np.stack([grids.grid(index) for index in range(len(records))]),
        labels=np.array([grids.label(index) for index in range(len(records))], dtype=np.int64),
        classes=(*images.classes, *other_classes(prepared.plan, cell.key.model)),
        pictured=np.array([record.image in images.pictured for record in records]),
        transferred=given or {},
    )


def keep(study: Study, prepared: Prepared, store: Store, job: Job, output: CellOutput) -> None:
    """Store what a job gave: a source's signs for every image, another's for the pictured ones."""
    key = job.cell.key
    if job.signs_only:
        store.write_signs(key, output.signs, job.weights)
        return
    signs = output.signs
    if key.model not in study.transfer_from:
        test = prepared.images.variants[key.variant].parts["test"]
        pictured = [test[index].image in prepared.images.pictured for index in job.cell.images]
        signs = {attack: packed[np.array(pictured)] for attack, packed in signs.items()}
    store.write_cell(key, output.rows, output.maps, signs, job.weights, output.shuffled)

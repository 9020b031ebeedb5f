"""A run's perturbed test images as files, one folder for each ε, from the stored signs alone."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from lookaway.data.folder import Record
from lookaway.data.pixels import as_floats, as_picture
from lookaway.data.samples import open_source
from lookaway.errors import InputError, StoreError
from lookaway.perturbation import Perturbation
from lookaway.places import AnyPath, lies_in, to_path
from lookaway.progress import Reporter, Silent
from lookaway.study.faces import read_poses
from lookaway.study.files import Files
from lookaway.study.images import prepared_grid
from lookaway.study.json_files import Plan
from lookaway.study.keys import plain
from lookaway.study.store import Store

KINDS = ("png", "npy")


def export(
    folder: AnyPath | str,
    out: AnyPath | str,
    *,
    source: str | None = None,
    kind: str = "png",
    data: str | AnyPath | Any = None,
    progress: Reporter | None = None,
) -> list[AnyPath]:
    """Write the test images as a source of transfer perturbed them.

    They stand in ``out/ATTACK-from-SOURCE/epsilon-0.01/CLASS/IMAGE.png``, so each folder of an ε
    is a test set of its own; with several variants, below a folder for each.

    Args:
        folder: the run's; a path or a URL, as the others are.
        out: where to; a folder inside the run's or anywhere else.
        source: the model that made the perturbations, one of the study's ``transfer_from``; None:
            the first one.
        kind: ``png``, 8 bit (what a study with ``quantize: true`` measures), or ``npy``:
            (C, H, W) float32 in [0, 1], as a study measures otherwise; C is the study's
            ``data.channels``.
        data: the images' folder or table, where it moved since; or their Dataset.
        progress: told of the images done.

    Returns:
        The folder of each ε.

    Raises:
        InputError: there is no such source or kind.
        StoreError: the perturbations are not stored, or cannot be written.
        DataError: an image changed since the run.
    """
    store, found = Store(folder), []
    plan = store.read_plan()
    name = _chosen(plan.settings.transfer_from, source)
    if kind not in KINDS:
        raise InputError(f"there is no kind {kind!r}; possible: {', '.join(KINDS)}")
    about = plan.settings.data
    images = open_source(about.source if data is None else data, about.range)
    records = {
        variant: [
            Record(*row)
            for row in store.samples_of("test", variant).select("image", "label", "sha256").rows()
        ]
        for variant in about.variants
    }
    total = sum(map(len, records.values()))
    with (progress or Silent()).stage(f"{name}: exporting", total, "images") as advance:
        for variant in about.variants:
            root = to_path(out) if len(about.variants) == 1 else to_path(out) / variant
            poses = read_poses(store, variant)
            for attack, record, change in _perturbed(store, plan, name, variant, records[variant]):
                pixels = as_floats(
                    [prepared_grid(images, record, poses, about.image_size, about.channels)]
                )
                for level, epsilon in enumerate(plan.settings.epsilons):
                    place = root / f"{plain(attack)}-from-{plain(name)}" / f"epsilon-{epsilon:g}"
                    changed = change.attacked(pixels, level, epsilon)[0]
                    _write(place, record.image, changed, kind)
                    found.append(place)
                if attack == plan.attacks[0]:
                    advance(1)
    return list(dict.fromkeys(found))


def _chosen(sources: list[str], source: str | None) -> str:
    if not sources:
        raise InputError(
            "this study has no transfer_from, so only the pictured images' perturbations are "
            "stored; name the source there and run the study again"
        )
    if source is not None and source not in sources:
        raise InputError(f"{source!r} is no source of this study; possible: {', '.join(sources)}")
    return source or sources[0]


def _perturbed(
    store: Store, plan: Plan, source: str, variant: str, records: list[Record]
) -> Iterator[tuple[str, Record, Perturbation]]:
    """Each attack's change of each test image, shard after shard."""
    data = plan.settings.data
    shape = (data.channels, data.image_size, data.image_size)
    for place, chosen in enumerate(store.identity.shards(variant)):
        key = store.identity.cell(variant, source, place)
        for attack, stored in store.read_perturbations(key, shape).items():
            if len(stored.codes) != len(chosen):
                raise StoreError(f"the run's perturbations of {source!r} do not fit its images")
            for row, index in enumerate(chosen):
                yield attack, records[index], stored.of([row])


def _write(place: AnyPath, image: str, pixels: np.ndarray, kind: str) -> None:
    files = Files(place)
    name = f"{image.removesuffix(f'.{kind}')}.{kind}"
    if not lies_in(place / name, place):
        raise StoreError(f"the image {image!r} would be written outside {str(place)!r}")
    if kind == "npy":
        files.write_with(name, lambda file: np.save(file, pixels, allow_pickle=False))
    else:
        eight_bit = (pixels * np.float32(255.0)).round().astype(np.uint8).transpose(1, 2, 0)
        files.write_with(name, lambda file: as_picture(eight_bit).save(file, "PNG"))

"""What a run stores that its present study does not use: told, and removed."""

from collections.abc import Iterator
from dataclasses import dataclass

from lookaway.places import size_of
from lookaway.study.cell_reading import FRAMES
from lookaway.study.keys import CellKey, picture_name
from lookaway.study.pairs import read_pairs
from lookaway.study.store import SANITY_PARTS, Store
from lookaway.study.thumbnails import name_of, small_images

_OF_CELLS = ("scores", "signs", "maps", *FRAMES)
_OTHERS = ("heads", "training", "drift", "sanity", "pairs", "images")


@dataclass(frozen=True)
class Unused:
    """What no longer belongs to a run's study.

    Attributes:
        files: names of whole files.
        cells: files of which some pieces are unused, by kind and cell.
        whole_bytes: of the files.
        part_bytes: of the pieces, about.
    """

    files: list[str]
    cells: list[tuple[str, CellKey]]
    whole_bytes: int
    part_bytes: int

    @property
    def total(self) -> int:
        """All bytes, about."""
        return self.whole_bytes + self.part_bytes


def find_unused(store: Store) -> Unused:
    """What of a run its present study does not use; nothing changes.

    Raises:
        StoreError: there is no run, or a file is damaged.
    """
    used, keys = {*_used(store)}, list(store.identity.cells())
    files = [
        f"{folder}/{path.name}"
        for folder in (*_OF_CELLS, *_OTHERS)
        for path in store.listed(folder)
        if f"{folder}/{path.name}" not in used
    ]
    parts = {
        (folder, key): store.surplus(folder, key)
        for folder in _OF_CELLS
        for key in keys
        if (store.folder / store.name_of(folder, key)).is_file()
    }
    cells = [place for place, surplus in parts.items() if surplus]
    whole = sum(size_of(store.folder / name) for name in files)
    return Unused(files, cells, whole, sum(parts.values()))


def remove_unused(store: Store, unused: Unused) -> None:
    """Remove it.

    Raises:
        StoreError: a file cannot be written or removed.
    """
    for folder, key in unused.cells:
        store.remove_surplus(folder, key)
    for name in unused.files:
        store.remove(name)


def _used(store: Store) -> Iterator[str]:
    """The names of the files that the study uses, whether they are there or not."""
    identity = store.identity
    for key in identity.cells():
        yield from (store.name_of(folder, key) for folder in _OF_CELLS)
    for model in identity.models():
        yield from (f"heads/{model.head}.{kind}" for kind in ("json", "safetensors"))
        yield f"training/{model.head}.state"
        yield identity.drift(model)
        for part in SANITY_PARTS:
            yield from identity.sanity(model, part)
        yield from identity.pairs(model)
        if (read := read_pairs(store, model)) is not None:
            prepared = identity.preparation(model.variant)
            yield from (picture_name(prepared, each) for each in read[0]["reference_sha256"])
    shown = store.samples().filter("pictured")["sha256"]
    first = identity.plan.settings.data.variants[0]
    yield name_of(identity, first, small_images(store.samples_of("test", first)))
    for variant in identity.plan.variants:
        yield from (picture_name(identity.preparation(variant), each) for each in shown)

"""Which test images stand in one cell, so that an added image changes few of them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lookaway.hashing import digest

_RUN = 3  # images of a class at most that stay together
_BITS = 256


class _Item(NamedTuple):
    """What is not divided any further: some images of a class, and where they belong."""

    places: list[int]
    label: str
    bits: int

    @classmethod
    def of(cls, places: list[int], label: str, *about: str) -> "_Item":
        return cls(places, label, int(digest("shard", label, *about), 16))


def shards(images: Sequence[tuple[str, str]], size: int) -> list[list[int]]:
    """Deal test images into shards: each class in runs of two or three, its runs apart.

    So partners of the same class and of others are in each shard. Images, then runs, are halved by
    the bits of a hash until they are few enough. What follows from names and classes alone, and
    from few of them: an added image changes the shard that it comes into, and where that or its
    run becomes too large, those into which they are divided.

    Args:
        images: the class and the name of each; no name twice.
        size: images of a shard at most.

    Returns:
        Places among ``images``, of each shard in order.

    >>> faces = [(person, f"{person}/{n}.png") for person in ("ann", "bob") for n in range(3)]
    >>> shards(faces, 64), sorted(map(len, shards(faces, 4)))
    ([[0, 1, 2, 3, 4, 5]], [3, 3])
    """
    classes: dict[str, list[_Item]] = {}
    for place, (label, name) in enumerate(images):
        classes.setdefault(label, []).append(_Item.of([place], label, "image", name))
    most = min(_RUN, size)
    runs = [
        _Item.of(_places(run), label, "run", *path)
        for label, members in classes.items()
        for path, run in _halved(members, most, (most + 1) // 2)
    ]
    return [_places(shard) for _, shard in _halved(runs, size, size // 4)] if runs else []


def likely_count(count: int, size: int) -> int:
    """How many shards so many images mostly make.

    >>> [likely_count(count, 64) for count in (1, 64, 65, 400)]
    [1, 1, 2, 8]
    """
    return 1 << max(0, (-(-count // size) - 1).bit_length())


def _halved(
    items: list[_Item], most: int, least: int, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], list[_Item]]]:
    """Items halved until at most so many images are together, with the halvings that led there.

    The first half keeps the path, so that what it is called does not change when it is halved.
    """
    if len(items) == 1 or _count(items) <= most:
        yield path, items
        return
    bit = _dividing(items, least)
    halves: tuple[list[_Item], list[_Item]] = [], []
    for item in items:
        halves[item.bits >> bit & 1].append(item)
    yield from _halved(halves[0], most, least, path)
    yield from _halved(halves[1], most, least, (*path, str(bit)))


def _dividing(items: list[_Item], least: int) -> int:
    """The first bit whose halves have at least so many images, of two classes if that can be."""
    for classes in (2, 1) if any(item.label != items[0].label for item in items) else (1,):
        for bit in range(_BITS):
            halves = [[item for item in items if item.bits >> bit & 1 == one] for one in (0, 1)]
            if all(
                half and _count(half) >= least and len({item.label for item in half}) >= classes
                for half in halves
            ):
                return bit
    raise AssertionError  # two hashes are the same


def _count(items: list[_Item]) -> int:
    return sum(len(item.places) for item in items)


def _places(items: list[_Item]) -> list[int]:
    return sorted(place for item in items for place in item.places)

"""Train, validation and test parts: seeded, stratified, each class in every part."""

from collections.abc import Mapping, Sequence

from lookaway.data.folder import Record
from lookaway.errors import DataError
from lookaway.hashing import digest

PARTS = ("train", "val", "test")


def split(
    records: Sequence[Record], fractions: Mapping[str, float], seed: int
) -> dict[str, list[Record]]:
    """Divide every class among the parts.

    Within a class images stand in the order of a hash of the seed and their names, so an image's
    place depends on no other class. Each part with a fraction above 0 gets at least one image of
    each class; the train part gets what rounding leaves.

    Args:
        records: the images.
        fractions: of train, val and test; they add up to 1.
        seed: another seed, another division.

    Returns:
        The records of each part, in the order of ``records``.

    Raises:
        DataError: a class has too few images; every such class is named.
    """
    parts: dict[str, list[Record]] = {part: [] for part in PARTS}
    wanted = [part for part in PARTS if fractions[part] > 0]
    by_class: dict[str, list[Record]] = {}
    for record in records:
        by_class.setdefault(record.label, []).append(record)
    small = {
        label: len(members) for label, members in by_class.items() if len(members) < len(wanted)
    }
    if small:
        listed = ", ".join(f"{label!r} ({count})" for label, count in sorted(small.items()))
        raise DataError(
            f"classes with too few images for {', '.join(wanted)} (at least {len(wanted)} each): "
            f"{listed}; add images, remove these classes, or give a part the fraction 0"
        )
    place: dict[str, str] = {}
    for members in by_class.values():
        ordered = sorted(members, key=lambda record: digest(str(seed), record.image))
        counts = part_sizes(len(ordered), fractions)
        start = 0
        for part in PARTS:
            for record in ordered[start : start + counts[part]]:
                place[record.image] = part
            start += counts[part]
    for record in records:
        parts[place[record.image]].append(record)
    return parts


def part_sizes(count: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """How many of a class's images each part gets.

    Args:
        count: images of the class, at least as many as parts with a fraction above 0.
        fractions: of train, val and test.

    >>> part_sizes(10, {"train": 0.8, "val": 0.1, "test": 0.1})
    {'train': 8, 'val': 1, 'test': 1}
    """
    sizes = {
        part: max(1, int(count * fractions[part] + 0.5)) if fractions[part] > 0 else 0
        for part in PARTS
    }
    slack = "train" if fractions["train"] > 0 else "test"
    sizes[slack] = count - sum(size for part, size in sizes.items() if part != slack)
    while sizes[slack] < 1:  # rounding took too much: give back from the largest part
        largest = max(PARTS, key=lambda part: sizes[part])
        sizes[largest] -= 1
        sizes[slack] += 1
    return sizes


def draw_classes(
    records: Sequence[Record], count: int, seed: int, at_least: int
) -> tuple[list[Record], list[str]]:
    """Draw classes at random among those with enough images.

    Args:
        records: the images.
        count: how many classes.
        seed: another seed, other classes.
        at_least: images that a class needs.

    Returns:
        The records of the drawn classes, and the drawn classes, sorted.

    Raises:
        DataError: there are fewer such classes.
    """
    sizes: dict[str, int] = {}
    for record in records:
        sizes[record.label] = sizes.get(record.label, 0) + 1
    enough = [label for label, size in sizes.items() if size >= at_least]
    if len(enough) < count:
        raise DataError(
            f"{count} classes are to be drawn, but only {len(enough)} of {len(sizes)} have the "
            f"{at_least} images that the split needs"
        )
    ordered = sorted(enough, key=lambda label: digest(str(seed), "class", label))
    drawn = set(ordered[:count])
    return [record for record in records if record.label in drawn], sorted(drawn)

"""Train, validation and test parts: seeded, stratified, each class in every part."""

from collections.abc import Mapping, Sequence
from itertools import islice

from lookaway.data.folder import Record, part_of
from lookaway.errors import DataError, listed
from lookaway.hashing import digest

PARTS = ("train", "val", "test")
_EXAMPLE = "{train: 0.8, val: 0.1, test: 0.1}"


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
        DataError: classes have too few images; the first ones are named.
    """
    wanted = [part for part in PARTS if fractions[part] > 0]
    by_class: dict[str, list[Record]] = {}
    for record in records:
        by_class.setdefault(record.label, []).append(record)
    sizes = {label: len(members) for label, members in by_class.items()}
    small = sorted(label for label, size in sizes.items() if size < len(wanted))
    if small:
        enough = len(sizes) - len(small)
        raise DataError(
            f"{len(small)} of {len(sizes)} classes have too few images for {', '.join(wanted)} (at "
            f"least {len(wanted)} each): "
            f"{listed(f'{label!r} ({sizes[label]})' for label in small)}; data.classes: N draws "
            f"among those that have enough ({enough} here), or add images, remove these classes, "
            "or give a part the fraction 0"
        )
    place: dict[str, str] = {}
    for members in by_class.values():
        ordered = iter(sorted(members, key=lambda record: digest(str(seed), record.image)))
        for part, count in part_sizes(len(members), fractions).items():
            place |= {record.image: part for record in islice(ordered, count)}
    return {part: [each for each in records if place[each.image] == part] for part in PARTS}


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


def check_parts(records: Sequence[Record], needed: Sequence[str], by: str = "folders") -> None:
    """Refuse images whose own parts, by folders or a table, cannot be kept.

    Raises:
        DataError: they are not divided, or a needed part has no image.
    """
    missing = [part for part in needed if part not in {record.part for record in records}]
    if by == "table":
        there = sorted({record.part for record in records if record.part})
        has, change = f"the table has {listed(there) or 'no column part'}", "change the table"
    else:
        folders = dict.fromkeys(r.image.partition("/")[0] for r in records if r.part)
        has, change = f"the folders are {listed(map(repr, folders))}", "add or rename a folder"
        if not folders:
            raise DataError(
                "split is folders, but the images do not lie in folders of parts, such as "
                "train/class/image and test/class/image; divide them so, or give split: "
                f"{_EXAMPLE}"
            )
    if missing:
        trained = "" if missing == ["test"] else "; models with train: none need test alone"
        raise DataError(
            f"split: {by} needs images in {' and '.join(missing)}, and {has}; {change}, or give "
            f"split: {_EXAMPLE}, which divides all images anew{trained}"
        )


def keep_parts(
    records: Sequence[Record], needed: Sequence[str], by: str = "folders"
) -> dict[str, list[Record]]:
    """Keep the parts that the images have; with train each class of test needs some in it.

    Returns:
        The records of each part, in the order of ``records``.

    Raises:
        DataError: they are not divided, a part has no image, or a class of test none in train.
    """
    check_parts(records, needed, by)
    parts = {part: [record for record in records if record.part == part] for part in PARTS}
    labels = {part: {record.label for record in members} for part, members in parts.items()}
    unseen = sorted(labels["test"] - labels["train"]) if "train" in needed else []
    if unseen:
        raise DataError(
            f"{len(unseen)} classes of test have no image in train, so that no model can learn "
            f"them: {listed(map(repr, unseen))}; add images, remove the classes, or give split: "
            f"{_EXAMPLE}, which divides all images anew"
        )
    return parts


def check_unsaid(records: Sequence[Record]) -> None:
    """Refuse to mix parts that hold the same classes, where the study does not say how to divide.

    Parts of other people each, as VGGFace2's, are no division of the images of a class.

    Raises:
        DataError: with both ways out.
    """
    where: dict[str, set[str]] = {}
    for record in records:
        if record.part is not None:
            where.setdefault(record.label, set()).add(record.image.partition("/")[0])
    shared = sorted(label for label, folders in where.items() if len(folders) > 1)
    if len(shared) > 1:
        folders = sorted({folder for label in shared for folder in where[label]})
        raise DataError(
            f"{len(shared)} classes ({listed(map(repr, shared))}) lie in more than one of the "
            f"folders {listed(map(repr, folders))}, and the study does not say how its images are "
            f"divided: split: folders keeps these parts; split: {_EXAMPLE}, written out, divides "
            "all images anew, so that a network trained on the given train would be measured on it"
        )


def check_classes(records: Sequence[Record]) -> None:
    """Refuse parts that would be taken for classes, for image files lie directly in one of them.

    Raises:
        DataError: every folder of the root is called as a part is.
    """
    labels = sorted({record.label for record in records if record.part is None})
    if len(labels) > 1 and all(map(part_of, labels)):
        direct = [record.image for record in records if record.image.count("/") == 1]
        such = f", such as {direct[0]!r}" if direct else ""
        raise DataError(
            f"the classes would be {listed(map(repr, labels))}, which are parts of a data set; "
            f"image files lie directly in one of them{such}: put them into class folders, as in "
            "train/class/image, or remove them"
        )


def draw_classes(
    records: Sequence[Record],
    count: int,
    seed: int,
    at_least: int,
    in_parts: Sequence[str] = (),
) -> list[Record]:
    """The records of classes that are drawn at random among those with enough images.

    Args:
        records: the images.
        count: how many classes.
        seed: another seed, other classes.
        at_least: images that a class needs.
        in_parts: parts in each of which it needs one.

    Raises:
        DataError: there are fewer such classes.
    """
    by_class: dict[str, list[Record]] = {}
    for record in records:
        by_class.setdefault(record.label, []).append(record)
    enough = [
        label
        for label, members in by_class.items()
        if len(members) >= at_least and {*in_parts} <= {record.part for record in members}
    ]
    if len(enough) < count:
        having = f"image in each of {', '.join(in_parts)}" if in_parts else f"{at_least} images"
        raise DataError(
            f"{count} classes are to be drawn, but only {len(enough)} of {len(by_class)} have the "
            f"{having} that the split needs; lower data.classes, or add images"
        )
    ordered = sorted(enough, key=lambda label: digest(str(seed), "class", label))
    drawn = set(ordered[:count])
    return [record for record in records if record.label in drawn]

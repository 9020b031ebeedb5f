"""How many images a study would have: from the names in its folder, or imagined."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle

from lookaway.data.folder import ImageSource, Record
from lookaway.data.samples import PREFIX, open_source
from lookaway.data.split import PARTS, part_sizes
from lookaway.errors import InputError
from lookaway.study.images import divide
from lookaway.study.settings import FolderSplit, Study

SAMPLE = f"{PREFIX}lfw_subset"  # in place of images that are imagined


@dataclass(frozen=True)
class Counts:
    """The images of a study.

    Attributes:
        read: how many are read before classes are drawn.
        classes: names, in order.
        parts: how many images train, val and test have.
        source: of the images, or of others in place of imagined ones.
        some: a few records, to try the study on; those of a folder have no hash yet.
    """

    read: int
    classes: Sequence[str]
    parts: Mapping[str, int]
    source: ImageSource
    some: list[Record]

    @property
    def used(self) -> int:
        """How many images the study uses."""
        return sum(self.parts.values())


def listed(study: Study, classes: int | None, some: int) -> Counts:
    """Count the images of the study's folder by their names; none is read.

    Args:
        study: checked settings.
        classes: in place of ``data.classes``.
        some: how many records to give, about.

    Raises:
        DataError: there are too few images.
    """
    source = open_source(study.data.source, study.data.range)
    found = source.listed()
    used, parts = divide(study, found, classes or study.data.classes)
    test = parts["test"]
    return Counts(
        read=len(found),
        classes=sorted({record.label for record in used}),
        parts={part: len(records) for part, records in parts.items()},
        source=source,
        some=spread(test, some),
    )


def imagined(study: Study, images: int, classes: int | None, some: int) -> Counts:
    """Count images that are not there, spread evenly over classes.

    Args:
        study: checked settings.
        images: how many.
        classes: of how many classes; None: as many as the study draws.
        some: how many records to give, about.

    Raises:
        InputError: the numbers make no study.
    """
    count = classes or study.data.classes
    if count is None:
        raise InputError("--images needs --classes, for the study draws no number of them")
    if isinstance(study.data.split, FolderSplit):
        raise InputError(
            f"--images imagines no parts, which split: {study.data.split.by} keeps; give a study "
            "with split: {train: 0.8, val: 0.1, test: 0.1}, or shares like theirs"
        )
    fractions = {part: float(getattr(study.data.split, part)) for part in PARTS}
    needed = sum(fraction > 0 for fraction in fractions.values())
    if images < needed * count:
        raise InputError(
            f"{images} images are too few for {count} classes: the split needs at least {needed} "
            f"of each, {needed * count} in all"
        )
    each, more = divmod(images, count)
    parts = dict.fromkeys(PARTS, 0)
    for size, alike in ((each + 1, more), (each, count - more)):
        if alike:
            for part, part_size in part_sizes(size, fractions).items():
                parts[part] += alike * part_size
    names = [f"n{index:06d}" for index in range(count)]
    source = open_source(SAMPLE)
    sample = [
        replace(record, label=name)
        for record, name in zip(spread(source.listed(), some), cycle(names), strict=False)
    ]
    return Counts(images, names, parts, source, sample)


def spread(records: Sequence[Record], count: int) -> list[Record]:
    """So many records from all over, or all where there are fewer."""
    return list(records[:: max(1, len(records) // count)][:count])

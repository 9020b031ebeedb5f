"""The people of a study's galleries: which images are enrolled, and the templates made of them."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, islice

import torch
from torch import Tensor

from lookaway.data.folder import Record
from lookaway.errors import LookawayError, ModelError, listed, shown
from lookaway.hashing import digest
from lookaway.models.classifier import Classifier
from lookaway.models.gallery import Embedder, Gallery
from lookaway.models.stages import AT_ONCE
from lookaway.study.images import Grids, Images, Variant
from lookaway.study.settings import ModelSpec


def enrolled(variant: Variant, count: int | None, seed: int) -> list[Record]:
    """The train images of a variant that are enrolled, in their order.

    Args:
        variant: of the images.
        count: of each person, drawn by a hash of the seed and the image's name; None: all.
        seed: of the study's division.
    """
    train = variant.parts["train"]
    if count is None:
        return train
    ordered = sorted(train, key=lambda each: (each.label, digest(str(seed), "enrol", each.image)))
    drawn = {
        record.image
        for _, persons in groupby(ordered, key=lambda record: record.label)
        for record in islice(persons, count)
    }
    return [record for record in train if record.image in drawn]


def check_enrolment(images: Images, spec: ModelSpec, seed: int) -> None:
    """Refuse people who cannot be enrolled, or compared with a template of other images.

    Raises:
        ModelError: a person has no image to enrol, or fewer than asked for, or a test image is all
            that its own template is made of.
    """
    for variant in images.variants.values():
        chosen = enrolled(variant, spec.enrol, seed)
        contents: dict[str, list[str]] = {}
        for record in chosen:
            contents.setdefault(record.label, []).append(record.sha256)
        few = [
            f"{shown(label, 40)} ({len(contents.get(label, []))})"
            for label in images.classes
            if len(contents.get(label, [])) < (spec.enrol or 1)
        ]
        if few:
            raise ModelError(
                f"{spec.name!r} enrols {spec.enrol or 'at least 1'} of each person's train images, "
                f"and {len(few)} of {len(images.classes)} people have fewer: {listed(few)}; add "
                "images, remove these people, or change enrol or split"
            )
        alone = [
            shown(record.image, 60)
            for record in variant.parts["test"]
            if {record.sha256} == {*contents[record.label]}
        ]
        if alone:
            raise ModelError(
                f"{len(alone)} test images are the only content that their person's template would "
                f"be made of, and a comparison of an image with itself says nothing: "
                f"{listed(alone)}; remove the copies, or enrol more images"
            )


def enrol(
    embedder: Embedder,
    images: Images,
    variant: str,
    records: list[Record],
    size: int,
    told: Callable[[int], None],
) -> Tensor:
    """The templates of a study's classes, (K, D) float32 of length 1, from some of its records.

    Raises:
        ModelError: an image's embedding, or the mean of a person's, has the length zero; the
            images are named.
    """
    grids = Grids(images, variant, records, size)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(records), AT_ONCE):
            yield _batch(grids, range(start, min(start + AT_ONCE, len(records))))
            told(min(AT_ONCE, len(records) - start))

    try:
        return Gallery.enrol(embedder, batches(), names=images.classes).templates
    except ModelError as error:
        names = [record.image for record in records]
        raise_named(error, embedder, names, lambda place: _batch(grids, [place])[0], "to enrol")
        raise


def raise_named(
    error: ModelError,
    network: Embedder | Classifier,
    names: Sequence[str],
    pixels: Callable[[int], Tensor],
    what: str,
) -> None:
    """Raise a network's error again with the images named to which it gives no direction, if any.

    ``pixels`` gives (1, C, H, W) of a place among the names; ``what`` says what they are for.

    Raises:
        ModelError: there are such images.
    """
    bad = [
        shown(name, 60)
        for place, name in enumerate(names)
        if not _has_direction(network, pixels(place))
    ]
    if bad:
        raise ModelError(
            f"{network.name!r} gives no direction for {len(bad)} of "
            f"{len(names)} images {what}: {listed(bad)}; remove them ({error})"
        ) from error


def _batch(grids: Grids, places: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Pixels (n, C, H, W) in [0, 1] and the places of the people (n,)."""
    pixels, persons = zip(*(grids[place] for place in places), strict=True)
    return torch.stack(pixels).float() / 255, torch.tensor(persons)


def _has_direction(network: Embedder | Classifier, pixels: Tensor) -> bool:
    try:
        with torch.no_grad():
            network(pixels)
    except LookawayError:
        return False
    return True

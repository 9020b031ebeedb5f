"""Which of a network's outputs are a study's classes, and what the others are called."""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from lookaway.errors import ModelError, listed, nearest, shown
from lookaway.models.class_names import Names, natural_order, output_names, read_names
from lookaway.models.classifier import Classifier
from lookaway.models.gallery import Gallery
from lookaway.places import local_path
from lookaway.study.json_files import OutputOrder
from lookaway.study.settings import ModelSpec


class ClassOrder(NamedTuple):
    """Which outputs of a network are kept as which classes, and what says so."""

    outputs: OutputOrder
    source: str


def find_order(
    spec: ModelSpec,
    clf: Classifier,
    classes: Sequence[str],
    counted: Sequence[str] | None = None,
) -> ClassOrder | None:
    """Which outputs of a model that is only loaded are the study's classes.

    Args:
        spec: the model; its ``classes`` are used, else those that its checkpoint names.
        clf: the model, with all its outputs.
        classes: the study's, in order.
        counted: every class in the order in which a dataset numbers them; None: it does not.

    Returns:
        None where nothing says so, or the model is trained: its outputs are the study's classes.

    Raises:
        ModelError: the study has classes that the network has not, or what says so does not fit.
    """
    if spec.train != "none":
        return None
    found = _names(spec, clf, classes)
    if found is None and isinstance(clf, Gallery):
        found = "the gallery's names", output_names(list(clf.names))
    if found is None and counted is not None and len(counted) == clf.num_classes:
        found = "the dataset's classes", output_names(list(counted))
    if found is None:
        if spec.other_classes == "keep":
            raise ModelError(
                f"other_classes: keep needs to know what the outputs of {spec.name!r} are; give "
                "classes"
            )
        return None
    source, names = found
    _check_count(spec, clf.num_classes, names, source)
    places = _places(spec, names, classes, source)
    if spec.other_classes == "cut":
        return ClassOrder(OutputOrder(logits=places, others=[]), source)
    rest = [place for place in range(clf.num_classes) if place not in set(places)]
    nameless = [place for place in rest if place not in names]
    if nameless:
        raise ModelError(
            f"other_classes: keep needs a name for every output of {spec.name!r}; {source} has "
            f"none for {len(nameless)} of them, such as {nameless[0]}"
        )
    others = [names[place][0] for place in rest]
    return ClassOrder(OutputOrder(logits=[*places, *rest], others=others), source)


def _names(spec: ModelSpec, clf: Classifier, classes: Sequence[str]) -> tuple[str, Names] | None:
    """The names of a model's outputs, and what says so."""
    given = spec.classes
    if given is None:
        named = clf.output_names
        return (f"the checkpoint's {named[0]}", named[1]) if named is not None else None
    if given == "natural":
        return "classes: natural", output_names(natural_order(classes))
    if given == "imagenet":
        return _imagenet(spec, clf.num_classes)
    if isinstance(given, str):
        path = local_path(given, "a file of classes")
        return f"the file {path.name!r}", read_names(path)
    return "classes", output_names(given)


def _imagenet(spec: ModelSpec, count: int) -> tuple[str, Names]:
    """The synsets of the ImageNet that has so many classes, in the order of timm's networks."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset({"num_classes": count})
    if subset is None:
        raise ModelError(
            "classes: imagenet is for networks with the outputs of an ImageNet (1000 for 1k, 11221 "
            "for 21k-miil, 11821 for 12k, 21841 for 22k, 21842 for 22k-ms, 21843 for 21k-goog); "
            f"{spec.name!r} has {count}"
        )
    return f"timm's order of {subset}", output_names(ImageNetInfo(subset).label_names())


def _check_count(spec: ModelSpec, count: int, names: Names, source: str) -> None:
    """Refuse names of other outputs than a network has; a mapping may name some of them."""
    whole = max(names) == len(names) - 1
    if max(names) >= count or (whole and len(names) < count):
        raise ModelError(
            f"{source} names {len(names)} outputs"
            + ("" if whole else f", up to number {max(names)}")
            + f", but {spec.name!r} has {count}; `classes` takes a name for each output, in the "
            "network's order"
        )


def _places(spec: ModelSpec, names: Names, classes: Sequence[str], source: str) -> list[int]:
    """The output of each class of the study."""
    columns = max(map(len, names.values()))
    found = [_column(names, column) for column in range(columns)]
    best = max(found, key=lambda column: sum(_same(name) in column for name in classes))
    missing = [name for name in classes if _same(name) not in best]
    if missing:
        near = shown(nearest(missing[0], [each[0] for each in names.values()]))
        near = f" {near}" if near else ""
        lacks = listed(repr(shown(name, 60)) for name in missing)
        has = listed(shown(each[0], 40) for each in names.values())
        raise ModelError(
            f"{spec.name!r} does not know {len(missing)} of the images' {len(classes)} classes: "
            f"{lacks}.{near} By {source} it has {has}; `classes` says it otherwise: names in the "
            "network's order as the images' folders have them, or a file of them"
        )
    places = [best[_same(name)] for name in classes]
    twice = [name for name, its in zip(classes, places, strict=True) if len(its) > 1]
    if twice:
        raise ModelError(
            f"{source} has the name {shown(twice[0], 60)!r} for several outputs of {spec.name!r}: "
            f"{', '.join(map(str, best[_same(twice[0])]))}"
        )
    return [its[0] for its in places]


def _column(names: Names, column: int) -> dict[str, list[int]]:
    """The outputs of each name, of those that stand in one column."""
    found: dict[str, list[int]] = {}
    for place, several in names.items():
        if column < len(several):
            found.setdefault(_same(several[column]), []).append(place)
    return found


def _same(name: str) -> str:
    """A name in the form in which it is compared: systems write accents in two ways."""
    return unicodedata.normalize("NFC", name)

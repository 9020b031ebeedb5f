"""A study's networks as they are before training, and what of them was taken from where."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lookaway.errors import ModelError, listed, shown
from lookaway.models.classifier import Classifier
from lookaway.models.gallery import Embedder, Gallery, load_embedder
from lookaway.models.own import build, own_classifier
from lookaway.models.token_grid import check_tokens
from lookaway.models.zoo import load_classifier
from lookaway.study.class_order import ClassOrder, find_order
from lookaway.study.json_files import OutputOrder
from lookaway.study.settings import GIVEN, ModelSpec, Study


def load_model(
    study: Study,
    spec: ModelSpec,
    classes: list[str] | None,
    known: Mapping[str, OutputOrder] | None = None,
    given: Mapping[str, Classifier | Embedder] | None = None,
    counted: Sequence[str] | None = None,
) -> tuple[Classifier, ClassOrder | None]:
    """Load a model of a study, before training.

    Args:
        study: the settings.
        spec: the model.
        classes: the study's classes; None where the images could not be read.
        known: the plan's ``class_order``, where there is a plan; None: it is found anew.
        given: classifiers and embedders of the caller's, by name; they are copied.
        counted: every class in the order in which networks count them; None: sorted names.

    Returns:
        The model, its logits in the order of the study's classes, and what says so. One of
        enrolled people has templates at random as yet.

    Raises:
        ModelError: it cannot be loaded, or knows other classes, or another number of them.
    """
    own = spec.timm is None
    loaded = spec.train == "none" and (own or spec.checkpoint is not None or spec.pretrained)
    binary = spec.outputs == "binary"
    if binary and classes is not None and len(classes) != 2:
        raise ModelError(
            f"{spec.name!r} has outputs: binary, which tells 2 classes apart, but the images have "
            f"{len(classes)}"
        )
    count = None if loaded or classes is None else 1 if binary else len(classes)
    if spec.train == "enrol":
        return _gallery(_embedder(study, spec, given or {}), classes or ["0", "1"]), None
    clf = _network(study, spec, count, given or {})
    if clf.outputs.task == "labels" and study.explain.explained_class != ["label"]:
        raise ModelError(
            f"{spec.name!r} gives several labels at once, so no one class is predicted; set "
            "explain: {explained_class: [label]}"
        )
    if own and not spec.pretrained and loaded and classes is not None:
        _choose(clf, range(min(len(classes), clf.num_classes)))  # in a trial any of them will do
    if known is not None:
        _choose(clf, known[spec.name].logits if spec.name in known else None)
        return clf, None
    order = None
    if classes is not None:
        order = find_order(spec, clf, classes, counted)
        _choose(clf, order.outputs.logits if order is not None else None)
        others = order.outputs.others if order is not None else []
        if clf.num_classes != len(classes) + len(others):
            raise ModelError(
                f"{spec.name!r} tells {clf.num_classes} classes apart, but the images have "
                f"{len(classes)} ({listed(shown(name, 60) for name in classes)}); "
                "`classes` says which of its outputs these are (names in the network's order, a "
                "file of them, or imagenet), or with train: head it gets a new classification layer"
            )
    return clf, order


def _taken(study: Study, spec: ModelSpec) -> dict[str, Any]:
    """What every kind of network is loaded with."""
    return {
        "checkpoint": spec.checkpoint,
        "averaged": spec.averaged,
        "mean": spec.mean,
        "std": spec.std,
        "input_size": spec.input_size,
        "channels": study.data.channels,
        "tokens": check_tokens(spec.tokens),
        "seed": study.random("weights", spec),
    }


def _embedder(
    study: Study, spec: ModelSpec, given: Mapping[str, Classifier | Embedder]
) -> Embedder:
    """The network of a model whose people are enrolled."""
    if spec.timm is None:
        return Embedder.of(_network(study, spec, None, given))
    found = load_embedder(spec.timm, pretrained=spec.pretrained, **_taken(study, spec))
    found.network.name = spec.name
    return found


def _gallery(embedder: Embedder, classes: Sequence[str]) -> Gallery:
    """A gallery of random templates, always the same ones, until people are enrolled."""
    draw = torch.Generator().manual_seed(0)
    length = embedder.network.classes_at(None)
    return Gallery(embedder, torch.randn(len(classes), length, generator=draw), classes)


def _network(
    study: Study,
    spec: ModelSpec,
    count: int | None,
    given: Mapping[str, Classifier | Embedder],
) -> Classifier:
    """A model as a timm name, code of the user's own or the caller's own classifier gives it."""
    taken = _taken(study, spec) | {"outputs": None if spec.outputs == "auto" else spec.outputs}
    if spec.timm is not None:
        clf = load_classifier(spec.timm, num_classes=count, pretrained=spec.pretrained, **taken)
        clf.name = spec.name
        return clf
    if spec.module == GIVEN and spec.of_network not in given:
        raise ModelError(
            f"{spec.name!r} is a network that is given in Python: "
            f"run_study(…, models={{{spec.of_network!r}: classifier}})"
        )
    made = (
        _copied(given[spec.of_network])
        if spec.module == GIVEN
        else build(str(spec.module), spec.arguments, taken["seed"])
    )
    enrols = spec.train == "enrol"
    if isinstance(made, Embedder):
        if not enrols:
            raise ModelError(f"{spec.name!r} gives embeddings, not classes; use train: enrol")
        made = made.network
    elif enrols and isinstance(made, Gallery):
        raise ModelError(
            f"{spec.name!r} is a gallery, which has its templates; use train: none, or give the "
            "Embedder alone"
        )
    return own_classifier(made, spec.name, num_classes=count, **taken)


def _copied(clf: Classifier | Embedder) -> Classifier | Embedder:
    """A copy of a classifier, for a study folds, casts and trains its own."""
    try:
        return copy.deepcopy(clf)
    except Exception as error:  # what a network holds may refuse in its own way
        raise ModelError(
            f"{clf.name!r} cannot be copied ({type(error).__name__}: {shown(str(error))}); name "
            "what builds it in the study: module: package.nets:build"
        ) from error


def _choose(clf: Classifier, places: Sequence[int] | None) -> None:
    """Choose logits, by their places among those that are chosen already."""
    if places is not None:
        clf.choose(places if clf.logits is None else [clf.logits[place] for place in places])

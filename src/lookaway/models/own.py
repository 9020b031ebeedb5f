"""Networks of a user's own, which are in no zoo: built by their code, with weights of theirs."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn

from lookaway.errors import LookawayError, ModelError, shown
from lookaway.hashing import digest, seed_from
from lookaway.models.channels import check_channels
from lookaway.models.checkpoint import read_checkpoint
from lookaway.models.classifier import Classifier
from lookaway.models.hooks import evaluating, hooked
from lookaway.models.map_layout import Tokens
from lookaway.models.outputs import Outputs, output_tensor
from lookaway.models.randomness import seeded
from lookaway.models.weights import fit_weights, weights_hash
from lookaway.models.zoo import classifier_name
from lookaway.places import local_path
from lookaway.registry import imported

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # in what Python prints of a function


def build(name: str, arguments: Mapping[str, Any], seed: int) -> nn.Module:
    """Build a network by ``package.module:build``, whatever that draws at random seeded.

    Raises:
        InputError: there is no such module, or nothing of that name in it.
        ModelError: it fails, or makes no network.
    """
    make: Callable[..., Any] = imported(name, "network")
    try:
        with seeded(seed):
            made = make(**arguments)
    except LookawayError:
        raise
    except Exception as error:  # a user's code fails in its own way
        told = f"{type(error).__name__}: {shown(str(error), 500)}"
        raise ModelError(f"{name!r} fails with the arguments {dict(arguments)}: {told}") from error
    if not isinstance(made, nn.Module):
        raise ModelError(f"{name!r} makes a {type(made).__name__}, which is no torch.nn.Module")
    return made


def own_classifier(
    made: nn.Module,
    name: str,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    input_size: int | None = None,
    channels: int = 3,
    outputs: str | None = None,
    tokens: Tokens | None = None,
    checkpoint: str | Path | None = None,
    averaged: bool | None = None,
    num_classes: int | None = None,
    seed: int = 0,
) -> Classifier:
    """A classifier of a network that may be changed, on the CPU and in eval mode.

    Args:
        made: the network; or a classifier, which has its mean, std, size and outputs already.
        name: for errors.
        mean: of the channels; needed for a network, for a wrong guess would go unnoticed.
        std: the same.
        input_size: side in px that it wants; None: as images come.
        channels: that the images have.
        outputs: see ``Classifier``.
        tokens: the same.
        checkpoint: its weights; it must fit. None: they are there already.
        averaged: see ``load_classifier``.
        num_classes: outputs that it is to have, so that it can be trained; a linear classification
            layer of another size gives way to a new, seeded one. None: those that it has.
        seed: of a new layer.

    Raises:
        ModelError: it cannot be used so.
        WeightsError: the checkpoint does not fit.
    """
    if isinstance(made, Classifier):
        said: dict[str, object] = {"mean": mean, "std": std, "input_size": input_size}
        said |= {"outputs": outputs, "tokens": tokens}
        twice = [key for key, value in said.items() if value is not None]
        if twice:
            raise ModelError(
                f"{name!r} is a lookaway.Classifier, which has {', '.join(twice)} inside; leave "
                "that out"
            )
        clf = made
    elif mean is None or std is None:
        raise ModelError(
            f"{name!r} needs mean and std, those that it was trained with: [0, 0, 0] and "
            "[1, 1, 1] where it takes pixels in [0, 1] as they are"
        )
    else:
        clf = Classifier(
            made,
            mean=check_channels("mean", mean, channels),
            std=check_channels("std", std, channels),
            input_size=input_size,
            outputs=outputs,
            channels=channels,
            tokens=tokens,
        )
    if clf.channels != channels:
        raise ModelError(
            f"{name!r} takes images of {clf.channels} channels, the study's have {channels}"
        )
    clf.name = name
    clf.cpu().eval()
    if checkpoint is not None:
        _load(clf, local_path(checkpoint, "a checkpoint"), averaged, num_classes)
    if num_classes is not None:
        _resize_head(clf, num_classes, seed)
    return clf


def classification_layer(clf: Classifier) -> str:
    """The name of a network's classification layer: the linear one whose output is its logits.

    Raises:
        ModelError: it does not end in one.
    """
    module = clf.module
    if hasattr(module, "pretrained_cfg"):
        return classifier_name(module)
    linear = [name for name, part in module.named_modules() if isinstance(part, nn.Linear)]
    given: list[tuple[str, Tensor]] = []

    def note(name: str, _layer: nn.Module, output: Tensor) -> None:
        given.append((name, output))

    with evaluating(module), torch.no_grad(), hooked(module, linear, note):
        logits = output_tensor(module(clf.blank()), clf.name)
    found = [name for name, output in given if output.data_ptr() == logits.data_ptr()]
    if len(found) != 1:
        raise ModelError(
            f"{clf.name!r} does not end in one linear layer, which train: head would train and a "
            "new number of classes would replace; use train: all or none, with as many outputs as "
            "there are classes"
        )
    return found[0]


def identity(clf: Classifier) -> str:
    """SHA-256 of what a network of a user's own is.

    That is its weights, its printed structure, the methods of its parts' own classes, what it takes
    and what its outputs mean, with a gallery's templates. Other code is not seen.
    """
    inside = [clf.mean, clf.std, clf.input_size, clf.channels, clf.logits, type(clf).__name__]
    printed = _ADDRESS.sub("", repr(clf.module))
    outputs = [
        digest(value.detach().cpu().numpy().tobytes()) if isinstance(value, Tensor) else str(value)
        for value in vars(clf.outputs).values()
    ]
    return digest(
        weights_hash(clf.module), printed, json.dumps(inside), *outputs, *_methods(clf.module)
    )


def _methods(module: nn.Module) -> Iterator[str]:
    """What the methods of a network's classes do, of those that are not PyTorch's or timm's."""
    kinds = {kind for part in module.modules() for kind in type(part).__mro__}
    for kind in sorted(kinds, key=lambda kind: (kind.__module__, kind.__qualname__)):
        if kind.__module__.partition(".")[0] not in ("builtins", "torch", "timm", "abc"):
            for name, value in sorted(vars(kind).items()):
                inside = getattr(value, "__func__", getattr(value, "fget", value))
                if isinstance(code := getattr(inside, "__code__", None), CodeType):
                    yield f"{name} {_compiled(code)}"


def _compiled(code: CodeType) -> list[Any]:
    """What code does, as plain data that is the same in every process."""
    constants = [
        _compiled(each)
        if isinstance(each, CodeType)
        else sorted(map(repr, each))
        if isinstance(each, frozenset)
        else repr(each)
        for each in code.co_consts
    ]
    return [code.co_code.hex(), code.co_names, constants]


def _load(clf: Classifier, path: Path, averaged: bool | None, num_classes: int | None) -> None:
    """Load a checkpoint; one of the trunk alone will do where the last layer is to be trained."""
    found = read_checkpoint(path, averaged)
    new: list[str] = []
    if num_classes is not None:
        with suppress(ModelError):
            layer = classification_layer(clf)
            new = [key for key in clf.module.state_dict() if key.rpartition(".")[0] == layer]
    prefix = fit_weights(clf.module, found.weights, path.name, new)
    alone = bool(new) and {f"{prefix}{key}" for key in new}.isdisjoint(found.weights)
    clf.origin = replace(found.origin, prefix=prefix, new_head=alone)
    clf.output_names = found.names


def _resize_head(clf: Classifier, count: int, seed: int) -> None:
    """Give a network a new, seeded classification layer if it needs another size."""
    if clf.logits is not None or type(clf.outputs) is not Outputs:
        raise ModelError(
            f"{clf.name!r} is a gallery, or has chosen logits, and cannot be trained; use train: "
            "none"
        )
    if clf.num_classes == (2 if count == 1 else count):
        return
    name = classification_layer(clf)
    old = clf.module.get_submodule(name)
    if type(old) is not nn.Linear:
        raise ModelError(
            f"{clf.name!r} has {clf.num_classes} outputs for {count} classes, and its last layer "
            f"{name!r} is a {type(old).__name__}, not a plain nn.Linear; build it with {count}"
        )
    with seeded(seed_from(seed, "head")):
        new = nn.Linear(old.in_features, count, bias=old.bias is not None)
    clf.module.set_submodule(name, new.to(old.weight.dtype))
    clf.forget()

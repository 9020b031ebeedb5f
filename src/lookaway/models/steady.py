"""Networks that answer the same question in the same way each time."""

from typing import Any

import torch
from torch import Tensor, nn

from lookaway.errors import ModelError
from lookaway.models.classifier import Classifier
from lookaway.models.hooks import first_tensor, hooked

_TIMES = 3  # a draw may come out the same once


def check_steady(clf: Classifier, images: Tensor) -> None:
    """Refuse a network whose numbers for an image depend on anything but it and the weights.

    It is asked a few times, and once about the first image among others. What changes only after
    many calls cannot be seen in this way.

    Raises:
        ModelError: it keeps state between calls, draws at random, or mixes the images of a batch.
    """
    with torch.no_grad():
        before = {name: value.clone() for name, value in clf.module.named_buffers()}
        first, *others = [clf(images) for _ in range(_TIMES)]
    after = dict(clf.module.named_buffers())
    changed = [
        name
        for name, value in before.items()
        if name not in after or not torch.equal(after[name].nan_to_num(), value.nan_to_num())
    ]
    if changed:
        raise ModelError(
            f"{clf.name} keeps state between calls: {', '.join(changed[:3])} changes in eval mode; "
            "results would depend on the order of the images"
        )
    relative = _relative(clf)
    if not all(_same(first, other, relative) for other in others):
        raise ModelError(
            f"{clf.name} gives other logits for the same image when it is asked again: it keeps "
            "state between calls or draws at random (dropout that ignores eval mode?)"
        )
    _check_alone(clf, images[:1])


def _check_alone(clf: Classifier, image: Tensor) -> None:
    """Refuse a network that sees an image otherwise among others than alone, at any layer."""
    random = torch.Generator().manual_seed(1)
    dark = 0.4 * torch.rand(image.shape, generator=random).to(image)
    relative = _relative(clf)
    names = list(clf.trace((image.shape[2], image.shape[3])).layers)
    alone: list[Tensor] = []  # in the order of execution
    mixed: list[str] = []
    place = 0

    def keep(_name: str, _layer: nn.Module, output: Any) -> None:
        tensor = first_tensor(output)
        if tensor is not None:
            alone.append(tensor[:1].detach().clone())  # what comes after may write into it

    def compare(name: str, _layer: nn.Module, output: Any) -> None:
        nonlocal place
        tensor = first_tensor(output)
        if tensor is not None and place < len(alone):
            if not _same(alone[place], tensor[:1], relative):
                mixed.append(name)
            place += 1

    with torch.no_grad():
        with hooked(clf.module, names, keep):
            first = clf(image)
        with hooked(clf.module, names, compare):
            among = clf(torch.cat([image, dark]))
    if mixed or not _same(first, among[:1], relative):
        where = f" from layer {mixed[0]!r} on" if mixed else ""
        raise ModelError(
            f"{clf.name} gives other numbers for an image in a batch than alone{where}: they would "
            "depend on which images stand together (batch norm without running statistics?)"
        )


def _relative(clf: Classifier) -> float:
    """How far numbers may be apart by what convolutions round otherwise at other times."""
    dtypes = {each.dtype for each in clf.module.parameters()}
    exact = clf.precision == "float32" and dtypes <= {torch.float32, torch.float64}
    return 1e-3 if exact else 5e-2


def _same(first: Tensor, second: Tensor, relative: float) -> bool:
    """Whether two tensors are equal but for rounding."""
    if first.shape != second.shape:
        return False
    slack = relative / 10 * float(first.abs().max()) if first.numel() else 0.0
    return torch.allclose(first.float(), second.float(), rtol=relative, atol=slack)

"""Batch norm folded into the convolution before it: the same network in fewer passes over memory.

For networks that a study loaded for itself; a user's own network is never changed.
"""

from collections import Counter
from collections.abc import Collection
from typing import Any, cast

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from lookaway.models.classifier import Classifier
from lookaway.models.layers import evaluating, first_tensor, hooked

_TOLERANCE = 1e-4  # of the largest logit


class FoldedNorm(nn.Module):
    """What is left of a batch norm once its scale and shift are in the convolution.

    It keeps the norm's place and the name of its activation, so that layers keep their names.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.drop = getattr(norm, "drop", nn.Identity())
        self.act = getattr(norm, "act", nn.Identity())
        self.training = norm.training

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation, if there was one."""
        activated: Tensor = self.act(self.drop(x))
        return activated


def fold_batch_norm(clf: Classifier, keep: Collection[str] = ()) -> int:
    """Fold every batch norm that directly follows a convolution, in place.

    The logits are compared before and after; where they differ by more than rounding (the
    convolution's output was used elsewhere too), everything is put back.

    Args:
        clf: a classifier whose network may be changed.
        keep: layers whose outputs must stay; a convolution that gives one is left alone.

    Returns:
        How many were folded.
    """
    module = clf.module
    sides = clf.input_size or (224, 224)
    random = torch.Generator().manual_seed(0)
    probe = torch.rand(2, 3, *sides, generator=random).to(clf.device)
    with torch.no_grad():
        before = clf(probe)
        pairs = _pairs(module, clf.prepare(probe[:1]), keep)
        undo = [_fold(module, conv, norm) for conv, norm in pairs]
        difference = (clf(probe) - before).abs().max()
        if difference > _TOLERANCE * before.abs().max().clamp(min=1.0):
            for (conv, norm), (weight, bias, original) in zip(pairs, undo, strict=True):
                whole = cast(nn.Conv2d, module.get_submodule(conv))
                whole.register_parameter("weight", cast(nn.Parameter, weight))
                whole.register_parameter("bias", cast(nn.Parameter | None, bias))
                module.set_submodule(norm, original)
            return 0
    return len(pairs)


def _pairs(module: nn.Module, pixels: Tensor, keep: Collection[str]) -> list[tuple[str, str]]:
    """Convolutions and the batch norms that take their very outputs; each runs once."""
    outputs: list[tuple[str, Tensor, int]] = []
    kept: list[tuple[Tensor, int]] = []
    pairs: list[tuple[str, str]] = []
    runs: dict[str, int] = {}
    kinds = {nn.BatchNorm2d, BatchNormAct2d}
    names = [
        name
        for name, part in module.named_modules()
        if isinstance(part, nn.Conv2d) or (type(part) in kinds and part.running_mean is not None)
    ]

    def before_norm(name: str, inputs: tuple[Any, ...]) -> None:
        for conv, output, version in outputs:
            if inputs[0] is output and output._version == version:
                pairs.append((conv, name))

    def note(name: str, layer: nn.Module, output: Any) -> None:
        runs[name] = runs.get(name, 0) + 1
        if isinstance(layer, nn.Conv2d):
            outputs.append((name, output, output._version))
        tensor = first_tensor(output)
        if name in keep and tensor is not None:
            kept.append((tensor, tensor._version))

    handles = [
        module.get_submodule(name).register_forward_pre_hook(
            lambda _layer, inputs, name=name: before_norm(name, inputs)
        )
        for name in names
        if not isinstance(module.get_submodule(name), nn.Conv2d)
    ]
    try:
        with evaluating(module), hooked(module, list({*names, *keep}), note):
            module(pixels)
    finally:
        for handle in handles:
            handle.remove()
    wanted = {
        name
        for name, output, version in outputs
        if any(output is other and version == at for other, at in kept)
    }
    followers = Counter(conv for conv, _ in pairs)
    return [
        (conv, norm)
        for conv, norm in pairs
        if runs[conv] == runs[norm] == followers[conv] == 1 and conv not in wanted
    ]


def _fold(module: nn.Module, conv: str, norm: str) -> tuple[Tensor, Tensor | None, nn.Module]:
    """Fold one pair; what is needed to undo it."""
    whole = cast(nn.Conv2d, module.get_submodule(conv))
    original = cast(nn.BatchNorm2d, module.get_submodule(norm))
    undo = (whole.weight, whole.bias, original)
    mean, variance = cast(Tensor, original.running_mean), cast(Tensor, original.running_var)
    weight, bias = fuse_conv_bn_weights(
        whole.weight.double(),
        None if whole.bias is None else whole.bias.double(),
        mean.double(),
        variance.double(),
        original.eps,
        original.weight.double() if original.affine else None,
        original.bias.double() if original.affine else None,
    )
    folded, shift = torch.empty_like(whole.weight), weight.new_empty(bias.shape).to(whole.weight)
    whole.weight = nn.Parameter(folded.copy_(weight), requires_grad=False)  # memory format kept
    whole.bias = nn.Parameter(shift.copy_(bias), requires_grad=False)
    module.set_submodule(norm, FoldedNorm(original))
    return undo

"""Batch norm folded into the convolution before it: the same network in fewer passes over memory.

For networks that a study loaded for itself; a user's own network is never changed.
"""

from collections import Counter
from collections.abc import Collection
from typing import Any, cast

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from lookaway.models.classifier import Classifier
from lookaway.models.hooks import evaluating, first_tensor, hooked

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


def fold_batch_norm(
    clf: Classifier, keep: Collection[str] = (), shift: Collection[str] = ()
) -> int:
    """Fold every batch norm that directly follows a convolution, in place.

    The logits are compared before and after; where they differ by more than rounding (the
    convolution's output was used elsewhere too), everything is put back.

    Args:
        clf: a classifier whose network may be changed.
        keep: layers whose outputs must stay; a convolution that gives one is left alone.
        shift: layers whose outputs may be scaled and shifted by folding; where that happens,
            ``clf.shifts`` holds the shift (C,) by the layer's name, for explainers that undo it.

    Returns:
        How many were folded.
    """
    module = clf.module
    random = torch.Generator().manual_seed(0)
    probe = torch.rand(2, clf.channels, *clf.sides_at(), generator=random).to(clf.device)
    with torch.no_grad():
        before = clf(probe)
        pairs, names = _pairs(module, clf.prepare(probe[:1]), keep, shift)
        undo = [_fold(module, conv, norm) for conv, norm in pairs]
        if not _same_logits(clf, probe, before):
            for (conv, norm), (weight, bias, original) in zip(pairs, undo, strict=True):
                whole = cast(nn.Conv2d, module.get_submodule(conv))
                whole.register_parameter("weight", cast(nn.Parameter, weight))
                whole.register_parameter("bias", cast(nn.Parameter | None, bias))
                module.set_submodule(norm, original)
            return 0
    for (conv, _), (*_, folded) in zip(pairs, undo, strict=True):
        for name in names[conv]:
            clf.shifts[name] = _scale_and_shift(folded)[1]
    return len(pairs)


def before_norms(clf: Classifier, layers: Collection[str]) -> list[str]:
    """Those of some layers whose outputs folding would scale and shift, in order."""
    with torch.no_grad():
        pairs, names = _pairs(clf.module, clf.blank(), (), layers)
    return [name for name in layers if any(name in names[conv] for conv, _ in pairs)]


def _same_logits(clf: Classifier, probe: Tensor, before: Tensor) -> bool:
    """Whether a folded network still gives what it gave."""
    try:
        difference = (clf(probe) - before).abs().max()
    except Exception:  # noqa: BLE001  a network that asks its norms for what they no longer have
        return False
    return bool(difference <= _TOLERANCE * before.abs().max().clamp(min=1.0))


def compute_in(clf: Classifier, precision: str) -> None:
    """Let a network, its parameters frozen, compute in a precision, in place.

    For bfloat16 the weights of convolutions and fully connected layers are cast once; norms and
    whatever else the network holds keep their precision, under autocast. Logits, losses and maps
    are float32 as ever.
    """
    if precision == "bfloat16":
        for part in clf.module.modules():
            if isinstance(part, nn.Conv2d | nn.Linear):
                part.to(torch.bfloat16)
    clf.precision = precision


def _pairs(
    module: nn.Module, pixels: Tensor, keep: Collection[str], shift: Collection[str]
) -> tuple[list[tuple[str, str]], dict[str, list[str]]]:
    """Convolutions and the batch norms that take their very outputs; each runs once.

    And for each convolution the layers of ``keep`` and ``shift`` that give its output.
    """
    outputs: list[tuple[str, Tensor, int]] = []
    kept: list[tuple[str, Tensor, int]] = []
    pairs: list[tuple[str, str]] = []
    runs: dict[str, int] = {}
    watched = {*keep, *shift}
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
        if name in watched and tensor is not None:
            kept.append((name, tensor, tensor._version))

    handles = [
        module.get_submodule(name).register_forward_pre_hook(
            lambda _layer, inputs, name=name: before_norm(name, inputs)
        )
        for name in names
        if not isinstance(module.get_submodule(name), nn.Conv2d)
    ]
    try:
        with evaluating(module), hooked(module, list({*names, *watched}), note):
            module(pixels)
    finally:
        for handle in handles:
            handle.remove()
    given: dict[str, list[str]] = {
        name: [other for other, same, at in kept if output is same and version == at]
        for name, output, version in outputs
    }
    followers = Counter(conv for conv, _ in pairs)
    found = [
        (conv, norm)
        for conv, norm in pairs
        if runs[conv] == runs[norm] == followers[conv] == 1 and not {*given[conv]} & {*keep}
    ]
    return found, given


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """What a batch norm in eval mode multiplies each channel by and adds to it, (C,) float64."""
    mean, variance = cast(Tensor, norm.running_mean).double(), cast(Tensor, norm.running_var)
    scale = (variance.double() + norm.eps).rsqrt()
    if not norm.affine:
        return scale, -mean * scale
    scale = scale * norm.weight.detach().double()
    return scale, norm.bias.detach().double() - mean * scale


def _fold(module: nn.Module, conv: str, norm: str) -> tuple[Tensor, Tensor | None, nn.BatchNorm2d]:
    """Fold one pair; what is needed to undo it."""
    whole = cast(nn.Conv2d, module.get_submodule(conv))
    original = cast(nn.BatchNorm2d, module.get_submodule(norm))
    undo = (whole.weight, whole.bias, original)
    scale, offset = _scale_and_shift(original)
    weight = whole.weight.double() * scale[:, None, None, None]
    bias = offset if whole.bias is None else offset + whole.bias.double() * scale
    folded, shift = torch.empty_like(whole.weight), weight.new_empty(bias.shape).to(whole.weight)
    whole.weight = nn.Parameter(folded.copy_(weight), requires_grad=False)  # memory format kept
    whole.bias = nn.Parameter(shift.copy_(bias), requires_grad=False)
    module.set_submodule(norm, FoldedNorm(original))
    return undo

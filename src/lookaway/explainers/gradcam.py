"""Grad-CAM of any set of layers from one forward and one backward pass.

Selvaraju et al. 2017, eqs. 1 and 2: ReLU(Σ_c w_c A_c), w_c the mean over space of ∂logit/∂A_c.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lookaway.errors import LayerError, ModelError
from lookaway.explainers.base import Explainer, Explanation, Loss
from lookaway.models.classifier import Classifier
from lookaway.models.gradient import pixel_gradient
from lookaway.models.hooks import first_tensor, frozen, hooked, in_place_of

DEAD_BELOW = 1e-6


class GradCAM(Explainer):
    """Grad-CAM on logits, one map for each image and layer, keyed by layer name.

    The gradient is taken by a bias of zeros (N, C, 1, 1) added to each asked layer's output: its
    gradient is the sum over space of ∂logit/∂A_c, so no gradient of full size is kept, the trunk
    before the first asked layer needs no graph, and in-place activations behind a layer cannot
    change what was recorded. A layer that runs more than once in a pass is explained at its last
    run.
    """

    name = "gradcam"
    undoes_shifts = True

    def explain(
        self,
        clf: Classifier,
        images: Tensor,
        wanted: Sequence[Tensor | None],
        layers: str | Sequence[str],
    ) -> list[Explanation]:
        """Explain several classes of each image; see ``Explainer.explain``."""
        return self.explain_and_differentiate(clf, images, wanted, layers, [])[0]

    def explain_and_differentiate(
        self,
        clf: Classifier,
        images: Tensor,
        wanted: Sequence[Tensor | None],
        layers: str | Sequence[str],
        losses: Sequence[Loss],
    ) -> tuple[list[Explanation], list[Tensor]]:
        """All from one forward pass; see ``Explainer.explain_and_differentiate``."""
        size = (images.shape[2], images.shape[3])
        names = clf.trace(size).names(layers)
        activations: dict[str, Tensor] = {}
        biases: dict[str, Tensor] = {}

        def probe(name: str, _layer: nn.Module, output: Any) -> Any:
            tensor = first_tensor(output)
            if tensor is None or tensor.ndim != 4:
                raise LayerError(f"layer {name!r} gave no spatial maps in this pass")
            if tensor.shape[0] != len(images):
                raise LayerError(
                    f"layer {name!r} gave {tensor.shape[0]} maps for {len(images)} images: the "
                    "network looks at each several times, or in windows"
                )
            with torch.enable_grad():  # also where a network turns it off for its trunk
                bias = tensor.new_zeros(*tensor.shape[:2], 1, 1).requires_grad_()
                passed_on = tensor + bias
            activations[name], biases[name] = tensor.detach(), bias
            return in_place_of(output, passed_on)

        with frozen(clf.module):
            pixels = images.detach()
            if losses or images.is_inference():
                pixels = pixels.clone()
            pixels.requires_grad_(bool(losses))
            with hooked(clf.module, names, probe):
                logits = clf(pixels)
            own = clf.outputs.predicted(logits.detach())
            targets = [own if classes is None else classes.to(own.device) for classes in wanted]
            gradients = [
                pixel_gradient(clf.name, loss(logits), pixels, keep=True) for loss in losses
            ]
            done: list[Explanation] = []
            for place, classes in enumerate(targets):
                same = next((e for e in done if torch.equal(e.classes, classes)), None)
                if same is None:
                    keep = place < len(targets) - 1
                    weights = _weights(logits, classes, biases, activations, keep_graph=keep)
                    maps, dead = _maps(weights, activations, clf.shifts, clf.name)
                    same = Explanation(maps, dead, logits.detach(), classes)
                done.append(same)
        return done, gradients


def _weights(
    logits: Tensor,
    classes: Tensor,
    biases: dict[str, Tensor],
    activations: dict[str, Tensor],
    *,
    keep_graph: bool,
) -> dict[str, Tensor]:
    score = logits.gather(1, classes[:, None]).sum()
    if not score.requires_grad:
        raise LayerError(f"none of the layers {', '.join(biases)} has a part in the logits")
    sums = torch.autograd.grad(
        score, list(biases.values()), retain_graph=keep_graph, allow_unused=True
    )
    idle = [name for name, total in zip(biases, sums, strict=True) if total is None]
    if idle:
        raise LayerError(f"no part in the logits, so no Grad-CAM: {', '.join(idle)}")
    return {
        name: total.float()[:, :, 0, 0] / activations[name][0, 0].numel()
        for name, total in zip(biases, sums, strict=True)
    }


def _maps(
    weights: dict[str, Tensor],
    activations: dict[str, Tensor],
    shifts: dict[str, Tensor],
    model: str = "the network",
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The maps, and whether they are dead.

    Where a layer gives a A + b in place of A, its gradient is that by A divided by a, so the map of
    A is that of what it gives less the shift b; the scale drops out.
    """
    maps, dead = {}, {}
    for name, weight in weights.items():
        activation = activations[name].float()
        shift = shifts[name].to(weight) if name in shifts else weight.new_zeros(weight.shape[1])
        with torch.autocast(activation.device.type, enabled=False):
            cam = torch.einsum("nc,nchw->nhw", weight, activation)
            if name in shifts:
                cam = cam - (weight @ shift)[:, None, None]
            if not bool(torch.isfinite(cam).all()):
                raise ModelError(
                    f"{model} has activations or gradients that are NaN or infinite at layer "
                    f"{name!r}, so no Grad-CAM; check its weights and its precision"
                )
            cam = cam.relu()
        peak = cam.amax(dim=(1, 2))
        dead[name] = (peak <= 0) | _faint(peak, weight, activation, shift)
        maps[name] = cam.masked_fill(dead[name][:, None, None], 0.0)
    return maps, dead


def _faint(peak: Tensor, weight: Tensor, activation: Tensor, shift: Tensor) -> Tensor:
    """Whether a map's peak is rounding beside the evidence that cancelled in it (N,)."""
    low, high = _as_in_memory(activation).aminmax()
    bound = weight.abs() @ (torch.maximum(-low, high) + shift.abs())
    faint = (peak > 0) & (peak < DEAD_BELOW * bound)
    if bool(faint.any()):  # the bound is cheap and mostly enough; the evidence is neither
        some = (activation[faint] - shift[:, None, None]).abs()
        with torch.autocast(activation.device.type, enabled=False):
            evidence = torch.einsum("nc,nchw->nhw", weight[faint].abs(), some)
        faint[faint.clone()] = peak[faint] < DEAD_BELOW * evidence.amax(dim=(1, 2))
    return faint


def _as_in_memory(maps: Tensor) -> Tensor:
    """Maps (N, C, H, W) with their axes in the order of memory, so that reading copies nothing."""
    channels_last = maps.is_contiguous(memory_format=torch.channels_last)
    return maps.permute(0, 2, 3, 1) if channels_last else maps

"""Class activation maps of any set of layers from one forward pass: what all their kinds share.

A map is ReLU(Σ_c w_c A_c), A the activations of a layer, w weights that a kind of CAM makes of A
and of the gradient of a class's logit by A. A new kind writes ``weights``.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointError

from lookaway.errors import LayerError, ModelError
from lookaway.explainers.base import Explainer, Explanation, Loss
from lookaway.models.classifier import Classifier
from lookaway.models.gradient import pixel_gradient
from lookaway.models.hooks import first_tensor, in_place_of
from lookaway.models.map_layout import MapLayout
from lookaway.models.postponed import in_doubt, must_hold

DEAD_BELOW = 1e-6


class CAM(Explainer):
    """A kind of class activation map, keyed by layer name.

    Biases of zeros are added to each asked layer's output, and the score is differentiated by
    them: the trunk before the first asked layer needs no graph, and in-place activations behind a
    layer cannot change what was recorded. A layer that runs more than once in a pass is explained
    at its last run.

    Attributes:
        gradients: what ``weights`` takes: ``pooled``, the gradient's mean over space, for which no
            gradient of full size is kept; ``full``; or ``none``, where a map knows no class.
    """

    gradients: ClassVar[Literal["pooled", "full", "none"]] = "full"

    def prepared(self, activations: Tensor) -> Tensor:
        """The A of the formula, where that is not what the layer gives: (N, C, h, w) float32."""
        return activations

    @abstractmethod
    def weights(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """The weights w.

        Args:
            activations: (N, C, h, w) float32.
            gradients: (N, C) their mean over space, or (N, C, h, w); see ``gradients``.

        Returns:
            (N, C), or (N, C, h, w) where they differ from place to place.
        """

    def explain(
        self,
        clf: Classifier,
        images: Tensor,
        targets: Sequence[Tensor | None],
        layers: Sequence[str],
        losses: Sequence[Loss] = (),
    ) -> tuple[list[Explanation], list[Tensor]]:
        """All from one forward pass; see ``Explainer.explain``."""
        found, gradients = self.explain_together([self], clf, images, targets, layers, losses)
        return found[0], gradients

    @classmethod
    def explain_together(
        cls,
        explainers: Sequence[Explainer],
        clf: Classifier,
        images: Tensor,
        targets: Sequence[Tensor | None],
        layers: Sequence[str],
        losses: Sequence[Loss] = (),
    ) -> tuple[list[list[Explanation]], list[Tensor]]:
        """All kinds from one forward pass, and from one backward pass for each class."""
        kinds = [each for each in explainers if isinstance(each, CAM)]
        needs = sorted({each.gradients for each in kinds} - {"none"})
        trace = clf.trace((images.shape[2], images.shape[3]))
        layouts = {name: each.layout for name, each in trace.layers.items() if each.layout}
        probes = _Probes(needs or ["pooled"], len(images), layouts)
        with clf.frozen():
            pixels = images.detach()
            if losses or images.is_inference():
                pixels = pixels.clone()
            pixels.requires_grad_(bool(losses))
            with clf.hooked(layers, probes):
                logits = clf(pixels)
            own = clf.outputs.predicted(logits.detach())
            wanted = [own if classes is None else classes.to(own.device) for classes in targets]
            gradients = [
                pixel_gradient(clf.name, loss(logits), pixels, keep=True) for loss in losses
            ]
            done: list[list[Explanation]] = []
            for place, classes in enumerate(wanted):
                known = next((e for e in done if _alike(e[0].classes, classes)), None)
                if known is None:
                    by_layer = probes.gradients(logits, classes, keep=place < len(wanted) - 1)
                    known = [
                        kind._explanation(
                            clf, probes.activations, by_layer, logits.detach(), classes, first
                        )
                        for kind, first in zip(
                            kinds, done[0] if done else [None] * len(kinds), strict=True
                        )
                    ]
                done.append(known)
        return [list(each) for each in zip(*done, strict=True)], gradients

    def _explanation(
        self,
        clf: Classifier,
        activations: Mapping[str, Tensor],
        gradients: Mapping[str, Mapping[str, Tensor]],
        logits: Tensor,
        classes: Tensor,
        first: Explanation | None,
    ) -> Explanation:
        """What one kind makes of a pass, ``first`` that of the pass's first classes."""
        if first is not None and self.gradients == "none":
            return replace(first, classes=classes)
        maps, dead = {}, {}
        for name, found in gradients.items():
            gradient = found.get(self.gradients, next(iter(found.values())))
            maps[name], dead[name] = self.map_of(clf, name, activations[name], gradient)
        return Explanation(maps, dead, logits, classes)

    def map_of(
        self, clf: Classifier, layer: str, activations: Tensor, gradients: Tensor
    ) -> tuple[Tensor, Tensor]:
        """A layer's maps (N, h, w), and whether they are dead (N,); the maps are differentiable.

        Where a layer gives a A + b in place of A, its gradient is that by A divided by a, so the
        map of A is that of what it gives less the shift b; the scale drops out.
        """
        shift = clf.shifts.get(layer)
        with torch.autocast(activations.device.type, enabled=False):
            activations, gradients = activations.float(), gradients.float()
            if self.gradients == "pooled":
                gradients = gradients[:, :, 0, 0] / activations[0, 0].numel()
            if shift is not None:
                shift = shift.to(activations)
                if self.gradients != "pooled":
                    activations, shift = activations - shift[:, None, None], None
            summed = self.prepared(activations)
            weights = self.weights(summed, gradients)
            if weights.ndim == 2:
                cam = torch.einsum("nc,nchw->nhw", weights, summed)
                cam = cam if shift is None else cam - (weights @ shift)[:, None, None]
            else:
                cam = (weights * summed).sum(dim=1)
            must_hold(torch.isfinite(cam).all(), partial(self._not_finite, clf.name, layer))
            cam = cam.relu()
            peak = cam.amax(dim=(1, 2))
            dead = (peak <= 0) | _faint(peak, weights, activations, shift)
        return cam.masked_fill(dead[:, None, None], 0.0), dead

    def _not_finite(self, model: str, layer: str) -> ModelError:
        return ModelError(
            f"{model} has activations or gradients that are NaN or infinite at layer {layer!r}, so "
            f"no {self.name}; check its weights and its precision"
        )


class _Probes:
    """A hook that records layers' activations and adds biases of zeros to them.

    Args:
        needs: ``pooled``, a bias for each channel; ``full``, one for each place too.
        count: images in the pass.
        layouts: of layers that give no (N, C, h, w); there all of the tensor has biases, and what
            is no place of the grid drops out of their gradient.
    """

    def __init__(self, needs: Sequence[str], count: int, layouts: Mapping[str, MapLayout]) -> None:
        self.activations: dict[str, Tensor] = {}
        self._biases: dict[tuple[str, str], Tensor] = {}
        self._needs, self._count, self._layouts = needs, count, layouts

    def __call__(self, name: str, _layer: nn.Module, output: Any) -> Any:
        """Pass on a layer's output with its biases."""
        layout = self._layouts.get(name)
        tensor = first_tensor(output) if layout is None else layout.tensor(output)
        if tensor is None or (layout is None and tensor.ndim != 4):
            raise LayerError(f"layer {name!r} gave no spatial maps in this pass")
        if tensor.shape[0] != self._count:
            raise LayerError(
                f"layer {name!r} gave {tensor.shape[0]} maps for {self._count} images: the "
                "network looks at each several times, or in windows"
            )
        passed_on = tensor
        with torch.enable_grad():  # also where a network turns it off for its trunk
            if layout is not None:
                bias = torch.zeros_like(tensor).requires_grad_()
                self._biases[name, "whole"] = bias
                passed_on = passed_on + bias
            for need in self._needs if layout is None else ():
                size = (1, 1) if need == "pooled" else tensor.shape[2:]
                bias = tensor.new_zeros(*tensor.shape[:2], *size).requires_grad_()
                self._biases[name, need] = bias
                passed_on = passed_on + bias
        if layout is None:
            self.activations[name] = tensor.detach()
            return in_place_of(output, passed_on)
        self.activations[name] = layout.maps(tensor.detach())
        return layout.in_place(output, passed_on)

    def gradients(
        self, logits: Tensor, classes: Tensor, *, keep: bool
    ) -> dict[str, dict[str, Tensor]]:
        """The gradient of the classes' logits by each layer's biases, by layer and need.

        Args:
            logits: (N, K).
            classes: (N,) int64.
            keep: the graph, for another call.
        """
        score = logits.gather(1, classes[:, None]).sum()
        if not score.requires_grad:
            names = ", ".join(self.activations)
            raise LayerError(f"none of the layers {names} has a part in the logits")
        biases = list(self._biases.values())
        try:
            found = torch.autograd.grad(score, biases, retain_graph=keep, allow_unused=True)
        except CheckpointError as error:
            raise ModelError(
                f"{', '.join(self.activations)}: the network computes it again in the backward "
                "pass (torch.utils.checkpoint), where it cannot be watched; switch that off"
            ) from error
        by_layer: dict[str, dict[str, Tensor]] = {name: {} for name in self.activations}
        for (name, need), gradient in zip(self._biases, found, strict=True):
            if gradient is not None and need == "whole":
                full = self._layouts[name].maps(gradient)
                pooled = full.sum(dim=(2, 3), keepdim=True)
                by_layer[name] = {"full": full, "pooled": pooled}
            elif gradient is not None:
                by_layer[name][need] = gradient
        idle = [name for name, gradients in by_layer.items() if not gradients]
        if idle:
            raise LayerError(f"no part in the logits, so no map: {', '.join(idle)}")
        return by_layer


def _faint(peak: Tensor, weights: Tensor, activations: Tensor, shift: Tensor | None) -> Tensor:
    """Whether a map's peak is rounding beside the evidence that cancelled in it (N,)."""
    if weights.ndim == 4:
        evidence = (weights * activations).abs_().sum(dim=1)
        return (peak > 0) & (peak < DEAD_BELOW * evidence.amax(dim=(1, 2)))
    shift = weights.new_zeros(weights.shape[1]) if shift is None else shift
    low, high = _as_in_memory(activations).aminmax()
    bound = weights.abs() @ (torch.maximum(-low, high) + shift.abs())
    faint = (peak > 0) & (peak < DEAD_BELOW * bound)
    if in_doubt(faint.any()):  # the bound is cheap and mostly enough; the evidence is neither
        some = (activations[faint] - shift[:, None, None]).abs()
        evidence = torch.einsum("nc,nchw->nhw", weights[faint].abs(), some)
        faint[faint.clone()] = peak[faint] < DEAD_BELOW * evidence.amax(dim=(1, 2))
    return faint


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether classes are known to be the same: to read numbers, one would wait for a device."""
    here = one.device.type == "cpu"
    return one is other or (here and np.array_equal(np.asarray(one), np.asarray(other)))


def _as_in_memory(maps: Tensor) -> Tensor:
    """Maps (N, C, H, W) with their axes in the order of memory, so that reading copies nothing."""
    channels_last = maps.is_contiguous(memory_format=torch.channels_last)
    return maps.permute(0, 2, 3, 1) if channels_last else maps

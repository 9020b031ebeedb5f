"""What a model sees in a batch of images, and how far two looks are apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lookaway.explainers.base import Explainer, Explanation, Loss
from lookaway.metrics.map_nissim import nissim_of_maps
from lookaway.models.classifier import Classifier


@dataclass(frozen=True)
class Look:
    """What a model sees in N images.

    Attributes:
        views: the explanation for each policy.
        gradients: of each loss by the pixels.
        own_classes: (N,) what is predicted.
        confidence: of the prediction, N numbers in [0, 1].
    """

    views: dict[str, Explanation]
    gradients: list[Tensor]
    own_classes: Tensor
    confidence: list[float]

    def parts(self, count: int) -> list["Look"]:
        """The same, in so many equal parts, without the gradients."""
        size = len(self.confidence) // count
        spans = [slice(start, start + size) for start in range(0, size * count, size)]
        return [
            Look(
                {policy: view.part(span) for policy, view in self.views.items()},
                [],
                self.own_classes[span],
                self.confidence[span],
            )
            for span in spans
        ]


def see(
    explainer: Explainer,
    clf: Classifier,
    pixels: Tensor,
    wanted: Mapping[str, Tensor | None],
    layers: Sequence[str],
    losses: Sequence[Loss] = (),
    labels: Tensor | None = None,
) -> Look:
    """Look at a batch.

    Args:
        explainer: what explains.
        clf: the model.
        pixels: (k · N, 3, H, W) in [0, 1].
        wanted: for each policy the classes (N,), the same for each of the k, or None: what is
            predicted.
        layers: names of the explained ones.
        losses: whose gradients by the pixels are wanted too.
        labels: (N,) true ones, for networks of several labels at once.
    """
    classes = [
        None if known is None else known.repeat(len(pixels) // len(known))
        for known in wanted.values()
    ]
    found, gradients = explainer.explain_and_differentiate(clf, pixels, classes, layers, losses)
    logits = found[0].logits
    known = None if labels is None else labels.repeat(len(pixels) // len(labels))
    own = clf.outputs.predicted(logits, known)
    chances = clf.outputs.confidence(logits, own)
    return Look(dict(zip(wanted, found, strict=True)), gradients, own, chances.tolist())


def compare(
    clean: Look, looks: Sequence[Look], layer: str, grid: int, ssim: str
) -> dict[str, list[list[float]]]:
    """NISSIM of the clean look and each other one, for each policy.

    Where two policies compare the same maps, they are compared once.

    Args:
        clean: at N images.
        looks: E of them, at the same images, attacked.
        layer: whose maps.
        grid: side of the heatmaps in px.
        ssim: the preset.

    Returns:
        E lists of N for each policy.
    """
    scores: dict[str, Tensor] = {}
    classes: dict[str, tuple[Tensor, Tensor]] = {}
    for policy, view in clean.views.items():
        others = [look.views[policy] for look in looks]
        before = view.classes.expand(len(looks), -1)
        now = before, torch.stack([other.classes for other in others])
        result = torch.full(before.shape, -1.0, dtype=torch.float64, device=before.device)
        open_pairs = torch.ones_like(before, dtype=torch.bool)
        for other, known in scores.items():
            same = (classes[other][0] == now[0]) & (classes[other][1] == now[1]) & open_pairs
            result[same] = known[same]
            open_pairs &= ~same
        if bool(open_pairs.any()):
            seen = view.maps[layer]
            attacked = torch.stack([other.maps[layer] for other in others])
            result[open_pairs] = nissim_of_maps(
                seen.expand_as(attacked)[open_pairs], attacked[open_pairs], grid, ssim
            )
        scores[policy], classes[policy] = result, now
    return {policy: found.tolist() for policy, found in scores.items()}

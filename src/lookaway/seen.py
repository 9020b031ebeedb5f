"""Images as a classifier sees them: what explainers make of some passes, and its predictions."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lookaway.explainers.base import Explainer, Explanation, Loss
from lookaway.models.classifier import Classifier

View = tuple[str, str]  # explainer and policy


@dataclass(frozen=True)
class Seen:
    """N images as a classifier sees them.

    Attributes:
        views: explanations by explainer and policy.
        logits: (N, K).
        predicted: (N,) int64 classes.
        confidence: (N,) in these.
    """

    views: dict[View, Explanation]
    logits: Tensor
    predicted: Tensor
    confidence: Tensor

    @classmethod
    def joined(cls, parts: Sequence["Seen"]) -> "Seen":
        """Images of several passes as one."""
        if len(parts) == 1:
            return parts[0]
        logits, predicted, confidence = (
            torch.cat([getattr(part, name) for part in parts])
            for name in ("logits", "predicted", "confidence")
        )
        views = {
            view: Explanation(
                {name: torch.cat([part.views[view].maps[name] for part in parts]) for name in maps},
                {name: torch.cat([part.views[view].dead[name] for part in parts]) for name in maps},
                logits,
                torch.cat([part.views[view].classes for part in parts]),
            )
            for view, maps in ((view, each.maps) for view, each in parts[0].views.items())
        }
        return cls(views, logits, predicted, confidence)

    def with_layers_of(self, other: "Seen") -> "Seen":
        """The same with the maps of more layers, of another pass of the same images."""
        views = {
            view: replace(
                each,
                maps={**each.maps, **other.views[view].maps},
                dead={**each.dead, **other.views[view].dead},
            )
            for view, each in self.views.items()
        }
        return replace(self, views=views)


def see(
    clf: Classifier,
    explainers: Sequence[Explainer],
    pixels: Tensor,
    labels: Tensor,
    classes: Mapping[str, Tensor | None],
    layers: Sequence[str],
    losses: Sequence[Loss] = (),
) -> tuple[Seen, list[Tensor]]:
    """Explain images in as few passes as it takes.

    Args:
        clf: the classifier.
        explainers: each name once.
        pixels: (N, C, H, W) in [0, 1].
        labels: (N,) true classes.
        classes: the explained ones by policy, (N,); None: those that are predicted.
        layers: names.
        losses: each makes a scalar of logits (N, K).

    Returns:
        What is seen, and for each loss its gradient (N, C, H, W) by the pixels.
    """
    found: dict[str, list[Explanation]] = {}
    gradients: list[Tensor] = []
    for sharing in _sharing(explainers):
        wanted = () if gradients else losses
        each, by_pixels = sharing[0].explain_together(
            sharing, clf, pixels, list(classes.values()), list(layers), wanted
        )
        gradients = gradients or by_pixels
        found |= {one.name: views for one, views in zip(sharing, each, strict=True)}
    views = {
        (explainer.name, policy): view
        for explainer in explainers
        for policy, view in zip(classes, found[explainer.name], strict=True)
    }
    logits = next(iter(views.values())).logits
    predicted = clf.outputs.predicted(logits, labels)
    confidence = clf.outputs.confidence(logits, predicted)
    return Seen(views, logits, predicted, confidence), gradients


def _sharing(explainers: Sequence[Explainer]) -> list[list[Explainer]]:
    """Explainers by the passes that they can share, in order of the first of each."""
    groups: dict[object, list[Explainer]] = defaultdict(list)
    for explainer in explainers:
        groups[explainer.explain_together.__func__].append(explainer)  # type: ignore[attr-defined]
    return list(groups.values())

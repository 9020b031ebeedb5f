"""Images as a classifier sees them: what explainers make of some passes, and its predictions."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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

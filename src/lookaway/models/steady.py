"""Networks that answer the same question in the same way each time."""

import torch
from torch import Tensor

from lookaway.errors import ModelError
from lookaway.models.classifier import Classifier


def check_steady(clf: Classifier, images: Tensor) -> None:
    """Refuse a network whose logits depend on anything but its images and its weights.

    It is asked twice. What changes only after many calls cannot be seen in this way.

    Args:
        clf: the classifier.
        images: (N, 3, H, W) float pixels in [0, 1].

    Raises:
        ModelError: it keeps state between calls, or draws at random.
    """
    with torch.no_grad():
        before = {name: value.clone() for name, value in clf.module.named_buffers()}
        first, second = clf(images), clf(images)
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
    # Convolutions on a GPU may round otherwise from one call to the next.
    slack = 1e-4 * float(first.abs().max())
    if not torch.allclose(first, second, rtol=1e-3, atol=slack):
        raise ModelError(
            f"{clf.name} gives other logits for the same image when it is asked again: it keeps "
            "state between calls or draws at random (dropout that ignores eval mode?)"
        )

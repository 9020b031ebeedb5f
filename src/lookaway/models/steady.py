"""Networks that answer the same question in the same way each time."""

import torch
from torch import Tensor

from lookaway.errors import ModelError
from lookaway.models.classifier import Classifier

_TIMES = 3  # a draw may come out the same once


def check_steady(clf: Classifier, images: Tensor) -> None:
    """Refuse a network whose logits depend on anything but its images and its weights.

    It is asked a few times. What changes only after many calls cannot be seen in this way.

    Args:
        clf: the classifier.
        images: (N, 3, H, W) float pixels in [0, 1].

    Raises:
        ModelError: it keeps state between calls, or draws at random.
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
    # Convolutions on a GPU may round otherwise from one call to the next.
    slack = 1e-4 * float(first.abs().max())
    if not all(torch.allclose(first, other, rtol=1e-3, atol=slack) for other in others):
        raise ModelError(
            f"{clf.name} gives other logits for the same image when it is asked again: it keeps "
            "state between calls or draws at random (dropout that ignores eval mode?)"
        )

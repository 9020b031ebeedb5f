"""The gradient of a loss by the pixels."""

import torch
from torch import Tensor

from lookaway.errors import ModelError


def pixel_gradient(model: str, loss: Tensor, pixels: Tensor, *, keep: bool = False) -> Tensor:
    """The gradient of a loss by the pixels.

    Args:
        model: its name, for the error.
        loss: a scalar.
        pixels: (N, 3, H, W) that ask for a gradient.
        keep: whether the graph serves another gradient after this one.

    Raises:
        ModelError: the loss does not depend on the pixels.
    """
    gradient = None
    if loss.requires_grad:
        (gradient,) = torch.autograd.grad(loss, pixels, retain_graph=keep, allow_unused=True)
    if gradient is None:
        raise ModelError(
            f"{model} gives logits without a gradient by the pixels, so a gradient attack cannot "
            "work on it (does it run under torch.no_grad or on rounded pixels?)"
        )
    return gradient

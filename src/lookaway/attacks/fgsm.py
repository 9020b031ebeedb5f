"""The fast gradient sign method: one gradient serves every ε (Goodfellow et al. 2015)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lookaway.attacks.base import SignAttack
from lookaway.errors import ModelError
from lookaway.models.classifier import Classifier
from lookaway.models.layers import frozen


class FGSM(SignAttack):
    """x + ε · sign(∇ₓ J(θ, x, y)), clipped to [0, 1].

    J is cross-entropy on logits, y the true label, also for an image that the classifier gets
    wrong; sign(0) = 0.
    """

    name = "fgsm"

    def signs(self, clf: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        """The sign of the loss's gradient by the pixels; see ``SignAttack.signs``.

        Raises:
            ModelError: the gradient is not finite, or the logits do not depend on the pixels.
        """
        with frozen(clf.module):
            pixels = images.detach().clone().requires_grad_()
            logits = clf(pixels)
            if not logits.requires_grad:
                raise ModelError(
                    f"{clf.name} gives logits without a gradient by the pixels, so FGSM cannot "
                    "attack it (does it run under torch.no_grad or on rounded pixels?)"
                )
            # The sum, not the mean: an image's gradient does not depend on its batch.
            loss = F.cross_entropy(logits, labels.to(logits.device), reduction="sum")
            (gradient,) = torch.autograd.grad(loss, pixels)
        if not bool(torch.isfinite(gradient).all()):
            raise ModelError(f"{clf.name} has a gradient by the pixels that is NaN or infinite")
        return gradient.sign().to(torch.int8)

"""The fast gradient sign method: one gradient serves every ε (Goodfellow et al. 2015)."""

from torch import Tensor

from lookaway.attacks.base import GradientSignAttack
from lookaway.models.classifier import Classifier


class FGSM(GradientSignAttack):
    """x + ε · sign(∇ₓ J(θ, x, y)), clipped to [0, 1].

    J is cross-entropy on logits (binary cross-entropy for several labels at once), y the true
    label, also for an image that the classifier gets wrong; sign(0) = 0.
    """

    name = "fgsm"

    def loss(self, clf: Classifier, logits: Tensor, labels: Tensor) -> Tensor:
        """The summed cross-entropy; see ``GradientSignAttack.loss``."""
        return clf.outputs.loss(logits, labels)

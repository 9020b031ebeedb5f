"""The fast gradient sign method: one gradient serves every ε (Goodfellow et al. 2015)."""

from torch import Tensor

from lookaway.attacks.base import GradientAttack
from lookaway.models.classifier import Classifier


class FGSM(GradientAttack):
    """x + ε · sign(∇ₓ J(θ, x, y)), clipped to [0, 1]; in L2, x + ε · ∇ₓ J / ‖∇ₓ J‖.

    J is cross-entropy on logits (binary cross-entropy for several labels at once), y the true
    label, also for an image that the classifier gets wrong; sign(0) = 0. With another objective J
    is that. With ``of="predicted"`` y is the class predicted for the clean image: the true label
    leaks into one step, so that accuracy may rise with ε (Kurakin et al. 2017).

    Args:
        norm: ``linf``, or ``l2``, where ε is the length of an image's change.
        targets: None: away from the label; else towards ``least_likely``, ``nearest``, ``next`` or
            ``random``.
        objective: ``cross_entropy``, or ``score``; see ``Attack``.
        of: ``label``, or ``predicted``: the class predicted for the clean image in its place.
        seed: of random targets; each image's follows from it and its content.
    """

    name = "fgsm"

    def __init__(
        self,
        norm: str = "linf",
        *,
        targets: str | None = None,
        objective: str = "cross_entropy",
        of: str = "label",
        seed: int = 0,
    ) -> None:
        self.set_goal(norm, targets, seed, objective, of)

    def loss(self, clf: Classifier, logits: Tensor, labels: Tensor) -> Tensor:
        """The objective; see ``GradientAttack.loss``."""
        return self.cost(clf, logits, labels)

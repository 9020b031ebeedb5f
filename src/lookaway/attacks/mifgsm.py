"""The momentum iterative fast gradient sign method, made for transfer (Dong et al. 2018)."""

import torch
from torch import Tensor

from lookaway.attacks.iterative import IterativeAttack


class MIFGSM(IterativeAttack):
    """Steps along the sign of a decaying sum of gradients, each divided by its mean |value|.

    Args:
        steps: at least 1.
        decay: of the sum, μ in the paper.
        rel_stepsize: of a step, as a part of ε; None: 1 / steps, as in the paper.
        targets: None: away from the label; else towards ``least_likely``, ``nearest``, ``next`` or
            ``random``.
        objective: ``cross_entropy``, or ``score``; see ``Attack``.
        of: ``label``, or ``predicted``: the class predicted for the clean image in its place.
        seed: of random targets; each image's follows from it and its content.

    >>> import lookaway as la
    >>> la.MIFGSM(steps=10).norm
    'linf'
    """

    name = "mifgsm"

    def __init__(
        self,
        steps: int = 10,
        decay: float = 1.0,
        rel_stepsize: float | None = None,
        *,
        targets: str | None = None,
        objective: str = "cross_entropy",
        of: str = "label",
        seed: int = 0,
    ) -> None:
        super().__init__(steps, 1.0 / max(steps, 1) if rel_stepsize is None else rel_stepsize)
        self.set_goal("linf", targets, seed, objective, of)
        self.decay = decay

    def direction(self, gradient: Tensor, before: Tensor | None) -> Tensor:
        """The momentum; see ``IterativeAttack.direction``."""
        mean = gradient.abs().mean(dim=(-3, -2, -1), keepdim=True)
        scaled = torch.where(mean > 0, gradient / mean, 0.0)
        return scaled if before is None else scaled + self.decay * before

"""Projected gradient descent (Madry et al. 2018)."""

from lookaway.attacks.iterative import IterativeAttack


class PGD(IterativeAttack):
    """Steps along the loss's gradient, back into the ε-ball after each, from a random start.

    A step goes along the gradient's sign (L∞) or the gradient of length 1 (L2).

    Args:
        steps: at least 1.
        rel_stepsize: of a step, as a part of ε; None: 2.5 / steps.
        norm: ``linf``, or ``l2``, where ε is the length of an image's change.
        random_start: begin at a place in the ball, drawn uniformly; else at the image.
        targets: None: away from the label; else towards ``least_likely``, ``nearest``, ``next`` or
            ``random``.
        objective: ``cross_entropy``, or ``score``; see ``Attack``.
        of: ``label``, or ``predicted``: the class predicted for the clean image in its place.
        seed: of the start and of random targets; each image's follow from it and its content.

    >>> import lookaway as la
    >>> la.PGD(steps=20).name
    'pgd'
    """

    name = "pgd"

    def __init__(
        self,
        steps: int = 10,
        rel_stepsize: float | None = None,
        norm: str = "linf",
        *,
        random_start: bool = True,
        targets: str | None = None,
        objective: str = "cross_entropy",
        of: str = "label",
        seed: int = 0,
    ) -> None:
        super().__init__(steps, 2.5 / max(steps, 1) if rel_stepsize is None else rel_stepsize)
        self.set_goal(norm, targets, seed, objective, of)
        self.random_start = random_start

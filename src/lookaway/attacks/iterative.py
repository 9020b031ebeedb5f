"""What attacks of several gradient steps share."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lookaway.attacks.base import Attack
from lookaway.attacks.norms import project, random_in_ball, steepest
from lookaway.errors import InputError, ModelError
from lookaway.models.classifier import Classifier
from lookaway.models.gradient import pixel_gradient
from lookaway.models.postponed import must_hold


class IterativeAttack(Attack):
    """An attack that steps along a loss's gradient, for all ε together.

    A new one writes ``direction``.

    Args:
        steps: at least 1.
        rel_stepsize: of a step, as a part of ε, above 0.

    Raises:
        InputError: an argument is out of range.
    """

    targeted = True
    random_start = False

    def __init__(self, steps: int, rel_stepsize: float) -> None:
        self.steps, self.rel_stepsize = checked_steps(steps, rel_stepsize)

    def direction(self, gradient: Tensor, before: Tensor | None) -> Tensor:
        """Where to step, of any length.

        Args:
            gradient: (E, N, C, H, W) of the loss that is raised.
            before: the last step's direction; None at the first.
        """
        return gradient

    def start(self, images: Tensor) -> Tensor:
        """Where in the unit ball each image (N, C, H, W) begins, from a random start."""
        return random_in_ball(images, self.seed, self.norm)

    def perturb(
        self,
        clf: Classifier,
        images: Tensor,
        labels: Tensor,
        epsilons: Sequence[float],
        targets: Tensor | None = None,
    ) -> Tensor:
        """Step, and project, at every ε at once; see ``Attack.perturb``."""
        levels = torch.tensor(epsilons, dtype=images.dtype, device=images.device)
        radius = levels[:, None].expand(-1, len(images))
        step = self.rel_stepsize * levels[:, None, None, None, None]
        if targets is None and (self.targets is not None or self.of != "label"):
            with torch.no_grad():
                logits = clf(images)
            targets = self.goal(logits, labels, images)
            labels = self.truth(logits, labels)
        truth = torch.cat([labels if targets is None else targets] * len(levels))
        attacked = images.expand(len(levels), *images.shape)
        if self.random_start:
            start = levels[:, None, None, None, None] * self.start(images)
            attacked = (attacked + start).clamp(0.0, 1.0)
        direction: Tensor | None = None
        broken = torch.zeros((), dtype=torch.bool, device=images.device)
        with clf.frozen():
            for _ in range(self.steps):
                pixels = attacked.flatten(0, 1).detach().clone().requires_grad_()
                cost = self.cost(clf, clf(pixels), truth)
                raised = cost if targets is None else -cost
                gradient = pixel_gradient(clf.name, raised, pixels).view_as(attacked)
                broken |= ~torch.isfinite(gradient).all()
                direction = self.direction(gradient, direction)
                moved = attacked + step * steepest(direction, self.norm)
                change = project(moved - images, radius, self.norm)
                attacked = (images + change).clamp(0.0, 1.0)
        wrong = ModelError(f"{clf.name} has a gradient by the pixels that is NaN or infinite")
        must_hold(~broken, lambda: wrong)
        return attacked


def checked_steps(steps: int, rel_stepsize: float) -> tuple[int, float]:
    """How many steps, and of which size as a part of ε.

    Raises:
        InputError: there is none, or they have no size.
    """
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise InputError(f"steps must be a whole number of at least 1; got {steps!r}")
    if not (math.isfinite(rel_stepsize) and rel_stepsize > 0):
        raise InputError(f"rel_stepsize is a part of ε, above 0; got {rel_stepsize!r}")
    return steps, float(rel_stepsize)

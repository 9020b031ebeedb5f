"""What every attack keeps: pixels in [0, 1], inside the ε-ball."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lookaway.errors import AttackError, InputError, ModelError
from lookaway.models.checks import check_labels, check_pixels
from lookaway.models.classifier import Classifier
from lookaway.models.gradient import pixel_gradient
from lookaway.models.hooks import frozen
from lookaway.perturbation import FULL, Perturbation
from lookaway.registry import ATTACKS, resolve

_SLACK = 1e-6  # rounding of x + ε in float32; coarser types round more


class Attack(ABC):
    """An attack: a classifier, pixels and labels in, perturbed pixels for each ε out.

    A new attack writes ``perturb``; the checks before and after it are here.
    """

    name: str

    def __call__(
        self, clf: Classifier, images: Tensor, labels: Tensor, epsilons: Sequence[float]
    ) -> Tensor:
        """Perturb a batch at each ε.

        Args:
            clf: the classifier; it is afterwards as it was.
            images: (N, C, H, W) float pixels in [0, 1].
            labels: (N,) integer true classes; of a network for several labels at once also (N, K)
                of 0 and 1.
            epsilons: largest changes of a pixel, each in (0, 1], none twice.

        Returns:
            (E, N, C, H, W) pixels in [0, 1], at most ε from the images.

        Raises:
            InputError: images, labels or epsilons do not fit.
            AttackError: the attack left [0, 1] or the ε-ball.
        """
        check_pixels(images, clf.channels, clf.name)
        known = clf.classes_at((images.shape[2], images.shape[3]))
        several = clf.outputs.task == "labels"
        labels = check_labels(labels, images.shape[0], known, several=several)
        levels = check_epsilons(epsilons)
        with clf.computing():
            perturbed = self.perturb(clf, images.detach(), labels.to(images.device), levels)
        check_ball(images, perturbed, levels, self.name)
        return perturbed

    @abstractmethod
    def perturb(
        self, clf: Classifier, images: Tensor, labels: Tensor, epsilons: Sequence[float]
    ) -> Tensor:
        """Perturb a checked batch; shapes as in the call."""

    def find(
        self, clf: Classifier, images: Tensor, labels: Tensor, epsilons: Sequence[float]
    ) -> Perturbation:
        """What the attack changes, as it is measured and stored; arguments as in the call."""
        return encoded(images, self(clf, images, labels, epsilons), epsilons)


class SignAttack(Attack):
    """An attack whose change is ε times a sign, so that one direction serves every ε.

    A new one writes ``signs``.
    """

    @abstractmethod
    def signs(self, clf: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        """The direction of the change.

        Returns:
            (N, C, H, W) int8: −1, 0 or 1.
        """

    def perturb(
        self, clf: Classifier, images: Tensor, labels: Tensor, epsilons: Sequence[float]
    ) -> Tensor:
        """Step along the signs for each ε."""
        found = self.find(clf, images, labels, epsilons)
        return torch.stack([found.attacked(images, 0, epsilon) for epsilon in epsilons])

    def find(
        self, clf: Classifier, images: Tensor, labels: Tensor, epsilons: Sequence[float]
    ) -> Perturbation:
        """The signs, as they are measured and stored."""
        signs = self.signs(clf, images, labels)
        if signs.shape != images.shape or signs.dtype != torch.int8:
            raise AttackError(
                f"{self.name} gave signs {tuple(signs.shape)} {signs.dtype} where "
                f"{tuple(images.shape)} torch.int8 is needed"
            )
        if signs.numel() and not (int(signs.min()) >= -1 and int(signs.max()) <= 1):
            raise AttackError(f"{self.name} gave signs other than -1, 0 and 1; use .sign()")
        return Perturbation.of_signs(signs)


class GradientSignAttack(SignAttack):
    """An attack along the sign of a loss's gradient by the pixels; sign(0) = 0.

    A new one writes ``loss``. Who differentiates the clean images anyway may hand the gradient to
    ``of_gradient``, so that no pass is made twice.
    """

    @abstractmethod
    def loss(self, clf: Classifier, logits: Tensor, labels: Tensor) -> Tensor:
        """What the attack raises.

        Args:
            clf: the classifier.
            logits: (N, K).
            labels: (N,) int64.

        Returns:
            A scalar: the sum over the images, not the mean, so that an image's gradient does not
            depend on its batch.
        """

    def signs(self, clf: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        """The sign of the loss's gradient by the pixels; see ``SignAttack.signs``.

        Raises:
            ModelError: the gradient is not finite, or the logits do not depend on the pixels.
        """
        with frozen(clf.module):
            pixels = images.detach().clone().requires_grad_()
            logits = clf(pixels)
            loss = self.loss(clf, logits, labels.to(logits.device))
            return signs_of(pixel_gradient(clf.name, loss, pixels), clf.name)

    def of_gradient(self, gradient: Tensor, model: str) -> Perturbation:
        """The perturbation that follows from a gradient (N, C, H, W) by the pixels.

        Raises:
            ModelError: the gradient is not finite.
        """
        return Perturbation.of_signs(signs_of(gradient, model))


def signs_of(gradient: Tensor, model: str) -> Tensor:
    """The signs of a gradient, int8.

    Raises:
        ModelError: the gradient is not finite.
    """
    if not bool(torch.isfinite(gradient).all()):
        raise ModelError(f"{model} has a gradient by the pixels that is NaN or infinite")
    return gradient.sign().to(torch.int8)


def encoded(images: Tensor, attacked: Tensor, epsilons: Sequence[float]) -> Perturbation:
    """Attacked images as a perturbation whose images lie just within: never more than ε away.

    Args:
        images: (N, C, H, W) float pixels in [0, 1].
        attacked: (E, N, C, H, W), at most ε from them.
        epsilons: E levels.

    >>> half = torch.full((1, 1, 1, 1), 0.5)
    >>> encoded(half, half[None] + 0.025, [0.05]).codes.flatten().tolist()
    [63]
    """
    codes = []
    for changed, epsilon in zip(attacked, epsilons, strict=True):
        share = (changed - images) / epsilon * FULL
        # Towards zero; a whole step that float32 rounded stays a whole step.
        codes.append((share * (1 + 1e-5)).trunc().clamp(-FULL, FULL).to(torch.int8))
    return Perturbation(torch.stack(codes, dim=1))


def check_epsilons(epsilons: Iterable[Any]) -> list[float]:
    """Refuse levels outside (0, 1] and repeated ones.

    Raises:
        InputError: with the level that is wrong.
    """
    try:
        given = [] if isinstance(epsilons, str) else list(epsilons)
        if any(isinstance(epsilon, str | bytes) for epsilon in given):
            raise TypeError("text")
        levels = [float(epsilon) for epsilon in given]
    except (TypeError, ValueError) as error:
        raise InputError(
            f"epsilons must be a list of numbers in (0, 1], such as [0.01, 0.1]; got {epsilons!r}"
        ) from error
    if not levels:
        raise InputError(f"epsilons must hold at least one level in (0, 1]; got {epsilons!r}")
    for level in levels:
        if not (math.isfinite(level) and 0.0 < level <= 1.0):
            raise InputError(
                f"epsilon {level:g} is outside (0, 1]; pixels lie in [0, 1], so 8/255 is 0.0314"
            )
    if len(set(levels)) < len(levels):
        raise InputError(f"epsilons repeats a level: {levels}")
    return levels


def check_ball(images: Tensor, perturbed: Tensor, epsilons: Sequence[float], name: str) -> None:
    """Refuse perturbed pixels outside [0, 1] or outside the ε-ball.

    Raises:
        AttackError: with what was found.
    """
    expected = (len(epsilons), *images.shape)
    if tuple(perturbed.shape) != expected:
        raise AttackError(f"{name} gave {tuple(perturbed.shape)} where {expected} is needed")
    slack = max(_SLACK, torch.finfo(images.dtype).eps)
    for level, changed in zip(epsilons, perturbed.detach(), strict=True):
        low, high = (float(bound) for bound in torch.aminmax(changed))
        reach = float((changed - images.detach().to(changed.device)).abs().max())
        if not (low >= 0 and high <= 1 and reach <= level + slack):
            raise AttackError(
                f"{name} at epsilon {level:g} gave pixels from {low:g} to {high:g}, "
                f"up to {reach:g} from the image"
            )


def attack_of(name: str, options: Mapping[str, Any] | None = None) -> Attack:
    """The attack of a name; see ``registry.resolve``.

    >>> attack_of("fgsm").name
    'fgsm'
    """
    found: Attack = resolve(name, ATTACKS, "attack", Attack, options)
    return found

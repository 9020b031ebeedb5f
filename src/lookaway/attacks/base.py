"""What every attack keeps: pixels in [0, 1], inside the ε-ball."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from lookaway.attacks.norms import check_ball, check_epsilons, check_norm, steepest
from lookaway.attacks.targets import check_objective, check_of, check_targets, chosen, truth
from lookaway.errors import AttackError, InputError, ModelError
from lookaway.models.checks import check_classes, check_labels, check_pixels
from lookaway.models.classifier import Classifier
from lookaway.models.gradient import pixel_gradient
from lookaway.models.postponed import must_hold, postponed
from lookaway.perturbation import FULL, Perturbation
from lookaway.registry import ATTACKS, resolve


class Attack(ABC):
    """An attack: a classifier, pixels and labels in, perturbed pixels for each ε out.

    A new attack writes ``perturb``; the checks before and after it are here.

    Attributes:
        name: in rows.
        norm: what ε measures: ``linf``, the largest change of a pixel; ``l2``, the length of an
            image's change.
        targeted: whether ``perturb`` takes targets.
        targets: how targets are chosen where a call gives none; None: the attack is untargeted.
        objective: what is raised of the labels, and lowered of targets: ``cross_entropy``, or
            ``score``, the negative of the class's logit; of a gallery that is the cosine with the
            person's template, so that it is dodging, and with targets impersonation.
        of: the class of each image that it goes away from, and that targets are chosen beside:
            ``label``, the true one, or ``predicted``, that which the classifier takes the clean
            image for, so that no label leaks into the change (Kurakin et al. 2017).
        seed: of what is random in it.
        gradient_free: whether it asks the classifier for its outputs alone.
        one_direction: whether ``find`` gives one direction, which serves every ε.
        searches: whether it searches without any ε, for the least change, and gives at each what
            it found: then it is asked for all ε at once, else for each by itself.
    """

    name: str
    norm: str = "linf"
    targeted: ClassVar[bool] = False
    targets: str | None = None
    objective: str = "cross_entropy"
    of: str = "label"
    seed: int = 0
    gradient_free: bool = False
    one_direction: ClassVar[bool] = False
    searches: bool = False

    @property
    def by_signs(self) -> bool:
        """Whether it changes each pixel as much as noise of random signs does, or not at all."""
        return False

    @property
    def aim(self) -> str:
        """Its objective; the score's is ``dodging``, and with targets ``impersonation``.

        Empty for a control, which has none.
        """
        if self.objective != "score":
            return self.objective
        return "dodging" if self.targets is None else "impersonation"

    def __call__(
        self,
        clf: Classifier,
        images: Tensor,
        labels: Tensor,
        epsilons: Sequence[float],
        targets: Tensor | None = None,
    ) -> Tensor:
        """Perturb a batch at each ε.

        Args:
            clf: the classifier; it is afterwards as it was.
            images: (N, C, H, W) float pixels in [0, 1].
            labels: (N,) integer true classes; of a network for several labels at once also (N, K)
                of 0 and 1.
            epsilons: sizes of the change, above 0, none twice; in (0, 1] where ε is the largest
                change of a pixel.
            targets: (N,) integer classes that a targeted attack goes to; None: as the attack says.

        Returns:
            (E, N, C, H, W) pixels in [0, 1], at most ε from the images.

        Raises:
            InputError: images, labels, targets or epsilons do not fit.
            AttackError: the attack left [0, 1] or the ε-ball.
        """
        check_pixels(images, clf.channels, clf.name)
        known = clf.classes_at((images.shape[2], images.shape[3]))
        several = clf.outputs.task == "labels"
        labels = check_labels(labels, images.shape[0], known, several=several)
        levels = check_epsilons(epsilons, self.norm)
        given: tuple[Tensor, ...] = ()  # an attack that is untargeted need not take any
        if targets is not None:
            if not self.targeted:
                raise InputError(f"{self.name} is untargeted; leave targets out")
            targets = check_classes(targets, images.shape[0], known, "targets")
            given = (targets.to(images.device),)
        with clf.held(), postponed():
            perturbed = self.perturb(clf, images.detach(), labels.to(images.device), levels, *given)
            check_ball(images, perturbed, levels, self.name, self.norm)
        return perturbed

    @abstractmethod
    def perturb(
        self,
        clf: Classifier,
        images: Tensor,
        labels: Tensor,
        epsilons: Sequence[float],
        targets: Tensor | None = None,
    ) -> Tensor:
        """Perturb a checked batch; shapes as in the call."""

    def find(
        self, clf: Classifier, images: Tensor, labels: Tensor, epsilons: Sequence[float]
    ) -> Perturbation:
        """What the attack changes, as it is measured and stored; arguments as in the call."""
        return encoded(images, self(clf, images, labels, epsilons), epsilons, self.norm)

    def set_goal(
        self,
        norm: str,
        targets: str | None,
        seed: int,
        objective: str = "cross_entropy",
        of: str = "label",
    ) -> None:
        """Keep what several attacks let their users choose; see the attributes.

        Raises:
            InputError: there is no such norm, way of choosing targets, objective or class.
        """
        self.norm, self.targets, self.seed = check_norm(norm), check_targets(targets), int(seed)
        self.objective, self.of = check_objective(objective), check_of(of)

    def truth(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The class of each image that the attack is of; see ``targets.truth``."""
        return truth(self.of, self.name, logits, labels)

    def cost(self, clf: Classifier, logits: Tensor, classes: Tensor) -> Tensor:
        """What the objective says of classes (N,), summed over the images.

        Raises:
            InputError: an image has several labels, and the objective is one class's score.
        """
        if self.objective == "cross_entropy":
            return clf.outputs.loss(logits, classes)
        if classes.ndim != 1:
            raise InputError(f"{self.name} with objective='score' needs one label an image")
        return -clf.outputs.score(logits, classes).sum()

    def goal(self, logits: Tensor, labels: Tensor, images: Tensor) -> Tensor | None:
        """The classes (N,) that the attack goes to by itself; None: it is untargeted.

        Args:
            logits: (N, K) of the clean images.
            labels: (N,) int64.
            images: (N, C, H, W) float pixels in [0, 1].

        Raises:
            InputError: an image has several labels, or there is no other class.
        """
        if self.targets is None:
            return None
        if labels.ndim != 1:
            raise InputError(f"{self.name} with targets={self.targets!r} needs one label an image")
        return chosen(self.targets, logits, self.truth(logits, labels), images, self.seed)


class SignAttack(Attack):
    """An attack whose change is ε times a sign, so that one direction serves every ε.

    A new one writes ``signs``.
    """

    by_signs = True
    one_direction = True

    @abstractmethod
    def signs(self, clf: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        """The direction of the change.

        Returns:
            (N, C, H, W) int8: −1, 0 or 1.
        """

    def perturb(
        self,
        clf: Classifier,
        images: Tensor,
        labels: Tensor,
        epsilons: Sequence[float],
        targets: Tensor | None = None,
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
        wrong = AttackError(f"{self.name} gave signs other than -1, 0 and 1; use .sign()")
        must_hold(((signs >= -1) & (signs <= 1)).all(), lambda: wrong)
        return Perturbation.of_signs(signs, self.norm)


class GradientAttack(Attack):
    """An attack along one gradient of a loss by the pixels, which serves every ε.

    Along its sign (L∞; sign(0) = 0), or along itself (L2). A new one writes ``loss``. Who
    differentiates the clean images anyway may hand the gradient of ``of_logits`` to
    ``of_gradient``, so that no pass is made twice.
    """

    targeted = True
    one_direction = True

    @property
    def by_signs(self) -> bool:
        """In L∞ it is."""
        return self.norm == "linf"

    @abstractmethod
    def loss(self, clf: Classifier, logits: Tensor, labels: Tensor) -> Tensor:
        """What the attack raises; of the targets of a targeted attack, what it lowers.

        Args:
            clf: the classifier.
            logits: (N, K).
            labels: (N,) int64.

        Returns:
            A scalar: the sum over the images, not the mean, so that an image's gradient does not
            depend on its batch.
        """

    def of_logits(
        self, clf: Classifier, images: Tensor, labels: Tensor, targets: Tensor | None = None
    ) -> Callable[[Tensor], Tensor]:
        """What the attack raises, of the logits (N, K) of the clean images."""

        def raised(logits: Tensor) -> Tensor:
            truth = self.truth(logits.detach(), labels.to(logits.device))
            goal = self.goal(logits.detach(), truth, images) if targets is None else targets
            if goal is None:
                return self.loss(clf, logits, truth)
            return -self.loss(clf, logits, goal)

        return raised

    def of_gradient(self, gradient: Tensor, model: str) -> Perturbation:
        """The perturbation that follows from a gradient (N, C, H, W) by the pixels.

        Raises:
            ModelError: the gradient is not finite.
        """
        wrong = ModelError(f"{model} has a gradient by the pixels that is NaN or infinite")
        must_hold(torch.isfinite(gradient).all(), lambda: wrong)
        if self.norm == "l2":
            return Perturbation.of_directions(steepest(gradient, self.norm)[:, None])
        return Perturbation.of_signs(gradient.sign().to(torch.int8))

    def perturb(
        self,
        clf: Classifier,
        images: Tensor,
        labels: Tensor,
        epsilons: Sequence[float],
        targets: Tensor | None = None,
    ) -> Tensor:
        """Step along the gradient for each ε.

        Raises:
            ModelError: the gradient is not finite, or the logits do not depend on the pixels.
        """
        found = self._found(clf, images, labels, targets)
        return torch.stack([found.attacked(images, 0, epsilon) for epsilon in epsilons])

    def find(
        self, clf: Classifier, images: Tensor, labels: Tensor, epsilons: Sequence[float]
    ) -> Perturbation:
        """The direction, as it is measured and stored."""
        return self._found(clf, images, labels, None)

    def _found(
        self, clf: Classifier, images: Tensor, labels: Tensor, targets: Tensor | None
    ) -> Perturbation:
        with clf.frozen():
            pixels = images.detach().clone().requires_grad_()
            raised = self.of_logits(clf, images, labels, targets)(clf(pixels))
            return self.of_gradient(pixel_gradient(clf.name, raised, pixels), clf.name)


def searched(
    attack: Attack,
    clf: Classifier,
    images: Tensor,
    labels: Tensor,
    epsilons: Sequence[float],
) -> Perturbation:
    """What an attack finds at each ε by itself, so that no ε changes another; in memory.

    Args:
        attack: which; one whose direction serves every ε, or that searches without any, is asked
            once.
        clf: the classifier.
        images: (N, C, H, W) float pixels in [0, 1].
        labels: (N,) true classes.
        epsilons: the levels.
    """
    once = attack.one_direction or attack.searches
    calls = [list(epsilons)] if once else [[epsilon] for epsilon in epsilons]
    return Perturbation.of_levels(
        [attack.find(clf, images, labels, levels).in_memory() for levels in calls]
    )


def goals(attacks: Sequence[Attack], logits: Tensor, labels: Tensor, images: Tensor) -> Tensor:
    """The classes (N, A) that each of A attacks goes to by itself; −1 where it goes to none."""
    found = [attack.goal(logits, labels, images) for attack in attacks]
    nowhere = torch.full_like(labels, -1)
    return torch.stack([nowhere if goal is None else goal for goal in found], dim=1)


def encoded(
    images: Tensor, attacked: Tensor, epsilons: Sequence[float], norm: str = "linf"
) -> Perturbation:
    """Attacked images as a perturbation whose images are never more than ε away.

    Args:
        images: (N, C, H, W) float pixels in [0, 1].
        attacked: (E, N, C, H, W), at most ε from them.
        epsilons: E levels.
        norm: what ε measures.

    >>> half = torch.full((1, 1, 1, 1), 0.5)
    >>> encoded(half, half[None] + 0.025, [0.05]).codes.flatten().tolist()
    [63]
    """
    shares = torch.stack(
        [(each - images) / epsilon for each, epsilon in zip(attacked, epsilons, strict=True)], dim=1
    )
    if norm == "l2":
        return Perturbation.of_directions(shares)
    # Towards zero; a whole step that float32 rounded stays a whole step.
    codes = (shares * FULL * (1 + 1e-5)).trunc().clamp(-FULL, FULL)
    return Perturbation(codes.to(torch.int8))


def norm_of(attacks: Iterable[Attack]) -> str:
    """The norm of all attacks; without any, L∞.

    Raises:
        InputError: they have several, so that one ε would mean several things.
    """
    norms = {attack.name: attack.norm for attack in attacks}
    if len(set(norms.values())) > 1:
        each = ", ".join(f"{name} {norm}" for name, norm in norms.items())
        raise InputError(
            f"attacks have different norms ({each}), so one ε would mean different things; measure "
            "those of each norm by themselves"
        )
    return next(iter(norms.values()), "linf")


def attack_of(name: str, options: Mapping[str, Any] | None = None) -> Attack:
    """The attack of a name; see ``registry.resolve``.

    >>> attack_of("fgsm").name
    'fgsm'
    """
    found: Attack = resolve(name, ATTACKS, "attack", Attack, options)
    return found

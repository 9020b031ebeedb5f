"""Adversarial training: what a network learns from in place of the images as they are."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lookaway.attacks.norms import check_epsilons, drawn_in_ball
from lookaway.attacks.pgd import PGD
from lookaway.errors import InputError
from lookaway.models.classifier import Classifier
from lookaway.models.randomness import seeded

ATTACKS = ("fgsm", "pgd")
FAST_STEP = 1.25  # of FGSM from a random start, as a part of ε (Wong et al. 2020)
STEPS = 7  # of PGD (Madry et al. 2018)


class _Drawn(PGD):
    """PGD whose random start is another one each time, from torch's own random numbers.

    A study's PGD begins at a place that follows from the image's content: in a training that would
    be the same one in every epoch.
    """

    def start(self, images: Tensor) -> Tensor:
        """Drawn on the images' device."""
        return drawn_in_ball(images, self.norm)


@dataclass(frozen=True)
class AdversarialTraining:
    """An adversary for a training: see ``models.training.train``.

    ``fgsm`` is one step along the gradient's sign, from a random start of 1.25 ε (E. Wong, L. Rice
    and J. Z. Kolter, Fast is better than free, 2020, algorithm 3); ``pgd`` several (A. Madry et
    al., Towards Deep Learning Models Resistant to Adversarial Attacks, 2018). Both are the
    package's ``PGD``, and so within the ε-ball and [0, 1].

    Attributes:
        attack: ``fgsm`` or ``pgd``.
        epsilon: the size of the change, in pixels, or the length in L2.
        norm: ``linf`` or ``l2``.
        steps: of ``pgd``; None: 7.
        rel_stepsize: of a step, as a part of ε; None: of ``fgsm`` 1.25 from a random start, else 1;
            of ``pgd`` 2.5 / steps.
        random_start: begin at a place in the ball, drawn anew at every step of the training.
        clean: the share of each batch that is learnt from as it is, below 1.
        check_every: epochs from one check to the next.
        check_steps: of the PGD, from a random start that is always the same, that checks.

    Raises:
        InputError: one of them is out of range.
    """

    attack: str = "fgsm"
    epsilon: float = 8 / 255
    norm: str = "linf"
    steps: int | None = None
    rel_stepsize: float | None = None
    random_start: bool = True
    clean: float = 0.0
    check_every: int = 5
    check_steps: int = 10

    def __post_init__(self) -> None:
        if self.attack not in ATTACKS:
            raise InputError(
                f"attack={self.attack!r}; possible in a training: {', '.join(ATTACKS)}"
            )
        if self.attack == "fgsm" and self.steps is not None:
            raise InputError("steps is for attack: pgd; fgsm is one step")
        if not 0.0 <= self.clean < 1.0:
            raise InputError(f"clean is a share of each batch, from 0 to below 1; got {self.clean}")
        if self.check_every < 1:
            raise InputError(f"check_every must be at least 1; got {self.check_every}")
        check_epsilons([self.epsilon], self.norm)
        self._learning()
        self._checking()

    def attacked(self, clf: Classifier, pixels: Tensor, labels: Tensor) -> Tensor:
        """What is learnt from: the first images of the batch as they are, the others attacked.

        Args:
            clf: the network as it is now; it is afterwards as it was.
            pixels: (N, C, H, W) in [0, 1], in random order.
            labels: (N,) int64.
        """
        kept = int(self.clean * len(pixels) + 0.5)
        if kept == len(pixels):
            return pixels
        changed = self._learning()(clf, pixels[kept:], labels[kept:], [self.epsilon])[0]
        return torch.cat([pixels[:kept], changed])

    def met(self, clf: Classifier, pixels: Tensor, labels: Tensor) -> Tensor:
        """All images attacked as those are that are learnt from, from starts of their own.

        Nothing of what the training draws is taken for them.
        """
        with seeded(0):
            return self._learning()(clf, pixels, labels, [self.epsilon])[0]

    def checked(self, clf: Classifier, pixels: Tensor, labels: Tensor) -> Tensor:
        """The images under PGD, the same for the same network."""
        return self._checking()(clf, pixels, labels, [self.epsilon])[0]

    def _learning(self) -> PGD:
        if self.attack == "pgd":
            steps, size = STEPS if self.steps is None else self.steps, self.rel_stepsize
        else:
            steps, size = 1, FAST_STEP if self.random_start else 1.0
            size = size if self.rel_stepsize is None else self.rel_stepsize
        return _Drawn(steps, size, self.norm, random_start=self.random_start)

    def _checking(self) -> PGD:
        return PGD(self.check_steps, norm=self.norm)

"""The noise control: as large as FGSM, and no adversary."""

import numpy as np
import torch
from torch import Tensor

from lookaway.attacks.base import SignAttack
from lookaway.hashing import random_signs
from lookaway.models.classifier import Classifier
from lookaway.perturbation import NOISE


class SignNoise(SignAttack):
    """x + ε · random sign, clipped to [0, 1].

    An image's signs are the bits of Philox, a counter-based generator, keyed by the hash of the
    seed and of its pixels: the same for every ε, model, batch and machine.

    Args:
        seed: another seed, other signs.
        norm: ``linf``, or ``l2``, where ε is the length of an image's change.
    """

    name = NOISE

    def __init__(self, seed: int = 0, norm: str = "linf") -> None:
        self.set_goal(norm, None, seed)

    @property
    def aim(self) -> str:
        """It has none."""
        return ""

    def signs(self, clf: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        """Random signs from the seed and the pixels; classifier and labels play no part."""
        pixels = images.detach().to("cpu", torch.float32).contiguous().numpy()
        signs = np.stack([random_signs(self.seed, image) for image in pixels])
        return torch.from_numpy(signs).to(images.device)

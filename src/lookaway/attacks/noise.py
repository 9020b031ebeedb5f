"""The noise control: as large as FGSM, and no adversary."""

import hashlib
from typing import cast

import numpy as np
import torch
from torch import Tensor

from lookaway.attacks.base import SignAttack
from lookaway.models.classifier import Classifier


class SignNoise(SignAttack):
    """x + ε · random sign, clipped to [0, 1].

    An image's signs are the bits of SHAKE-256 over the seed and its pixels (float32, C order):
    the same for every ε, model, batch and machine.

    Args:
        seed: another seed, other signs.
    """

    name = "noise"

    def __init__(self, seed: int = 0) -> None:
        self.seed = int(seed)

    def signs(self, clf: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        """Random signs from the seed and the pixels; classifier and labels play no part."""
        pixels = images.detach().to("cpu", torch.float32).contiguous().numpy()
        signs = np.stack([self._signs_of(image) for image in pixels])
        return torch.from_numpy(signs).to(images.device)

    def _signs_of(self, image: np.ndarray) -> np.ndarray:
        hasher = hashlib.shake_256(f"lookaway sign noise {self.seed}\n".encode())
        hasher.update(np.ascontiguousarray(image, dtype="<f4").data)
        raw = np.frombuffer(hasher.digest(-(-image.size // 8)), dtype=np.uint8)
        bits = np.unpackbits(raw, count=image.size).astype(np.int8)
        return cast(np.ndarray, (2 * bits - 1).reshape(image.shape))

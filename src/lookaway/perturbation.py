"""What an attack changes in images: codes, and the formula of the attacked image.

Arrays are NumPy's or PyTorch's; PyTorch is not imported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lookaway.errors import InputError, StoreError

Source = tuple[str, str | None]  # an attack, and the model that made the perturbation; None: noise
FULL = 127  # the code of a change by all of ε
_SIGNS = "signs"
_CODES = "codes"


@dataclass(frozen=True)
class Perturbation:
    """The change of N images at E levels: x + ε · code / 127, clipped to [0, 1].

    What is measured is always the image that is made from the codes, so the rounding of an attack
    that is no sign attack is a part of it.

    Attributes:
        codes: (N, L, C, H, W) int8 from −127 to 127; L is E, or 1 where one direction serves every
            ε, as that of a sign attack, whose codes are −127, 0 and 127.
    """

    codes: Any

    @classmethod
    def of_signs(cls, signs: Any) -> "Perturbation":
        """A sign attack's.

        Args:
            signs: (N, C, H, W) int8: −1, 0 or 1.
        """
        return cls((signs * FULL)[:, None])

    def attacked(self, images: Any, level: int, epsilon: float) -> Any:
        """The attacked images (N, C, H, W), of the images' type.

        Args:
            images: (N, C, H, W) float pixels in [0, 1].
            level: the place of ε among the levels.
            epsilon: the largest change of a pixel.

        >>> signs = np.array([[[[1, -1]]]], dtype=np.int8)
        >>> half = np.full((1, 1, 1, 2), 0.5, dtype=np.float32)
        >>> Perturbation.of_signs(signs).attacked(half, 0, 0.25).tolist()
        [[[[0.75, 0.25]]]]
        """
        codes = self.codes[:, level if self.codes.shape[1] > 1 else 0]
        codes = codes.to(images) if hasattr(codes, "to") else codes.astype(images.dtype)
        return (images + epsilon * (codes / FULL)).clip(0.0, 1.0)

    def __repr__(self) -> str:
        return f"Perturbation{tuple(self.codes.shape)}"

    def of(self, places: Any) -> "Perturbation":
        """That of some of the images."""
        return Perturbation(self.codes[places])

    @classmethod
    def joined(cls, parts: Sequence["Perturbation"]) -> "Perturbation":
        """Those of several batches of images as one, in NumPy."""
        return cls(np.concatenate([part.codes for part in parts]))

    def __reduce__(self) -> tuple[Any, ...]:
        """As small as it is stored, also on its way to another process."""
        return Perturbation.from_arrays, (self.arrays(), tuple(self.codes.shape[2:]))

    def arrays(self) -> dict[str, np.ndarray]:
        """As it is stored: two bits a pixel where all codes are signs, else eight."""
        codes = np.asarray(self.codes.cpu() if hasattr(self.codes, "cpu") else self.codes)
        if np.isin(codes, (-FULL, 0, FULL)).all():
            packed = _pack(np.sign(codes))
            return {_SIGNS: packed}
        return {_CODES: codes}

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, np.ndarray], shape: tuple[int, ...]
    ) -> "Perturbation":
        """Undo ``arrays``.

        Args:
            arrays: as they were stored.
            shape: (C, H, W) of an image.

        Raises:
            StoreError: they are not of such images.

        >>> signs = np.array([[[[-1, 0, 1]]]], dtype=np.int8)
        >>> stored = Perturbation.of_signs(signs).arrays()
        >>> Perturbation.from_arrays(stored, (1, 1, 3)).codes.tolist()
        [[[[[-127, 0, 127]]]]]
        """
        try:
            if _SIGNS not in arrays:
                return cls(arrays[_CODES].reshape(*arrays[_CODES].shape[:2], *shape))
            packed = arrays[_SIGNS]
            return cls(_unpack(packed, shape) * np.int8(FULL))
        except (KeyError, ValueError) as error:
            raise StoreError(f"a stored perturbation does not fit its images: {error}") from error


def check_given(
    given: Mapping[Source, Perturbation], attacks: Sequence[str], images: Any, levels: int
) -> None:
    """Refuse other models' perturbations that would be left out or do not fit.

    Args:
        given: them.
        attacks: names.
        images: all that they are of, (N, C, H, W).
        levels: how many ε there are.

    Raises:
        InputError: with what does not fit.
    """
    for (attack, model), perturbation in given.items():
        if attack not in attacks:
            raise InputError(
                f"{model!r} gives perturbations of {attack!r}, which is none of the attacks: "
                f"{', '.join(attacks) or 'none'}"
            )
        count, own, *shape = perturbation.codes.shape
        if (count, *shape) != tuple(images.shape) or own not in (1, levels):
            raise InputError(
                f"the perturbations of {attack!r} that {model!r} gives are "
                f"{tuple(perturbation.codes.shape)}, for images {tuple(images.shape)} and {levels} "
                "levels"
            )


def _pack(signs: np.ndarray) -> np.ndarray:
    """Signs, (N, L, …) int8, four to a byte: (N, L, ⌈size / 4⌉) uint8."""
    size = int(np.prod(signs.shape[2:]))
    codes = (signs.reshape(*signs.shape[:2], size) + 1).astype(np.uint8)
    padded = np.pad(codes, ((0, 0), (0, 0), (0, -size % 4)))
    quads = padded.reshape(*signs.shape[:2], -(-size // 4), 4)
    return quads[..., 0] | quads[..., 1] << 2 | quads[..., 2] << 4 | quads[..., 3] << 6


def _unpack(packed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    size = int(np.prod(shape))
    codes = np.stack([packed >> shift & 3 for shift in (0, 2, 4, 6)], axis=-1)
    flat = codes.reshape(*packed.shape[:2], 4 * packed.shape[2])
    if flat.shape[2] < size or flat.shape[2] >= size + 4:
        raise ValueError(f"{flat.shape[2]} signs for images {shape}")
    flat = flat[..., :size]
    if flat.size and flat.max() > 2:
        raise ValueError("signs other than -1, 0 and 1")
    return flat.reshape(*packed.shape[:2], *shape).astype(np.int8) - np.int8(1)

"""What an attack changes in images: codes, and the formula of the attacked image.

Arrays are NumPy's or PyTorch's, which only ``on`` imports.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lookaway.errors import InputError, StoreError

Source = tuple[str, str | None]  # an attack, and the model that made the perturbation; None: noise
NOISE = "noise"  # the control of every attack that changes each pixel by ε or not at all
OWN_SIZE = "own-size noise of {}"  # that of another one
FULL = 127  # the code of a change by all of ε
_SIGNS = "signs"
_CODES = "codes"
_SCALE = "scale"


def own_size_noise(attack: str, source: str | None = None) -> str:
    """The name of the control that changes each pixel as much as an attack does.

    Args:
        attack: its name.
        source: the other model that made its perturbations; None: the attacked one.
    """
    return OWN_SIZE.format(made_by(attack, source))


def made_by(attack: str, source: str | None = None) -> str:
    """What a perturbation is called in the names of its controls.

    Args:
        attack: its name.
        source: the other model that made it; None: the attacked one.

    >>> made_by("fgsm"), made_by("fgsm", "resnet50")
    ('fgsm', 'fgsm from resnet50')
    """
    return attack if source is None else f"{attack} from {source}"


@dataclass(frozen=True)
class Perturbation:
    """The change of N images at E levels: x + ε · scale · code / 127, clipped to [0, 1].

    What is measured is always the image that is made from the codes, so the rounding of an attack
    that is no sign attack is a part of it.

    Attributes:
        codes: (N, L, C, H, W) int8 from −127 to 127; L is E, or 1 where one direction serves every
            ε, as that of a sign attack, whose codes are −127, 0 and 127.
        scale: (N, L) float32, the largest change as a part of ε, where ε is the length of the whole
            change (L2); None: 1, where ε is the largest change of a pixel (L∞).
    """

    codes: Any
    scale: Any = None

    @classmethod
    def of_signs(cls, signs: Any, norm: str = "linf") -> "Perturbation":
        """A sign attack's.

        Args:
            signs: (N, C, H, W) int8: −1, 0 or 1.
            norm: what ε measures: ``linf``, the largest change; ``l2``, the length of all of it.
        """
        codes = (signs * FULL)[:, None]
        if norm == "linf":
            return cls(codes)
        scale = (signs != 0).sum((1, 2, 3))[:, None].clip(1) ** -0.5
        return cls(codes, scale.astype(np.float32) if isinstance(scale, np.ndarray) else scale)

    @classmethod
    def of_directions(cls, directions: Any) -> "Perturbation":
        """That of changes by ε · direction, rounded so that their lengths (L2) stay.

        Args:
            directions: (N, L, C, H, W) floating point, PyTorch's, of any length; zeros stay zeros.
        """
        tiny = 1e-38  # below it nothing is a direction
        largest = directions.abs().amax(dim=(2, 3, 4), keepdim=True).clamp_min(tiny)
        codes = (directions / largest * FULL).round()
        scale = FULL * _length(directions) / _length(codes).clamp_min(tiny)
        return cls(codes.char(), scale.float())

    def attacked(self, images: Any, level: int, epsilon: float) -> Any:
        """The attacked images (N, C, H, W), of the images' type.

        Args:
            images: (N, C, H, W) float pixels in [0, 1].
            level: the place of ε among the levels.
            epsilon: the largest change of a pixel, or the length of an image's change.

        >>> signs = np.array([[[[1, -1]]]], dtype=np.int8)
        >>> half = np.full((1, 1, 1, 2), 0.5, dtype=np.float32)
        >>> Perturbation.of_signs(signs).attacked(half, 0, 0.25).tolist()
        [[[[0.75, 0.25]]]]
        """
        place = level if self.codes.shape[1] > 1 else 0
        change = epsilon * (_as(images, self.codes[:, place]) / FULL)
        if self.scale is not None:
            change = change * _as(images, self.scale[:, place])[:, None, None, None]
        return (images + change).clip(0.0, 1.0)

    def with_signs(self, signs: Any) -> "Perturbation":
        """Changes as large, pixel by pixel, in other directions.

        Args:
            signs: (N, C, H, W) int8: −1 or 1.
        """
        return Perturbation(abs(self.codes) * signs[:, None], self.scale)

    def shifted(self, ways: Sequence[tuple[int, int]]) -> "Perturbation":
        """The same changes in other places: each image's moved, round the edges.

        Args:
            ways: for each of the N images how many pixels down, and right.

        >>> signs = np.array([[[[1, 0, -1]]]], dtype=np.int8)
        >>> Perturbation.of_signs(signs).shifted([(0, 1)]).codes.tolist()
        [[[[[-127, 127, 0]]]]]
        """
        plain = isinstance(self.codes, np.ndarray)
        codes = self.codes.copy() if plain else self.codes.clone()
        for place, way in enumerate(ways):
            one = self.codes[place]
            codes[place] = np.roll(one, way, (-2, -1)) if plain else one.roll(way, (-2, -1))
        return Perturbation(codes, self.scale)

    def __repr__(self) -> str:
        return f"Perturbation{tuple(self.codes.shape)}"

    def of(self, places: Any) -> "Perturbation":
        """That of some of the images."""
        return Perturbation(self.codes[places], None if self.scale is None else self.scale[places])

    def at(self, levels: slice | Sequence[int]) -> "Perturbation":
        """That at some of the levels."""
        scale = None if self.scale is None else self.scale[:, levels]
        return Perturbation(self.codes[:, levels], scale)

    @classmethod
    def joined(cls, parts: Sequence["Perturbation"]) -> "Perturbation":
        """Those of several batches of images as one, in NumPy."""
        scales = [part.scale for part in parts if part.scale is not None]
        codes = np.concatenate([part.codes for part in parts])
        return cls(codes, np.concatenate(scales) if scales else None)

    @classmethod
    def of_levels(cls, parts: Sequence["Perturbation"]) -> "Perturbation":
        """Those of the same images at one ε after the other as one, in NumPy."""
        scales = [part.scale for part in parts if part.scale is not None]
        codes = np.concatenate([part.codes for part in parts], axis=1)
        return cls(codes, np.concatenate(scales, axis=1) if scales else None)

    def on(self, device: Any) -> "Perturbation":
        """Its arrays as PyTorch's, on a device."""
        import torch

        scale = None if self.scale is None else torch.as_tensor(self.scale, device=device)
        return Perturbation(torch.as_tensor(self.codes, device=device), scale)

    def in_memory(self) -> "Perturbation":
        """Its arrays as NumPy's."""
        return Perturbation(_array(self.codes), None if self.scale is None else _array(self.scale))

    def __reduce__(self) -> tuple[Any, ...]:
        """As small as it is stored, also on its way to another process."""
        return Perturbation.from_arrays, (self.arrays(), tuple(self.codes.shape[2:]))

    def arrays(self) -> dict[str, np.ndarray]:
        """As it is stored: two bits a pixel where all codes are signs, else eight; the scale."""
        codes = _array(self.codes)
        scale = {} if self.scale is None else {_SCALE: _array(self.scale)}
        if np.isin(codes, (-FULL, 0, FULL)).all():
            return {_SIGNS: _pack(np.sign(codes)), **scale}
        return {_CODES: codes, **scale}

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
            if _SIGNS in arrays:
                codes = _unpack(arrays[_SIGNS], shape) * np.int8(FULL)
            else:
                codes = arrays[_CODES].reshape(*arrays[_CODES].shape[:2], *shape)
            scale = arrays.get(_SCALE)
            if scale is not None and scale.shape != codes.shape[:2]:
                raise ValueError(f"scales {scale.shape} of codes {codes.shape}")
            return cls(codes, scale)
        except (KeyError, ValueError) as error:
            raise StoreError(f"a stored perturbation does not fit its images: {error}") from error


def _as(images: Any, values: Any) -> Any:
    """Values of the images' kind and type, on their device."""
    return values.to(images) if hasattr(values, "to") else values.astype(images.dtype)


def _length(changes: Any) -> Any:
    """The length (N, L) of changes (N, L, C, H, W)."""
    return changes.flatten(2).norm(dim=2)


def _array(values: Any) -> np.ndarray:
    return np.asarray(values.cpu() if hasattr(values, "cpu") else values)


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

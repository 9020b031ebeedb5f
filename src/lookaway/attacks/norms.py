"""What ε measures: the largest change of a pixel (L∞), or the length of an image's change (L2)."""

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lookaway.errors import AttackError, InputError
from lookaway.hashing import digest, seed_from
from lookaway.models.postponed import must_hold

NORMS = ("linf", "l2")
_SLACK = 1e-6  # rounding of x + ε in float32; coarser types round more


def check_norm(norm: str) -> str:
    """Refuse an unknown norm.

    Raises:
        InputError: with what is possible.
    """
    if norm not in NORMS:
        raise InputError(f"norm={norm!r} is unknown; possible: {', '.join(NORMS)}")
    return norm


def check_epsilons(epsilons: Iterable[Any], norm: str = "linf") -> list[float]:
    """Refuse levels outside (0, 1], or, as lengths, of at most 0; and repeated ones.

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
        if norm == "l2" and not (math.isfinite(level) and level > 0.0):
            raise InputError(f"epsilon {level:g} is no length of a change; it must be above 0")
        if norm == "linf" and not (math.isfinite(level) and 0.0 < level <= 1.0):
            raise InputError(
                f"epsilon {level:g} is outside (0, 1]; pixels lie in [0, 1], so 8/255 is 0.0314"
            )
    if len(set(levels)) < len(levels):
        raise InputError(f"epsilons repeats a level: {levels}")
    return levels


def check_ball(
    images: Tensor, perturbed: Tensor, epsilons: Sequence[float], name: str, norm: str = "linf"
) -> None:
    """Refuse perturbed pixels outside [0, 1] or outside the ε-ball of a norm.

    Raises:
        AttackError: with what was found.
    """
    expected = (len(epsilons), *images.shape)
    if tuple(perturbed.shape) != expected:
        raise AttackError(f"{name} gave {tuple(perturbed.shape)} where {expected} is needed")
    slack = max(_SLACK, torch.finfo(images.dtype).eps)
    for level, changed in zip(epsilons, perturbed.detach(), strict=True):
        low, high = torch.aminmax(changed)
        reach = size(changed - images.detach().to(changed.device), norm).max()
        most = level + slack if norm == "linf" else level * (1 + 1e-4) + slack
        inside = (low >= 0) & (high <= 1) & (reach <= most)
        must_hold(inside, partial(_left, name, level, norm, low, high, reach))


def _left(
    name: str, level: float, norm: str, low: Tensor, high: Tensor, reach: Tensor
) -> AttackError:
    return AttackError(
        f"{name} at epsilon {level:g} gave pixels from {float(low):g} to {float(high):g}, "
        f"up to {float(reach):g} ({norm}) from the image"
    )


def size(change: Tensor, norm: str) -> Tensor:
    """The size (…) of changes (…, C, H, W)."""
    flat = change.flatten(-3)
    return flat.abs().amax(dim=-1) if norm == "linf" else flat.norm(dim=-1)


def steepest(gradient: Tensor, norm: str) -> Tensor:
    """The change of size 1 that a gradient (…, C, H, W) gains most by; zeros stay zeros."""
    if norm == "linf":
        return gradient.sign()
    length = size(gradient, norm)[..., None, None, None]
    return torch.where(length > 0, gradient / length, 0.0)


def project(change: Tensor, epsilon: Tensor, norm: str) -> Tensor:
    """The nearest change (…, C, H, W) of at most ε (…)."""
    epsilon = epsilon[..., None, None, None]
    if norm == "linf":
        return change.clamp(-epsilon, epsilon)
    length = size(change, norm)[..., None, None, None]
    return torch.where(length > epsilon, change * (epsilon / length), change)


def random_in_ball(images: Tensor, seed: int, norm: str) -> Tensor:
    """Changes drawn uniformly from the unit ball, each image's by the seed and its content alone.

    Args:
        images: (N, C, H, W) float pixels in [0, 1].
        seed: another seed, other changes.
        norm: one of ``NORMS``.

    Returns:
        (N, C, H, W) of the images' type, on their device.
    """
    drawn = [_drawn(image, seed, norm) for image in images.detach().to("cpu", torch.float32)]
    return torch.stack(drawn).to(images) if drawn else torch.zeros_like(images)


def drawn_in_ball(images: Tensor, norm: str) -> Tensor:
    """Changes drawn uniformly from the unit ball, by torch's own random numbers of the device.

    Args:
        images: (N, C, H, W).
        norm: one of ``NORMS``.
    """
    if norm == "linf":
        return 2 * torch.rand_like(images) - 1
    direction = steepest(torch.randn_like(images), norm)
    radius = torch.rand_like(images[:, :1, :1, :1]) ** (1 / images[0].numel())
    return direction * radius


def of_content(image: Tensor, *parts: object) -> int:
    """A seed that follows from an image's float32 pixels (C, H, W), on the CPU, and from parts."""
    return seed_from(digest(image.contiguous().numpy().tobytes()), *parts)


def _drawn(image: Tensor, seed: int, norm: str) -> Tensor:
    generator = torch.Generator().manual_seed(of_content(image, "start", seed))
    if norm == "linf":
        return 2 * torch.rand(image.shape, generator=generator) - 1
    direction = steepest(torch.randn(image.shape, generator=generator), norm)
    radius: Tensor = torch.rand((), generator=generator) ** (1 / image.numel())
    return direction * radius

"""What ε measures: the largest change of a pixel (L∞), or the length of an image's change (L2)."""

import torch
from torch import Tensor

from lookaway.errors import InputError
from lookaway.hashing import digest, seed_from

NORMS = ("linf", "l2")


def check_norm(norm: str) -> str:
    """Refuse an unknown norm.

    Raises:
        InputError: with what is possible.
    """
    if norm not in NORMS:
        raise InputError(f"norm={norm!r} is unknown; possible: {', '.join(NORMS)}")
    return norm


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

"""How far two heatmaps, or two images, are apart."""

import torch
from torch import Tensor

from lookaway.errors import InputError
from lookaway.metrics.ssim import ssim


def nissim(clean: Tensor, attacked: Tensor, preset: str = "gaussian11") -> Tensor:
    """The normalised inverted SSIM of each pair, (1 − SSIM) / 2: eq. 1 of the paper.

    Args:
        clean: (N, H, W) or (N, 1, H, W) heatmaps in [0, 1].
        attacked: the same shape.
        preset: of the SSIM: ``gaussian11`` or ``uniform7``.

    Returns:
        (N,) float64 in [0, 1]: 0 the same, towards 1 dissimilar.

    Raises:
        InputError: shapes, range or preset do not fit.

    >>> a = torch.rand(1, 16, 16)
    >>> nissim(a, a)
    tensor([0.], dtype=torch.float64)
    """
    return (1.0 - ssim(clean, attacked, preset)) / 2.0


def psnr(clean: Tensor, attacked: Tensor) -> Tensor:
    """The peak signal-to-noise ratio of each pair, −10 log₁₀ of the mean squared change.

    Args:
        clean: (N, …) float pixels in [0, 1]; the peak is 1.
        attacked: the same shape.

    Returns:
        (N,) float64 in dB; infinite where nothing changed.

    Raises:
        InputError: shapes differ.

    >>> psnr(torch.full((1, 3, 8, 8), 0.5), torch.full((1, 3, 8, 8), 0.6)).round()
    tensor([20.], dtype=torch.float64)
    """
    return linf_and_psnr(clean, attacked)[1]


def linf_and_psnr(clean: Tensor, attacked: Tensor) -> tuple[Tensor, Tensor]:
    """The largest change of a pixel of each pair, and its PSNR.

    Args:
        clean: (N, …) float pixels in [0, 1]; the peak is 1.
        attacked: the same shape.

    Returns:
        (N,) float64 each; see ``psnr``.

    Raises:
        InputError: shapes differ.
    """
    if clean.shape != attacked.shape:
        raise InputError(
            f"images differ in shape: {tuple(clean.shape)} and {tuple(attacked.shape)}"
        )
    change = attacked.detach().double().sub(clean.detach()).flatten(1)
    length, largest = torch.linalg.vector_norm(change, dim=1), change.abs().amax(dim=1)
    return largest, -20.0 * torch.log10(length / change.shape[1] ** 0.5)

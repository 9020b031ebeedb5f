"""The structural similarity index of pairs of heatmaps (Wang et al. 2004, eq. 13)."""

from functools import lru_cache

import torch
from torch import Tensor

from lookaway.errors import InputError

PRESETS = ("gaussian11", "uniform7")
_C1, _C2 = 0.01**2, 0.03**2  # K = (0.01, 0.03) for a data range of 1
_PAIRS_AT_ONCE = 4  # many more fall out of a core's cache


def ssim(a: Tensor, b: Tensor, preset: str = "gaussian11") -> Tensor:
    """The mean structural similarity of each pair, for a data range of 1.

    ``gaussian11``: Gaussian window 11, σ 1.5, population variance, valid border: Wang's own
    settings. ``uniform7``: scikit-image's default: uniform window 7, sample variance, cropped
    border. Computed in float64: in float32 the variances of a bright, flat region drown in
    rounding.

    Args:
        a: (N, H, W) or (N, 1, H, W) float in [0, 1], sides at least the window.
        b: the same shape.
        preset: ``gaussian11`` or ``uniform7``.

    Returns:
        (N,) float64 in [−1, 1]; exactly 1 for equal pairs; symmetric.

    Raises:
        InputError: shapes, range or preset do not fit.

    >>> a = torch.rand(2, 32, 32)
    >>> ssim(a, a)
    tensor([1., 1.], dtype=torch.float64)
    """
    if preset not in PRESETS:
        raise InputError(f"ssim preset {preset!r} is unknown; possible: {', '.join(PRESETS)}")
    a, b = _heatmaps(a, "a"), _heatmaps(b, "b")
    if a.shape != b.shape:
        raise InputError(f"heatmaps differ in shape: {tuple(a.shape)} and {tuple(b.shape)}")
    window = 11 if preset == "gaussian11" else 7
    if min(a.shape[1:]) < window:
        raise InputError(f"heatmaps of {tuple(a.shape[1:])} are smaller than the window {window}")
    parts = [
        _ssim(x.double(), y.double(), preset)
        for x, y in zip(torch.split(a, _PAIRS_AT_ONCE), torch.split(b, _PAIRS_AT_ONCE), strict=True)
    ]
    return torch.cat(parts) if parts else a.new_zeros(0, dtype=torch.float64)


def _ssim(a: Tensor, b: Tensor, preset: str) -> Tensor:
    rows = band(a.shape[1], preset, a.device)
    columns = band(a.shape[2], preset, a.device)

    def blur(x: Tensor) -> Tensor:
        return rows @ x @ columns.T

    return ssim_of_moments(blur(a), blur(b), blur(a * a + b * b), blur(a * b), preset)


def ssim_of_moments(
    mean_a: Tensor, mean_b: Tensor, squares: Tensor, product: Tensor, preset: str
) -> Tensor:
    """The mean SSIM from the window's means of a, b, a² + b² and ab.

    Args:
        mean_a: (N, H, W) float64, at the valid positions, and so are the others. All are used up.
        mean_b: of b.
        squares: of a² + b².
        product: of ab.
        preset: ``gaussian11`` or ``uniform7``.

    Returns:
        (N,) float64 in [−1, 1].
    """
    # Sample variance (scikit-image's default) is N / (N − 1) of the population's.
    unbiased = 1.0 if preset == "gaussian11" else 49 / 48
    constant = unbiased * _C1 + _C2
    # In place: with m = 2 μ_a μ_b + C1 and p = μ_a² + μ_b² + C1 the formula is
    # m (2 E[ab] − m + C1 + C2) / (p (E[a² + b²] − p + C1 + C2)), variances times ``unbiased``.
    # (No fused multiply-add: equal pairs must round equally, and the order must not matter.)
    power = (mean_a * mean_a).add_(mean_b * mean_b).add_(_C1)
    both = mean_a.mul_(mean_b).mul_(2.0).add_(_C1)
    numerator = product.mul_(2.0 * unbiased).sub_(both, alpha=unbiased).add_(constant).mul_(both)
    denominator = squares.mul_(unbiased).sub_(power, alpha=unbiased).add_(constant).mul_(power)
    return numerator.div_(denominator).mean(dim=(1, 2)).clamp(-1.0, 1.0)


@lru_cache(maxsize=16)
def band(size: int, preset: str, device: torch.device) -> Tensor:
    """The window as a banded matrix (valid positions, size): filtering is two matrix products."""
    if preset == "gaussian11":
        offsets = torch.arange(-5, 6, dtype=torch.float64)
        window = torch.exp(-0.5 * (offsets / 1.5) ** 2)
    else:
        window = torch.ones(7, dtype=torch.float64)
    window = window / window.sum()
    valid = size - len(window) + 1
    band = torch.zeros(valid, size, dtype=torch.float64)
    for offset, weight in enumerate(window.tolist()):
        band[torch.arange(valid), torch.arange(valid) + offset] = weight
    return band.to(device)


def _heatmaps(maps: Tensor, what: str) -> Tensor:
    if not isinstance(maps, Tensor) or not maps.is_floating_point():
        raise InputError(f"{what} must be a float tensor (N, H, W) or (N, 1, H, W)")
    if maps.ndim == 4 and maps.shape[1] == 1:
        maps = maps[:, 0]
    if maps.ndim != 3:
        raise InputError(
            f"{what} must have the shape (N, H, W) or (N, 1, H, W); got {tuple(maps.shape)}"
        )
    if maps.numel():
        low, high = (float(bound) for bound in torch.aminmax(maps.detach()))
        if not (low >= 0.0 and high <= 1.0):
            raise InputError(
                f"{what} must lie in [0, 1]; got {low:g} to {high:g}; make it with heatmap()"
            )
    return maps.detach()

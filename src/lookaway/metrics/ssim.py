"""The structural similarity index of pairs of heatmaps (Wang et al. 2004, eq. 13)."""

from functools import lru_cache

import torch
from torch import Tensor

from lookaway.errors import InputError
from lookaway.metrics.windows import Bands, cut, mean_dissimilarity, pairs_at_once, tiles_across

PRESETS = ("gaussian11", "uniform7")
# Sample variance (scikit-image's default) is N / (N − 1) of the population's.
UNBIASED = {"gaussian11": 1.0, "uniform7": 49 / 48}


def ssim(a: Tensor, b: Tensor, preset: str = "gaussian11") -> Tensor:
    """The mean structural similarity of each pair, for a data range of 1.

    ``gaussian11``: Gaussian window 11, σ 1.5, population variance, valid border: Wang's own
    settings. ``uniform7``: scikit-image's default: uniform window 7, sample variance, cropped
    border. Computed in float64.

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
    if not len(a):
        return a.new_zeros(0, dtype=torch.float64)
    return 1.0 - 2.0 * dissimilarity(a.double(), b.double(), preset)


def dissimilarity(a: Tensor, b: Tensor, preset: str) -> Tensor:
    """(1 − SSIM) / 2 of each pair.

    Args:
        a: (N, H, W) float64 in [0, 1].
        b: the same shape.
        preset: ``gaussian11`` or ``uniform7``.

    Returns:
        (N,) float64 in [0, 1].
    """
    height, width = a.shape[1:]
    rows = _bands(height, preset, a.device)
    bands = rows, _bands(width, preset, a.device, tiles_across(width))
    at_once = pairs_at_once(bands, a.device)
    found = [
        _dissimilarity(x, y, bands, UNBIASED[preset])
        for x, y in zip(torch.split(a, at_once), torch.split(b, at_once), strict=True)
    ]
    return torch.cat(found)


def _dissimilarity(a: Tensor, b: Tensor, bands: tuple[Bands, Bands], unbiased: float) -> Tensor:
    count, height, width = a.shape
    moments = a.new_empty(height, 4, count, width)
    total, change, *_ = parts = moments.permute(1, 2, 0, 3)
    torch.add(a, b, out=total)
    torch.sub(a, b, out=change)
    centre = total.mean(dim=(1, 2))
    total.sub_(centre[:, None, None])
    torch.mul(parts[:2], parts[:2], out=parts[2:])
    halves = moments.view(height, -1).chunk(2, dim=1)
    return mean_dissimilarity(halves, centre, (bands, bands), unbiased)


@lru_cache(maxsize=16)
def _bands(size: int, preset: str, device: torch.device, tiles: int | None = None) -> Bands:
    return cut(band(size, preset, device), torch.float64, tiles)


@lru_cache(maxsize=16)
def band(size: int, preset: str, device: torch.device) -> Tensor:
    """The window as a banded matrix (valid positions, size): filtering is two matrix products."""
    if preset == "gaussian11":
        offsets = torch.arange(-5, 6, dtype=torch.float64, device="cpu")
        window = torch.exp(-0.5 * (offsets / 1.5) ** 2)
    else:
        window = torch.ones(7, dtype=torch.float64, device="cpu")
    window = window / window.sum()
    valid = size - len(window) + 1
    band = window.new_zeros(valid, size)
    for offset, weight in enumerate(window.tolist()):
        band.diagonal(offset).fill_(weight)
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

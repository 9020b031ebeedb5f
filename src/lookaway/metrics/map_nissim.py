"""NISSIM straight from native maps: enlarging and filtering in one step.

A heatmap is ``U m Vᵀ``, with U and V the bilinear weights, two a row. A window's mean of it is
``(B U) m (B V)ᵀ``, with B the window as a band. Its second moments are of the same form: the square
of a heatmap mixes only neighbouring cells, so it is ``U₂ M Vᵀ₂``, with U₂ the products of two
weights and M those of two cells. A 7×7 map has 13 such products a side, where its heatmap has 224
px: the same numbers as ``nissim(heatmap(a), heatmap(b))`` for a fraction of the work.
"""

from functools import lru_cache

import torch
from torch import Tensor

from lookaway.explainers.base import heatmap
from lookaway.metrics.dissimilarity import nissim
from lookaway.metrics.ssim import UNBIASED, band
from lookaway.metrics.windows import Bands, cut, mean_dissimilarity, pairs_at_once, tiles_across


def nissim_of_maps(
    clean: Tensor, attacked: Tensor, grid: int, preset: str = "gaussian11"
) -> Tensor:
    """NISSIM of the heatmaps of two maps, whatever their size.

    Args:
        clean: (N, h, w) float, at least 0; zeros where dead.
        attacked: the same shape.
        grid: side of the heatmaps in px.
        preset: of the SSIM.

    Returns:
        (N,) float64 in [0, 1].
    """
    with torch.autocast(clean.device.type, enabled=False):  # its products would round the maps
        if max(clean.shape[1:]) <= grid:
            return map_nissim(clean, attacked, grid, preset)
        return nissim(heatmap(clean, grid), heatmap(attacked, grid), preset)


def map_nissim(clean: Tensor, attacked: Tensor, grid: int, preset: str = "gaussian11") -> Tensor:
    """NISSIM of the heatmaps of two maps, without making the heatmaps.

    Args:
        clean: (N, h, w) float, at least 0; zeros where dead; sides at most ``grid``.
        attacked: the same shape.
        grid: side of the heatmaps in px.
        preset: of the SSIM.

    Returns:
        (N,) float64 in [0, 1]; exactly 0 for equal maps; symmetric.
    """
    if not len(clean):
        return clean.new_zeros(0, dtype=torch.float64)
    height, width = clean.shape[1:]
    rows = _bands(height, grid, preset, clean.device)
    columns = _bands(width, grid, preset, clean.device, tiles_across(2 * width - 1))
    bands = tuple(zip(rows, columns, strict=True))
    at_once = pairs_at_once(bands[0], clean.device)
    return torch.cat(
        [
            mean_dissimilarity(*_moments(_scaled(a), _scaled(b)), bands, UNBIASED[preset])
            for a, b in zip(
                torch.split(clean, at_once), torch.split(attacked, at_once), strict=True
            )
        ]
    )


def _scaled(maps: Tensor) -> Tensor:
    peak = maps.amax(dim=(1, 2), keepdim=True)
    return maps / torch.where(peak > 0, peak, 1.0)


def _moments(a: Tensor, b: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    total = a + b
    centre = total.mean(dim=(1, 2))
    both = torch.stack([total - centre[:, None, None], a - b])
    products = _products(both)
    means, squares = (x.permute(2, 0, 1, 3).reshape(x.shape[2], -1) for x in (both, products))
    return (means, squares), centre


def _products(x: Tensor) -> Tensor:
    """What multiplies the products of weights, (…, 2h − 1, 2w − 1): cells, between them neighbours.

    Between two cells stand both orders of their product, twice the product itself.
    """
    *_, height, width = x.shape
    found = x.new_empty(*x.shape[:-2], 2 * height - 1, 2 * width - 1)
    above, below = x[..., :-1, :], x[..., 1:, :]
    found[..., ::2, ::2] = x * x
    found[..., ::2, 1::2] = 2 * x[..., :-1] * x[..., 1:]
    found[..., 1::2, ::2] = 2 * above * below
    found[..., 1::2, 1::2] = 2 * (
        above[..., :-1] * below[..., 1:] + above[..., 1:] * below[..., :-1]
    )
    return found


@lru_cache(maxsize=64)
def _bands(
    cells: int, grid: int, preset: str, device: torch.device, tiles: int | None = None
) -> tuple[Bands, Bands]:
    """The window's means of the weights, and of their products: (valid, h), (valid, 2h − 1)."""
    eye = torch.eye(cells, dtype=torch.float64, device="cpu")[None]
    enlarge = torch.nn.functional.interpolate(eye, size=grid, mode="linear", align_corners=False)[
        0
    ].T
    products = enlarge.new_zeros(grid, 2 * cells - 1)
    products[:, ::2] = enlarge * enlarge
    products[:, 1::2] = enlarge[:, :-1] * enlarge[:, 1:]
    window = band(grid, preset, torch.device("cpu"))
    means, squares = ((window @ weights).to(device) for weights in (enlarge, products))
    return cut(means, torch.float32, tiles), cut(squares, torch.float32, tiles)

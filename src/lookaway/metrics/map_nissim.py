"""NISSIM straight from small native maps: enlarging and filtering in one step.

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
from lookaway.metrics.ssim import band, ssim_of_moments

_PAIRS_AT_ONCE = 4  # many more fall out of a core's cache
SMALL = 32  # cells a side; larger maps gain nothing


def nissim_of_maps(
    clean: Tensor, attacked: Tensor, grid: int, preset: str = "gaussian11"
) -> Tensor:
    """NISSIM of the heatmaps of two maps, by the quicker of two equal ways.

    Args:
        clean: (N, h, w) float, at least 0; zeros where dead.
        attacked: the same shape.
        grid: side of the heatmaps in px.
        preset: of the SSIM.

    Returns:
        (N,) float64 in [0, 1].
    """
    if max(clean.shape[1:]) <= min(SMALL, grid):
        return map_nissim(clean, attacked, grid, preset)
    return nissim(heatmap(clean, grid), heatmap(attacked, grid), preset)


def map_nissim(clean: Tensor, attacked: Tensor, grid: int, preset: str = "gaussian11") -> Tensor:
    """NISSIM of the heatmaps of two maps, without making the heatmaps.

    Args:
        clean: (N, h, w) float, at least 0; zeros where dead; sides at most ``SMALL`` and ``grid``.
        attacked: the same shape.
        grid: side of the heatmaps in px.
        preset: of the SSIM.

    Returns:
        (N,) float64 in [0, 1]; exactly 0 for equal maps; symmetric.
    """
    first, second = _scaled(clean), _scaled(attacked)
    if not len(first):
        return first.new_zeros(0)
    rows = _filters(first.shape[1], grid, preset, first.device)
    columns = [each.T for each in _filters(first.shape[2], grid, preset, first.device)]
    at_once = _PAIRS_AT_ONCE if first.device.type == "cpu" else len(first)
    similarity = torch.cat(
        [
            ssim_of_moments(
                rows[0] @ a @ columns[0],
                rows[0] @ b @ columns[0],
                rows[1] @ (_products(a, a) + _products(b, b)) @ columns[1],
                rows[1] @ _products(a, b) @ columns[1],
                preset,
            )
            for a, b in zip(torch.split(first, at_once), torch.split(second, at_once), strict=True)
        ]
    )
    # Rounding differs from one side to the other; equal maps are equal.
    same = (first == second).flatten(1).all(dim=1)
    return (1.0 - similarity.masked_fill(same, 1.0)) / 2.0


def _scaled(maps: Tensor) -> Tensor:
    peak = maps.amax(dim=(1, 2), keepdim=True)
    return (maps / torch.where(peak > 0, peak, 1.0)).double()


def _products(a: Tensor, b: Tensor) -> Tensor:
    """What multiplies the products of weights, (N, 2h − 1, 2w − 1): cells, then neighbours."""
    # Rows first: a cell with itself, then both orders of a cell and its lower neighbour.
    upper, lower = slice(None, -1), slice(1, None)

    def across(x: Tensor, y: Tensor) -> Tensor:
        beside = x[..., upper] * y[..., lower] + x[..., lower] * y[..., upper]
        return torch.cat([x * y, beside], dim=-1)

    down = across(a[:, upper], b[:, lower]) + across(a[:, lower], b[:, upper])
    return torch.cat([across(a, b), down], dim=1)


@lru_cache(maxsize=32)
def _filters(cells: int, grid: int, preset: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """The window's means of the weights, and of their products: (valid, h), (valid, 2h − 1)."""
    eye = torch.eye(cells, dtype=torch.float64)[None]
    enlarge = torch.nn.functional.interpolate(eye, size=grid, mode="linear", align_corners=False)[
        0
    ].T
    window = band(grid, preset, torch.device("cpu"))
    beside = enlarge[:, :-1] * enlarge[:, 1:]
    products = torch.cat([enlarge * enlarge, beside], dim=1)
    return (window @ enlarge).to(device), (window @ products).to(device)

"""NISSIM straight from native maps: enlarging and filtering in one step.

A heatmap is ``U m Vᵀ``, with U and V the bilinear weights, two a row. A window's mean of it is
``(B U) m (B V)ᵀ``, with B the window as a band. Its second moments are of the same form: the square
of a heatmap mixes only neighbouring cells, so it is ``U₂ M Vᵀ₂``, with U₂ the products of two
weights and M those of two cells. A 7×7 map has 13 such products a side, where its heatmap has 224
px: the same numbers as ``nissim(heatmap(a), heatmap(b))`` for a fraction of the work.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from lookaway.explainers.base import on_grid
from lookaway.metrics.ssim import UNBIASED, band, dissimilarity
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
    return nissims(clean, attacked, [(preset, grid)])[preset, grid]


def nissims(
    clean: Tensor, attacked: Tensor, ways: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], Tensor]:
    """NISSIM of the heatmaps of two maps in several ways, each a preset and a grid.

    Pairs go through in groups of one size, filled up with empty maps, so that a number does not
    depend on how many there are.

    Args:
        clean: (N, h, w) float, at least 0; zeros where dead.
        attacked: the same shape.
        ways: presets of the SSIM, and sides of the heatmaps in px.

    Returns:
        (N,) float64 in [0, 1] for each; exactly 0 for equal maps; symmetric.
    """
    count, (height, width) = len(clean), clean.shape[1:]
    small = [way for way in ways if max(height, width) <= way[1]]
    found: dict[tuple[str, int], list[Tensor]] = {way: [] for way in ways}
    with torch.autocast(clean.device.type, enabled=False):  # its products would round the maps
        bands = {way: _both_bands(height, width, *way, clean.device) for way in small}
        at_once = min((pairs_at_once(each[0], clean.device) for each in bands.values()), default=1)
        for start in range(0, count if small else 0, at_once):
            pair = [_filled(maps[start : start + at_once], at_once) for maps in (clean, attacked)]
            moments = _moments(*map(_scaled, pair))
            for way in small:
                numbers = mean_dissimilarity(*moments, bands[way], UNBIASED[way[0]])
                found[way].append(numbers[: count - start])
        for way in found.keys() - small if count else ():
            one, other = (on_grid(maps.float(), way[1]).double() for maps in (clean, attacked))
            found[way].append(dissimilarity(one, other, way[0]))
    none = clean.new_zeros(0, dtype=torch.float64)
    return {way: torch.cat([none, *parts]) for way, parts in found.items()}


def _filled(maps: Tensor, count: int) -> Tensor:
    """Maps (N, h, w) as so many, those that lack empty."""
    lacking = count - len(maps)
    return torch.cat([maps, maps.new_zeros(lacking, *maps.shape[1:])]) if lacking else maps


def _both_bands(
    height: int, width: int, preset: str, grid: int, device: torch.device
) -> tuple[tuple[Bands, Bands], tuple[Bands, Bands]]:
    """The filters along h and along w of both moments, as ``mean_dissimilarity`` takes them."""
    rows = _bands(height, grid, preset, device)
    columns = _bands(width, grid, preset, device, tiles_across(2 * width - 1))
    return (rows[0], columns[0]), (rows[1], columns[1])


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

"""The dissimilarity of two images over all windows at once, strip by strip.

With s = a + b and d = a − b, μ a window's mean, V its variance, and SSIM's constants doubled,
(1 − SSIM) / 2 = ((μ_s² + C1) V_d + μ_d² (V_s + C2)) / ((μ_s² + μ_d² + C1) (V_s + V_d + C2)).
Nothing that is alike has to cancel: equal images give exactly 0, the order does not matter, and
what rounds away in V_s is small against what is left.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_C1, _C2 = 2 * 0.01**2, 2 * 0.03**2  # twice K = (0.01, 0.03) squared, for a data range of 1
_SIDE = 32  # rows of windows in a strip, and cells to a tile across: few zeros in the bands
# Of an array of a strip, on a CPU: enough for several threads, few enough for their caches.
_BYTES = 2**20
_PAIRS = 32  # at the most: few are filled up to as many


@dataclass(frozen=True)
class Bands:
    """A banded matrix (windows, cells) cut in tiles that hold little else than the band.

    Attributes:
        windows: how many there are.
        tiles: for each the cells that it takes and its weights (``side``, cells). The last one
            begins early, so that all are of the same size.
        side: windows in a tile.
    """

    windows: int
    tiles: tuple[tuple[slice, Tensor], ...]
    side: int

    @property
    def repeated(self) -> int:
        """Windows at the start of the last tile that the one before it has too."""
        return self.side * len(self.tiles) - self.windows


def cut(weights: Tensor, dtype: torch.dtype, tiles: int | None = None) -> Bands:
    """Cut a banded matrix.

    Args:
        weights: (windows, cells) float64; each row adds up to 1 if the filter keeps constants.
        dtype: of the tiles.
        tiles: how many at the most; None: strips of the height that suits caches.
    """
    windows = weights.shape[0]
    side = _SIDE if tiles is None else -(-windows // tiles)
    side = min(windows, -(-side // 8) * 8)  # whole vectors
    parts = []
    for start in range(0, windows, side):
        rows = weights[min(start, windows - side) :][:side]
        taken = (rows != 0).any(dim=0).nonzero()[:, 0]
        cells = slice(int(taken[0]), int(taken[-1]) + 1)
        parts.append((cells, rows[:, cells].to(dtype).contiguous()))
    return Bands(windows, tuple(parts), side)


def tiles_across(cells: int) -> int:
    """How many tiles are best for a band over so many cells."""
    return max(1, cells // _SIDE)


def mean_dissimilarity(
    moments: Sequence[Tensor], centre: Tensor, bands: Sequence[tuple[Bands, Bands]], unbiased: float
) -> Tensor:
    """The mean over all windows of (1 − SSIM) / 2.

    Args:
        moments: (h, 2 · N · w) of s − centre and d, and (h', 2 · N · w') of their squares: what
            ``bands`` turn into the means over windows.
        centre: (N,) what was taken off s, so that bright images do not drown in rounding.
        bands: for each of the two moments the filter along h and along w.
        unbiased: what the population's variance is multiplied by.

    Returns:
        (N,) float64 in [0, 1].
    """
    count = len(centre)
    (rows, columns), (square_rows, square_columns) = bands
    sums = torch.zeros(count, dtype=torch.float64, device=centre.device)
    shape = (len(columns.tiles), rows.side, 2, count, columns.side)
    means, squares = kept = [part.new_empty(shape) for part in moments]
    offset = centre.to(means.dtype)[:, None]
    for place, (row, square_row) in enumerate(zip(rows.tiles, square_rows.tiles, strict=True)):
        for part, moment, (cells, weights), across in zip(
            kept, moments, (row, square_row), (columns, square_columns), strict=True
        ):
            strip = (weights @ moment[cells]).view(rows.side * 2 * count, -1)
            for tile, (taken, along) in zip(part, across.tiles, strict=True):
                torch.mm(strip[:, taken], along.T, out=tile.view(-1, columns.side))
        found = _dissimilarity(means, squares, offset, unbiased)
        if place == len(rows.tiles) - 1:
            found[:, : rows.repeated] = 0.0
        found[-1, ..., : columns.repeated] = 0.0
        sums += found.sum(dim=(0, 1, 3), dtype=torch.float64)
    return (sums / (rows.windows * columns.windows)).clamp_(0.0, 1.0)


def pairs_at_once(bands: tuple[Bands, Bands], device: torch.device) -> int:
    """How many pairs are best measured together: a power of two."""
    if device.type != "cpu":
        return 256
    rows, columns = bands
    element = rows.tiles[0][1].element_size()
    fit = _BYTES // (element * rows.side * columns.side * len(columns.tiles))
    return min(_PAIRS, 1 << (max(1, fit).bit_length() - 1))


def _dissimilarity(means: Tensor, squares: Tensor, centre: Tensor, unbiased: float) -> Tensor:
    """(1 − SSIM) / 2 of each window; both inputs (…, 2, N, w) are used up."""
    squares.addcmul_(means, means, value=-1.0)  # the variances of s and d
    if unbiased != 1.0:
        squares.mul_(unbiased)
    total, change = means.unbind(2)
    total_variance, change_variance = squares.unbind(2)
    power = total.add_(centre).square_().add_(_C1)
    change.square_()
    total_variance.add_(_C2)
    found = (power * change_variance).addcmul_(change, total_variance)
    power.add_(change)
    return found.div_(power.mul_(total_variance.add_(change_variance)))

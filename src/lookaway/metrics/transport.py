"""How far evidence moved, free of a map's size and of a window: what NISSIM cannot tell apart.

NISSIM compares heatmaps whose largest value is 1, so how much evidence there is does not count, and
on enlarged coarse maps it is nearly all a comparison of local means. Here the two are apart: how
much there is (``log_mass_ratio``), and where it lies (``sliced_wasserstein``).
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from lookaway.errors import InputError

NAMES = ("log_mass_ratio", "sliced_wasserstein")
_DIRECTIONS = 8
_SHARES, _PLACES = 2.0**28, 2.0**20  # parts of the mass, and of the side
_MOST = 14  # cells along a side; of more, neighbours are put together


def sliced_wasserstein(clean: Tensor, attacked: Tensor) -> Tensor:
    """The sliced Wasserstein-1 distance of two maps: how far their evidence lies apart.

    Each map, divided by its sum, is a unit of mass at the centres of its cells. Along one direction
    the Wasserstein-1 distance is exact, the area between the two cumulated masses; it is averaged
    over 8 fixed directions, 22.5° apart (Rabin et al. 2012, Bonneel et al. 2015), and divided by
    the largest such mean of a step of length 1. So it is never more than the Wasserstein-1 distance
    in the plane, and at least 0.98 of it where a map moves as a whole. Of sides above 14 cells mass
    is put together in 14 equal strips, which moves it by at most 0.051 of the side.

    Args:
        clean: (N, h, w) float maps, at least 0, none all zeros.
        attacked: the same shape.

    Returns:
        (N,) float64, in sides of the image: 0 the same, at most √2; symmetric.

    Raises:
        InputError: shapes differ, or a map is all zeros.

    >>> a, b = torch.zeros(2, 1, 4, 4)
    >>> a[0, 0, 0] = b[0, 0, 2] = 1.0
    >>> sliced_wasserstein(a, b).round(decimals=2)
    tensor([0.4900], dtype=torch.float64)
    """
    _check(clean, attacked)
    return _distances(_masses(clean), _masses(attacked), clean.shape)


def log_mass_ratio(clean: Tensor, attacked: Tensor) -> Tensor:
    """How much evidence there is after and before: ln(Σ attacked ÷ Σ clean), of raw maps.

    Args:
        clean: (N, h, w) float maps before they are divided by their maxima, at least 0, none all
            zeros.
        attacked: the same shape.

    Returns:
        (N,) float64: 0 as much, below 0 less.

    Raises:
        InputError: shapes differ, or a map is all zeros.

    >>> log_mass_ratio(torch.ones(1, 2, 2), torch.full((1, 2, 2), 0.5)).exp()
    tensor([0.5000], dtype=torch.float64)
    """
    _check(clean, attacked)
    return (_sums(attacked) / _sums(clean)).log()


def moved(clean: Tensor, attacked: Tensor) -> dict[str, Tensor]:
    """Both, by their ``NAMES``: (N,) float64, NaN where one of the two maps is all zeros."""
    before, after = _masses(clean), _masses(attacked)
    sums = before.sum(dim=1), after.sum(dim=1)
    alive = (sums[0] > 0) & (sums[1] > 0)
    found = (sums[1] / sums[0]).log(), _distances(before, after, clean.shape)
    return {
        name: torch.where(alive, values, torch.nan)
        for name, values in zip(NAMES, found, strict=True)
    }


def _check(clean: Tensor, attacked: Tensor) -> None:
    if clean.ndim != 3 or clean.shape != attacked.shape:
        raise InputError(
            f"maps must be two of (N, h, w); got {tuple(clean.shape)} and {tuple(attacked.shape)}"
        )
    if not (bool((_sums(clean) > 0).all()) and bool((_sums(attacked) > 0).all())):
        raise InputError("a map of zeros has no evidence and no place; leave dead maps out")


def _sums(maps: Tensor) -> Tensor:
    return maps.double().sum(dim=(1, 2))


def _masses(maps: Tensor) -> Tensor:
    """The mass of each cell, or of each of at most 14 × 14 groups of them: (N, cells) float64."""
    height, width = maps.shape[1:]
    if max(height, width) > _MOST:
        # On a GPU single precision may be TensorFloat-32, and double costs little.
        maps = maps.double() if maps.is_cuda else maps
        rows, columns = (_strips(side, maps.dtype, maps.device) for side in (height, width))
        maps = rows @ maps @ columns.T
    return maps.double().flatten(1)


def _distances(before: Tensor, after: Tensor, shape: Sequence[int]) -> Tensor:
    """Of masses (N, cells) of maps of a shape (N, h, w).

    Shares of mass and places are whole numbers of tiny parts, and no sum of them passes 2⁵³, so it
    is exact: the same whatever the batch, the machine and the order of adding.
    """
    tiny = torch.finfo(before.dtype).tiny
    shares = [
        (mass * (_SHARES / mass.sum(dim=1, keepdim=True).clamp(min=tiny))).round()
        for mass in (before, after)
    ]
    height, width = (min(side, _MOST) for side in shape[1:])
    areas = ((shares[0] - shares[1]) @ _slices(height, width, before.device)).abs().sum(dim=1)
    # Over the number of directions and the largest mean of |cos| over them, 1 / (n sin(π / 2n)).
    return areas * (math.sin(math.pi / (2 * _DIRECTIONS)) / (_SHARES * _PLACES))


@lru_cache(maxsize=64)
def _strips(cells: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What each of at most 14 equal strips of a side has of each cell: (strips, cells)."""
    count = min(cells, _MOST)
    starts = np.arange(count)[:, None] / count, np.arange(cells)[None] / cells
    ends = np.minimum(starts[0] + 1 / count, starts[1] + 1 / cells)
    shared = np.clip(ends - np.maximum(*starts), 0.0, None) * cells
    return torch.from_numpy(shared).to(device, dtype)


@lru_cache(maxsize=64)
def _slices(height: int, width: int, device: torch.device) -> Tensor:
    """What of a change of masses makes the areas between cumulated masses: (cells, steps).

    A step is the gap between two neighbouring projections of cells' centres; the mass before it is
    what differs there.
    """
    y, x = ((np.arange(side) + 0.5) / side for side in (height, width))
    columns = []
    for angle in np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS:
        along = np.sin(angle) * y[:, None] + np.cos(angle) * x
        along = (along * _PLACES).round().ravel()
        places = np.unique(along)
        columns.append((along[:, None] <= places[:-1]) * np.diff(places))
    return torch.from_numpy(np.concatenate(columns, axis=1)).to(device)

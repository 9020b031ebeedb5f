"""The shuffled baseline: NISSIM of the clean heatmaps of two different images."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lookaway.hashing import seed_from
from lookaway.metrics.map_nissim import nissim_of_maps


def partners(images: Sequence[str], seed: int) -> list[int]:
    """For each image the place of another: a seeded permutation without fixed points.

    It is one cycle through all images (S. Sattolo, 1986), and follows from their names and the
    seed alone, so every model and every layer compares the same pairs.

    Args:
        images: names, at least 2.
        seed: of the study.

    >>> partners(["a", "b"], seed=0)
    [1, 0]
    """
    order = np.random.default_rng(seed_from(seed, "shuffled", *images)).permutation(len(images))
    following = np.empty_like(order)
    following[order] = np.roll(order, -1)
    return [int(place) for place in following]


def shuffled_nissim(
    maps: Tensor, others: Sequence[int], grid: int, preset: str, batch_size: int
) -> Tensor:
    """NISSIM of each clean heatmap and its partner's.

    Args:
        maps: (N, h, w) clean maps; zeros where dead.
        others: the place of each map's partner.
        grid: side of the heatmaps in px.
        preset: of the SSIM.
        batch_size: pairs at once.

    Returns:
        (N,) float64.
    """
    pairs = zip(
        torch.split(maps, batch_size), torch.split(maps[list(others)], batch_size), strict=True
    )
    return torch.cat([nissim_of_maps(first, second, grid, preset) for first, second in pairs])

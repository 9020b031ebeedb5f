"""What a cell is given, and what it gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class CellSettings:
    """What a cell needs of the study's settings; see the study file.

    Attributes:
        layers: names of the explained ones.
        layers_of: of which images: all, or pictured; of the others the last one.
        last: the name of the layer that enters pooling, explained always.
        control: whether noise of the same size is measured too; every study does.
    """

    attacks: tuple[str, ...]
    epsilons: tuple[float, ...]
    quantize: bool
    method: str
    layers: tuple[str, ...]
    last: str
    explained_class: tuple[str, ...]
    ssim: str
    grid: int
    noise_seed: int
    batch_size: int
    control: bool = True
    layers_of: str = "all"


@dataclass(frozen=True)
class Shard:
    """The images of a cell.

    Attributes:
        variant: how they were prepared.
        images: names, N of them.
        grids: (N, H, W, C) uint8.
        labels: (N,) int64, indices into ``classes``.
        classes: names of the model's logits, in order: the study's classes, then any others.
        pictured: (N,) bool: whose signs and maps of all layers are kept.
        transferred: packed signs of other models by (attack, source).
    """

    variant: str
    images: tuple[str, ...]
    grids: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    pictured: np.ndarray
    transferred: Mapping[tuple[str, str], np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class CellOutput:
    """What a cell gives.

    Attributes:
        rows: columns of equal length; see the README for their meaning.
        maps: native maps ÷ their maximum, float16, keyed by ``map_key``: (n, h, w) of clean
            images, (n, E, h, w) of attacked ones; and the maxima, float32.
        signs: packed signs of this model by attack, for every image of the shard.
        shuffled: columns that compare each clean heatmap with that of another image of the
            shard: what two unrelated looks score. Empty where the shard has one image.
    """

    rows: dict[str, list[Any]]
    maps: dict[str, np.ndarray]
    signs: dict[str, np.ndarray]
    shuffled: dict[str, list[Any]]

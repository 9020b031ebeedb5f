"""How the images' NISSIM is distributed, counted a part of the run at a time."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from lookaway.analysis.frames import Frames


@dataclass(frozen=True)
class Histogram:
    """NISSIM under one perturbation and ε.

    Attributes:
        shares: of the images in each bin.
        mean: of all.
        n: how many images.
    """

    shares: np.ndarray
    mean: float
    n: int


def histograms(
    frames: Frames, variant: str, policy: str, which: pl.Expr, bins: int
) -> tuple[np.ndarray, dict[tuple[str, float, str], Histogram]]:
    """The histograms of the last layers, by model, ε and attack, in the study's order.

    Returns:
        The bins' edges, from 0 to the largest value, rounded up to 0.05; and the histograms.
    """
    values: dict[tuple[str, float, str], np.ndarray] = {}
    for part in frames.last_parts(variant, policy):
        for (model, epsilon, attack), found in part.filter(which).group_by(
            "model", "epsilon", "attack", maintain_order=True
        ):
            values[str(model), float(str(epsilon)), str(attack)] = found["nissim"].to_numpy()
    largest = max((float(found.max()) for found in values.values()), default=0.0)
    edges = np.linspace(0.0, max(0.05, float(np.ceil(20 * largest) / 20)), bins + 1)
    return edges, {
        key: Histogram(np.histogram(found, edges)[0] / len(found), float(found.mean()), len(found))
        for key, found in values.items()
    }

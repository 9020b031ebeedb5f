"""Beside the same networks with weights drawn anew: is there a signal at all?

An explanation that stays when the weights are drawn anew says nothing about what was learnt
(Adebayo et al., Sanity Checks for Saliency Maps, 2018); so does a shift that such a network shows.
"""

import polars as pl

from lookaway.analysis import scale
from lookaway.analysis.grouped import HEATMAP, SETTING, mean_frames

TRAINED = "trained"
WEIGHTS = (TRAINED, "head", "all")
TOLD = {TRAINED: "as they are", "head": "head drawn anew", "all": "all drawn anew"}
_KEYS = [*SETTING, *HEATMAP, "epsilon", "weights"]
_SAME = ["image", *SETTING, "method", "explained_class", "epsilon"]


def sanity(rows: pl.DataFrame, compared: pl.DataFrame) -> pl.DataFrame:
    """MOD, excess and shuffled of networks as they are, and with weights drawn anew.

    Args:
        rows: measurements of one layer of each model, under white-box attacks and noise, of the
            same images for all ``weights`` (of ``WEIGHTS``).
        compared: their clean heatmaps against another's, with ``weights``.

    Returns:
        variant, model, attack, source, method, layer, depth, map_size, explained_class, epsilon,
        weights, n, mod, noise, shuffled, excess, excess_low, excess_high; and less, low, high: MOD
        as it is less this one, image by image (null for itself); interval.
    """
    parts = []
    for weights in WEIGHTS:
        mine = rows.filter(weights=weights)
        if not mine.is_empty():
            found = scale.excess(mine, compared.filter(weights=weights)).filter(pairs="all")
            parts.append(found.with_columns(weights=pl.lit(weights)))
    kept = [*_KEYS, "n", "mod", "noise", "shuffled", "excess"]
    ends = {"excess_low": pl.col("low"), "excess_high": pl.col("high")}
    numbers = pl.concat(parts).select(*kept, **ends)
    attacked = rows.filter(pl.col("source").is_not_null())
    trained = attacked.filter(weights=TRAINED).select(*_SAME, own="nissim")
    drawn = attacked.filter(pl.col("weights") != TRAINED)
    beside = drawn.join(trained, on=_SAME, nulls_equal=True, maintain_order="left")
    less = mean_frames(beside.with_columns(value=pl.col("own") - pl.col("nissim")), _KEYS, "less")
    return numbers.join(
        less.select(*_KEYS, "less", "low", "high", "interval"),
        on=_KEYS,
        how="left",
        nulls_equal=True,
        maintain_order="left",
    )

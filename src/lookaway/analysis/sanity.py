"""Beside the same networks with weights drawn anew: is there a signal at all?

An explanation that stays when the weights are drawn anew says nothing about what was learnt
(Adebayo et al., Sanity Checks for Saliency Maps, 2018); so does a shift that such a network shows.
"""

from typing import TYPE_CHECKING

import polars as pl

from lookaway.analysis import scale
from lookaway.analysis.grouped import HEATMAP, SETTING, mean_frames

if TYPE_CHECKING:
    from lookaway.analysis.frames import Frames

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


def of_run(frames: "Frames") -> pl.DataFrame:
    """A run's, of the frames' method and first variant; empty where it has none.

    Returns:
        As ``sanity``.

    Raises:
        StoreError: a file is damaged.
    """
    store = frames.store
    stored = store.sanity()
    if stored is None:
        return pl.DataFrame()
    drawn, drawn_pairs = (frame.filter(method=frames.method) for frame in stored)
    same = [
        pl.col("image").is_in(drawn["image"].unique().implode()),
        pl.col("variant") == frames.variants[0],
        pl.col("method") == frames.method,
    ]
    met = [
        pl.col("source").is_null() | (pl.col("source") == pl.col("model")),
        pl.col("attack").is_in(drawn["attack"].unique().implode()),
    ]
    rows = frames.last(pl.concat(each.filter(*same, *met) for each in store.scan("rows")))
    pairs = frames.last(pl.concat(each.filter(*same) for each in store.scan("shuffled")))
    trained = pl.lit(TRAINED).alias("weights")
    found = sanity(
        pl.concat([rows.with_columns(trained), drawn]),
        pl.concat([pairs.with_columns(trained), drawn_pairs]),
    )
    return frames.ordered(found)

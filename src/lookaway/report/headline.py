"""A run in one small table, for the terminal."""

import polars as pl

from lookaway.analysis import summary
from lookaway.analysis.frames import Frames


def headline(frames: Frames) -> tuple[list[str], list[list[str]]]:
    """For each model and perturbation, at the study's largest ε: accuracy and MOD.

    MOD is of the last layer and the first explained class; its 95 % interval is in brackets.

    Args:
        frames: of a run.

    Returns:
        The heads and the rows.
    """
    policy = frames.policies[0]
    top = float(frames.rows["epsilon"].to_numpy().max())
    mod = summary.by_scope(
        frames.last(frames.mod).filter(
            pl.col("explained_class") == policy, pl.col("pairs") == "all", pl.col("epsilon") == top
        )
    )
    accuracy = summary.by_scope(frames.accuracy)
    several = mod["variant"].n_unique() > 1
    rows = []
    for model in frames.models:
        for found in mod.filter(pl.col("model") == model).iter_rows(named=True):
            if found["scope"] == f"{found['attack']} from {model}":
                continue  # the same as its white-box row
            right = accuracy.filter(
                pl.col("model") == model,
                pl.col("variant") == found["variant"],
                pl.col("scope") == found["scope"],
            ).sort("epsilon")["accuracy"]
            name = f"{model} ({found['variant']})" if several else model
            rows.append(
                [
                    name,
                    found["scope"],
                    f"{right[0]:.1%} → {right[-1]:.1%}",
                    f"{found['mod']:.3f} ({found['low']:.3f}–{found['high']:.3f})",
                ]
            )
    heads = ["model", f"at ε = {top:g}", "accuracy", f"MOD ({policy}), 95 % interval"]
    return heads, rows

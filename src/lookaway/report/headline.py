"""A run in one small table, for the terminal."""

import polars as pl

from lookaway.analysis import summary
from lookaway.analysis.frames import Frames


def headline(frames: Frames) -> tuple[list[str], list[list[str]]]:
    """For each model and perturbation, at the study's largest ε: accuracy, MOD and excess.

    MOD and excess are of the last layer, for the class of the clean image where the study has it;
    the 95 % interval of the excess is in brackets.

    Args:
        frames: of a run.

    Returns:
        The heads and the rows.
    """
    policy, top = frames.policy, frames.top
    chosen = (pl.col("explained_class") == policy, pl.col("pairs") == "all")
    at_top = pl.col("epsilon") == top
    mod = summary.by_scope(frames.last(frames.mod).filter(*chosen, at_top))
    excess = frames.last(frames.excess).filter(*chosen, at_top)
    accuracy = summary.by_scope(frames.accuracy)
    several = mod["variant"].n_unique() > 1
    rows = []
    for model in frames.models:
        for found in mod.filter(pl.col("model") == model).iter_rows(named=True):
            if found["scope"] == f"{found['attack']} from {model}":
                continue  # the same as its white-box row
            here = pl.col("model") == model, pl.col("variant") == found["variant"]
            right = accuracy.filter(*here, pl.col("scope") == found["scope"]).sort("epsilon")
            over = excess.filter(
                *here,
                pl.col("source").eq_missing(found["source"]),
                pl.col("attack") == found["attack"],
            )
            name = f"{model} ({found['variant']})" if several else model
            shares = right["accuracy"]
            rows.append(
                [
                    name,
                    found["scope"],
                    f"{shares[0]:.1%} → {shares[-1]:.1%}",
                    f"{found['mod']:.3f}",
                    *(_signed(row) for row in over.iter_rows(named=True)),
                ]
            )
            rows[-1] += [""] * (5 - len(rows[-1]))
    heads = [
        "model",
        f"at ε = {top:g}",
        "accuracy",
        f"MOD ({policy})",
        "beyond noise, 95 % interval",
    ]
    return heads, rows


def _signed(row: dict[str, float | None]) -> str:
    if row["low"] is None:
        return f"{row['excess']:+.3f}"
    return f"{row['excess']:+.3f} ({row['low']:+.3f}, {row['high']:+.3f})"

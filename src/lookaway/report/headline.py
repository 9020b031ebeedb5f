"""A run in one small table: for the terminal, and for the page."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from lookaway.analysis import summary
from lookaway.analysis.frames import Frames
from lookaway.report.evidence import heads_of, names_of
from lookaway.report.table import Cell, Row, Table


def headline_numbers(frames: Frames) -> list[dict[str, Any]]:
    """For each model and perturbation, at the study's largest ε: accuracy, MOD and excess.

    MOD and excess are of the last layer, for the class of the clean image where the study has it.

    Args:
        frames: of a run.

    Returns:
        variant, model, perturbation, epsilon, explained_class, n, accuracy_clean, accuracy, mod,
        mod_low, mod_high, and under an attack excess, excess_low, excess_high (null under noise).
    """
    policy, top = frames.policy, frames.top
    chosen = (pl.col("explained_class") == policy, pl.col("pairs") == "all")
    at_top = pl.col("epsilon") == top
    mod = summary.by_scope(frames.last(frames.mod).filter(*chosen, at_top))
    excess = frames.last(frames.excess).filter(*chosen, at_top)
    accuracy = summary.by_scope(frames.accuracy)
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
            added = over.row(0, named=True) if over.height else {}
            rows.append(
                {
                    "variant": found["variant"],
                    "model": model,
                    "perturbation": found["scope"],
                    "epsilon": top,
                    "explained_class": policy,
                    "n": found["n"],
                    "accuracy_clean": right["accuracy"][0],
                    "accuracy": right["accuracy"][-1],
                    "mod": found["mod"],
                    "mod_low": found["low"],
                    "mod_high": found["high"],
                    "excess": added.get("excess"),
                    "excess_low": added.get("low"),
                    "excess_high": added.get("high"),
                }
            )
    return rows


def headline(frames: Frames) -> tuple[list[str], list[list[str]]]:
    """``headline_numbers`` to read; the 95 % interval of the excess is in brackets.

    Args:
        frames: of a run.

    Returns:
        The heads and the rows.
    """
    numbers = headline_numbers(frames)
    several = len({row["variant"] for row in numbers}) > 1
    rows = [
        [
            f"{row['model']} ({row['variant']})" if several else row["model"],
            row["perturbation"],
            f"{row['accuracy_clean']:.1%} → {row['accuracy']:.1%}",
            "–" if row["mod"] is None else f"{row['mod']:.3f}",
            _signed(row),
        ]
        for row in numbers
    ]
    heads = [
        "model",
        f"at ε = {frames.top:g}",
        "accuracy",
        f"MOD ({frames.policy})",
        "beyond noise, 95 % interval",
    ]
    return heads, rows


def _signed(row: Mapping[str, Any]) -> str:
    if row["excess"] is None:
        return ""
    if row["excess_low"] is None:
        return f"{row['excess']:+.3f}"
    return f"{row['excess']:+.3f} ({row['excess_low']:+.3f}, {row['excess_high']:+.3f})"


def headline_table(frames: Frames) -> Table:
    """Each model's excess, MOD and VID, for each explained class: the run in one table.

    Args:
        frames: of a run.
    """
    policies = frames.ordered_policies
    used = pl.col("pairs") == "all"
    mod = summary.by_scope(frames.last(frames.mod).filter(used, pl.col("epsilon") == frames.top))
    excess = frames.last(frames.excess).filter(used, pl.col("epsilon") == frames.top)
    vid = frames.vid["image"].filter(used)
    keys = ["variant", "model", "attack", "source", "explained_class"]
    joined = mod.select(*keys, "scope", "mod", "low", "high")
    for found, name in ((excess, "excess"), (vid, "vid")):
        part = found.select(
            *keys,
            name,
            pl.col("low").alias(f"{name}_low"),
            pl.col("high").alias(f"{name}_high"),
        )
        joined = joined.join(part, on=keys, how="left", nulls_equal=True, maintain_order="left")
    rows = []
    for part in joined.partition_by(["variant", "scope", "model"], maintain_order=True):
        cells = []
        by_policy = {row["explained_class"]: row for row in part.iter_rows(named=True)}
        for policy in policies:
            row = by_policy[policy]
            cells += [
                Cell(row["excess"], row["excess_low"], row["excess_high"]),
                Cell(row["mod"], row["low"], row["high"]),
                Cell(row["vid"], row["vid_low"], row["vid_high"]),
            ]
        rows.append(Row(names_of(frames, part.row(0, named=True)), tuple(cells)))
    heads = [f"{name}, {policy}" for policy in policies for name in ("excess", "MOD", "VID")]
    return Table(
        "headline",
        f"Headline at ε = {frames.top:g}",
        "excess: MOD under attack less MOD under noise of the same size. VID: standard deviation "
        "of each image's dissimilarity over the ε levels, then the mean.",
        (*heads_of(frames), *heads),
        tuple(rows),
        tuple(["+.3f", ".3f", ".3f"] * len(policies)),
        section="Headline",
    )

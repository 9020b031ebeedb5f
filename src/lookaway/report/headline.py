"""A run in one small table, for the terminal."""

import polars as pl

from lookaway.analysis import summary
from lookaway.analysis.frames import Frames
from lookaway.result import Result


def headline(result: Result) -> tuple[list[str], list[list[str]]]:
    """For each model: accuracy before and under attack, MOD under attack and under noise.

    All at the study's largest ε, for the first explained class; 95 % intervals in brackets.

    Args:
        result: a run.

    Returns:
        The heads and the rows.
    """
    frames = Frames(result.rows(), result.plan)
    policy = frames.policies[0]
    top = frames.rows["epsilon"].max()
    mod = summary.by_scope(
        frames.last(frames.mod).filter(
            pl.col("explained_class") == policy, pl.col("pairs") == "all", pl.col("epsilon") == top
        )
    )
    accuracy = summary.by_scope(frames.accuracy)
    scopes = mod["scope"].unique(maintain_order=True).to_list()
    variants = mod["variant"].unique(maintain_order=True).to_list()
    heads = ["model", "accuracy, clean"]
    heads += [f"{scope}: accuracy at ε = {top:g}" for scope in scopes if scope != "noise"]
    heads += [f"{scope}: MOD ({policy})" for scope in scopes]
    rows = []
    for variant in variants:
        for model in frames.models:
            mine = (pl.col("model") == model) & (pl.col("variant") == variant)
            right = accuracy.filter(mine)
            clean = right.filter(pl.col("epsilon") == 0)["accuracy"][0]
            row = [model if len(variants) == 1 else f"{model} ({variant})", f"{clean:.1%}"]
            for scope in scopes:
                found = right.filter(pl.col("epsilon") == top, pl.col("scope") == scope)
                if scope != "noise":
                    row.append(f"{found['accuracy'][0]:.1%}" if found.height else "–")
            for scope in scopes:
                found = mod.filter(mine, pl.col("scope") == scope)
                row.append(_with_interval(found.row(0, named=True)) if found.height else "–")
            rows.append(row)
    return heads, rows


def _with_interval(row: dict[str, float]) -> str:
    return f"{row['mod']:.3f} ({row['low']:.3f}–{row['high']:.3f})"

"""A run in one small table for the terminal, and the same as numbers."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from lookaway.analysis import dead
from lookaway.analysis.frames import Frames
from lookaway.report.findings import findings
from lookaway.report.wording import explainer


def headline_numbers(frames: Frames) -> list[dict[str, Any]]:
    """For each method, model and perturbation, at the largest ε: accuracy, MOD and excesses.

    MOD and excess are of the last layer, for the class of the clean image where the study has it.

    Args:
        frames: the run's summaries.

    Returns:
        variant, model, perturbation, epsilon, method, explained_class, n, accuracy_clean, accuracy,
        dead (share of pairs with a dead map), mod_living (MOD of the others; null where there are
        none), mod, mod_low, mod_high; and under an attack excess, excess_low, excess_high (beyond
        noise), aimed, aimed_low, aimed_high (beyond its own change in other places); null under
        controls.
    """
    return [row for one in frames.each_method for row in _of_method(one)]


def _of_method(frames: Frames) -> list[dict[str, Any]]:
    apart = {"dead": dead.DEAD, "mod_living": dead.MOD_LIVING}
    found = findings(frames, "mod", "excess", "aimed", "accuracy", *apart.values()).filter(
        pl.col("scope") != pl.format("{} from {}", "attack", "model"),  # its white-box row again
        (pl.col("explained_class") == frames.policy).fill_null(value=True),
        pl.col("epsilon").is_in([0.0, frames.top]),
        pairs="all",
    )
    rows = []
    for part in found.partition_by("variant", "scope", "model", maintain_order=True):
        numbers = {(row["measure"], row["epsilon"]): row for row in part.iter_rows(named=True)}
        mod = numbers["mod", frames.top]
        beyond = {name: numbers.get((name, frames.top), {}) for name in ("excess", "aimed")}
        rows.append(
            {
                "variant": mod["variant"],
                "model": mod["model"],
                "perturbation": mod["scope"],
                "epsilon": frames.top,
                "method": frames.method,
                "explained_class": frames.policy,
                "n": mod["n"],
                "accuracy_clean": numbers["accuracy", 0.0]["value"],
                "accuracy": numbers["accuracy", frames.top]["value"],
                **{name: numbers[measure, frames.top]["value"] for name, measure in apart.items()},
                "mod": mod["value"],
                "mod_low": mod["low"],
                "mod_high": mod["high"],
                **{
                    f"{name}{end}": found.get(end[1:] or "value")
                    for name, found in beyond.items()
                    for end in ("", "_low", "_high")
                },
            }
        )
    return sorted(rows, key=lambda row: frames.models.index(row["model"]))


def headline(frames: Frames) -> tuple[list[str], list[list[str]]]:
    """The heads and the lines of ``headline_numbers``; the excesses with their 95 % intervals."""
    rows, methods = [], len(frames.methods) > 1
    less = {"excess": "less noise (95 %)", "aimed": "less shifted (95 %)"}
    less = less if frames.shifted else {"excess": less["excess"]}
    for row in headline_numbers(frames):
        several = f" ({row['variant']})" if frames.several_variants else ""
        rows.append(
            [
                f"{row['model']}{several}",
                row["perturbation"],
                *([explainer(row["method"])] if methods else []),
                f"{row['accuracy_clean']:.1%} → {row['accuracy']:.1%}",
                _mod(row),
                *(_with_ends(row, name) for name in less),
            ]
        )
    heads = ["model", f"at ε = {frames.top:g}", *(["method"] if methods else []), "accuracy"]
    return [*heads, f"MOD ({frames.policy})", *less.values()], rows


def _mod(row: Mapping[str, Any]) -> str:
    """MOD, behind the share of dead pairs and MOD of living ones where there are dead ones."""
    if row["mod"] is None:
        return "–"
    if not row["dead"]:
        return f"{row['mod']:.3f}"
    living = "–" if row["mod_living"] is None else f"{row['mod_living']:.3f}"
    return f"{row['dead']:.0%} dead, living {living}, all {row['mod']:.3f}"


def _with_ends(row: Mapping[str, Any], name: str) -> str:
    """A number with its interval; empty where there is none."""
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if value is None:
        return ""
    return f"{value:+.3f}" if low is None else f"{value:+.3f} ({low:+.3f}, {high:+.3f})"

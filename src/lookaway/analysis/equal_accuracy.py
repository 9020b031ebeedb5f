"""Attack and control where they leave the same accuracy: do heatmaps move further there?"""

from typing import Any

import numpy as np
import polars as pl

from lookaway.analysis.columns import schema
from lookaway.analysis.decomposition import beside_controls
from lookaway.analysis.ends import CHANGE
from lookaway.analysis.grouped import SETTING, Grouped, grouped
from lookaway.written import percent

_KEYS = [*SETTING, "method", "explained_class", "control"]
_IMAGE = ["image", "label", "variant", "model", "method", "explained_class", "epsilon"]
_NAMES = ["right", "nissim", "control_right", "control_nissim"]
_OVERLAP = 0.95  # of the resamples must have accuracies in common, or there is no interval
_FOUND = ["n", "accuracy_low", "accuracy_high", "accuracy", "mod", "control_mod", "difference"]
_COLUMNS = [*_KEYS, *_FOUND, "low", "high", "reason", "interval"]


def equal_accuracy(rows: pl.DataFrame) -> pl.DataFrame:
    """MOD under an attack less that under its control, at an accuracy that both leave.

    Accuracy and MOD of each are lines over ε between its measured levels. Nothing is said of what
    lies below the smallest one: from ε = 0 to there no line is known to lead. An accuracy that a
    line passes several times is taken at the smallest ε. The difference is told at the middle of
    the accuracies that both reach, which is found anew in each resample of the images.

    Args:
        rows: measurements of one layer of each model at all ε, with those of controls.

    Returns:
        variant, model, attack, source, method, explained_class, control (as in ``decomposition``),
        n, accuracy_low, accuracy_high (what both reach), accuracy (the middle), mod, control_mod,
        difference, low, high, reason (why the difference, or its interval, is null), interval.
    """
    right = (pl.col("attacked_class") == pl.col("label")).cast(pl.Float64)
    told = rows.with_columns(right=right)
    values = {"control_right": pl.col("right"), "control_nissim": pl.col("nissim")}
    each = [*_IMAGE, "attack", "source", "control"]
    beside = beside_controls(told, _IMAGE, values).group_by(each, maintain_order=True)
    means = beside.agg(pl.col(name).mean() for name in _NAMES)
    found = [
        line for table in grouped(means, [*_KEYS, "epsilon"], _NAMES) for line in _lines(table)
    ]
    return pl.DataFrame(found, schema=schema(*_COLUMNS))


def _lines(table: Grouped) -> list[dict[str, Any]]:
    """The lines of one variant."""
    placed = table.groups.with_row_index("_column").sort("epsilon", maintain_order=True)
    found = []
    for part in placed.partition_by(_KEYS, maintain_order=True):
        columns = part["_column"].to_numpy()
        used = table.used[:, columns].astype(float)
        values = [table.values[name][:, columns] for name in _NAMES]
        keys = {name: part[name][0] for name in _KEYS}
        points = [(value.sum(axis=0) / used.sum(axis=0))[None] for value in values]
        line: dict[str, Any] = {
            name: _number(one) for name, one in at_equal_accuracy(*points).items()
        }
        line |= {"n": int(used.all(axis=1).sum()), "interval": table.bootstrap.kind}
        if line["difference"] is None:
            why = _apart(points[0], points[2]) if len(columns) > 1 else "there is one ε alone"
            found.append(keys | line | {"reason": why})
            continue
        curves = [table.bootstrap.ratios(value, used) for value in values]
        resampled = at_equal_accuracy(*curves)["difference"]
        known, reason = float(np.isfinite(resampled).mean()), None
        if known < _OVERLAP:
            reason = (
                f"no interval: in {percent(1 - known)} of the resamples no accuracy is left by both"
            )
        else:
            ends = table.bootstrap.bounds(
                resampled[:, None], used.max(axis=1, keepdims=True) > 0, CHANGE
            )
            line |= {"low": ends[0][0], "high": ends[1][0]}
        found.append(keys | line | {"reason": reason})
    places = {keys: place for place, keys in enumerate(table.groups.select(_KEYS).iter_rows())}
    return sorted(found, key=lambda line: places[tuple(line[name] for name in _KEYS)])


def at_equal_accuracy(
    accuracy: np.ndarray, mod: np.ndarray, control_accuracy: np.ndarray, control_mod: np.ndarray
) -> dict[str, np.ndarray]:
    """MOD of attack and control at the middle of the accuracies that both leave.

    Args:
        accuracy: (B, E) under the attack, by rising ε, E at least 1.
        mod: (B, E).
        control_accuracy: (B, E).
        control_mod: (B, E).

    Returns:
        (B,) each: accuracy_low, accuracy_high, accuracy, mod, control_mod, difference; NaN where
        no accuracy is left by both.

    >>> attack = np.array([[0.9, 0.5]]), np.array([[0.2, 0.4]])
    >>> noise = np.array([[0.9, 0.7]]), np.array([[0.1, 0.2]])
    >>> found = at_equal_accuracy(*attack, *noise)
    >>> [round(float(found[name][0]), 3) for name in ("accuracy", "mod", "control_mod")]
    [0.8, 0.25, 0.15]
    """
    both = accuracy, control_accuracy
    low = np.maximum(*(each.min(axis=1) for each in both))
    high = np.minimum(*(each.max(axis=1) for each in both))
    none = low > high
    low, high = np.where(none, np.nan, low), np.where(none, np.nan, high)
    middle = (low + high) / 2
    found = {"accuracy_low": low, "accuracy_high": high, "accuracy": middle}
    found["mod"] = _first_at(middle, accuracy, mod)
    found["control_mod"] = _first_at(middle, control_accuracy, control_mod)
    return found | {"difference": found["mod"] - found["control_mod"]}


def _first_at(level: np.ndarray, accuracy: np.ndarray, mod: np.ndarray) -> np.ndarray:
    """MOD (B,) where a line over ε first has an accuracy; NaN where it never has."""
    if accuracy.shape[1] == 1:
        return np.where(accuracy[:, 0] == level, mod[:, 0], np.nan)
    left = accuracy - level[:, None]
    passes = left[:, :-1] * left[:, 1:] <= 0
    first = passes.argmax(axis=1)
    rows = np.arange(len(level))
    before, after = left[rows, first], left[rows, first + 1]
    fall = before - after
    part = np.where(fall == 0, 0.0, before / np.where(fall == 0, 1.0, fall))
    there = mod[rows, first] + part * (mod[rows, first + 1] - mod[rows, first])
    return np.where(passes.any(axis=1), there, np.nan)


def _number(one: np.ndarray) -> float | None:
    return float(one[0]) if np.isfinite(one[0]) else None


def _apart(*accuracies: np.ndarray) -> str:
    """That no accuracy is left by both, and what each leaves."""
    attack, control = (
        f"{percent(each.min(), 1)} to {percent(each.max(), 1)}" for each in accuracies
    )
    return f"no accuracy is left by both: {attack} under the attack, {control} under the control"

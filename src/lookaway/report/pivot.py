"""Frames as the lines and columns of a table."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from lookaway.analysis import summary
from lookaway.analysis.frames import Frames
from lookaway.report.findings import at_top, cell, findings
from lookaway.report.table import Cell, Row

Body = tuple[tuple[str, ...], tuple[Row, ...], tuple[str, ...]]  # heads, rows, formats of a Table
LINES = ("variant", "scope", "model")
_HEADS = {"variant": "images", "scope": "perturbation", "source": "made by", "epsilon": "ε"}


def pivoted(
    frames: Frames,
    found: pl.DataFrame,
    columns: Mapping[Any, tuple[str, str]],
    by: Sequence[str] = ("measure",),
    lines: Sequence[str] = LINES,
) -> Body:
    """A long frame with a column for each value of ``by``, such as each measure.

    Args:
        frames: the run's summaries.
        found: a number in a row, such as ``findings``.
        columns: a tuple of values of ``by`` → head and format, see ``Table``.
        by: what tells the columns apart.
        lines: what tells the lines apart; a variant has no name where the study has one alone.
    """
    shown = _shown(frames, lines)
    rows = []
    for part in found.partition_by(list({*lines, "attack"}), maintain_order=True):
        known = {tuple(row[name] for name in by): cell(row) for row in part.iter_rows(named=True)}
        first = part.row(0, named=True)
        cells = tuple(known.get(column, Cell(None)) for column in columns)
        rows.append(Row(_names(first, shown), cells, strong=first.get("model", "") is None))
    return _body(shown, rows, columns.values())


def measures(frames: Frames, policy: str, columns: dict[str, tuple[str, str]]) -> Body:
    """Measures of one explained class at the study's largest ε, dead maps counted."""
    found = findings(frames, *columns).filter(at_top(frames, policy), pairs="all")
    return pivoted(frames, found, {(name,): column for name, column in columns.items()})


def by_level(frames: Frames, found: pl.DataFrame, form: str = ".3f", *, mean: bool = False) -> Body:
    """One measure with a column for each ε.

    Args:
        frames: the run's summaries.
        found: from ``findings``: a row for each variant, scope, model and ε.
        form: how numbers are shown; see ``Table``.
        mean: whether the mean over several models stands below each scope.
    """
    orders = {line: found[line].unique(maintain_order=True) for line in ("variant", "scope")}
    if mean:
        means = summary.mean_over_models(found, "value").filter(pl.col("models") > 1)
        found = pl.concat([found, means.drop("models")], how="diagonal")
    places = [pl.col(line).cast(pl.Enum(order)) for line, order in orders.items()]
    columns = {(level,): (f"ε = {level:g}", form) for level in sorted(found["epsilon"].unique())}
    return pivoted(frames, found.sort(places, maintain_order=True), columns, by=("epsilon",))


def listing(
    frames: Frames,
    found: pl.DataFrame,
    columns: Mapping[str, tuple[str, ...]],
    lines: Sequence[str] = LINES,
) -> Body:
    """A wide frame, a line for each row.

    Args:
        frames: the run's summaries.
        found: the lines in order.
        columns: head → format and the names of value, low, high and reason, as far as there are.
        lines: the columns of the names.
    """
    shown = _shown(frames, lines)
    rows = [
        Row(
            _names(row, shown),
            tuple(Cell(*(row[name] for name in names)) for _, *names in columns.values()),
        )
        for row in found.iter_rows(named=True)
    ]
    return _body(shown, rows, [(head, form) for head, (form, *_) in columns.items()])


def _shown(frames: Frames, lines: Sequence[str]) -> list[str]:
    return [line for line in lines if line != "variant" or frames.several_variants]


def _names(row: Mapping[str, Any], lines: Sequence[str]) -> tuple[str, ...]:
    """The names of a line; a source among those that get its perturbations is marked."""
    model = row.get("model")
    if model is None:
        model = "mean over models"
    elif row.get("scope") == f"{row.get('attack')} from {model}":
        model = f"{model} (white-box)"
    return tuple(model if line == "model" else row[line] for line in lines)


def _body(lines: Sequence[str], rows: Sequence[Row], columns: Iterable[tuple[str, str]]) -> Body:
    heads, formats = zip(*columns, strict=True)
    return (*(_HEADS.get(line, line) for line in lines), *heads), tuple(rows), formats

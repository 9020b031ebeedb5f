"""Tables with a line for each perturbation and model, and a column for each ε."""

import polars as pl

from lookaway.analysis import summary
from lookaway.report.table import Cell, Row, Table

POLICY = {
    "own": "Each map explains the class predicted for that very image.",
    "clean": "Both maps explain the class predicted for the clean image.",
    "label": "Both maps explain the true class.",
}


def by_level(
    name: str,
    title: str,
    note: str,
    scoped: pl.DataFrame,
    value: str,
    *,
    mean: bool = False,
    form: str = ".3f",
    section: str = "Numbers by ε",
) -> Table:
    """A table of a frame that ``summary.by_scope`` gave.

    Args:
        name: of its files.
        title: what it shows.
        note: how to read it.
        scoped: a row for each variant, scope, model and ε.
        value: the column of the numbers.
        mean: whether a mean over the models stands below each scope.
        form: how numbers are shown; see ``Table``.
        section: of the page.
    """
    levels = sorted(scoped["epsilon"].unique().to_list())
    variants = scoped["variant"].unique(maintain_order=True).to_list()
    rows: list[Row] = []
    for variant in variants:
        for scope in scoped["scope"].unique(maintain_order=True).to_list():
            part = scoped.filter((pl.col("variant") == variant) & (pl.col("scope") == scope))
            lead = (variant, scope) if len(variants) > 1 else (scope,)
            for model in part["model"].unique(maintain_order=True).to_list():
                found = {
                    row["epsilon"]: Cell(row[value], row["low"], row["high"])
                    for row in part.filter(pl.col("model") == model).iter_rows(named=True)
                }
                cells = tuple(found.get(level, Cell(None)) for level in levels)
                rows.append(Row((*lead, marked(model, scope)), cells))
            if mean and part["model"].n_unique() > 1:
                means = dict(
                    summary.mean_over_models(part, value).select("epsilon", value).iter_rows()
                )
                cells = tuple(Cell(means.get(level)) for level in levels)
                rows.append(Row((*lead, "mean over models"), cells, strong=True))
    heads = ("perturbation", "model", *(f"ε = {level:g}" for level in levels))
    heads = ("images", *heads) if len(variants) > 1 else heads
    return Table(name, title, note, heads, tuple(rows), (form,), section)


def marked(model: str, scope: str) -> str:
    """A model's name; where it is the source of a transfer, it says so."""
    return f"{model} (white-box)" if scope.endswith(f" from {model}") else model

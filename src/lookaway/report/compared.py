"""Two runs beside each other as one page: what changed, and what keeps to its limit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
from markupsafe import Markup

from lookaway.report.templates import ASSETS, environment
from lookaway.report.wording import explainer
from lookaway.written import decimal, percent, signed

_NAMES = {"mod": "MOD", "excess": "excess", "aimed": "aimed excess"}


@dataclass(frozen=True)
class Line:
    """One number of both runs.

    Attributes:
        model: its name; both where they differ.
        perturbation: under which.
        number: which.
        before: in the first run, as it is read.
        after: in the second.
        difference: the second less the first.
        interval: of the difference, 95 %; empty where it has none.
        values: difference, low and high end; the ends None where it has no interval.
        limit: how much it may rise; None: anything.
        verdict: ``fails`` where the whole interval lies above the limit, else ``passes``; empty
            where it has no limit.
    """

    model: str
    perturbation: str
    number: str
    before: str
    after: str
    difference: str
    interval: str
    values: tuple[float, float | None, float | None]
    limit: float | None
    verdict: str


def lines_of(frame: pl.DataFrame, limits: Mapping[str, float]) -> list[Line]:
    """What a comparison shows, a line for each number; accuracies once for all methods.

    Args:
        frame: rows of ``analysis.comparison.compare_runs``.
        limits: how much a measure may rise, by its name.
    """
    methods = frame["method"].unique(maintain_order=True).to_list()
    return [
        _line(row, limits.get(row["measure"]), several=len(methods) > 1)
        for row in frame.iter_rows(named=True)
        if row["measure"] != "accuracy" or row["method"] == methods[0]
    ]


def _line(row: Mapping[str, Any], limit: float | None, *, several: bool) -> Line:
    pair = [row["model_a"], row["model_b"]]
    share = row["measure"] == "accuracy"
    number = _NAMES.get(row["measure"], row["measure"])
    number += f", {explainer(row['method'])}" if several and not share else ""
    ends = [row["difference"], row["low"], row["high"]]
    told = [signed(100 * end, 1) if share else signed(end) for end in ends if end is not None]
    verdict = ""
    if limit is not None:
        verdict = "fails" if row["low"] is not None and row["low"] > limit else "passes"
    return Line(
        model=pair[0] if pair[0] == pair[1] else " → ".join(pair),
        perturbation=row["scope"] + (f" ({row['variant']})" if row["variant"] != "none" else ""),
        number=number,
        before=percent(row["before"], 1) if share else decimal(row["before"]),
        after=percent(row["after"], 1) if share else decimal(row["after"]),
        difference=f"{told[0]}{' points' if share else ''}",
        interval=f"{told[1]} to {told[2]}" if len(told) > 2 else "",
        values=(row["difference"], row["low"], row["high"]),
        limit=limit,
        verdict=verdict,
    )


def compared_page(
    runs: tuple[str, str],
    frame: pl.DataFrame,
    headline: pl.DataFrame,
    limits: Mapping[str, float],
    differs: str,
) -> str:
    """One HTML file without a script: the verdict, each number with its limit, and every ε."""
    lines = lines_of(headline, limits)
    first = headline.row(0, named=True)
    alike = frame.filter(
        pl.col("explained_class") == first["explained_class"], pl.col("pairs") == first["pairs"]
    )
    levels = sorted(alike["epsilon"].unique(), reverse=True)
    ends = [0.0, *limits.values()]
    ends += [end for line in lines for end in line.values if end is not None]
    low, high = min(ends), max(ends)
    room = (high - low) or 1.0
    judged = [line for line in lines if line.verdict]
    return (
        environment()
        .get_template("compared.html.j2")
        .render(
            runs=runs,
            epsilon=first["epsilon"],
            policy=first["explained_class"],
            lines=lines,
            failed=[line for line in judged if line.verdict == "fails"],
            judged=judged,
            limits={_NAMES[name]: limit for name, limit in limits.items()},
            differs=differs,
            levels=[(level, lines_of(alike.filter(epsilon=level), {})) for level in levels],
            place=lambda value: f"{100 * (value - low) / room:.2f}%",
            css=Markup((ASSETS / "page.css").read_text(encoding="utf-8")),  # noqa: S704  our own
        )
    )

"""Frames to tables, in every format: CSV, Markdown, LaTeX, and cells for the page."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from lookaway.analysis import summary
from lookaway.analysis.frames import Frames


@dataclass(frozen=True)
class Cell:
    """A number with its 95 % interval, where it has one."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Row:
    """One line: its names, then its numbers. ``strong``: a mean over the lines above."""

    names: tuple[str, ...]
    cells: tuple[Cell, ...]
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """A table to read.

    Attributes:
        name: of its files.
        title: what it shows.
        note: how to read it.
        heads: of the names' columns, then of the numbers'.
        rows: the lines.
        digits: after the point.
        percent: whether the numbers are shares, shown in per cent.
    """

    name: str
    title: str
    note: str
    heads: tuple[str, ...]
    rows: tuple[Row, ...]
    digits: int = 3
    percent: bool = False

    def shown(self, value: float | None) -> str:
        """A number as it is read."""
        if value is None:
            return "–"
        return f"{100 * value:.1f} %" if self.percent else f"{value:.{self.digits}f}"

    def csv(self) -> str:
        """Full numbers, each with its interval's ends."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        names = len(self.rows[0].names) if self.rows else 0
        numbers = [f"{head}{end}" for head in self.heads[names:] for end in ("", " low", " high")]
        writer.writerow([*self.heads[:names], *numbers])
        for row in self.rows:
            ends = [x for cell in row.cells for x in (cell.value, cell.low, cell.high)]
            writer.writerow([*row.names, *("" if x is None else x for x in ends)])
        return out.getvalue()

    def markdown(self) -> str:
        """A Markdown table under its title."""
        lines = [f"**{_markdown(self.title)}**", ""]
        lines.append("| " + " | ".join(_markdown(head) for head in self.heads) + " |")
        names = len(self.rows[0].names) if self.rows else 0
        lines.append("|" + "---|" * names + "---:|" * (len(self.heads) - names))
        for row in self.rows:
            texts = [*map(_markdown, row.names), *(self.shown(cell.value) for cell in row.cells)]
            texts = [f"*{text}*" if row.strong else text for text in texts]
            lines.append("| " + " | ".join(texts) + " |")
        return "\n".join([*lines, "", _markdown(self.note), ""])

    def latex(self) -> str:
        """A LaTeX table for the booktabs package."""
        names = len(self.rows[0].names) if self.rows else 0
        lines = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_latex(self.title)}. {_latex(self.note)}}}",
            rf"\begin{{tabular}}{{{'l' * names}{'r' * (len(self.heads) - names)}}}",
            r"\toprule",
            " & ".join(map(_latex, self.heads)) + r" \\",
            r"\midrule",
        ]
        for row in self.rows:
            texts = [*row.names, *(self.shown(cell.value) for cell in row.cells)]
            shown = [rf"\emph{{{_latex(t)}}}" if row.strong else _latex(t) for t in texts]
            lines.append(" & ".join(shown) + r" \\")
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def all_tables(frames: Frames) -> list[Table]:
    """Accuracy, MOD with the mean over models, VID, spread and PSNR of the last layers.

    Args:
        frames: of a run.
    """
    tables = [
        _by_level(
            "accuracy",
            "Accuracy",
            "Share of test images whose predicted class is the true one; ε = 0 is the clean image.",
            summary.by_scope(frames.accuracy),
            "accuracy",
            percent=True,
        )
    ]
    for policy in frames.policies:
        for pairs in ["all", "alive"] if frames.dead_pairs else ["all"]:
            without = "" if pairs == "all" else ", without dead maps"
            chosen = summary.by_scope(
                frames.last(frames.mod).filter(
                    (pl.col("explained_class") == policy) & (pl.col("pairs") == pairs)
                )
            )
            tables.append(
                _by_level(
                    f"mod_{policy}" + ("" if pairs == "all" else "_alive"),
                    f"MOD, explained class: {policy}{without}",
                    "Mean dissimilarity (NISSIM) of the clean and the attacked heatmap: 0 the "
                    "same, towards 1 dissimilar. " + _POLICY[policy],
                    chosen,
                    "mod",
                    mean=True,
                )
            )
    tables.append(_vid(frames))
    for policy in frames.policies:
        chosen = summary.by_scope(
            frames.last(frames.spread).filter(
                (pl.col("explained_class") == policy) & (pl.col("pairs") == "all")
            )
        )
        title = f"Spread of NISSIM over the images, explained class: {policy}"
        note = "Population standard deviation of NISSIM over the test images at one ε."
        tables.append(_by_level(f"spread_{policy}", title, note, chosen, "spread"))
    tables.append(
        _by_level(
            "psnr",
            "PSNR (dB)",
            "How strong the change of the pixels is, peak 1; higher is weaker.",
            summary.by_scope(frames.psnr),
            "psnr",
            digits=2,
        )
    )
    return tables


_POLICY = {
    "own": "Each map explains the class predicted for that very image.",
    "clean": "Both maps explain the class predicted for the clean image.",
    "label": "Both maps explain the true class.",
}


def _by_level(
    name: str,
    title: str,
    note: str,
    scoped: pl.DataFrame,
    value: str,
    *,
    mean: bool = False,
    digits: int = 3,
    percent: bool = False,
) -> Table:
    """A line for each scope and model, a column for each ε."""
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
                rows.append(Row((*lead, _marked(model, scope)), cells))
            if mean and part["model"].n_unique() > 1:
                means = dict(
                    summary.mean_over_models(part, value).select("epsilon", value).iter_rows()
                )
                cells = tuple(Cell(means.get(level)) for level in levels)
                rows.append(Row((*lead, "mean over models"), cells, strong=True))
    heads = ("perturbation", "model", *(f"ε = {level:g}" for level in levels))
    heads = ("images", *heads) if len(variants) > 1 else heads
    return Table(name, title, note, heads, tuple(rows), digits, percent)


def _vid(frames: Frames) -> Table:
    """A line for each scope and model, a column for each policy and way of reading eq. 4."""
    scoped = {
        way: summary.by_scope(frames.vid[way].filter(pl.col("pairs") == "all"))
        for way in summary.VID_WAYS
    }
    first = scoped["image"]
    several = first["variant"].n_unique() > 1
    rows = []
    for keys in first.select("variant", "scope", "model").unique(maintain_order=True).iter_rows():
        cells = []
        for policy in frames.policies:
            for way in summary.VID_WAYS:
                found = scoped[way].filter(
                    (pl.col("variant") == keys[0])
                    & (pl.col("scope") == keys[1])
                    & (pl.col("model") == keys[2])
                    & (pl.col("explained_class") == policy)
                )
                row = found.row(0, named=True)
                cells.append(Cell(row["vid"], row["low"], row["high"]))
        names = (*keys[:2], _marked(keys[2], keys[1]))
        rows.append(Row(names if several else names[1:], tuple(cells)))
    heads = ["perturbation", "model"] if not several else ["images", "perturbation", "model"]
    heads += [f"{policy}, {way}" for policy in frames.policies for way in summary.VID_WAYS]
    return Table(
        "vid",
        "VID",
        "Standard deviation of NISSIM over the ε levels. image: of each image, then the mean; "
        "level: of the MOD curve; pooled: of all images and levels together.",
        tuple(heads),
        tuple(rows),
    )


def _marked(model: str, scope: str) -> str:
    """A model's name; where it is the source of a transfer, it says so."""
    return f"{model} (white-box)" if scope.endswith(f" from {model}") else model


def files(tables: Iterable[Table]) -> dict[str, str]:
    """The files of tables: name → content."""
    found = {}
    for table in tables:
        found[f"{table.name}.csv"] = table.csv()
        found[f"{table.name}.md"] = table.markdown()
        found[f"{table.name}.tex"] = table.latex()
    return found


def _markdown(text: str) -> str:
    plain = " ".join(text.split())
    for mark in "\\`*_[]<>|#":
        plain = plain.replace(mark, f"\\{mark}")
    return plain


_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "ε": r"$\varepsilon$",
    "–": "--",
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()))

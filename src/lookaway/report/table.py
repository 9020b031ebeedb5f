"""A table to read, in every format: CSV, Markdown, LaTeX, and cells for the page."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from lookaway.written import NONE, decimal, percent, signed

SCALE = "Scale: more than its controls?"  # a section of the page


@dataclass(frozen=True)
class Cell:
    """A number with its 95 % interval, where it has one; without a number, the reason."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


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
        formats: how the numbers of each column are shown; the last one holds for the rest.
            ``.3f`` and the like, ``%`` (a share in per cent) or ``+.3f`` (with its sign).
        section: of the page that it stands in.
        paper: which of the paper's it corresponds to, such as ``Table 1``; empty: none.
        of_images: whether it holds for every method, as accuracy does.
        method: whose heatmaps it is about, where the study has several.
    """

    name: str
    title: str
    note: str
    heads: tuple[str, ...]
    rows: tuple[Row, ...]
    formats: tuple[str, ...] = (".3f",)
    section: str = "Numbers by ε"
    paper: str = ""
    of_images: bool = False
    method: str = ""

    @property
    def anchor(self) -> str:
        """Its place on the page."""
        return f"table-{self.name}"

    def shown(self, value: float | None, column: int = 0) -> str:
        """A number of a column as it is read."""
        form = self.formats[min(column, len(self.formats) - 1)]
        if form == "%":
            return percent(value, 1)
        if value is None or not form.endswith("f"):
            return NONE if value is None else f"{value:{form}}".replace("-", "−")
        places = int(form.strip("+.f"))
        return signed(value, places) if form[0] == "+" else decimal(value, places)

    def interval(self, cell: Cell, column: int = 0) -> str:
        """The interval of a column's number as it is read."""
        low, high = self.shown(cell.low, column), self.shown(cell.high, column)
        return f"{low.removesuffix(' %')} to {high}"

    def _numbers(self, row: Row) -> list[str]:
        return [self.shown(cell.value, column) for column, cell in enumerate(row.cells)]

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

    def html(self) -> str:
        """A plain HTML table, every name escaped."""
        heads = "".join(f"<th>{escape(head)}</th>" for head in self.heads)
        lines = []
        for row in self.rows:
            names = "".join(
                f'<td style="text-align:left">{escape(name)}</td>' for name in row.names
            )
            numbers = "".join(f"<td>{escape(number)}</td>" for number in self._numbers(row))
            lines.append(f"<tr>{names}{numbers}</tr>")
        return (
            f"<table><caption>{escape(self.title)}</caption><thead><tr>{heads}</tr></thead>"
            f"<tbody>{''.join(lines)}</tbody></table>"
        )

    def markdown(self) -> str:
        """A Markdown table under its title."""
        lines = [f"**{_markdown(self.title)}**", ""]
        lines.append("| " + " | ".join(_markdown(head) for head in self.heads) + " |")
        names = len(self.rows[0].names) if self.rows else 0
        lines.append("|" + "---|" * names + "---:|" * (len(self.heads) - names))
        for row in self.rows:
            texts = [*map(_markdown, row.names), *self._numbers(row)]
            texts = [f"*{text}*" if row.strong and text else text for text in texts]
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
            texts = [*row.names, *self._numbers(row)]
            shown = [rf"\emph{{{_latex(t)}}}" if row.strong and t else _latex(t) for t in texts]
            lines.append(" & ".join(shown) + r" \\")
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


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
    "−": "$-$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()))

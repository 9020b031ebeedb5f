"""What the commands share: their common options, and how they print."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

if TYPE_CHECKING:
    from lookaway.result import Result

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else.")]


def tell(result: "Result", quiet: bool, as_json: bool) -> None:
    """Print a run's summary and where its page is."""
    from lookaway.report.headline import headline, headline_numbers

    if as_json:
        about = {"folder": str(result.folder), "report": str(result.report)}
        print_json({**about, "headline": headline_numbers(result.frames)})
    elif not quiet:
        heads, rows = headline(result.frames)
        print_table(heads, rows)
        Console().print(f"Report: {result.report}", markup=False, highlight=False, soft_wrap=True)


def print_json(document: Any) -> None:
    """Print one JSON document."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def print_table(heads: list[str], rows: list[list[str]], title: str | None = None) -> None:
    """A table for the terminal; a line between the models."""
    table = RichTable(title=title)
    for place, head in enumerate(heads):
        table.add_column(Text(head), justify="left" if place < 2 else "right", overflow="fold")
    for place, row in enumerate(rows):
        next_model = place + 1 < len(rows) and rows[place + 1][0] != row[0]
        table.add_row(*map(Text, row), end_section=next_model)
    Console().print(table)

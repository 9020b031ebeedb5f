"""What the commands share: their common options, and how they print.

Consoles and files that are not UTF-8 (of Windows, ``LC_ALL=C``) get plain letters for those that
they cannot hold, and never an error after hours of work.
"""

import codecs
import io
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

if TYPE_CHECKING:
    from lookaway.report.headline import Headline
    from lookaway.result import Result

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
_PLAIN = {
    "→": "->",
    "−": "-",
    "–": "-",
    "ε": "eps",
    "…": "...",
    "×": "x",
    "±": "+-",
    "·": "*",
    "≤": "<=",
    "≥": ">=",
    "\u2068": "",  # isolates of direction around names
    "\u2069": "",
}
_ERRORS = "lookaway-plain"  # the name of the error handler, for Python's streams

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else.")]


def _plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    """Python's error handler: the next letter as plain ones, or escaped."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letter, behind = error.object[error.start], error.start + 1
    if "\udc80" <= letter <= "\udcff":  # a byte of a file's name that is no text
        return bytes([ord(letter) - 0xDC00]), behind
    return _PLAIN.get(letter, letter.encode("ascii", "backslashreplace").decode()), behind


codecs.register_error(_ERRORS, _plainly)


def print_plainly() -> None:
    """Let stdout and stderr write plain letters in place of those that they cannot hold."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def _encoding() -> str:
    return getattr(sys.stdout, "encoding", None) or "utf-8"


def _shown(text: str) -> Text:
    """A cell's text as stdout will write it, so that its width is right."""
    raw = text.encode(_encoding(), _ERRORS)
    return Text(raw.decode(_encoding(), "replace"))


def say(line: str, *, error: bool = False) -> None:
    """Print a line at once, so that a closed pipe is noticed here."""
    print(line, file=sys.stderr if error else sys.stdout, flush=True)


def tell(result: "Result", quiet: bool, as_json: bool) -> None:
    """Print a run's summary and where its page is."""
    from lookaway.report.again import of_trainings
    from lookaway.report.headline import headline, headline_numbers

    if as_json:
        about = {"folder": str(result.folder), "report": str(result.report)}
        print_json({**about, "headline": headline_numbers(result.frames)})
    elif not quiet:
        _print_headline(headline(result.frames))
        for line in of_trainings(result.frames):
            say(_shown(line).plain)
        Console().print(f"Report: {result.report}", markup=False, highlight=False, soft_wrap=True)


def _print_headline(found: "Headline") -> None:
    """As wide as the console; what it cannot write is plain before the columns are made."""
    width = Console().width
    for line in found.lines(width, lambda text: _shown(text).plain):
        say(line)


def print_json(document: Any) -> None:
    """Print one JSON document."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    try:
        text.encode(_encoding())
    except UnicodeEncodeError:
        text = json.dumps(document, indent=2)
    say(text)


def print_table(heads: list[str], rows: list[list[str]], title: str | None = None) -> None:
    """A table for the terminal; a line between the models."""
    table = RichTable(title=None if title is None else _shown(title))
    for place, head in enumerate(heads):
        table.add_column(_shown(head), justify="left" if place < 2 else "right", overflow="fold")
    for place, row in enumerate(rows):
        next_model = place + 1 < len(rows) and rows[place + 1][0] != row[0]
        table.add_row(*map(_shown, row), end_section=next_model)
    Console().print(table)

"""The command line: each command parses, calls one function and prints."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from lookaway import __version__
from lookaway.errors import LookawayError

if TYPE_CHECKING:
    from lookaway.result import Result

app = typer.Typer(
    name="lookaway",
    help="Measure how an adversarial attack makes an image classifier look elsewhere.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)

Out = Annotated[Path, typer.Option("--out", help="The run's folder.", metavar="DIR")]


@app.command()
def demo(out: Out = Path("runs/demo")) -> None:
    """Run a whole study on bundled data and weights; no network is needed.

    Three ImageNet networks, 80 test images, four strengths of FGSM. Run it again and it goes on
    where it stopped.

    Example: lookaway demo --out runs/demo
    """
    from lookaway.run import run_study

    _tell(run_study(Path(__file__).with_name("demo.yaml"), out))


@app.command()
def run(
    study: Annotated[Path, typer.Argument(help="The study file.", metavar="STUDY.yaml")],
    out: Out,
    data: Annotated[
        str | None, typer.Option(help="An image folder in place of data.folder.", metavar="PATH")
    ] = None,
) -> None:
    """Run a study; run it again and it goes on where it stopped.

    Example: lookaway run study.yaml --out runs/first --data ~/faces
    """
    from lookaway.run import run_study

    _tell(run_study(study, out, data=data))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A run's folder.", metavar="DIR")],
) -> None:
    """Make tables, figures and page again from what a run stored.

    Example: lookaway report runs/first
    """
    from lookaway.report.page import build_report
    from lookaway.result import open_result

    result = open_result(folder)
    build_report(result.store)
    _tell(result)


@app.command()
def models(
    pattern: Annotated[
        str, typer.Argument(help="A part of a name, or a pattern with *.", metavar="[PATTERN]")
    ] = "*",
) -> None:
    """List what can be named in a study, and where its weights come from.

    Example: lookaway models "efficientnet_lite*"
    """
    from lookaway.models.zoo import list_models

    found = list_models(pattern)
    for name, weights in found:
        typer.echo(f"{name:50} {weights}")
    if not found:
        raise LookawayError(f"no network's name matches {pattern!r}; try a part, such as resnet")


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"lookaway {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; an error that the user can mend is printed bare, exit code 2."""
    try:
        app()
    except LookawayError as error:
        print(f"lookaway: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)


def _tell(result: "Result") -> None:
    """Print a run's summary and where its page is."""
    from lookaway.report.headline import headline

    heads, rows = headline(result.frames)
    table = RichTable()
    for place, head in enumerate(heads):
        table.add_column(Text(head), justify="left" if place < 2 else "right", overflow="fold")
    for place, row in enumerate(rows):
        next_model = place + 1 < len(rows) and rows[place + 1][0] != row[0]
        table.add_row(*map(Text, row), end_section=next_model)
    console = Console()
    console.print(table)
    console.print(f"Report: {result.report}", markup=False, highlight=False, soft_wrap=True)

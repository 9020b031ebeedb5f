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
    regions: Annotated[
        Path | None,
        typer.Option(
            help="Boxes (a CSV: image, left, top, right, bottom in fractions of the picture) or a "
            "folder of masks: how much participation lies inside. Kept with the run.",
            metavar="PATH",
        ),
    ] = None,
) -> None:
    """Make tables, figures and page again from what a run stored.

    Example: lookaway report runs/first --regions faces.csv
    """
    from lookaway.report.page import build_report
    from lookaway.result import open_result

    result = open_result(folder)
    if regions is not None:
        result.keep_regions(regions)
    build_report(result.store)
    _tell(open_result(folder))


@app.command()
def compare(
    run_a: Annotated[Path, typer.Argument(help="The run to compare with.", metavar="RUN_A")],
    run_b: Annotated[Path, typer.Argument(help="The other run.", metavar="RUN_B")],
    max_mod_rise: Annotated[
        float | None, typer.Option(help="How much MOD may rise from A to B.", metavar="X")
    ] = None,
    max_excess_rise: Annotated[
        float | None, typer.Option(help="How much the excess shift may rise.", metavar="X")
    ] = None,
) -> None:
    """Compare two runs on the same images; exit code 1 when a limit is passed beyond doubt.

    Differences are image by image, B less A, with 95 % intervals, at the largest common ε.

    Example: lookaway compare runs/main runs/branch --max-excess-rise 0.02
    """
    from lookaway.compare import compare as compare_runs

    found = compare_runs(run_a, run_b, max_mod_rise, max_excess_rise)
    names = {"mod": "MOD", "excess": "excess", "accuracy": "accuracy"}
    heads = ["model", "perturbation", "", "A", "B", "B − A, 95 % interval"]
    lines = []
    for row in found.headline.iter_rows(named=True):
        pair = {row["model_a"], row["model_b"]}
        interval = "" if row["low"] is None else f" ({row['low']:+.3f}, {row['high']:+.3f})"
        lines.append(
            [
                row["model_a"] if len(pair) == 1 else f"{row['model_a']} → {row['model_b']}",
                row["scope"] + (f" ({row['variant']})" if row["variant"] != "none" else ""),
                names[row["measure"]],
                f"{row['before']:.3f}",
                f"{row['after']:.3f}",
                f"{row['difference']:+.3f}{interval}",
            ]
        )
    first = found.headline.row(0, named=True)
    _print_table(
        heads, lines, f"ε = {first['epsilon']:g}, explained class: {first['explained_class']}"
    )
    for sentence in found.passed:
        print(f"lookaway: {sentence}", file=sys.stderr)  # noqa: T201
    if found.passed:
        raise typer.Exit(1)


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
    _print_table(heads, rows)
    Console().print(f"Report: {result.report}", markup=False, highlight=False, soft_wrap=True)


def _print_table(heads: list[str], rows: list[list[str]], title: str | None = None) -> None:
    """A table for the terminal; a line between the models."""
    table = RichTable(title=title)
    for place, head in enumerate(heads):
        table.add_column(Text(head), justify="left" if place < 2 else "right", overflow="fold")
    for place, row in enumerate(rows):
        next_model = place + 1 < len(rows) and rows[place + 1][0] != row[0]
        table.add_row(*map(Text, row), end_section=next_model)
    Console().print(table)

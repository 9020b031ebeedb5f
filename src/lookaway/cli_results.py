"""The commands on runs that are there: report, figures, compare and export."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from lookaway.cli_output import Json, Quiet, print_json, print_table, say, tell

if TYPE_CHECKING:
    import polars as pl

    from lookaway.study.prune import Unused

Folder = Annotated[str, typer.Argument(help="A run's folder, or a URL.", metavar="DIR")]


def report(
    folder: Folder,
    regions: Annotated[
        str | None,
        typer.Option(
            help="Boxes (a CSV: image, left, top, right, bottom in fractions of the picture) or a "
            "folder of masks: how much participation lies inside. Kept with the run.",
            metavar="PATH",
        ),
    ] = None,
    groups: Annotated[
        str | None,
        typer.Option(
            help="Groups of people: a CSV or Parquet with label or image, and a column of groups. "
            "Every number by group, and the largest gap. Kept with the run.",
            metavar="PATH",
        ),
    ] = None,
    column: Annotated[
        str, typer.Option(help="Of the groups in their table.", metavar="NAME")
    ] = "group",
    paper: Annotated[
        bool | None,
        typer.Option(help="With tables and figures in the paper's form; default: as the study."),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Make tables, figures and page of a run again.

    \b
    Examples:
      lookaway report runs/first
      lookaway report runs/first --paper
      lookaway report runs/first --regions faces.csv
      lookaway report runs/first --groups people.csv --column sex
    """
    from lookaway.report.page import build_report
    from lookaway.report.warnings import warnings
    from lookaway.result import open_result
    from lookaway.study.lock import locked

    result = open_result(folder)
    with locked(folder):
        if regions is not None:
            result.keep_regions(regions)
        if groups is not None:
            result.keep_groups(groups, column)
        build_report(result.store, paper=paper)
    for line in [] if quiet else warnings(result.frames):
        say(f"lookaway: {line}", error=True)
    tell(result, quiet, as_json)


def figures(
    folder: Folder,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="Any of pdf, svg and png, with commas or given again; default: all.",
            metavar="pdf,svg,png",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="A figure, or all of a kind, such as mod; may be given again. See --list.",
            metavar="NAME",
        ),
    ] = None,
    columns: Annotated[
        int, typer.Option(help="Width in columns of a paper: 1 (252 pt) or 2 (516 pt).")
    ] = 2,
    image: Annotated[
        str | None,
        typer.Option(help="The pictured image of figures that show one.", metavar="NAME"),
    ] = None,
    colours: Annotated[
        str,
        typer.Option(
            help="Of heatmaps: turbo (blue to red, as in the paper) or viridis (perceptually "
            "even).",
            metavar="turbo|viridis",
        ),
    ] = "turbo",
    heatmaps: Annotated[
        str, typer.Option(help="Laid over the image, or raw.", metavar="overlaid|raw")
    ] = "overlaid",
    order: Annotated[
        str,
        typer.Option(
            help="Of all layers of a model, from top left: the last one first, as in the paper, "
            "or the first.",
            metavar="last-first|first-last",
        ),
    ] = "last-first",
    out: Annotated[
        str | None, typer.Option(help="Where to; default: the run's figures/.", metavar="DIR")
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="List the run's figures and write none.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write a run's figures as PDF, SVG and PNG.

    As wide as one or two columns of a paper.

    \b
    Examples:
      lookaway figures runs/first --list
      lookaway figures runs/first
      lookaway figures runs/first --only mod --only nissim_clean --format pdf
      lookaway figures runs/first --only images --image face/023 --columns 1
      lookaway figures runs/first --only paper_layers --colours viridis --order first-last
    """
    from lookaway.result import open_result

    result = open_result(folder)
    titles = result.figures()
    if listed:
        for name, title in {} if as_json else titles.items():
            say(f"{name:28} {title}")
        if as_json:
            print_json(titles)
        return
    from lookaway.report.figure import FORMATS
    from lookaway.report.figures import write_figures
    from lookaway.report.options import Options

    given = ",".join(formats or FORMATS).split(",")
    wanted = list(dict.fromkeys(name.strip().lower() for name in given if name.strip()))
    where = result.folder / "figures" if out is None else out
    options = Options(columns, image, colours, heatmaps, order)
    written = write_figures(result.frames, where, wanted, only or [], options)
    _print_written(written, quiet, as_json)


def _print_written(written: Iterable[object], quiet: bool, as_json: bool) -> None:
    paths = list(map(str, written))
    if as_json:
        print_json({"written": paths})
    elif not quiet:
        for path in paths:
            say(path)


def compare(
    run_a: Annotated[str, typer.Argument(help="The run to compare with.", metavar="RUN_A")],
    run_b: Annotated[str, typer.Argument(help="The other run.", metavar="RUN_B")],
    max_mod_rise: Annotated[
        float | None, typer.Option(help="How much MOD may rise from A to B.", metavar="X")
    ] = None,
    max_excess_rise: Annotated[
        float | None,
        typer.Option(help="How much the excess over random signs may rise.", metavar="X"),
    ] = None,
    max_aimed_rise: Annotated[
        float | None,
        typer.Option(help="How much the aimed excess (over shifted) may rise.", metavar="X"),
    ] = None,
    page: Annotated[
        str | None, typer.Option(help="Write the comparison as an HTML page.", metavar="FILE")
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Compare two runs on the same images.

    The exit code is 1 when the whole 95 % interval lies above a limit.

    Differences are image by image, B less A, with 95 % intervals, at the largest common epsilon.

    \b
    Examples:
      lookaway compare runs/main runs/branch
      lookaway compare runs/main runs/branch --max-aimed-rise 0.02 --page compared.html
    """
    from lookaway.compare import compare as compare_runs
    from lookaway.places import to_path

    found = compare_runs(run_a, run_b, max_mod_rise, max_excess_rise, max_aimed_rise)
    if page is not None:
        to_path(page).write_bytes(found.page().encode())
    if as_json:
        print_json({"headline": found.headline.to_dicts(), "passed": list(found.passed)})
    elif not quiet:
        _print_comparison(found.headline)
    for sentence in found.passed:
        say(f"lookaway: {sentence}", error=True)
    if found.passed:
        raise typer.Exit(1)


def _print_comparison(headline: "pl.DataFrame") -> None:
    from lookaway.compare import what_differs
    from lookaway.report.compared import lines_of

    heads = ["model", "perturbation", "number", "A", "B", "B less A (95 %)"]
    lines = [
        [
            line.model,
            line.perturbation,
            line.number,
            line.before,
            line.after,
            f"{line.difference}{f' ({line.interval})' if line.interval else ''}",
        ]
        for line in lines_of(headline, {})
    ]
    first = headline.row(0, named=True)
    print_table(
        heads, lines, f"ε = {first['epsilon']:g}, explained class: {first['explained_class']}"
    )
    say(what_differs(headline))


def export(
    folder: Folder,
    out: Annotated[str, typer.Option(help="Where to.", metavar="DIR")],
    source: Annotated[
        str | None,
        typer.Option(help="One of the study's transfer_from; default: the first.", metavar="MODEL"),
    ] = None,
    kind: Annotated[
        str, typer.Option("--format", help="png (8 bit) or npy (float32).", metavar="png|npy")
    ] = "png",
    data: Annotated[
        str | None, typer.Option(help="The images' folder, where it moved.", metavar="PATH")
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write the perturbed test sets as images, a folder for each epsilon.

    \b
    Examples:
      lookaway export runs/first --out perturbed
      lookaway export runs/first --out perturbed --source resnet50 --format npy
    """
    from lookaway.export import export as export_run
    from lookaway.progress import Silent, Terminal

    reporter = Silent() if quiet else Terminal()
    written = export_run(folder, out, source=source, kind=kind, data=data, progress=reporter)
    _print_written(written, quiet, as_json)


def prune(
    folder: Folder,
    yes: Annotated[bool, typer.Option("--yes", help="Without asking.")] = False,
    as_json: Json = False,
) -> None:
    """Remove what a run's present study does not use, after saying how much that is.

    A study that lost a model, an attack or an epsilon keeps what was measured of them, until then.
    With --json nothing is asked, and without --yes nothing removed.

    \b
    Examples:
      lookaway prune runs/first
      lookaway prune runs/first --yes
    """
    from lookaway.study.lock import locked
    from lookaway.study.prune import find_unused, remove_unused
    from lookaway.study.store import Store

    store = Store(folder)
    store.read_plan()
    with locked(folder):
        found = find_unused(store)
        told = {
            "files": len(found.files),
            "parts": len(found.cells),
            "bytes": found.total,
        }
        if not as_json:
            say(_unused(found) if found.total else "the present study uses all that is stored")
        removed = bool(found.total) and (
            yes or (not as_json and typer.confirm("Remove that?", err=True))
        )
        if removed:
            remove_unused(store, found)
    if found.total and not as_json:
        say("removed" if removed else "nothing was removed")
    if as_json:
        print_json({**told, "removed": removed})


def _unused(found: "Unused") -> str:
    """What would be removed, as a sentence."""
    size = f"{found.total / 1e6:,.1f} MB" if found.total >= 1e5 else f"{found.total / 1e3:,.1f} kB"
    what = {"": len(found.files), "parts of ": len(found.cells)}
    named = [
        f"{of}{count:,} file{'' if count == 1 else 's'}" for of, count in what.items() if count
    ]
    return f"the present study does not use about {size} of what is stored: {' and '.join(named)}"

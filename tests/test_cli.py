"""The command line: clear errors with exit code 2, and no traceback."""

import subprocess
import sys

import pytest
import yaml
from typer.testing import CliRunner

from lookaway import cli


def lookaway(*arguments, **options):
    code = "import sys; from lookaway.cli import main; sys.argv[0] = 'lookaway'; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        **options,
    )


def test_run_report_and_run_again(small_study, faces_for_all, tmp_path):
    study = {**small_study, "data": {**small_study["data"], "folder": "elsewhere"}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    command = ("run", tmp_path / "study.yaml", "--out", tmp_path / "out", "--data", faces_for_all)
    done = lookaway(*command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith(f"Report: {tmp_path / 'out' / 'report.html'}")
    assert "fgsm white-box" in done.stdout
    assert "one: training" in done.stderr
    again = lookaway(*command)
    assert again.stdout == done.stdout
    assert "training" not in again.stderr
    assert lookaway("report", tmp_path / "out").stdout == done.stdout


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "data: {folder: nowhere}\nmodels: [resnet5O]\n",
            ["line 1, data.folder", "does not exist", "line 2, models[0]", "resnet50"],
        ),
        ("data: {}\n", ["data.folder: is required", "models: is required"]),
    ],
)
def test_a_wrong_study_file_exits_with_2_and_no_traceback(tmp_path, text, told):
    (tmp_path / "study.yaml").write_text(text)
    done = lookaway("run", tmp_path / "study.yaml", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for part in told:
        assert part in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", "nowhere"),
        ("run", "nowhere.yaml", "--out", "x"),
        ("models", "zzzz"),
        ("run",),
        ("fly",),
    ],
)
def test_other_mistakes_exit_with_2(arguments, tmp_path):
    done = lookaway(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()


def test_models_and_version_and_help():
    runner = CliRunner()
    found = runner.invoke(cli.app, ["models", "efficientnet_lite"])
    assert "tf_efficientnet_lite0" in found.output
    assert "on this machine" in found.output
    assert runner.invoke(cli.app, ["--version"]).output.startswith("lookaway ")
    for command in ("demo", "run", "report", "models"):
        assert "Example: lookaway" in runner.invoke(cli.app, [command, "--help"]).output

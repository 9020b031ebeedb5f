"""The command line: clear errors with exit code 2, and no traceback."""

import json
import subprocess
import sys

import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

import lookaway as la
from commands import lookaway
from lookaway import cli
from lookaway.errors import InputError, StudyError
from shared_runs import leave_out_pages


def test_the_command_is_a_process_whose_exit_code_is_2_for_a_mistake(tmp_path):
    code = "import sys; from lookaway.cli import main; sys.argv[0] = 'lookaway'; main()"
    command = [sys.executable, "-c", code, "report", "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("lookaway: ")
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr


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
    code, _, err = lookaway("run", tmp_path / "study.yaml", "--out", tmp_path / "out")
    assert code == 2
    assert "Traceback" not in err
    for part in told:
        assert part in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "nowhere.yaml", "--out", "x"),
        ("models", "zzzz"),
        ("run",),
        ("fly",),
    ],
)
def test_other_mistakes_exit_with_2(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = lookaway(*arguments)
    assert code == 2
    assert "Traceback" not in err
    assert err.strip()


def test_models_and_version_and_help():
    runner = CliRunner()
    found = runner.invoke(cli.app, ["models", "efficientnet_lite"])
    assert "tf_efficientnet_lite0" in found.output
    assert "on this machine" in found.output
    assert runner.invoke(cli.app, ["--version"]).output.startswith("lookaway ")


@pytest.mark.parametrize(
    "command", ["demo", "run", "plan", "report", "figures", "compare", "models"]
)
def test_the_help_of_a_command_has_examples_on_lines_of_their_own(command):
    lines = CliRunner().invoke(cli.app, [command, "--help"]).output.splitlines()
    after = lines[lines.index("  Examples:") + 1 :]
    assert after[0].startswith(f"    lookaway {command}")
    assert after[1].startswith(f"    lookaway {command}")


def test_without_a_command_it_says_how_to_begin():
    _, out, err = lookaway()
    assert "Begin with one of these:" in out + err
    assert "    lookaway demo" in (out + err).replace("  lookaway", "    lookaway")


@pytest.fixture(scope="module")
def study(small_study, faces_for_all, tmp_path_factory):
    """The command that runs a study whose folder is given on the command line."""
    folder = tmp_path_factory.mktemp("done")
    data, explain = {**small_study["data"], "folder": "elsewhere"}, {"pictured": 2}
    study = {**small_study, "data": data, "explain": explain, "epsilons": [0.1]}
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    return "run", folder / "study.yaml", "--out", folder / "out", "--data", faces_for_all


@pytest.fixture(scope="module")
def done(study):
    return study[3], lookaway(*study, "--quiet", "--json")


def test_run_again_trains_nothing_and_says_what_report_says(study, done, monkeypatch):
    leave_out_pages(monkeypatch)  # it is there
    code, again, err = lookaway(*study)
    assert code == 0, err
    assert again.rstrip().endswith(f"Report: {done[0] / 'report.html'}")
    assert "fgsm white-box" in again
    assert "tables, figures and page" in err
    assert "training" not in err
    assert lookaway("report", done[0])[1] == again


def test_json_is_one_document_with_the_headline_and_quiet_says_nothing_else(done):
    folder, (code, out, err) = done
    assert code == 0, err
    assert err == ""
    document = json.loads(out)
    assert document["report"] == str(folder / "report.html")
    result = la.open_result(folder)
    mod = result.mod()
    for row in document["headline"]:
        source = {"noise": None, "fgsm from one": "one"}.get(row["perturbation"], row["model"])
        found = mod.filter(
            pl.col("model") == row["model"],
            pl.col("source").eq_missing(pl.lit(source)),
            pl.col("epsilon") == row["epsilon"],
            pl.col("explained_class") == row["explained_class"],
            pl.col("pairs") == "all",
            pl.col("layer") == result.plan.last_layers[row["model"]],
        )
        assert row["mod"] == found["mod"][0]
        assert (row["excess"] is None) == (row["perturbation"] == "noise")
    assert len(document["headline"]) == 2 + 3


def test_quiet_prints_nothing(done, monkeypatch):
    leave_out_pages(monkeypatch)
    out, _ = done
    for arguments in (
        ["report", str(out), "--quiet"],
        ["figures", str(out), "--quiet", "--only", "psnr", "--format", "svg"],
        ["compare", str(out), str(out), "--quiet"],
    ):
        told = CliRunner().invoke(cli.app, arguments)
        assert told.exit_code == 0
        assert told.output == ""


def test_compare_and_models_as_json(done, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    out, _ = done
    told = CliRunner().invoke(cli.app, ["compare", str(out), str(out), "--json"])
    document = json.loads(told.output)
    assert {row["difference"] for row in document["headline"]} == {0.0}
    assert document["passed"] == []
    found = json.loads(CliRunner().invoke(cli.app, ["models", "resnet50", "--json"]).output)
    assert {"name": "resnet50", "weights": "hub"} in found
    offline = CliRunner().invoke(cli.app, ["models", "--offline"]).output.split("\n")
    assert [line.split()[0] for line in offline if line] == [
        f"tf_efficientnet_lite{size}" for size in (0, 1, 2)
    ]


def test_figures_are_written_listed_and_named_in_errors(done, tmp_path):
    out, _ = done
    runner = CliRunner()
    listed = runner.invoke(cli.app, ["figures", str(out), "--list"]).output
    assert "mod_clean" in listed
    arguments = ["--only", "mod", "--only", "psnr", "--format", "svg,pdf", "--columns", "1"]
    told = runner.invoke(cli.app, ["figures", str(out), *arguments, "--out", str(tmp_path / "f")])
    assert told.exit_code == 0, told.output
    names = {
        f"{name}-1col.{kind}"
        for name in ("mod_clean", "mod_own", "psnr")
        for kind in ("svg", "pdf")
    }
    assert {path.name for path in (tmp_path / "f").iterdir()} == names
    assert set(told.output.split()) == {str(tmp_path / "f" / name) for name in names}
    for wrong, possible in (
        (["--only", "zzz"], "nissim"),
        (["--format", "gif"], "pdf, svg, png"),
        (["--columns", "3"], "1 or 2"),
        (["--only", "images", "--image", "zzz"], "ann/"),
        (["--colours", "jet"], "turbo, viridis"),
        (["--order", "first"], "last-first, first-last"),
        (["--heatmaps", "both"], "overlaid, raw"),
    ):
        code, _, err = lookaway("figures", out, *wrong, "--out", tmp_path / "wrong")
        assert code == 2
        assert possible in err
        assert "Traceback" not in err


def test_figures_take_their_colours_and_heatmaps_from_the_command_line(done, tmp_path):
    out, _ = done
    only = ["--only", "paper_fig5_transfer", "--format", "svg", "--quiet"]
    found = set()
    for options in ([], ["--colours", "viridis"], ["--heatmaps", "raw"]):
        to = tmp_path / "-".join(["f", *options])
        told = CliRunner().invoke(cli.app, ["figures", str(out), *only, *options, "--out", str(to)])
        assert told.exit_code == 0, told.output
        found.add((to / "paper_fig5_transfer.svg").read_text())
    assert len(found) == 3
    assert sum("violet: no participation" in svg for svg in found) == 1


def test_plan_tells_models_bytes_and_time_of_a_study_whose_folder_is_not_there(
    small_study, tmp_path
):
    data, models = {"folder": "elsewhere", "image_size": 64}, small_study["models"][:1]
    study = {**small_study, "data": data, "models": models}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    common = ["plan", str(tmp_path / "study.yaml"), "--trial", "6", "--workers", "3"]
    arguments = [*common, "--images", "6000", "--classes", "5"]
    told = CliRunner().invoke(cli.app, arguments)
    assert told.exit_code == 0, told.output
    for part in ("6,000 images (imagined)", "3 workers", "Training on", "maps", "together"):
        assert part in " ".join(told.output.split())
    document = json.loads(CliRunner().invoke(cli.app, [*arguments, "--quiet", "--json"]).stdout)
    assert [model["images"] for model in document["models"]] == [600]
    assert [run["workers"] for run in document["workers"]] == [1, 3]
    assert any("random weights" in note for note in document["notes"])
    with pytest.raises(StudyError, match="does not exist"):
        CliRunner().invoke(cli.app, common, catch_exceptions=False)
    for wrong, part in ((["--workers", "0"], "at least 1"), (["--images", "9"], "too few")):
        with pytest.raises(InputError, match=part):
            CliRunner().invoke(cli.app, [*arguments, *wrong], catch_exceptions=False)
    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]

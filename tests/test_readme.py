"""What the README shows in Python runs."""

import re
from pathlib import Path

import pytest
import timm
import torch
import typer.testing
import yaml
from safetensors.torch import save_file

import lookaway as la
from lookaway.cli import app
from lookaway.study.plan import parse_study

README = (Path(__file__).parents[1] / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
STUDIES = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)


def test_the_examples_in_python_run(capsys, small_study, tmp_path, monkeypatch):
    engine, study, attack = PYTHON
    names = {}
    exec(engine, names)
    assert "tensor([" in capsys.readouterr().out
    exec(attack, names)
    assert names["brighter"].shape == (1, 2, 3, 224, 224)
    monkeypatch.chdir(tmp_path)
    models = [{**small_study["models"][0], "train": "none"}]
    Path("study.yaml").write_text(yaml.safe_dump({**small_study, "models": models}))
    exec(study, names)
    assert isinstance(names["result"], la.Result)


def test_the_settings_that_it_lists_are_the_defaults(faces):
    shown = yaml.safe_load(STUDIES[1])
    shown["data"]["folder"] = str(faces)
    assert (
        parse_study(shown).model_dump()
        == parse_study(
            {"data": {"folder": str(faces)}, "models": [{"name": "a", "timm": "resnet18"}]}
        ).model_dump()
    )


@pytest.mark.parametrize("name", ["own.yaml", "orl-lite.yaml", "orl-tiny.yaml"])
def test_the_files_in_configs_are_studies(name, faces):
    given = yaml.safe_load((Path(__file__).parents[1] / "configs" / name).read_text())
    given["data"]["folder"] = str(faces)
    assert parse_study(given).models


def test_the_check_for_a_pipeline_runs_as_it_is_written(faces, tmp_path, monkeypatch):
    text = (Path(__file__).parents[1] / "docs" / "ci.md").read_text()
    study, workflow = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lookaway.run.build_report", lambda _store: None)
    given = yaml.safe_load(study)
    given["data"] |= {"folder": str(faces), "image_size": 64}
    given["models"][0] |= {"timm": "test_resnet", "input_size": 64}
    Path("lookaway.yaml").write_text(yaml.safe_dump(given))
    runner = typer.testing.CliRunner()
    lines = [step["run"] for step in yaml.safe_load(workflow)["jobs"]["attention"]["steps"][2:-1]]
    for seed, line in enumerate(lines[1:]):
        if line.startswith("./fetch-weights"):
            torch.manual_seed(seed)
            network = timm.create_model("test_resnet", num_classes=3)
            save_file(network.state_dict(), "weights.safetensors")
            continue
        arguments = line.replace("ci/lookaway.yaml", "lookaway.yaml").split()
        told = runner.invoke(app, arguments[1:])
        assert told.exit_code in (0, 1), told.output
    assert "B − A" in told.output

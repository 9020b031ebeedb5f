"""What the README shows in Python runs."""

import re
from pathlib import Path

import pytest
import yaml

import lookaway as la
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
    Path("study.yaml").write_text(yaml.safe_dump(small_study))
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


@pytest.mark.parametrize("name", ["own.yaml", "orl-lite.yaml"])
def test_the_files_in_configs_are_studies(name, faces):
    given = yaml.safe_load((Path(__file__).parents[1] / "configs" / name).read_text())
    given["data"]["folder"] = str(faces)
    assert parse_study(given).models

"""The study file is checked whole: every problem at once, with its line and what is possible."""

from typing import get_args

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from lookaway.attacks.base import Attack
from lookaway.errors import StudyError
from lookaway.study.attack_settings import AttackSpec
from lookaway.study.plan import open_study, parse_study, write_study
from lookaway.study.settings import (
    RUNTIME_SETTINGS,
    Study,
    settings_that_change_results,
)
from lookaway.study.yaml_lines import read_yaml

# Every setting that changes the rows. A new setting must be put here or in RUNTIME_SETTINGS.
CHANGES_RESULTS = {
    "controls.shifted",
    "controls.transplanted",
    "controls.spectrum",
    "controls.noise",
    "data.classes",
    "data.image_size",
    "data.channels",
    "data.range",
    "data.variants",
    "data.margin",
    "data.without_face",
    "data.split.train",
    "data.split.val",
    "data.split.test",
    "data.split.seed",
    "data.split.by",
    "models.name",
    "models.timm",
    "models.module",
    "models.arguments",
    "models.pretrained",
    "models.train",
    "models.enrol",
    "models.other_classes",
    "models.outputs",
    "models.mean",
    "models.std",
    "models.input_size",
    "models.tokens",
    "models.epochs",
    "models.learning_rate",
    "models.seed",
    "models.network",
    "training.epochs",
    "training.batch_size",
    "training.learning_rate",
    "training.precision",
    "training.seeds",
    *(
        f"{section}.adversarial.{name}"
        for section in ("models", "training")
        for name in (
            *("attack", "epsilon", "norm", "steps", "rel_stepsize", "random_start", "clean"),
            *("check_every", "check_steps"),
        )
    ),
    "attacks",
    "transfer_from",
    "epsilons",
    "quantize",
    "explain.methods.kind",
    "explain.methods.name",
    "explain.methods.options",
    "explain.layers",
    "explain.layers_of",
    "explain.explained_class",
    "explain.pictured",
    "measure.ssim",
    "measure.grid",
    "run.device",
    "run.precision",
    "run.batch_size",
}


def leaves(model, path=""):
    for name, field in model.model_fields.items():
        inner = sections(field.annotation)
        for section in inner:
            yield from leaves(section, f"{path}{name}.")
        if not inner:
            yield f"{path}{name}"


def sections(annotation):
    if annotation is AttackSpec:  # one setting, in three forms
        return []
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in get_args(annotation) for found in sections(inner)]


def problems(text, tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(StudyError) as caught:
        open_study(path)
    return {(p.line, p.where): p.message for p in caught.value.problems}


def test_only_folder_and_models_are_required_and_defaults_are_the_design_s(faces):
    study = parse_study({"data": {"folder": str(faces)}, "models": ["resnet50"]})
    assert yaml.safe_load(write_study(study)) == {
        "data": {
            "table": None,
            "folder": str(faces),
            "classes": None,
            "image_size": 224,
            "channels": 3,
            "range": None,
            "variants": ["none"],
            "landmarks": None,
            "margin": 0.1,
            "without_face": "crop",
            "split": {"train": 0.8, "val": 0.1, "test": 0.1, "seed": 0},
        },
        "models": [
            {
                "name": "resnet50",
                "timm": "resnet50",
                "module": None,
                "arguments": {},
                "checkpoint": None,
                "averaged": None,
                "pretrained": True,
                "train": "head",
                "enrol": None,
                "classes": None,
                "other_classes": "cut",
                "outputs": "auto",
                "mean": None,
                "std": None,
                "input_size": None,
                "tokens": None,
                "epochs": None,
                "learning_rate": None,
                "adversarial": None,
                "seed": None,
                "network": None,
            }
        ],
        "training": {
            "epochs": 60,
            "batch_size": 32,
            "learning_rate": 0.001,
            "precision": "auto",
            "adversarial": None,
            "seeds": [0],
        },
        "attacks": ["fgsm"],
        "transfer_from": [],
        "epsilons": [0.01, 0.05, 0.075, 0.1],
        "quantize": False,
        "controls": {"shifted": 2, "transplanted": 0, "spectrum": 0, "noise": 0, "sanity": False},
        "explain": {
            "methods": ["gradcam"],
            "layers": "last",
            "layers_of": "all",
            "explained_class": ["own", "clean"],
            "pictured": 24,
        },
        "measure": {"ssim": "gaussian11", "grid": 224},
        "run": {
            "device": "auto",
            "precision": "float32",
            "batch_size": "auto",
            "engine": "local",
            "address": None,
            "workers": None,
            "cpus_per_worker": 1,
        },
        "report": {"paper": False},
    }


def test_one_method_is_a_list_of_one_and_each_may_have_a_name_of_its_own(faces):
    given = {"data": {"folder": str(faces)}, "models": ["resnet50"]}
    one = parse_study({**given, "explain": {"method": "layercam"}})
    assert one == parse_study({**given, "explain": {"methods": ["layercam"]}})
    named = ["gradcam", {"name": "second", "gradcam++": {}}]
    several = parse_study({**given, "explain": {"methods": named}})
    assert [spec.make().name for spec in several.explain.methods] == ["gradcam", "second"]
    assert several.model_dump(mode="json")["explain"]["methods"] == named


def test_settings_of_ray_are_refused_for_the_local_engine(faces):
    given = {"data": {"folder": str(faces)}, "models": ["resnet50"]}
    with pytest.raises(StudyError, match="address, workers: only for `engine: ray`"):
        parse_study({**given, "run": {"address": "auto", "workers": 2}})


def test_an_engine_that_is_not_installed_is_refused_with_what_to_install(faces, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    given = {"data": {"folder": str(faces)}, "models": ["resnet50"], "run": {"engine": "ray"}}
    with pytest.raises(StudyError, match=r"pip install 'lookaway\[ray\]'"):
        parse_study(given)


def test_every_problem_is_told_at_once_with_its_line(tmp_path, faces):
    found = problems(
        f"""data:
  folder: {faces}
  image_sise: 224
  split: {{train: 0.8, val: 0.1, test: 0.2}}
models:
  - resnet5O
  - {{name: mine, timm: resnet18, train: hed}}
  - {{name: other, timm: resnet18, checkpoint: nowhere.safetensors}}
attacks: [fgms]
transfer_from: [minee]
epsilons: [0, 0.1, 3]
run: {{device: tpu, batch_size: 0}}
measure: {{grid: 5}}
""",
        tmp_path,
    )
    expected = {
        (3, "data.image_sise"): "Nearest: image_size",
        (4, "data.split"): "add up to 1.1",
        (6, "models[0].timm"): "Nearest: resnet50",
        (7, "models[1].train"): "head, fully_connected, all, none or enrol",
        (8, "models[2].checkpoint"): "does not exist",
        (9, "attacks[0]"): "possible: fgsm",
        (10, "transfer_from[0]"): "Nearest: mine",
        (11, "epsilons"): "outside (0, 1]: 0, 3",
        (12, "run.device"): "got 'tpu'",
        (12, "run.batch_size"): "got 0",
        (13, "measure.grid"): "greater than or equal to 11",
    }
    for (line, where), part in expected.items():
        matches = [m for (at, w), m in found.items() if at == line and w in (where, where[:9])]
        assert matches, f"line {line}: {where} is not told in {found}"
        assert any(part in message for message in matches)
    assert len(found) == len(expected)


@pytest.mark.parametrize(
    ("settings_", "part"),
    [
        ({"epsilons": [0.1, 0.1]}, "given twice: 0.1"),
        ({"epsilons": ["1/4", 0.25]}, "given twice: 0.25"),
        ({"epsilons": []}, "at least 1 item"),
        ({"epsilons": ["8/0"]}, "epsilons[0]: got '8/0'; input should be a valid number"),
        ({"epsilons": ["256/255"]}, "outside (0, 1]: 1.00392"),
        ({"epsilons": ["-8/255"]}, "got '-8/255'"),
        ({"epsilons": ["8/255/2"]}, "got '8/255/2'"),
        ({"epsilons": ["\u0668/255"]}, "got '\u0668/255'"),
        ({"epsilons": ["9" * 5000 + "/" + "9" * 5001]}, "input should be a valid number"),
        ({"training": {"learning_rate": float("inf")}}, "got inf; input should be a finite"),
        ({"training": {"learning_rate": "1/1000"}}, "got '1/1000'"),
        ({"training": {"learning_rate": "1_000"}}, "got '1_000'"),
        ({"training": {"learning_rate": "\u0661"}}, "got '\u0661'"),
        ({"training": {"learning_rate": True}}, "got True"),
        ({"attacks": ["noise"]}, "always runs"),
        ({"models": ["resnet18", "resnet18"]}, "given twice: resnet18"),
        ({"transfer_from": ["resnet18", "resnet18"]}, "given twice: resnet18"),
        ({"explain": {"method": "lime"}}, "possible: gradcam"),
        ({"explain": {"methods": []}}, "at least 1 item"),
        ({"explain": {"methods": ["gradcam", "gradcam"]}}, "given twice: gradcam"),
        ({"explain": {"methods": ["gradcma"]}}, "explain.methods[0]: there is no explainer"),
        ({"explain": {"methods": [{"gradcam": {"steps": 2}}]}}, "does not take {'steps': 2}"),
        ({"explain": {"methods": ["gradcam"], "method": "layercam"}}, "leave method out"),
        (
            {"models": [{"name": "test_vit", "tokens": [14, 14]}]},
            "tokens must be (h, w, prefix), the grid and how many",
        ),
        ({"explain": {"explained_class": ["own", "own"]}}, "given twice: own"),
        ({"data": {"folder": "/nowhere"}}, "does not exist"),
        ({"data": {"split": {"train": 0.9, "val": 0.0, "test": 0.1}}}, "split gives none to val"),
        ({"data": {"split": {"train": 0.9, "val": 0.1, "test": 0.0}}}, "test is 0"),
        ({"data": {"split": "folder"}}, "got 'folder'; possible: folders, table, or {train: 0.8"),
        ({"data": {"split": {"by": "folder"}}}, "split.by: got 'folder'; possible: folders"),
        ({"data": {"split": {"by": "folders", "test": 1}}}, "test: cannot stand beside `by: fold"),
        ({"data": {"split": {"tran": 0.8}}}, "split.tran: is no setting; Nearest: train"),
        ({"data": {"split": {"train": "all"}}}, "split.train: got 'all'"),
        ({"data": {"channels": 2}}, "got 2; possible: 1 or 3"),
        ({"data": {"range": [3000, -1000]}}, "give the number that is black, then a larger"),
        ({"data": {"range": [0, float("inf")]}}, "data.range: got [0.0, inf]"),
        ({"data": {"range": [0]}}, "at least 2 items"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(faces, settings_, part):
    given_ = {"data": {"folder": str(faces)}, "models": ["resnet18"]}
    merged = {**given_, **settings_}
    if "data" in settings_:
        merged["data"] = {**given_["data"], **settings_["data"]}
    with pytest.raises(StudyError) as caught:
        parse_study(merged)
    assert part in str(caught.value)


class Blurs(Attack):
    """An attack without signs."""

    name = "blur"

    def perturb(self, clf, images, labels, epsilons):
        return torch.stack([images for _ in epsilons])


def test_every_setting_is_classed_as_changing_results_or_not(faces):
    assert set(leaves(Study)) == CHANGES_RESULTS | RUNTIME_SETTINGS
    assert not CHANGES_RESULTS & RUNTIME_SETTINGS
    study = parse_study({"data": {"folder": str(faces)}, "models": ["resnet50"]})
    kept = settings_that_change_results(study)
    assert "folder" not in kept["data"]
    assert "checkpoint" not in kept["models"][0]
    assert "engine" not in kept["run"]


def test_relative_paths_are_taken_from_the_study_file(tmp_path, faces):
    (tmp_path / "study.yaml").write_text(f"data: {{folder: {faces.name}}}\nmodels: [resnet18]\n")
    study, *_ = open_study(tmp_path / "study.yaml")
    assert study.data.folder == str(faces)
    with pytest.raises(StudyError, match="does not exist"):
        open_study(tmp_path / "study.yaml", data="elsewhere")


@pytest.mark.parametrize(
    "text",
    [
        "models: !!python/object/apply:os.system [echo]\n",
        "data: {folder: x}\ndata: {folder: y}\n",
        "data: [unclosed\n",
        "just text",
        "",
        "- 1\n- 2\n",
        "models: &a [*a]\n",
        "data: {folder: {{ faces }}}\n",
        "[a]: 1\n",
        "data: {folder: ~nobody-at-all/x}\nmodels: [resnet18]\n",
        'data: {folder: "a\\0b"}\nmodels: [resnet18]\n',
        "data:\nmodels: [resnet18]\n",
        "data: {folder: " + 5000 * "x" + "}\nmodels: [resnet18]\n",
        "a: &a [x, x]\nb: [*a, *a]\n",
    ],
)
def test_hostile_or_broken_yaml_is_refused_without_running_anything(text, tmp_path):
    assert problems(text, tmp_path)


def test_a_duplicate_key_and_an_unknown_tag_name_their_line():
    for text, line in [("a: 1\nb: 2\na: 3\n", 3), ("a: 1\nb: !thing x\n", 2)]:
        with pytest.raises(StudyError) as caught:
            read_yaml(text, "x")
        assert caught.value.problems[0].line == line


_SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)
_STUDIES = st.dictionaries(
    st.sampled_from([*Study.model_fields, "folder", "x"]),
    st.one_of(
        _VALUES,
        st.dictionaries(
            st.sampled_from(
                ["folder", "split", "seed", "grid", "layers", "device", "epochs", "name", "timm"]
            ),
            _VALUES,
        ),
    ),
)


@settings(max_examples=150, deadline=None)
@given(_STUDIES)
def test_whatever_a_study_holds_it_is_a_study_or_a_study_error(given_):
    try:
        assert isinstance(parse_study(given_), Study)
    except StudyError as error:
        assert error.problems
        assert all(problem.message for problem in error.problems)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="abe:-[]{}&*!|>'\"#%@`, \n\t\x00\u2028", max_size=40))
def test_whatever_a_file_holds_it_is_data_or_a_study_error(text):
    try:
        read_yaml(text, "x")
    except StudyError as error:
        assert error.problems


def test_numbers_may_be_written_as_powers_of_ten(tmp_path, faces):
    path = tmp_path / "study.yaml"
    path.write_text(
        f"data: {{folder: {faces}}}\nmodels: [resnet18]\n"
        "training: {learning_rate: 1e-3}\nepsilons: [1e-2, 1]\n"
    )
    study, *_ = open_study(path)
    assert study.training.learning_rate == 0.001
    assert study.epsilons == [0.01, 1.0]


def test_epsilons_may_be_written_as_fractions(tmp_path, faces):
    path = tmp_path / "study.yaml"
    path.write_text(
        f"data: {{folder: {faces}}}\nmodels: [resnet18]\nepsilons: [8/255, 1/4, 2 / 255]\n"
    )
    study, *_ = open_study(path)
    assert study.epsilons == [2 / 255, 8 / 255, 0.25]
    path.write_text(write_study(study))
    assert open_study(path)[0] == study

"""With several seeds a study trains each network several times, each a model of its own."""

import pytest
import yaml

import lookaway as la
from lookaway.cli_output import tell
from lookaway.errors import StudyError
from lookaway.report.page import build_report
from lookaway.study.plan import parse_study, write_study

NET = {"timm": "test_resnet", "pretrained": False, "input_size": 64}


def study(folder, **said):
    given = {
        "data": {
            "folder": str(folder),
            "image_size": 64,
            "split": {"train": 0.5, "val": 0.25, "test": 0.25, "seed": 0},
        },
        "models": [
            {"name": "a", **NET, "train": "all"},
            {"name": "b", **NET, "train": "head"},
            {"name": "still", **NET, "train": "none"},
        ],
        "training": {"epochs": 1, "batch_size": 8, "seeds": [0, 3]},
        "transfer_from": ["a"],
        "epsilons": ["4/255", "8/255"],
        "controls": {"shifted": 0},
        "explain": {"explained_class": ["clean"], "pictured": 0},
        "measure": {"grid": 32},
    }
    return {**given, **said}


def test_each_seed_is_a_model_and_the_resolved_study_says_so(faces_for_all):
    found = parse_study(study(faces_for_all))
    names = ["a (seed 0)", "a (seed 3)", "b (seed 0)", "b (seed 3)", "still"]
    assert [spec.name for spec in found.models] == names
    assert [found.seed_of(spec) for spec in found.models] == [0, 3, 0, 3, None]
    assert found.transfer_from == ["a (seed 0)"]
    assert parse_study(yaml.safe_load(write_study(found))) == found


def test_one_seed_changes_no_name(faces_for_all):
    one, other = (parse_study(study(faces_for_all, training={"seeds": [seed]})) for seed in (0, 3))
    assert [spec.name for spec in other.models] == ["a", "b", "still"]
    several = parse_study(study(faces_for_all)).models
    assert one.random("training", one.models[0]) == one.random("training", several[0])
    assert other.random("weights", other.models[0]) == one.random("weights", several[1])
    assert one.random("weights", several[0]) != one.random("weights", several[1])


def test_problems_stand_where_the_file_has_them(faces_for_all):
    given = study(faces_for_all)
    split = {"train": 0.5, "val": 0.0, "test": 0.5}
    given["data"]["split"] = split
    with pytest.raises(StudyError) as caught:
        parse_study(given)
    assert {problem.where for problem in caught.value.problems} == {
        "models[0].train",
        "models[1].train",
    }
    with pytest.raises(StudyError, match="train: none"):
        parse_study(study(faces_for_all, models=[{"name": "a", **NET, "train": "none", "seed": 1}]))
    with pytest.raises(StudyError, match="given twice"):
        parse_study(study(faces_for_all, training={"seeds": [1, 1]}))


def test_a_study_of_several_trainings_says_what_holds_for_networks(faces_for_all, tmp_path, capsys):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lookaway.run.build_report", lambda *_a, **_k: None)
        given = study(faces_for_all, transfer_from=[], epsilons=["8/255"])
        result = la.run_study(given, tmp_path / "run", progress=False)
    trained = {name: about.sha256 for name, about in result.store.trained().items()}
    assert len(set(trained.values())) == 4
    seeds = result.rows().select("model", "seed").unique().sort("model").rows()
    assert seeds == [
        *(("a (seed 0)", 0), ("a (seed 3)", 3), ("b (seed 0)", 0), ("b (seed 3)", 3)),
        ("still", None),
    ]
    found = result.networks()
    assert set(found["network"]) == {"a", "b"}
    mods = result.mod().filter(epsilon=8 / 255, attack="fgsm", pairs="all")
    own = [
        mods.filter(model=name, source=name)["mod"].item() for name in ("a (seed 0)", "a (seed 3)")
    ]
    here = {"scope": "fgsm white-box", "measure": "mod", "epsilon": 8 / 255}
    mean = found.filter(network="a", **here)["mean"].item()
    assert mean == pytest.approx(sum(own) / 2)
    page = build_report(result.store).read_text()
    assert "What a network does whatever its training" in page
    tell(result, quiet=False, as_json=False)
    told = capsys.readouterr().out
    assert f"  a: MOD {mean:.3f}" in told
    assert "of which another training can differ" not in told
    assert (result.folder / "tables/network_pairs_clean.csv").is_file()
    assert (result.folder / "frames/networks.parquet").is_file()


def test_what_a_training_follows_from_does_not_change_with_other_seeds(faces_for_all):
    one = parse_study(study(faces_for_all, training={"seeds": [3]}))
    more = parse_study(study(faces_for_all, training={"seeds": [0, 3, 7]}))
    assert one.training_of(one.models[0]) == more.training_of(more.models[1])
    assert one.training_of(one.models[-1]) == {}

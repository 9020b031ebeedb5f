"""A study that grows measures what is new, reads the rest, and ends as if it were made at once."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

import lookaway as la
from commands import lookaway
from killable import Killable, Moment, stage_of
from lookaway.study import prepare, prune, worker
from lookaway.study.store import Store
from shared_runs import made_once, run_bare

UNTRAINED = {"pretrained": False, "train": "none", "input_size": 64}
MODELS = [
    {"name": "one", "timm": "test_resnet", "pretrained": False, "input_size": 64},
    {"name": "two", "timm": "test_efficientnet", **UNTRAINED},
]
WHOLE = {
    "models": MODELS,
    "training": {"epochs": 2},
    "transfer_from": ["two"],
    "attacks": ["fgsm", {"name": "pgd", "pgd": {"steps": 2}}],
    "epsilons": [0.02, 0.1],
    "controls": {"shifted": 1, "transplanted": 1},
    "explain": {"methods": ["gradcam", "eigencam"], "layers": "stages", "pictured": 2},
}
LESS = {  # what each step takes away
    "model and epsilon": {"models": MODELS[1:], "epsilons": [0.1]},
    "models": {"models": MODELS[1:]},
    "attack": {"attacks": ["fgsm"]},
    "another attack": {"attacks": WHOLE["attacks"][1:]},
    "epsilon": {"epsilons": [0.1]},
    "method": {"explain": {**WHOLE["explain"], "methods": ["eigencam"]}},
    "layers": {"explain": {**WHOLE["explain"], "layers": "last"}},
    "controls": {"controls": {"shifted": 1}},
    "source": {"transfer_from": []},
}


QUICK = ("model and epsilon",)


@pytest.fixture(scope="session")
def whole(quick_study):
    return {**quick_study, **WHOLE}


def files(folder):
    """Every file of a run but the log, which tells of times."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file() and path.parent.name != "log"
    }


@pytest.fixture(scope="session")
def fresh(whole, tmp_path_factory):
    """The whole study, run at once; tests read it and change nothing."""

    return made_once(tmp_path_factory, "whole", lambda out: run_bare(whole, out, shard=4))


def check_same(grown, fresh):
    grown, fresh = files(grown), files(fresh)
    assert sorted(grown) == sorted(fresh)
    assert [name for name in fresh if grown[name] != fresh[name]] == []


@pytest.mark.parametrize(
    "step",
    # Each grows a whole study: those that share their way with another one are slow.
    [step if step in QUICK else pytest.param(step, marks=pytest.mark.slow) for step in LESS],
)
def test_a_grown_study_has_the_files_of_one_made_at_once(whole, fresh, run_quickly, tmp_path, step):
    run_quickly({**whole, **LESS[step]}, tmp_path / "out")
    run_quickly(whole, tmp_path / "out")
    check_same(tmp_path / "out", fresh)


def test_a_study_that_loses_something_measures_nothing_and_prune_removes_what_it_lost(
    whole, fresh, run_quickly, tmp_path, monkeypatch
):
    shutil.copytree(fresh, tmp_path / "out")
    less = {**whole, **LESS["epsilon"], **LESS["method"], **LESS["attack"]}
    with monkeypatch.context() as patch:
        patch.setattr(worker, "do_cell", None)
        patch.setattr(worker, "perturb_cell", None)
        rows = run_quickly(less, tmp_path / "out").rows()
    assert rows.equals(run_quickly(less, tmp_path / "alone").rows())
    found = prune.find_unused(Store(tmp_path / "out"))
    assert (found.files, found.whole_bytes) == ([], 0)
    before, alone = (sum(map(len, files(tmp_path / name).values())) for name in ("out", "alone"))
    assert found.part_bytes == pytest.approx(before - alone, rel=0.5)
    prune.remove_unused(Store(tmp_path / "out"), found)
    check_same(tmp_path / "out", tmp_path / "alone")  # which grows, as others above do
    assert prune.find_unused(Store(tmp_path / "out")).total == 0


def test_what_cannot_be_shared_stands_beside_and_is_there_when_it_is_asked_for_again(
    quick_study, looked, run_quickly, tmp_path, monkeypatch, capsys
):
    shutil.copytree(looked.folder, tmp_path / "out")
    run_quickly({**quick_study, "quantize": True}, tmp_path / "out", progress=True)
    assert "settings.quantize: false → true" in capsys.readouterr().err
    assert len(list((tmp_path / "out/rows").iterdir())) == 2 * 4
    monkeypatch.setattr(worker, "do_cell", None)
    assert run_quickly(quick_study, tmp_path / "out").rows().equals(looked.rows())
    found = prune.find_unused(Store(tmp_path / "out"))
    assert len(found.files) == 5 * 4
    prune.remove_unused(Store(tmp_path / "out"), found)
    assert files(tmp_path / "out") == files(looked.folder)


def test_another_name_and_another_order_change_no_number(
    quick_study, looked, run_quickly, tmp_path, monkeypatch
):
    shutil.copytree(looked.folder, tmp_path / "out")
    monkeypatch.setattr(worker, "do_cell", None)
    study = {**quick_study, "models": quick_study["models"][::-1]}
    study["attacks"] = [{"name": "signs", "fgsm": {}}]
    rows = run_quickly(study, tmp_path / "out").rows()
    again = looked.rows().with_columns(pl.col("attack").replace({"fgsm": "signs"}))
    assert sorted(rows.rows(), key=str) == sorted(again.rows(), key=str)


@pytest.fixture
def divided(faces, tmp_path):
    """Images in parts of their own, to which some can be added."""
    for path in faces.rglob("*.png"):
        part = "test" if int(path.stem) < 6 else "train" if int(path.stem) == 6 else "val"
        (tmp_path / "divided" / part / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "divided" / part / path.parent.name)
    return tmp_path / "divided"


def test_added_images_and_an_epsilon_are_measured_alone_and_the_page_is_as_if_made_at_once(
    divided, tmp_path, monkeypatch
):
    monkeypatch.setattr(prepare, "SHARD", 4)
    out, study = tmp_path / "out", tmp_path / "study.yaml"
    model = {"name": "one", "timm": "test_resnet", "pretrained": False, "input_size": 64}
    whole = {
        "data": {"folder": str(divided), "image_size": 64, "split": "folders"},
        "models": [model],
        "training": {"epochs": 1},
        "epsilons": [0.02, 0.1],
        "controls": {"shifted": 1},
        "explain": {"explained_class": ["clean"], "pictured": 1},
        "measure": {"grid": 32},
    }
    study.write_text(json.dumps(whole))
    run_bare({**whole, "epsilons": [0.1]}, out)
    old = {path.stem for path in (out / "rows").iterdir()}
    code, told, _ = lookaway("plan", study, "--out", out, "--trial", 6)
    assert code == 0
    assert "50 % of what the study asks for is stored" in told
    shutil.copy(divided / "train/ann/6.png", divided / "test/ann/added.png")
    measured, do_cell = {}, worker.do_cell

    def noted(clf, shard, *given):
        (part,) = shard.job.parts
        measured[shard.job.key.id] = part.epsilons
        return do_cell(clf, shard, *given)

    with monkeypatch.context() as patch:
        patch.setattr(worker, "do_cell", noted)
        patch.setattr("lookaway.study.trainings.learn", None)
        la.run_study(whole, out, progress=False)
    cells = {key.id: key for key in Store(out).identity.cells()}
    assert measured == {id_: (0.02,) if id_ in old else (0.02, 0.1) for id_ in cells}
    assert len(cells.keys() & old) >= 3 > len(cells.keys() - old)

    unused = json.loads(lookaway("prune", out, "--json")[1])
    assert (unused["files"], unused["parts"], unused["removed"]) == (
        5 * len(old - cells.keys()) + 1,  # and the small copies of fewer images
        0,
        False,
    )
    code, told, _ = lookaway("prune", out, "--yes")
    assert code == 0
    assert f"B of what is stored: {unused['files']} files\nremoved\n" in told
    assert lookaway("prune", out)[1] == "the present study uses all that is stored\n"
    la.run_study(whole, tmp_path / "fresh", progress=False)
    check_same(out, tmp_path / "fresh")
    assert {"report.html", "tables", "figures"} <= {path.name for path in out.iterdir()}


@pytest.mark.slow
@pytest.mark.program
def test_a_study_that_is_killed_while_it_grows_ends_as_if_it_had_not_been(whole, tmp_path):
    less = {**whole, **LESS["epsilon"], **LESS["method"]}
    with Killable() as server:
        server.run(whole, tmp_path / "fresh")
        server.run(less, tmp_path / "out")
        shutil.copytree(tmp_path / "out", tmp_path / "undisturbed")
        _, order = server.run(whole, tmp_path / "undisturbed")
        chosen = [
            next(event for event in order if stage_of(event) == "batch"),
            [event for event in order if event.startswith("write maps") and "there" in event][1],
            [event for event in order if event.startswith("write rows") and "aside" in event][2],
        ]
        for event in chosen:
            died, events = server.run(
                whole, tmp_path / "out", Moment(order, order.index(event), 0.0)
            )
            assert died
            assert events[-1] == event
        server.run(whole, tmp_path / "out")
    check_same(tmp_path / "out", tmp_path / "undisturbed")
    check_same(tmp_path / "out", tmp_path / "fresh")


@pytest.mark.slow
@pytest.mark.program
def test_a_study_grows_on_ray_and_in_a_bucket_as_on_this_machine(
    whole, fresh, run_quickly, bucket, tmp_path
):
    pytest.importorskip("ray")
    less = {**whole, **LESS["epsilon"], **LESS["models"]}
    run_quickly(less, str(bucket / "out"))
    run_quickly({**whole, "run": {"engine": "ray", "workers": 1}}, str(bucket / "out"))
    grown = {
        key: (bucket / "out" / key).read_bytes()
        for key in (bucket / "out").below()
        if not key.startswith("log/")
    }
    made = files(fresh)
    of_plan = {"plan.json", "study.yaml", "samples.parquet", "manifest.json"}  # which tell of Ray
    assert sorted(grown) == sorted(made)
    assert {name for name in made if grown[name] != made[name]} == of_plan

"""An estimate is the counted images times what one took; it agrees with what a study stores."""

import json
import tempfile
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import lookaway as la
from lookaway.cost import estimate as module
from lookaway.cost import trial
from lookaway.cost.estimate import ModelCost, _shared, estimate
from lookaway.cost.trial import KINDS, LEAST, SECONDS, CellTrial, TrainingTrial
from lookaway.errors import InputError, StudyError
from lookaway.study import machine
from plans import a_plan


@pytest.fixture(scope="module")
def all_layers(small_study):
    return {**small_study, "explain": {"layers": "convs", "pictured": 4}}


@pytest.fixture(scope="module")
def both(all_layers, tmp_path_factory):
    """The estimate of a small study, and the study."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lookaway.run.build_report", lambda *_a, **_k: None)
        out = tmp_path_factory.mktemp("run") / "out"
        return estimate(all_layers, trial=LEAST, progress=False), la.run_study(
            all_layers, out, progress=False
        )


def test_cells_and_images_are_those_that_the_study_has(both):
    told, result = both
    parts = result.samples()["part"].value_counts()
    assert dict(parts.rows()) == told.parts
    assert told.read == len(result.samples())
    assert told.classes == len(result.plan.classes)
    rows = result.rows()
    for model in told.models:
        keys = list(result.store.identity.cells(model=model.model))
        assert model.cells == len(keys)
        assert all((result.folder / "rows" / f"{key.id}.parquet").is_file() for key in keys)
        assert model.images == rows.filter(rows["model"] == model.model)["image"].n_unique()


@pytest.mark.parametrize("kind", [*KINDS, "heads"])
def test_bytes_are_those_that_the_study_stores(both, kind):
    told, result = both
    files = (result.folder / kind).glob("*")
    stored = sum(path.stat().st_size for path in files if path.suffix != ".json")
    assert told.bytes[kind] == pytest.approx(stored, rel=0.2)


def test_it_is_plain_data_that_json_keeps(both):
    told, _ = both
    plain = json.loads(json.dumps(told.to_dict()))
    assert plain["cells"] == 2
    assert plain["stages"].keys() == {"reading", "faces", "training", "cells"}
    assert [run["workers"] for run in plain["workers"]] == [1]
    assert plain["workers"][0]["seconds"] == pytest.approx(sum(plain["stages"].values()))
    assert min(plain["stages"]["cells"], plain["stages"]["training"]) > 0


@pytest.fixture
def tried(monkeypatch):
    @contextmanager
    def bench(*_):
        prepared = SimpleNamespace(plan=a_plan(), device="cpu")
        yield SimpleNamespace(prepared=prepared, reading=0.25, faces=0.75)

    monkeypatch.setattr(module, "open_bench", bench)
    nothing = dict.fromkeys([*KINDS, SECONDS], 0.0)
    cells = CellTrial(
        cell=nothing | dict.fromkeys(KINDS, 100.0),
        image={SECONDS: 2.0, **dict.fromkeys(KINDS, 10.0)},
        pictured=nothing | {SECONDS: 1.0, "maps": 7.0},
    )
    training = TrainingTrial(
        once=3.0, learnt=0.1, checked=0.02, attacked=5.0, kept_bytes=4096, weight_bytes=777
    )
    monkeypatch.setattr(module, "try_cells", lambda *_: cells)
    monkeypatch.setattr(module, "try_training", lambda *_: training)


def test_the_arithmetic_is_what_a_hand_does(tried, small_study):
    study = {**small_study, "data": {**small_study["data"], "variants": ["none", "cascade"]}}
    study["run"] = {"device": "cpu"}
    told = estimate(study, images=1600, classes=4, workers=[6], progress=False)
    assert told.parts == {"train": 800, "val": 400, "test": 400}
    one = told.models[0]
    assert (one.cells, one.images) == (2 * 8, 800)  # 400 test images in 8 shards, two variants
    assert one.seconds == 800 * 2.0 + 12 * 1.0  # six pictured images in each variant
    assert one.bytes["maps"] == 16 * 100 + 800 * 10 + 12 * 7
    assert one.bytes["heads"] == 2 * 777
    epochs = 5 * (800 * 0.1 + 400 * 0.02)
    assert one.training_seconds == pytest.approx(2 * (1200 * 3.0 + epochs))
    assert one.training_memory == 1200 * 4096
    alone, shared = told.stages[1], told.stages[6]
    assert (shared["reading"], shared["faces"]) == (400.0, 1200.0)
    assert alone["cells"] == 2 * one.seconds
    assert shared["cells"] == pytest.approx(2 * one.seconds * 6 / 32)  # whole cells each
    # Four trainings, two models on two variants: one of them is done while the others are.
    assert alone["training"] == pytest.approx(2 * one.training_seconds)
    assert shared["training"] == pytest.approx(one.training_seconds / 2)


def test_processes_of_one_machine_share_the_cells_and_not_the_trainings(
    tried, small_study, monkeypatch
):
    asked = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    monkeypatch.setattr(machine, "_memory", lambda device: 64 * 2**30)
    run = {"images": 1600, "classes": 4, "progress": False}
    one = estimate({**small_study, "run": {"device": "cpu"}}, **run).stages[1]
    four = estimate(small_study, **run)
    assert four.machine.endswith("cells in 4 processes, as if each were alone")
    assert four.stages[1] == {**one, "cells": one["cells"] / 4}
    assert asked[-2:] == [1, 4]


def test_a_network_that_learns_from_attacked_images_is_checked_in_some_epochs(tried, small_study):
    training = {"epochs": 5, "adversarial": {"epsilon": 0.1, "check_every": 2}}
    told = estimate({**small_study, "training": training}, images=1600, classes=4, progress=False)
    one = told.models[0]  # its trunk runs once over the validation images alone
    epochs = 5 * (800 * 0.1 + 400 * 0.02)
    assert one.training_seconds == pytest.approx(400 * 3.0 + epochs + 3 * 400 * 5.0)
    assert one.training_memory == 400 * 4096


def test_more_workers_than_cells_take_as_long_as_one_cell(tried, small_study):
    told = estimate(small_study, images=300, classes=3, workers=[1000, 2000], progress=False)
    assert told.stages[1000]["cells"] == told.stages[2000]["cells"] > 0


def test_with_images_imagined_neither_folder_nor_landmarks_need_be_there(
    tmp_path, monkeypatch, small_study
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    nowhere = tmp_path / "nowhere"
    data = {"folder": str(nowhere), "variants": ["landmarks"], "landmarks": str(nowhere)}
    study = {
        **small_study,
        "data": {**small_study["data"], **data},
        "models": [{**small_study["models"][0], "pretrained": True, "train": "all"}],
        "training": {"batch_size": 4},
    }
    with pytest.raises(StudyError, match="does not exist"):
        estimate(study, progress=False)
    told = estimate(study, images=90, classes=10, trial=6, progress=False)
    assert told.imagined
    assert told.classes == 10
    assert told.models[0].images == told.parts["test"] == 20
    assert list(tmp_path.iterdir()) == []  # nothing is kept


def test_sources_that_need_each_other_perturb_once_more(small_study, monkeypatch):
    perturbed = []
    real = trial.perturb_cell
    monkeypatch.setattr(trial, "perturb_cell", lambda *given: perturbed.append(1) or real(*given))
    study = {
        **small_study,
        "models": [{**small_study["models"][0], "train": "none", "name": n} for n in "ab"],
        "explain": {"pictured": 0},
    }
    for sources in ([], ["a"], ["a", "b"]):
        estimate({**study, "transfer_from": sources}, images=30, classes=3, trial=6, progress=False)
        assert len(perturbed) == (2 if len(sources) == 2 else 0)


@pytest.mark.parametrize("part", ["head", "fully_connected", "all"])
def test_a_trial_of_training_weighs_what_it_keeps_and_stores(small_study, part):
    model = {**small_study["models"][0], "train": part}
    study = {**small_study, "models": [model], "transfer_from": [], "explain": {"pictured": 0}}
    (found,) = estimate(study, images=30, classes=3, trial=6, progress=False).models
    clf = la.load_classifier("test_resnet", num_classes=3, pretrained=False, input_size=64)
    width = clf.module.num_features
    whole = sum(value.nbytes for value in clf.module.state_dict().values())
    assert found.bytes["heads"] == (whole if part == "all" else 4 * 3 * (width + 1))
    assert found.training_memory == (0 if part == "all" else (15 + 6) * 4 * width)
    assert found.training_seconds > 0


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"workers": [0]}, "--workers must be at least 1; got 0"),
        ({"trial": 5}, "--trial must be at least 6; got 5"),
        ({"images": 0, "classes": 2}, "--images must be at least 1; got 0"),
        ({"images": 10, "classes": 1}, "--classes must be at least 2; got 1"),
        ({"images": 10, "classes": 11}, "33 in all"),
        ({"images": 10}, "--images needs --classes"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(small_study, options, part):
    with pytest.raises(InputError) as caught:
        estimate(small_study, progress=False, **options)
    assert part in str(caught.value)


def test_a_model_that_cannot_be_used_is_told_with_its_line(tmp_path, faces):
    path = Path(tmp_path / "study.yaml")
    path.write_text(
        f"data: {{folder: {faces}}}\nmodels:\n  - {{timm: test_resnet}}\nexplain: {{layers: [nix]}}"
    )
    with pytest.raises(StudyError, match="line 3") as caught:
        estimate(path, progress=False)
    assert "nix" in str(caught.value)


def test_code_of_the_user_s_own_is_tried_where_it_is_trusted(small_study):
    study = {**small_study, "attacks": ["lookaway.attacks.fgsm:FGSM"]}
    with pytest.raises(StudyError, match="--trust-code"):
        estimate(study, images=30, classes=3, trial=6, progress=False)
    found = estimate(
        {**study, "models": [{**small_study["models"][0], "train": "none"}], "transfer_from": []},
        images=30,
        classes=3,
        trial=6,
        trust_code=True,
        progress=False,
    )
    assert found.stages[1]["cells"] > 0


@pytest.mark.parametrize(("workers", "longest"), [(1, 7.0), (2, 4.0), (8, 3.0)])
def test_workers_share_trainings_whole_ones_the_next_to_who_is_free(workers, longest):
    models = [ModelCost("m", 4, 4, 1.0, "head", spent, {}, 0) for spent in (3.0, 1.0, 1.0, 2.0)]
    alone, in_four = (_shared(workers, each, models, variants=1) for each in (1, 4))
    assert alone["training"] == in_four["training"] == longest
    assert in_four["cells"] <= alone["cells"]

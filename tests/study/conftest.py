"""A finished study of two untrained networks whose last maps differ in size: seconds, no page."""

import pytest

import lookaway as la
from lookaway.study import prepare
from shared_runs import made_once


@pytest.fixture(scope="session")
def quick_study(faces_for_all):
    untrained = {"pretrained": False, "train": "none"}
    return {
        "data": {
            "folder": str(faces_for_all),
            "image_size": 64,
            "split": {"train": 0.5, "val": 0.25, "test": 0.25, "seed": 0},
        },
        "models": [
            {"name": "one", "timm": "test_resnet", **untrained, "input_size": 64},
            {"name": "two", "timm": "test_efficientnet", **untrained, "input_size": 96},
        ],
        "transfer_from": ["one"],
        "epsilons": [0.1, 0.02],
        "controls": {"shifted": 0},
        "explain": {"explained_class": ["own", "clean", "label"], "pictured": 0},
        "measure": {"grid": 32},
    }


@pytest.fixture
def run_quickly(monkeypatch):
    """Run a study in shards of at most ``shard`` images, without its page."""

    def run(study, out, shard=4, *, progress=False, **options):
        monkeypatch.setattr(prepare, "SHARD", shard)
        monkeypatch.setattr("lookaway.run.build_report", lambda *_a, **_k: None)
        return la.run_study(study, out, progress=progress, **options)

    return run


@pytest.fixture(scope="session")
def looked(quick_study, tmp_path_factory):
    """The study, run once; tests read it and change nothing."""

    def run(out):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(prepare, "SHARD", 4)
            patch.setattr("lookaway.run.build_report", lambda *_a, **_k: None)
            la.run_study(quick_study, out, progress=False)

    return la.open_result(made_once(tmp_path_factory, "quick", run))

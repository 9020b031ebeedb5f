"""A study that grows measures what is new, reads the rest, and ends as if it were made at once."""

from pathlib import Path

import pytest

from lookaway.study import worker

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
    "epsilons": [0.02, 0.05, 0.1],
    "controls": {"shifted": 1, "transplanted": 1},
    "explain": {"methods": ["gradcam", "eigencam"], "layers": "stages", "pictured": 2},
}
LESS = {  # what each step takes away
    "models": {"models": MODELS[1:]},
    "attack": {"attacks": ["fgsm"]},
    "another attack": {"attacks": WHOLE["attacks"][1:]},
    "epsilon": {"epsilons": [0.02, 0.1]},
    "method": {"explain": {**WHOLE["explain"], "methods": ["eigencam"]}},
    "layers": {"explain": {**WHOLE["explain"], "layers": "last"}},
    "controls": {"controls": {"shifted": 1}},
    "source": {"transfer_from": []},
}


@pytest.fixture(scope="module")
def whole(quick_study):
    return {**quick_study, **WHOLE}


def files(folder):
    """Every file of a run but the log, which tells of times."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file() and path.parent.name != "log"
    }


@pytest.fixture
def measured(monkeypatch):
    """Which units were measured, by model."""
    real, found = worker.measure_images, []

    def counted(clf, *given, **options):
        made = real(clf, *given, **options)
        settings = given[2]
        found.append((clf.name, made.sources, settings.epsilons, settings.layers))
        return made

    monkeypatch.setattr(worker, "measure_images", counted)
    return found


@pytest.fixture(scope="module")
def fresh(whole, tmp_path_factory):
    import lookaway as la
    from lookaway.study import prepare

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "SHARD", 4)
        patch.setattr("lookaway.run.build_report", lambda *_a, **_k: None)
        out = tmp_path_factory.mktemp("fresh") / "out"
        la.run_study(whole, out, progress=False)
    return files(out)


@pytest.mark.parametrize("step", LESS)
def test_a_grown_study_has_the_files_of_one_made_at_once(whole, fresh, run_quickly, tmp_path, step):
    run_quickly({**whole, **LESS[step]}, tmp_path / "out")
    run_quickly(whole, tmp_path / "out")
    grown = files(tmp_path / "out")
    assert sorted(grown) == sorted(fresh)
    assert [name for name in fresh if grown[name] != fresh[name]] == []

"""A study trains one network plainly and on attacked images, and says how they differ."""

import polars as pl
import pytest

import lookaway as la
from lookaway.errors import StudyError
from lookaway.report.page import build_report
from lookaway.report.robust import robust_conclusion
from lookaway.study.plan import parse_study

LFW = {"folder": "sample:lfw_subset"}
NET = {"timm": "test_resnet", "pretrained": False, "input_size": 64}
FAST = {"epsilon": "8/255", "check_steps": 2}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"attack": "fgsm"}, "epsilon: is required"),
        ({"epsilon": 8}, "8/255"),
        ({"epsilon": 0.1, "steps": 2}, "one step"),
        ({"epsilon": 0.1, "alpha": 2}, "possible: attack, epsilon"),
        ({"epsilon": 0.1, "attack": "mifgsm"}, "possible: fgsm or pgd"),
    ],
)
def test_an_adversary_that_is_none_is_told(given, told):
    models = [{"name": "a", **NET, "train": "all"}]
    with pytest.raises(StudyError, match=told):
        parse_study({"data": LFW, "models": models, "training": {"adversarial": given}})
    with pytest.raises(StudyError, match=told):
        parse_study({"data": LFW, "models": [{**models[0], "adversarial": given}]})


def test_what_is_not_trained_has_no_adversary():
    models = [{"name": "a", **NET, "train": "none"}, {"name": "b", **NET, "train": "all"}]
    study = parse_study({"data": LFW, "models": models, "training": {"adversarial": FAST}})
    found = [study.adversarial(spec) for spec in study.models]
    assert found[0] is None
    assert found[1].epsilon == 8 / 255
    with pytest.raises(StudyError, match="train: none"):
        parse_study({"data": LFW, "models": [{**models[0], "adversarial": FAST}]})


@pytest.fixture(scope="module")
def ran(faces_for_all, tmp_path_factory):
    study = {
        "data": {
            "folder": str(faces_for_all),
            "image_size": 64,
            "split": {"train": 0.5, "val": 0.25, "test": 0.25, "seed": 0},
        },
        "models": [
            {"name": "plain", **NET, "train": "all"},
            {"name": "robust", **NET, "train": "all", "adversarial": FAST},
        ],
        "training": {"epochs": 2, "batch_size": 8},
        "epsilons": ["4/255", "8/255"],
        "controls": {"shifted": 0},
        "explain": {"explained_class": ["clean"], "pictured": 0},
        "measure": {"grid": 32},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lookaway.run.build_report", lambda *_a, **_k: None)
        return la.run_study(study, tmp_path_factory.mktemp("robust") / "run", progress=False)


def test_the_robust_training_is_stored_with_its_checks(ran):
    trained = ran.store.trained()
    assert trained["plain"].robust_accuracy is None
    assert [e.robust_accuracy is None for e in trained["robust"].history] == [True, False]
    assert trained["robust"].best_epoch == 2  # of those that were checked
    assert trained["plain"].sha256 != trained["robust"].sha256


def test_the_page_answers_whether_it_looks_elsewhere_less(ran):
    frames = ran.frames
    told = robust_conclusion(frames)
    assert told.models[0][0] == "robust"
    assert "FGSM at ε = 0.0314" in told.models[0][1]
    page = build_report(ran.store).read_text()
    assert told.opening in page
    assert "from images attacked with FGSM at ε = 0.0314" in page
    kept = pl.read_parquet(ran.folder / "frames/robust_training.parquet")
    assert kept.height == frames.robust_training.height > 0
    stored = (ran.folder / "tables/robust_clean.csv").read_text()
    assert "robust − plain" in stored

"""Networks that a study cannot measure are told by name; the others are measured as they are."""

import pytest
import torch
from torch import nn

import lookaway as la
from lookaway.errors import ModelError, StudyError
from lookaway.study import load
from odd import AlwaysDrops, ChangesMode, CountsAside, CountsInABuffer, Odd


@pytest.fixture
def study(quick_study, monkeypatch):
    """Run the quick study with a network of one's own in place of both of its models."""

    def run(make, run_quickly, out):
        monkeypatch.setattr(
            load, "load_classifier", lambda *_a, **_k: la.Classifier(make(), input_size=32)
        )
        return run_quickly({**quick_study, "transfer_from": []}, out)

    return run


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Odd(lambda logits: logits / 0 * 0, classes=3), "one gives logits that are NaN"),
        (lambda: Odd(lambda logits: logits.abs() / 0, classes=3), "one gives logits.*infinite"),
        (lambda: Odd(classes=5), "'one' tells 5 classes apart, but the images have 3"),
        (lambda: Odd(lambda logits: {"no": "logits"}), "one gives str where logits"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 3)), "one has no last layer"),
        (lambda: ChangesMode(classes=3), "one turns on training mode"),
        (lambda: CountsInABuffer(classes=3), "one keeps state between calls: calls"),
        (lambda: CountsAside(classes=3), "one gives other logits for the same image"),
        (lambda: AlwaysDrops(classes=3), "one gives other logits for the same image"),
    ],
    ids=["nan", "inf", "classes", "text", "no-conv", "mode", "buffer", "aside", "random"],
)
def test_a_study_refuses_a_network_that_it_cannot_measure_by_name(
    study, run_quickly, tmp_path, make, said
):
    with pytest.raises(
        StudyError, match=rf"(?s)models\[0\] \(one\): .*{said}.*models\[1\] \(two\)"
    ):
        study(make, run_quickly, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_study_measures_other_outputs_wrappers_and_half_precision_as_they_are(
    study, run_quickly, tmp_path
):
    makes = {
        "plain": lambda: Odd(classes=3),
        "tuple": lambda: Odd(lambda logits: (logits, 0), classes=3),
        "mapping": lambda: Odd(lambda logits: {"logits": logits}, classes=3),
        "parallel": lambda: nn.DataParallel(Odd(classes=3)),
        "half": lambda: Odd(classes=3).to(torch.bfloat16),
    }
    rows = {name: study(make, run_quickly, tmp_path / name).rows() for name, make in makes.items()}
    for name in ("tuple", "mapping", "parallel"):
        assert rows[name].drop("layer").equals(rows["plain"].drop("layer")), name
    apart = (rows["half"]["nissim"] - rows["plain"]["nissim"]).abs().mean()
    assert 0 < apart < 0.1


def test_a_network_that_fails_on_some_images_alone_stops_the_study_by_its_name(
    study, run_quickly, tmp_path
):
    """Not on the blank image of the trial: images with a bright spot alone give NaN."""

    class Fails(Odd):
        def forward(self, x):
            logits = super().forward(x)
            return logits * float("nan") if x.amax() > 0.9 else logits

    with pytest.raises(ModelError, match="one gives logits that are NaN"):
        study(lambda: Fails(classes=3), run_quickly, tmp_path / "out")

"""Studies of networks with one output, with probabilities, with several labels, and for grey."""

import polars as pl
import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import nn

import lookaway as la
from lookaway.errors import StudyError
from lookaway.study import load

TINY = {"timm": "test_resnet", "input_size": 64}


@pytest.fixture(scope="module")
def two_classes(quick_study, tmp_path_factory, faces_for_all):
    """The quick study's images of two classes."""
    folder = tmp_path_factory.mktemp("two") / "faces"
    folder.mkdir()
    for name in ("ann", "bob"):
        (folder / name).symlink_to(faces_for_all / name)
    data = {**quick_study["data"], "folder": str(folder)}
    return {**quick_study, "data": data, "transfer_from": [], "epsilons": [0.1]}


def of_one(rows, attack="fgsm"):
    return rows.filter(attack=attack, model="one", explained_class="clean")


def test_a_head_of_one_output_learns_two_classes_and_is_attacked(
    two_classes, run_quickly, tmp_path
):
    models = [
        {"name": "one", **TINY, "pretrained": False, "train": "head", "outputs": "binary"},
        {"name": "two", **TINY, "pretrained": False, "train": "head"},
    ]
    study = {**two_classes, "models": models, "training": {"epochs": 20, "learning_rate": 0.05}}
    result = run_quickly(study, tmp_path / "out")
    shapes = [
        load_file(path)["fc.bias"].shape for path in result.store.listed("heads", "*.safetensors")
    ]
    rows = of_one(result.rows())
    assert set(rows["clean_class"]) <= {"ann", "bob"}
    assert (rows["clean_class"] == rows["label"]).mean() >= 0.75
    assert not rows["unattacked"].any()
    assert rows["nissim"].max() > 0
    assert shapes == [(1,), (2,)]


def test_a_checkpoint_with_one_output_is_two_classes_without_a_word(
    two_classes, run_quickly, tmp_path
):
    torch.manual_seed(0)
    net = timm.create_model("test_resnet", num_classes=1)
    torch.save(net.state_dict(), tmp_path / "one.pt")
    spec = {"name": "one", **TINY, "checkpoint": str(tmp_path / "one.pt"), "train": "none"}
    rows = of_one(run_quickly({**two_classes, "models": [spec]}, tmp_path / "out").rows())
    assert not rows["unattacked"].any()
    assert rows["nissim"].max() > 0
    assert rows["clean_confidence"].min() >= 0.5


def test_one_output_for_three_classes_is_refused(quick_study, run_quickly, tmp_path):
    spec = {"name": "one", **TINY, "pretrained": False, "outputs": "binary"}
    with pytest.raises(StudyError, match=r"'one' has outputs: binary, .* but the images have 3"):
        run_quickly({**quick_study, "models": [spec], "transfer_from": []}, tmp_path / "out")


class EndsInSoftmax(nn.Module):
    def __init__(self, columns):
        super().__init__()
        self.net = timm.create_model("test_resnet", num_classes=columns)
        self.last = nn.Softmax(dim=1)

    def forward(self, x):
        return self.last(self.net(x))


def test_a_network_that_ends_in_softmax_is_refused_until_the_study_says_so(
    two_classes, run_quickly, tmp_path, monkeypatch
):
    def make(*_, outputs=None, **__):
        torch.manual_seed(0)
        return la.Classifier(EndsInSoftmax(2), input_size=64, outputs=outputs)

    monkeypatch.setattr(load, "load_classifier", make)
    spec = {"name": "one", "timm": "test_resnet", "train": "none"}
    with pytest.raises(StudyError, match=r"one gives probabilities.*outputs=.probabilities"):
        run_quickly({**two_classes, "models": [spec]}, tmp_path / "out")
    said = {**two_classes, "models": [{**spec, "outputs": "probabilities"}]}
    rows = of_one(run_quickly(said, tmp_path / "out").rows())
    assert not rows["unattacked"].any()
    assert rows["nissim"].max() > 0


def test_several_labels_are_explained_for_the_image_s_own(two_classes, run_quickly, tmp_path):
    spec = {"name": "one", **TINY, "pretrained": False, "train": "head", "outputs": "multilabel"}
    study = {**two_classes, "models": [spec], "training": {"epochs": 20, "learning_rate": 0.05}}
    with pytest.raises(StudyError, match=r"one' gives several labels.*explained_class: \[label\]"):
        run_quickly(study, tmp_path / "out")
    result = run_quickly({**study, "explain": {"explained_class": ["label"]}}, tmp_path / "out")
    rows = result.rows().filter(attack="fgsm")
    own = rows.filter(pl.col("clean_class") == pl.col("label"))
    assert own.height >= rows.height / 2
    assert own["clean_confidence"].min() >= 0.5
    assert not rows["unattacked"].any()


@pytest.mark.parametrize("train", ["none", "head", "all"])
def test_a_study_in_grey_is_one_of_a_network_for_one_channel(
    two_classes, run_quickly, tmp_path, train
):
    spec = {"name": "one", **TINY, "pretrained": False, "train": train}
    study = {**two_classes, "models": [spec], "training": {"epochs": 2}}
    study = {**study, "data": {**study["data"], "channels": 1}}
    result = run_quickly(study, tmp_path / "out")
    rows = of_one(result.rows())
    assert not rows["unattacked"].any()
    assert rows["nissim"].max() > 0


def test_weights_for_rgb_are_summed_for_grey():
    rgb = la.load_classifier("tf_efficientnet_lite0")
    grey = la.load_classifier("tf_efficientnet_lite0", channels=1)
    assert grey.channels == 1
    image = torch.rand(1, 1, 224, 224, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(grey(image), rgb(image.expand(-1, 3, -1, -1)), rtol=0.02, atol=0.02)


def test_images_in_grey_and_a_checkpoint_for_rgb_are_refused_by_their_shapes(
    two_classes, run_quickly, tmp_path
):
    torch.save(timm.create_model("test_resnet", num_classes=2).state_dict(), tmp_path / "rgb.pt")
    spec = {"name": "one", **TINY, "checkpoint": str(tmp_path / "rgb.pt"), "train": "none"}
    study = {**two_classes, "models": [spec], "data": {**two_classes["data"], "channels": 1}}
    with pytest.raises(StudyError, match=r"does not fit.*, 3, 3, 3\) for \(\d+, 1, 3, 3\)"):
        run_quickly(study, tmp_path / "out")

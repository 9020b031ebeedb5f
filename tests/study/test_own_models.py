"""Networks that are in no zoo: built by a user's own code, or given as classifiers in Python."""

import copy
import importlib
import os
import sys

import polars as pl
import pytest
import timm
import torch
from polars.testing import assert_frame_equal
from safetensors.torch import save_file

import lookaway as la
from growth import check_beside, results_in
from lookaway.cost.estimate import estimate
from lookaway.errors import EngineError, InputError, StudyError
from lookaway.models.classifier import Classifier
from lookaway.models.own import identity
from lookaway.study.plan import open_study
from oracles import enliven

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
INSIDE = {"mean": MEAN, "std": STD, "input_size": 64}
TIMM = {"module": "timm:create_model", "arguments": {"model_name": "test_resnet", "num_classes": 3}}
MODULE = """
import torch
from torch import nn


def small(classes=3, wide=8):
    layers = [nn.Conv2d(3, wide, 3, 2), nn.BatchNorm2d(wide), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(wide, classes))


def nothing():
    return 3


def fails():
    raise OSError("no disk")


class Wavering(nn.Module):
    made = 0

    def __init__(self):
        super().__init__()
        self.inner = small()
        type(self).made += 1
        with torch.no_grad():
            self.inner[0].weight += self.made

    def forward(self, x):
        return self.inner(x)
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "code").mkdir()
    path = tmp_path / "code" / "my_models.py"
    path.write_text(MODULE)
    monkeypatch.syspath_prepend(path.parent)
    importlib.invalidate_caches()
    yield path
    sys.modules.pop("my_models", None)


def study_of(quick_study, *models, **more):
    quick = {"epsilons": [0.05], "explain": {"explained_class": ["own"], "pictured": 0}}
    return {**quick_study, "models": list(models), "transfer_from": [], **quick, **more}


def of_model(rows, name):
    return rows.filter(model=name).drop("model", "source")


@pytest.fixture(scope="module")
def network():
    made = timm.create_model("test_resnet", num_classes=3)
    return enliven(made.eval(), seed=0)


def test_a_network_is_measured_alike_from_a_zoo_from_own_code_and_from_python(
    quick_study, run_quickly, network, tmp_path
):
    checkpoint = tmp_path / "w.safetensors"
    save_file(network.state_dict(), checkpoint)
    clf = Classifier(network, mean=MEAN, std=STD, input_size=64)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    study = study_of(
        quick_study,
        {"name": "zoo", "timm": "test_resnet", "input_size": 64, "train": "none"}
        | {"checkpoint": str(checkpoint), "mean": MEAN, "std": STD},
        {"name": "own", **TIMM, **INSIDE, "checkpoint": str(checkpoint)},
        "given",
    )
    given = {"models": {"given": clf}, "trust_code": True}
    rows = run_quickly(study, tmp_path / "out", 64, **given).rows()
    zoo = of_model(rows, "zoo")
    assert zoo["nissim"].max() > 0.01
    for other in ("own", "given"):
        assert_frame_equal(of_model(rows, other), zoo)
    # The classifier is as it was.
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not any(part._forward_hooks for part in network.modules())


def test_a_run_goes_on_with_the_same_network_alone(quick_study, run_quickly, own_module, tmp_path):
    from my_models import small

    module, out = enliven(small().eval(), seed=0), tmp_path / "out"
    clf = Classifier(module, mean=MEAN, std=STD, input_size=64)
    study = study_of(quick_study, "given")
    rows = run_quickly(study, out, 64, models={"given": clf}).rows()
    next((out / "rows").iterdir()).unlink()
    assert_frame_equal(run_quickly(study, out, 64, models={"given": clf}).rows(), rows)
    before = results_in(out)
    other = Classifier(torch.nn.Sequential(module), mean=MEAN, std=STD, input_size=64)
    beside, alone = (
        run_quickly(study, folder, 64, models={"given": other})
        for folder in (out, tmp_path / "new")
    )
    check_beside(before, beside, alone)


def test_a_network_is_known_by_its_weights_its_structure_and_its_inputs(network):
    def known(module=network, **change):
        return identity(
            Classifier(module, **{"mean": MEAN, "std": STD, "input_size": 64, **change})
        )

    other = copy.deepcopy(network)
    with torch.no_grad():
        other.fc.bias[0] += 1e-6
    found = [known(), known(other), known(input_size=96), known(std=0.5), known(logits=[2, 1, 0])]
    smooth = copy.deepcopy(network)
    smooth.act1 = torch.nn.SiLU()
    found.append(known(smooth))
    for forward in (lambda self, x: self.inside(x), lambda self, x: 2 * self.inside(x)):
        outer = type("Outer", (torch.nn.Module,), {"forward": forward})()
        outer.inside = network
        found.append(known(outer))
    assert len(set(found)) == len(found)
    assert known(copy.deepcopy(network)) == found[0]


@pytest.fixture
def trained_study(quick_study, own_module):
    shuffle = {"module": "torchvision.models:shufflenet_v2_x0_5", **INSIDE}
    few = {"epochs": 1, "batch_size": 4, "learning_rate": 0.01}
    return study_of(
        quick_study,
        {"name": "shuffle", **shuffle, "arguments": {"num_classes": 10}, "train": "head"},
        {"name": "small", "module": "my_models:small", **INSIDE, "train": "fully_connected"},
        {"name": "whole", "module": "my_models:small", "train": "all", "mean": 0.5, "std": 0.25},
        training=few,
    )


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_torchvision_s_networks_and_own_ones_are_trained_and_folded(
    trained_study, run_quickly, tmp_path, precision
):
    study = {**trained_study, "run": {"precision": precision}}
    result = run_quickly(study, tmp_path / "out", 64, trust_code=True)
    assert [*result.rows()["model"].unique(maintain_order=True)] == ["shuffle", "small", "whole"]
    assert result.rows()["clean_class"].is_in(["ann", "bob", "cy"]).all()
    heads = {about.model: about.trained for about in result.store.trained().values()}
    assert heads == {"shuffle": "head", "small": "fully_connected", "whole": "all"}
    assert [*result.plan.own_code] == ["torchvision.models", "my_models"]


@pytest.mark.slow
def test_what_networks_of_a_user_s_own_cost_is_estimated(trained_study):
    found = estimate(trained_study, trial=6, trust_code=True, progress=False)
    assert [cost.model for cost in found.models] == ["shuffle", "small", "whole"]


def test_transformers_networks_are_models_of_a_study(quick_study, run_quickly, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=3
    )
    made = enliven(transformers.ResNetForImageClassification(config).eval(), seed=0)
    clf = Classifier(made, mean=MEAN, std=STD, input_size=64)
    study = study_of(quick_study, {"name": "theirs", "train": "head"}, training={"epochs": 1})
    result = run_quickly(study, tmp_path / "out", models={"theirs": clf})
    assert result.plan.last_layers["theirs"].startswith("resnet.encoder.stages.1")
    assert result.rows()["nissim"].max() > 0


def test_code_that_builds_networks_is_named_and_not_imported_without_trust(
    quick_study, own_module, tmp_path
):
    own_module.write_text("raise SystemExit('it ran')")
    study = study_of(quick_study, {"module": "my_models:small", **INSIDE})
    with pytest.raises(StudyError, match=r"models\[0\].module: 'my_models:small' is code.*--trust"):
        la.run_study(study, tmp_path / "out", progress=False)
    assert "my_models" not in sys.modules


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ({"module": "my_models:smal"}, r"models\[0\].module: the network .* cannot be imported"),
        (
            {"module": "my_model:small"},
            "cannot be imported: No module named 'my_model'.*PYTHONPATH",
        ),
        ({"module": "my_models"}, "got 'my_models'; possible: package.module:build, or given"),
        ({"module": "my_models:small", "timm": "resnet18"}, "a model has timm or module"),
        (
            {"module": "my_models:small", "pretrained": False},
            "pretrained: cannot stand beside module",
        ),
        ({"timm": "resnet18", "arguments": {"a": 1}}, "arguments: cannot stand beside a timm name"),
        ({"module": "my_models:small", "mean": None}, "needs mean and std"),
        ({"module": "my_models:small", "arguments": {"class": 3}}, "fails with .*class.*TypeError"),
        ({"module": "my_models:nothing"}, "makes a int, which is no torch.nn.Module"),
        ({"module": "my_models:fails"}, "OSError: no disk"),
        ({"module": "my_models:small", "arguments": {"classes": 5}}, "tells 5 classes apart"),
        ({"module": "my_models:Wavering"}, "builds another network than when"),
        ({"module": "torchvision.models:squeezenet1_1", "train": "head"}, "one linear layer"),
    ],
)
def test_what_builds_no_network_of_the_study_is_told(
    quick_study, run_quickly, own_module, tmp_path, model, told
):
    inside = {} if model.get("timm") == "resnet18" and "module" not in model else INSIDE
    study = study_of(quick_study, {"name": "mine", **inside, **model})
    with pytest.raises(la.LookawayError, match=f"(?s){told}"):
        run_quickly(study, tmp_path / "out", trust_code=True)


def test_classifiers_that_cannot_stand_in_are_told(quick_study, run_quickly, network, tmp_path):
    clf = Classifier(network, mean=MEAN, std=STD, input_size=64)
    for models, change, told in (
        ({"one": network}, {}, "is a ResNet; give a lookaway.Classifier"),
        ({"three": clf}, {}, "'three' is given in Python and is none of: one, two"),
        ({"one": clf}, {"run": {"engine": "ray"}}, "measured by the local engine"),
        ({"one": clf}, {"data": quick_study["data"] | {"channels": 1}}, "images of 3 channels"),
    ):
        with pytest.raises((InputError, StudyError), match=told):
            run_quickly({**quick_study, **change}, tmp_path / "out", models=models)
    alone = {key: value for key, value in quick_study.items() if key != "models"}
    checked, _, _ = open_study(alone | {"transfer_from": []}, given=["mine"])
    assert [(spec.name, spec.module) for spec in checked.models] == [("mine", "given")]
    with pytest.raises(StudyError, match="'mine' is a network that is given in Python: run_study"):
        run_quickly(study_of(quick_study, *checked.models), tmp_path / "out")


@pytest.mark.slow
def test_a_worker_that_cannot_import_the_study_s_code_is_told(
    quick_study, run_quickly, own_module, tmp_path
):
    pytest.importorskip("ray")
    study = study_of(
        quick_study,
        {"module": "my_models:small", **INSIDE},
        run={"engine": "ray", "workers": 1},
    )
    told = "has not this machine's module 'my_models'.*ModuleNotFoundError.*on PYTHONPATH"
    with pytest.raises(EngineError, match=told):
        run_quickly(study, tmp_path / "out", trust_code=True)
    there = str(own_module.parent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", there, prepend=os.pathsep)
        assert run_quickly(study, tmp_path / "out", trust_code=True).rows().height


def test_a_gallery_is_a_model_whose_names_say_the_classes(
    quick_study, run_quickly, faces_for_all, network, tmp_path
):
    from torchvision.datasets import ImageFolder
    from torchvision.transforms.v2.functional import pil_to_tensor, resize

    embedder = la.Embedder(network, mean=MEAN, std=STD, input_size=64)
    faces = ImageFolder(str(faces_for_all))
    pixels = torch.stack([resize(pil_to_tensor(image), [64, 64]) for image, _ in faces]) / 255
    labels = 2 - torch.tensor(faces.targets)
    gallery = la.Gallery.enrol(embedder, pixels, labels, ["cy", "bob", "ann"])
    study = study_of(quick_study, "faces")
    result = run_quickly(study, tmp_path / "out", 64, models={"faces": gallery})
    assert result.plan.class_order["faces"].logits == [2, 1, 0]
    assert result.accuracy().filter(epsilon=0.0)["accuracy"].min() > 0.4
    other = la.Gallery(embedder, gallery.templates + 0.01, gallery.names)
    assert identity(other) != identity(gallery)
    trained = study_of(quick_study, {"name": "faces", "train": "head"})
    with pytest.raises(StudyError, match="is a gallery, or has chosen logits"):
        run_quickly(trained, tmp_path / "none", models={"faces": gallery})


def test_a_dataset_gives_the_rows_of_its_images_and_counts_classes_in_its_own_order(
    quick_study, run_quickly, faces_for_all, network, tmp_path
):
    from torchvision.datasets import ImageFolder

    class Reversed(ImageFolder):
        def find_classes(self, directory):
            return (names := ["cy", "bob", "ann"]), {name: at for at, name in enumerate(names)}

    clf = Classifier(network, mean=MEAN, std=STD, input_size=64)
    data = {**quick_study["data"], "split": {"train": 0, "val": 0, "test": 1}}
    study = study_of(quick_study, "mine", data=data)
    folder = run_quickly(study, tmp_path / "folder", 64, models={"mine": clf})
    dataset = Reversed(str(faces_for_all))
    given = {"models": {"mine": clf}, "data": dataset}
    result = run_quickly(study, tmp_path / "given", 64, **given)
    rows = result.rows()
    # The same images; but output 0 is "cy", and the attack knows that.
    assert result.plan.class_order["mine"].logits == [2, 1, 0]
    other = {"ann": "cy", "bob": "bob", "cy": "ann"}
    assert rows["label"].to_list() == [
        dataset.classes[dataset.targets[int(i)]] for i in rows["image"]
    ]
    paths = [dataset.samples[int(i)][0] for i in rows["image"]]
    named = rows.with_columns(image=pl.Series([p.removeprefix(f"{faces_for_all}/") for p in paths]))
    both = named.join(folder.rows(), on=["image", "attack"])
    assert len(both) == len(rows)
    assert (
        both["clean_class"].replace_strict(other).to_list() == both["clean_class_right"].to_list()
    )
    with pytest.raises(InputError, match="images that are given in Python"):
        run_quickly({**study, "run": {"engine": "ray"}}, tmp_path / "ray", **given)
    with pytest.raises(StudyError, match="the images are a Dataset that is given in Python"):
        run_quickly(tmp_path / "given" / "study.yaml", tmp_path / "none")

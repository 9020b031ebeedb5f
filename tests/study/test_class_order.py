"""Which of a network's outputs are a study's classes: given, found, checked, and doubted."""

import json
from functools import partial

import numpy as np
import polars as pl
import pytest
import skimage.data
import timm
import torch
from PIL import Image
from timm.data import create_dataset
from torch import nn

import lookaway as la
from lookaway.cli_results import report
from lookaway.data.folder import FolderSource
from lookaway.data.pixels import as_floats, to_grid
from lookaway.errors import ModelError, StudyError
from lookaway.export import export
from lookaway.models.provenance import Origin
from lookaway.progress import Silent
from lookaway.report.explorer import explorer
from lookaway.report.pictured import PicturedImages
from lookaway.study.class_order import find_order
from lookaway.study.identity import Identity
from lookaway.study.load import load_model
from lookaway.study.plan import parse_study
from lookaway.study.prepare import prepare
from lookaway.study.settings import ModelSpec

NUMBERS = [str(number) for number in range(12)]


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """Images of twelve classes called 0 to 11, each of a colour of its own."""
    root, random = tmp_path_factory.mktemp("numbered") / "data", np.random.default_rng(0)
    for place, name in enumerate(NUMBERS):
        (root / name).mkdir(parents=True)
        for index in range(3):
            pixels = random.integers(0, 90, (64, 64, 3)).astype(np.uint8)
            pixels[..., place % 3] += np.uint8(100 + 5 * (place // 3))
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def by_timm(numbered):
    """A network that is right on all of them by the labels of timm's scripts: 2 before 10."""
    order = create_dataset("folder", root=str(numbered)).reader.class_to_idx
    source = FolderSource(numbered)
    records = source.scan().records
    pixels = torch.from_numpy(as_floats([to_grid(source.open(record), 64) for record in records]))
    labels = torch.tensor([order[record.label] for record in records])
    torch.manual_seed(0)
    net = timm.create_model("test_resnet", num_classes=12)
    config = net.pretrained_cfg
    clf = la.Classifier(net, mean=config["mean"], std=config["std"], input_size=96)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None
    with torch.no_grad():
        net.train()(clf.prepare(pixels))
        net.eval()
        features = net.forward_head(net.forward_features(clf.prepare(pixels)), pre_logits=True)
        wanted = nn.functional.one_hot(labels, 12) * 10.0
        features = torch.cat([features, torch.ones(len(features), 1)], 1)
        solved = torch.linalg.lstsq(features, wanted).solution
        net.fc.weight.copy_(solved[:-1].T)
        net.fc.bias.copy_(solved[-1])
    assert bool((clf(pixels).argmax(1) == labels).all())
    return net.state_dict()


@pytest.fixture
def study(numbered, by_timm, tmp_path):
    """The study of that network, its checkpoint with whatever beside the weights."""

    def make(beside=None, data=numbered, **settings):
        torch.save({"state_dict": by_timm, **(beside or {})}, tmp_path / "net.pth")
        spec = {"name": "one", "timm": "test_resnet", "checkpoint": str(tmp_path / "net.pth")}
        return {
            "data": {
                "folder": str(data),
                "image_size": 64,
                "split": {"train": 0, "val": 0, "test": 1},
            },
            "models": [{**spec, "train": "none", "input_size": 96, **settings}],
            "epsilons": [0.05],
            "controls": {"shifted": 0},
            "explain": {"explained_class": ["own"], "pictured": 2},
            "measure": {"grid": 32},
        }

    return make


@pytest.fixture
def run_quickly(run_quickly):
    """All images in a cell."""
    return partial(run_quickly, shard=36)


def planned(study):
    """The plan of a study, and what its results are kept under."""
    plan = prepare(parse_study(study), None, None, Silent(), "the study").plan
    identity = Identity(plan)
    key = identity.model("none", "one")
    return plan, (key, [identity.unit(key, unit) for unit in identity.units("one")])


def accuracy(result):
    return result.accuracy().filter(pl.col("epsilon") == 0)["accuracy"][0]


def test_an_order_that_nothing_says_is_doubted_on_terminal_and_page(
    study, tmp_path, capsys, monkeypatch
):
    result = la.run_study(study(), tmp_path / "out")
    told = capsys.readouterr().err
    assert accuracy(result) == pytest.approx(2 / 12)
    doubt = (
        "one is right on 17 % of the 36 clean test images (8.3 % by chance), but on 100 % if its "
        "outputs stand for the classes in natural order"
    )
    assert doubt in told
    assert doubt in result.report.read_text()
    kept = pl.read_parquet(result.folder / "frames" / "loaded.parquet")
    assert kept["finding"].to_list() == ["other order"]
    monkeypatch.setattr("lookaway.report.page.build_report", lambda *_a, **_k: None)
    report(str(result.folder), quiet=False)
    assert doubt in capsys.readouterr().err
    report(str(result.folder), quiet=True)
    assert not capsys.readouterr().err


@pytest.mark.parametrize("kind", ["natural", "list", "file", "json", "checkpoint"])
def test_with_the_order_given_a_network_of_timm_s_script_is_right(
    study, tmp_path, capsys, run_quickly, kind
):
    order = dict(zip(NUMBERS, range(12), strict=True))
    (tmp_path / "names.txt").write_text("\n".join(NUMBERS) + "\n")
    (tmp_path / "names.json").write_text(json.dumps(order))
    settings = {
        "natural": {"classes": "natural"},
        "list": {"classes": [int(name) for name in NUMBERS]},  # as YAML reads unquoted ones
        "file": {"classes": str(tmp_path / "names.txt")},
        "json": {"classes": str(tmp_path / "names.json")},
        "checkpoint": {},
    }[kind]
    beside = {"class_to_idx": order} if kind == "checkpoint" else None
    given = study(beside, **settings)
    if kind in ("list", "file", "json"):  # the rest of the way is the same
        plan, _ = planned(given)
        assert plan.class_order["one"].logits == [int(name) for name in sorted(NUMBERS)]
        return
    result = run_quickly(given, tmp_path / "out", shard=64, progress=True)
    assert accuracy(result) == 1.0
    assert result.plan.class_order["one"].logits == [int(name) for name in sorted(NUMBERS)]
    told = capsys.readouterr().err
    assert "is right on" not in told
    assert ("class order: the checkpoint's class_to_idx" in told) == (kind == "checkpoint")
    assert result.manifest.loaded["one"].classes


def test_what_a_file_of_names_says_is_known_by_its_content(study, tmp_path):
    for name in ("first.txt", "moved.txt"):
        (tmp_path / name).write_text("\n".join(NUMBERS))
    _, first = planned(study(classes=str(tmp_path / "first.txt")))
    assert planned(study(classes=str(tmp_path / "moved.txt")))[1] == first
    assert planned(study(classes=NUMBERS))[1] == first
    (tmp_path / "moved.txt").write_text("\n".join(sorted(NUMBERS)))
    assert planned(study(classes=str(tmp_path / "moved.txt")))[1] != first


@pytest.fixture
def few(numbered, tmp_path):
    """Three of the classes, one of which has images of another: of 4 in place of 3."""
    for name in ("3", "10", "0"):
        (tmp_path / "few" / name).mkdir(parents=True)
        for path in (numbered / ("4" if name == "3" else name)).iterdir():
            (tmp_path / "few" / name / path.name).write_bytes(path.read_bytes())
    return tmp_path / "few"


def test_classes_that_the_images_have_not_are_cut_or_kept(study, few, tmp_path, run_quickly):
    """Kept, an image may be taken for a class without a folder, up to the page and the export."""
    cut = run_quickly(study(data=few, classes=NUMBERS), tmp_path / "cut")
    assert set(cut.rows()["clean_class"]) <= {"0", "3", "10"}
    whole = {**study(data=few, classes=NUMBERS, other_classes="keep"), "transfer_from": ["one"]}
    whole["explain"]["pictured"] = 3
    kept = run_quickly(whole, tmp_path / "kept")
    rows = kept.rows().unique("image").sort("image")
    assert dict(rows.select("image", "clean_class").iter_rows()) == {
        f"{folder}/{index}.png": "4" if folder == "3" else folder
        for folder in ("0", "10", "3")
        for index in range(3)
    }
    assert kept.plan.class_order["one"].others == [
        name for name in NUMBERS if name not in ("0", "3", "10")
    ]
    shown = explorer(kept.frames, PicturedImages(kept.frames)).about["classes"]
    assert shown[:4] == ["0", "10", "3", "4"]
    assert len(export(kept.folder, tmp_path / "pictures")) == 1


def test_the_streamed_frames_of_a_run_know_the_kept_classes(
    study, few, tmp_path, run_quickly, monkeypatch
):
    result = run_quickly(study(data=few, classes=NUMBERS, other_classes="keep"), tmp_path / "out")
    whole = result.frames.outcomes
    monkeypatch.setattr("lookaway.analysis.parts.ROWS_AT_ONCE", 10)
    streamed = la.open_result(tmp_path / "out").frames.outcomes
    assert streamed.drop("low", "high").equals(whole.drop("low", "high"))


def spec_of(**settings):
    return ModelSpec(timm="test_resnet", name="one", train="none", **settings)


def network(outputs=3):
    return la.load_classifier("test_resnet", num_classes=outputs, pretrained=False)


@pytest.mark.parametrize(
    ("classes", "outputs", "said"),
    [
        (["ann", "bob", "zy"], 3, r"does not know 1 of the images' 3 classes: 'cy'\. Nearest: zy"),
        (["a", "b", "c"], 3, r"does not know 3 .*'ann', 'bob', 'cy'.*By classes it has a, b, c"),
        (["ann", "bob", "cy", "d"], 3, "classes names 4 outputs, but 'one' has 3"),
        (["ann", "bob", "cy"], 5, "classes names 3 outputs, but 'one' has 5"),
        ("imagenet", 3, "outputs of an ImageNet .1000 for 1k.*'one' has 3"),
        ("natural", 4, "classes: natural names 3 outputs, but 'one' has 4"),
    ],
)
def test_names_that_do_not_fit_are_refused_with_what_would(classes, outputs, said):
    with pytest.raises(ModelError, match=said):
        find_order(spec_of(classes=classes), network(outputs), ["ann", "bob", "cy"])


def test_a_mapping_may_name_some_outputs_alone_and_by_names_that_mean_the_same(tmp_path):
    index = {"0": ["n01", "tench"], "217": ["n02", "springer"], "491": ["n03", "saw"]}
    (tmp_path / "index.json").write_text(json.dumps(index))
    spec = spec_of(classes=str(tmp_path / "index.json"))
    for classes in (["n01", "n03"], ["saw", "tench"]):
        order = find_order(spec, network(1000), classes)
        assert sorted(order.outputs.logits) == [0, 491]
    keep = spec.model_copy(update={"other_classes": "keep"})
    with pytest.raises(ModelError, match=r"none for 997 of them, such as 1"):
        find_order(keep, network(1000), ["n01", "n03"])


def test_names_match_in_either_form_of_unicode():
    order = find_order(spec_of(classes=["\u00e9", "b"]), network(2), ["b", "e\u0301"])
    assert order.outputs.logits == [1, 0]


def test_an_imagenet_network_knows_the_folders_of_its_synsets():
    clf = la.load_classifier("tf_efficientnet_lite0")
    classes = ["n02123045", "n04008634", "n07920052"]  # tabby, projectile, espresso
    order = find_order(spec_of(classes="imagenet"), clf, classes)
    clf.choose(order.outputs.logits)
    pictures = [Image.fromarray(getattr(skimage.data, n)()) for n in ("coffee", "chelsea")]
    pixels = torch.from_numpy(as_floats([to_grid(picture, 224) for picture in pictures]))
    with torch.no_grad():
        assert [classes[place] for place in clf(pixels).argmax(1)] == ["n07920052", "n02123045"]


@pytest.mark.parametrize("count", [1000, 11221, 11821, 21841, 21842, 21843])
def test_every_imagenet_of_timm_is_known_by_its_number_of_outputs(count):
    from lookaway.study.class_order import _imagenet

    assert len(_imagenet(spec_of(classes="imagenet"), count)[1]) == count


def test_names_in_a_checkpoint_that_are_not_the_images_are_refused(study, tmp_path, run_quickly):
    beside = {"class_names": [f"number {name}" for name in NUMBERS]}
    with pytest.raises(StudyError, match=r"By the checkpoint's class_names.*`classes` says it oth"):
        run_quickly(study(beside), tmp_path / "out")


def test_a_wrong_number_of_classes_names_the_setting(study, tmp_path, run_quickly, faces_for_all):
    with pytest.raises(StudyError, match=r"12 classes apart.*have 3.*`classes` says which"):
        run_quickly(study(data=faces_for_all), tmp_path / "out")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"classes": ["a"], "train": "head"}, "only for train: none"),
        ({"other_classes": "keep", "train": "all"}, "only for train: none"),
        ({"classes": ["a", "a"], "train": "none"}, "'a' is given twice"),
        ({"classes": [True, "a"], "train": "none"}, "quotes|valid string"),
        ({"classes": "nowhere.txt", "train": "none"}, r"nowhere\.txt.*cannot be read"),
        ({"averaged": True}, "give checkpoint"),
        ({"mean": [124, 116, 104]}, "divided by 255"),
        ({"std": 0}, "above 0"),
        ({"mean": [0.5, 0.5]}, "3 numbers"),
    ],
)
def test_settings_of_loading_that_make_no_sense_are_told(faces, spec, said):
    models = [{"name": "one", "timm": "test_resnet", **spec}]
    with pytest.raises(StudyError, match=said):
        parse_study({"data": {"folder": str(faces)}, "models": models})


def test_mean_and_std_of_a_study_s_model_are_in_its_network(faces):
    models = [{"name": "one", "timm": "test_resnet", "pretrained": False, "mean": 0, "std": "1"}]
    study = parse_study({"data": {"folder": str(faces)}, "models": models})
    clf, _ = load_model(study, study.models[0], ["ann", "bob", "cy"])
    assert clf.mean == (0.0,) * 3
    assert clf.std == (1.0,) * 3


def test_the_weights_that_are_taken_are_told_and_may_be_chosen(
    study, by_timm, tmp_path, capsys, run_quickly
):
    averaged = {f"module.{name}": value for name, value in by_timm.items()}
    averaged["module.fc.bias"] = averaged["module.fc.bias"] + 1
    beside = {"state_dict_ema": averaged}
    result = run_quickly(study(beside), tmp_path / "out", progress=True)
    told = capsys.readouterr().err
    assert "averaged weights from state_dict_ema of its checkpoint, not state_dict" in told
    assert "`averaged: false` takes the raw ones" in told
    assert result.plan.loaded["one"].checkpoint == Origin(
        taken="state_dict_ema",
        averaged=True,
        left=("state_dict",),
        prefix="module.",
        new_head=False,
    )
    weights = [planned(study(beside, averaged=kind))[0].weights for kind in (True, False)]
    assert weights[0] == result.plan.weights != weights[1]


def test_a_trunk_alone_is_trained_a_head_and_refused_where_nothing_is_trained(
    study, by_timm, tmp_path, run_quickly
):
    trunk = {name: value for name, value in by_timm.items() if not name.startswith("fc.")}
    given = study(train="head", epochs=1)
    given["data"]["split"] = {"train": 0.34, "val": 0.33, "test": 0.33}
    torch.save({"model": trunk}, tmp_path / "net.pth")
    result = run_quickly(given, tmp_path / "out")
    assert result.plan.loaded["one"].checkpoint.new_head
    given["models"][0]["train"] = "none"
    with pytest.raises(StudyError, match=r"trunk alone.*`train: head`"):
        run_quickly(given, tmp_path / "other")

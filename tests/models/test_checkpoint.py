"""Checkpoints as people save them are read, and what is taken of them is told."""

import argparse
import gzip
import pathlib
import zipfile

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.optim.swa_utils import AveragedModel

import lookaway as la
from lookaway.errors import InputError, ModelError, WeightsError
from lookaway.models.checkpoint import read_checkpoint
from lookaway.models.class_names import output_names, read_names
from lookaway.models.weights import weights_hash


def network(seed=0, classes=3):
    torch.manual_seed(seed)
    return timm.create_model("test_resnet", num_classes=classes)


@pytest.fixture(scope="module")
def net():
    return network()


@pytest.fixture(scope="module")
def weights(net):
    return net.state_dict()


def before(prefix, weights):
    return {f"{prefix}{name}": value for name, value in weights.items()}


def load(path, **options):
    return la.load_classifier("test_resnet", checkpoint=path, **options)


# Where the weights lie in a file


@pytest.mark.parametrize("name", ["a.ckpt", "a.pth.tar", "a.bin", "a.pt", "a.PTH", "a.safetensors"])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_the_content_says_how_a_file_is_read_whatever_its_ending(
    net, weights, tmp_path, name, kind
):
    if kind == "safetensors":
        save_file(weights, tmp_path / name)
    else:
        torch.save(weights, tmp_path / name, _use_new_zipfile_serialization=kind == "zip")
    assert weights_hash(load(tmp_path / name).module) == weights_hash(net)


def test_a_blob_of_the_hub_s_cache_has_no_ending_and_is_read(net, weights, tmp_path):
    save_file(weights, tmp_path / "b10b")
    assert weights_hash(load(tmp_path / "b10b").module) == weights_hash(net)


@pytest.mark.parametrize(
    ("wrap", "taken", "prefix"),
    [
        (lambda w: w, "", ""),
        (lambda w: {"state_dict": w, "epoch": 3, "optimizer": {"state": {0: w}}}, "state_dict", ""),
        (lambda w: {"model": before("module.", w)}, "model", "module."),
        (lambda w: {"model_state_dict": before("backbone.", w)}, "model_state_dict", "backbone."),
        (lambda w: {"net": before("module._orig_mod.", w)}, "net", "module._orig_mod."),
        (lambda w: {"model": {"state_dict": w}}, "model.state_dict", ""),
        (lambda w: {"checkpoint": {"model": before("net.", w)}}, "checkpoint.model", "net."),
        (lambda w: {"a name of one's own": w, "epoch": torch.tensor(3)}, "a name of one's own", ""),
        (lambda w: {"model": w, "avg_metrics": {"loss": torch.zeros(1)}}, "model", ""),
        (lambda w: {"state_dict": w, "args": argparse.Namespace(lr=0.1)}, "state_dict", ""),
    ],
)
def test_the_state_dict_is_found_and_what_was_taken_off_its_names_is_told(
    net, weights, tmp_path, wrap, taken, prefix
):
    torch.save(wrap(weights), tmp_path / "a.pt")
    clf = load(tmp_path / "a.pt")
    assert weights_hash(clf.module) == weights_hash(net)
    assert (clf.origin.taken, clf.origin.prefix) == (taken, prefix)


def test_a_prefix_that_is_the_network_s_own_stays(tmp_path):
    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.features = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1))

    from lookaway.models.weights import fit_weights

    net = Own()
    assert fit_weights(Own(), net.state_dict(), "own") == ""
    assert fit_weights(Own(), before("features.", net.state_dict()), "own") == "features."
    with pytest.raises(WeightsError, match=r"missing: features\.0\.weight"):
        fit_weights(Own(), net.features.state_dict(), "own")


def test_weights_beside_others_are_refused_with_the_part_that_would_fit(weights, tmp_path):
    mixed = {**before("model.", weights), "criterion.weight": torch.zeros(3)}
    torch.save({"state_dict": mixed}, tmp_path / "a.ckpt")
    with pytest.raises(WeightsError, match=r"behind 'model\.' has all its names.*criterion"):
        load(tmp_path / "a.ckpt")


def test_several_networks_in_a_file_are_refused_by_name(weights, tmp_path):
    torch.save({"student": weights, "teacher": weights}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=r"several state dicts \(student, teacher\)"):
        load(tmp_path / "a.pt")


# Averaged weights


def averaged_model(net, updates):
    model = AveragedModel(network(seed=5))
    for _ in range(updates):
        model.update_parameters(net)
    return model.state_dict()


def lightning(raw, averaged, updates=2):
    """As Lightning's WeightAveraging leaves a checkpoint."""
    return {
        "state_dict": before("net.", averaged),
        "current_model_state": before("net.", raw),
        "averaging_state": {"n_averaged": torch.tensor(updates)},
    }


AVERAGED = {
    "state_dict_ema": lambda raw, ema: {"state_dict": raw, "state_dict_ema": ema},
    "model_ema": lambda raw, ema: {"model": raw, "model_ema": before("module.", ema)},
    "ema": lambda raw, ema: {"model_state_dict": raw, "ema": ema},
    "ema_state_dict": lambda raw, ema: {"net": raw, "ema_state_dict": {"module": ema}},
    "swa_model": lambda raw, ema: {
        "state_dict": raw,
        "swa_model": {**before("module.", ema), "n_averaged": torch.tensor(2)},
    },
    "callback": lambda raw, ema: {
        "state_dict": raw,
        "callbacks": {"StochasticWeightAveraging": {"average_model_state": ema}},
    },
    "lightning": lightning,
}


@pytest.mark.parametrize("kind", AVERAGED)
def test_averaged_weights_are_taken_as_timm_does_and_the_user_may_choose(weights, tmp_path, kind):
    ema = network(seed=1).state_dict()
    torch.save(AVERAGED[kind](weights, ema), tmp_path / "a.pth")
    for asked, expected in [(None, ema), (True, ema), (False, weights)]:
        clf = load(tmp_path / "a.pth", averaged=asked)
        assert torch.equal(clf.module.fc.weight, expected["fc.weight"]), asked
        assert clf.origin.averaged == (asked is not False)
        assert clf.origin.left
    if kind in ("state_dict_ema", "model_ema"):
        by_timm = timm.create_model("test_resnet", num_classes=3)
        timm.models.load_checkpoint(by_timm, str(tmp_path / "a.pth"))
        assert weights_hash(by_timm) == weights_hash(load(tmp_path / "a.pth").module)


def test_an_averaged_model_saved_alone_is_read_without_its_counter(net, tmp_path):
    torch.save(averaged_model(net, 1), tmp_path / "a.pt")
    clf = load(tmp_path / "a.pt")
    assert weights_hash(clf.module) == weights_hash(net)
    assert clf.origin.averaged
    with pytest.raises(WeightsError, match="no raw weights"):
        load(tmp_path / "a.pt", averaged=False)


def test_an_average_that_nothing_came_to_is_not_taken(net, weights, tmp_path):
    torch.save({"model": weights, "swa": averaged_model(net, 0)}, tmp_path / "a.pt")
    torch.save(lightning(weights, network(seed=1).state_dict(), updates=0), tmp_path / "b.ckpt")
    for name in ("a.pt", "b.ckpt"):
        clf = load(tmp_path / name)
        assert weights_hash(clf.module) == weights_hash(net)
        assert not clf.origin.averaged


def test_averaged_weights_that_are_not_there_or_do_not_fit_are_refused(weights, tmp_path):
    torch.save({"state_dict": weights, "state_dict_ema": None}, tmp_path / "raw.pth")
    with pytest.raises(WeightsError, match=r"no averaged weights.*weights in it: state_dict"):
        load(tmp_path / "raw.pth", averaged=True)
    shadow = {name: x for name, x in weights.items() if "running" not in name}
    torch.save({"state_dict": weights, "ema": shadow}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"running_mean.*`averaged: false` takes.*state_dict"):
        load(tmp_path / "a.pth")
    with pytest.raises(InputError, match="give a checkpoint"):
        la.load_classifier("test_resnet", pretrained=False, averaged=True)


# What is refused


class Unknown:
    pass


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p, w: torch.save({"state_dict": w, "x": pathlib.PurePosixPath()}, p), "PosixPath"),
        (lambda p, w: torch.save({"model": w, "acc": np.float64(1)}, p), "scalar.*numpy.dtype"),
        (
            lambda p, w: torch.save({"model": w, "x": Unknown()}, p,
                                    _use_new_zipfile_serialization=False),
            "test_checkpoint.Unknown",
        ),
        (lambda p, w: torch.save(network(), p), r"timm\.models\.resnet\.ResNet"),
        (lambda p, w: torch.jit.save(torch.jit.script(torch.nn.ReLU()), p), "TorchScript"),
        (lambda p, w: p.write_text("<!DOCTYPE html>\x1b[1mquota exceeded"), "web page"),
        (lambda p, w: p.write_text("version https://git-lfs.github.com/spec/v1\n"), "lfs pull"),
        (lambda p, w: p.write_bytes(b""), "empty"),
        (lambda p, w: p.write_bytes(gzip.compress(b"weights")), "gzip archive; unpack"),
        (lambda p, w: zipfile.ZipFile(p, "w").writestr("w/a.pt", b"x"), "zip archive"),
        (lambda p, w: p.write_text('{"weight_map": {"a": "b"}}'), "several files"),
        (lambda p, w: (torch.save(w, p), p.write_bytes(p.read_bytes()[:-99])), "cut or damaged"),
        (lambda p, w: p.mkdir(), "is a folder"),
        (lambda p, w: torch.save({f"\x1b[31m{'x' * 9999}\n": torch.zeros(1)}, p), "extra: xxx"),
        (lambda p, w: torch.save({"model": {**w, "\x1b[31mred" * 99: 1}}, p), "not a tensor"),
    ],
)  # fmt: skip
def test_a_refusal_names_what_is_refused_in_a_bounded_printable_line(weights, tmp_path, make, said):
    make(tmp_path / "mine.pth", weights)
    with pytest.raises(WeightsError, match=said) as caught:
        load(tmp_path / "mine.pth")
    told = str(caught.value)
    assert told.isprintable()
    assert len(told) < 1000
    assert "mine.pth" in told
    assert "likely succeed" not in told


def test_the_index_of_shards_is_refused_with_the_reason(tmp_path):
    path = tmp_path / "model.safetensors.index.json"
    path.write_text('{"weight_map": {}}')
    with pytest.raises(WeightsError, match="several files"):
        load(path)


def test_reading_plain_options_leaves_torch_s_list_of_safe_names_alone(weights, tmp_path):
    torch.save({"model": weights, "args": argparse.Namespace(a=1)}, tmp_path / "a.pt")
    before = set(torch.serialization.get_safe_globals())
    load(tmp_path / "a.pt")
    assert set(torch.serialization.get_safe_globals()) == before
    with torch.serialization.safe_globals([argparse.Namespace]):
        load(tmp_path / "a.pt")
        assert argparse.Namespace in torch.serialization.get_safe_globals()


def test_one_of_several_shards_is_told(weights, tmp_path):
    some = dict(list(weights.items())[:9])
    save_file(some, tmp_path / "model-00001-of-00002.safetensors")
    with pytest.raises(WeightsError, match=r"missing: .*one of several files"):
        load(tmp_path / "model-00001-of-00002.safetensors", num_classes=3)


# The classification layer


def test_a_trunk_alone_gets_a_seeded_head_where_it_is_asked_for(weights, tmp_path):
    trunk = {name: value for name, value in weights.items() if not name.startswith("fc.")}
    torch.save({"model": before("encoder.", trunk)}, tmp_path / "trunk.pt")
    first, again, other = (load(tmp_path / "trunk.pt", num_classes=5, seed=s) for s in (0, 0, 1))
    assert first.num_classes == 5
    assert first.origin.new_head
    assert torch.equal(first.module.conv1[0].weight, weights["conv1.0.weight"])
    assert weights_hash(first.module) == weights_hash(again.module) != weights_hash(other.module)
    with pytest.raises(WeightsError, match=r"trunk alone.*fc\.weight.*`train: head`"):
        load(tmp_path / "trunk.pt")
    del trunk["conv1.0.weight"]
    torch.save(trunk, tmp_path / "less.pt")
    with pytest.raises(WeightsError, match=r"missing: conv1\.0\.weight$"):
        load(tmp_path / "less.pt", num_classes=5)


def test_a_head_of_one_row_stays_one(tmp_path):
    torch.save(network(classes=1).state_dict(), tmp_path / "binary.pt")
    assert load(tmp_path / "binary.pt").module.fc.weight.shape[0] == 1


# Normalisation and the order of classes


@pytest.mark.parametrize(
    ("given", "held"), [(0.5, (0.5,) * 3), ([0.1, 0.2, 0.3], (0.1, 0.2, 0.3)), ([0.5], (0.5,) * 3)]
)
def test_mean_and_std_take_the_place_of_timm_s(given, held):
    clf = la.load_classifier("test_resnet", pretrained=False, mean=given, std=given)
    assert clf.mean == clf.std == held
    images = torch.rand(2, 3, 160, 160)
    exact = [torch.tensor(held).view(3, 1, 1)] * 2
    torch.testing.assert_close(clf.prepare(images), (images - exact[0]) / exact[1])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mean": [0.5, 0.5]}, "mean must be 3 numbers.*or one for all"),
        ({"mean": [123.7, 116.3, 103.5]}, "divided by 255"),
        ({"std": 0}, "std must be of pixels.*above 0"),
        ({"std": float("nan")}, "std must be of pixels"),
        ({"std": "a"}, "std must be 3 numbers"),
    ],
)
def test_numbers_that_are_none_of_pixels_are_refused(given, said):
    with pytest.raises(InputError, match=said):
        la.load_classifier("test_resnet", pretrained=False, **given)


def test_logits_choose_and_order_the_network_s_outputs():
    whole = la.load_classifier("test_resnet", pretrained=False, num_classes=5, seed=1)
    some = la.Classifier(
        whole.module, mean=whole.mean, std=whole.std, input_size=160, logits=[4, 0, 2]
    )
    images = torch.rand(2, 3, 160, 160)
    assert torch.equal(some(images), whole(images)[:, [4, 0, 2]])
    assert some.num_classes == 3
    maps = la.GradCAM()(some, images, classes=torch.tensor([0, 2])).maps["layer4.0"]
    expected = la.GradCAM()(whole, images, classes=torch.tensor([4, 2])).maps["layer4.0"]
    assert torch.equal(maps, expected)
    with pytest.raises(ModelError, match="5 outputs, so there is no output 5"):
        la.Classifier(whole.module, logits=[5])(images)
    for wrong in ([1, 1], [-1], []):
        with pytest.raises(InputError, match="none of them twice"):
            la.Classifier(whole.module, logits=wrong)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["b", "a"], {0: ("b",), 1: ("a",)}),
        ({"a": 1, "b": 0}, {0: ("b",), 1: ("a",)}),
        ({"1": 1, "0": 0}, {0: ("0",), 1: ("1",)}),
        ({"1": "a", "0": "b"}, {0: ("b",), 1: ("a",)}),
        ({0: ["n1", "tench"], 7: ["n2", "crane"]}, {0: ("n1", "tench"), 7: ("n2", "crane")}),
    ],
)
def test_names_of_outputs_come_in_many_forms(given, names):
    assert output_names(given) == names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\nb\na\n", "'a' is given twice, for the outputs 0 and 2"),
        ("a\n\nb\n", "line 2 is empty"),
        ('{"a": 0, "b": 0}', "two names are given for the output 0"),
        ('{"a": 0, "a": 1}', "'a' is given twice"),
        ('{"a": "b"}', "is no place of an output"),
        ("[1, 2]", "is no name"),
        ("[", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[]", "no class is named"),
        ("", "no class is named"),
    ],
)
def test_a_file_of_names_that_are_none_is_refused(tmp_path, text, said):
    (tmp_path / "names.txt").write_text(text)
    with pytest.raises(ModelError, match=said):
        read_names(tmp_path / "names.txt")


def test_names_are_read_as_editors_and_systems_write_them(tmp_path):
    (tmp_path / "names.txt").write_bytes("é \r\nb\r\n\r\n".encode("utf-8-sig"))
    assert read_names(tmp_path / "names.txt") == {0: ("é",), 1: ("b",)}


@pytest.mark.parametrize(
    ("beside", "found"),
    [
        ({"class_to_idx": {"b": 0, "a": 1}}, "class_to_idx"),
        ({"classes": ["b", "a"]}, "classes"),
        ({"hyper_parameters": {"class_names": ["b", "a"]}}, "hyper_parameters.class_names"),
        ({"classes": 2, "class_names": ("b", "a")}, "class_names"),
        ({"classes": 2}, None),
    ],
)
def test_a_checkpoint_s_own_names_are_found(weights, tmp_path, beside, found):
    torch.save({"state_dict": weights, **beside}, tmp_path / "a.pt")
    names = read_checkpoint(tmp_path / "a.pt").names
    assert names == (None if found is None else (found, {0: ("b",), 1: ("a",)}))

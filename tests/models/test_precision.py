"""Networks in bfloat16: near their own logits and maps, whatever they are built of."""

import pytest
import timm
import torch
from torch import nn

import lookaway as la
from lookaway.models.folding import compute_in, fold_batch_norm
from lookaway.models.precision import computing
from networks import narrow_vgg
from oracles import enliven


@pytest.mark.parametrize(
    ("name", "fold"),
    [
        ("resnet18", False),
        ("resnet18", True),
        ("tf_efficientnet_lite0", True),
        ("densenet121", True),
        ("narrow vgg11", True),  # it has no batch norm: folded or not is the same
        pytest.param("densenet121", False, marks=pytest.mark.slow),
        pytest.param("tf_efficientnet_lite0", False, marks=pytest.mark.slow),
        pytest.param("vgg11", True, marks=pytest.mark.slow),
    ],
)
def test_logits_gradients_and_maps_are_float32_and_near_what_they_were(name, fold):
    narrow = name == "narrow vgg11"
    net = narrow_vgg(11, 5) if narrow else timm.create_model(name, num_classes=5)
    clf = la.Classifier(enliven(net).eval(), input_size=64)
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    layers = clf.layer_names("last")
    before = la.GradCAM()(clf, images, layers=layers)
    if fold:
        fold_batch_norm(clf, shift=layers)
    compute_in(clf, "bfloat16")
    after = la.GradCAM()(clf, images, classes=before.classes, layers=layers)
    scale = before.logits.abs().max()
    assert after.logits.dtype == after.maps[layers[0]].dtype == torch.float32
    assert 0 < (after.logits - before.logits).abs().max() < 0.1 * scale
    apart = la.heatmap(after.maps[layers[0]]) - la.heatmap(before.maps[layers[0]])
    assert float(apart.abs().mean()) < 0.1
    signs = la.FGSM().find(clf, images, before.classes, [0.1]).codes.sign()
    assert signs.dtype == torch.int8
    assert float((signs != 0).float().mean()) > 0.5
    assert clf.trace().names("last") == layers


class Scaled(nn.Module):
    """A float32 parameter between two convolutions, as in networks with a layer scale."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
        self.scale, self.head = nn.Parameter(torch.ones(8, 1, 1)), nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.two(self.one(x) * self.scale).relu().mean(dim=(2, 3)))


def test_what_is_neither_convolution_nor_fully_connected_keeps_its_precision():
    clf = la.Classifier(Scaled().requires_grad_(False))
    images = torch.rand(2, 3, 16, 16)
    logits = clf(images)
    compute_in(clf, "bfloat16")
    assert clf.module.scale.dtype == torch.float32
    assert clf.module.one.weight.dtype == clf.module.head.weight.dtype == torch.bfloat16
    torch.testing.assert_close(clf(images), logits, rtol=0.05, atol=0.02)
    assert la.GradCAM()(clf, images, layers="two").maps["two"].shape == (2, 12, 12)


# What float32 means: PyTorch's own settings, which are of the whole process.

PLACES = [
    (torch.backends.cuda.matmul, "fp32_precision"),
    (torch.backends.cudnn.conv, "fp32_precision"),
    (torch.backends.cudnn.rnn, "fp32_precision"),
    (torch.backends.mkldnn.matmul, "fp32_precision"),
    (torch.backends.mkldnn.conv, "fp32_precision"),
]


def settings():
    found = [getattr(*place) for place in PLACES]
    for older in (torch.get_float32_matmul_precision, lambda: torch.backends.cudnn.allow_tf32):
        try:
            found.append(older())
        except RuntimeError:  # somebody has set the newer ones otherwise
            found.append("?")
    return found


EXACT = ["ieee"] * 5 + ["highest", False]
TF32 = ["tf32"] * 3 + ["ieee"] * 2 + ["high", True]


def of_the_caller(kind):
    """Settings that a caller may have made."""
    if kind == "for speed":
        torch.set_float32_matmul_precision("medium")
        torch.backends.cudnn.allow_tf32 = True
    elif kind == "for speed, the newer way":
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        torch.backends.cudnn.conv.fp32_precision = "tf32"
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    elif kind == "exact convolutions, the newer way":
        torch.backends.cudnn.conv.fp32_precision = "ieee"


@pytest.fixture(
    params=["default", "for speed", "for speed, the newer way", "exact convolutions, the newer way"]
)
def caller(request):
    before = [getattr(*place) for place in PLACES]
    of_the_caller(request.param)
    yield request.param
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True
    for (holder, name), value in zip(PLACES, before, strict=True):
        setattr(holder, name, value)


class Watched(nn.Module):
    """Notes the settings in its passes there and back; may fail there."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)
        self.seen, self.fails = [], False

    def forward(self, x):
        self.seen.append(settings())
        if self.fails:
            raise RuntimeError("it failed")
        maps = self.conv(x)
        if maps.requires_grad:
            maps.register_hook(lambda _gradient: self.seen.append(settings()))
        return self.fc(maps.relu().mean((2, 3)))


def calls(clf):
    images, labels = torch.rand(2, 3, 12, 12), torch.tensor([0, 1])
    return {
        "classifier": lambda: clf(images),
        "fgsm": lambda: la.FGSM()(clf, images, labels, [0.1]),
        "gradcam": lambda: la.GradCAM()(clf, images),
        "layers": lambda: clf.layer_names("convs"),
    }


@pytest.mark.parametrize("call", ["classifier", "fgsm", "gradcam", "layers"])
@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_float32_is_exact_within_a_call_and_the_callers_settings_are_back_after_it(
    caller, precision, call
):
    net, before = Watched(), settings()
    clf = la.Classifier(net, input_size=12)
    clf.precision = precision
    calls(clf)[call]()
    wanted = EXACT if precision == "float32" else TF32
    newer = [seen[:5] for seen in net.seen]
    assert newer == [wanted[:5]] * len(newer)
    assert len(newer) >= (3 if call in ("fgsm", "gradcam") else 1)
    if "newer way" not in caller:  # where PyTorch tells the older ones, they agree
        assert all(seen == wanted for seen in net.seen)
    assert settings() == before
    net.fails = True
    with pytest.raises(RuntimeError, match="it failed"):
        calls(la.Classifier(net, input_size=12))[call]()
    assert settings() == before


def test_contexts_within_each_other_end_in_their_order():
    before = settings()
    with computing("tf32"):
        with computing("float32"):
            assert settings() == EXACT
            with computing("bfloat16"):
                assert settings() == EXACT
        assert settings() == TF32
    assert settings() == before

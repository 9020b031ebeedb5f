from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lookaway.attacks.fgsm import FGSM
from lookaway.attacks.noise import SignNoise
from lookaway.errors import InputError, LayerError, LookawayError, ModelError
from lookaway.explainers.gradcam import GradCAM
from lookaway.models.classifier import Classifier
from oracles import Passes, enliven, pixels, resized, state_of

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def _normalised(images):
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    return (images - mean) / std


@pytest.mark.parametrize("size", [(16, 16), (24, 10), (9, 40)])
def test_the_network_gets_what_torch_resizes_and_normalises(tiny_net, size):
    net, images = tiny_net(), pixels(2, 3, 20, 28)
    clf = Classifier(net, mean=MEAN, std=STD, input_size=size)
    expected = _normalised(resized(images, size))
    assert torch.allclose(clf.prepare(images), expected, atol=1e-6)
    assert torch.allclose(clf(images), net.eval()(expected), atol=1e-5)


def test_pixels_of_the_right_size_are_not_resampled(tiny_net):
    images = pixels(2, 3, 16, 16)
    clf = Classifier(tiny_net(), mean=MEAN, std=STD, input_size=16)
    assert torch.equal(clf.prepare(images), _normalised(images))


def test_without_an_input_size_pixels_keep_theirs(tiny_net):
    clf = Classifier(tiny_net())
    images = pixels(1, 3, 13, 17)
    assert torch.equal(clf.prepare(images), images)


def test_the_gradient_by_the_pixels_is_that_of_the_plain_steps(tiny_net):
    net, images = tiny_net().eval(), pixels(2, 3, 24, 24)
    clf = Classifier(net, mean=MEAN, std=STD, input_size=16)
    ours, plain = images.clone().requires_grad_(), images.clone().requires_grad_()
    clf(ours)[:, 1].sum().backward()
    net(_normalised(resized(plain, (16, 16))))[:, 1].sum().backward()
    assert plain.grad.abs().max() > 1e-4
    assert torch.allclose(ours.grad, plain.grad, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_network_in_half_precision_gives_float32_logits_near_its_own(tiny_net, dtype):
    images = pixels(2, 3, 16, 16)
    full = Classifier(tiny_net(), mean=MEAN, std=STD, input_size=16)(images)
    half = Classifier(tiny_net().to(dtype), mean=MEAN, std=STD, input_size=16)(images)
    assert half.dtype == torch.float32
    assert torch.allclose(half, full, atol=0.05 * float(full.detach().abs().max()))


def test_a_network_in_double_precision_keeps_it(tiny_net):
    assert Classifier(tiny_net().double(), input_size=16)(pixels(1, 3, 16, 16)).dtype == (
        torch.float64
    )


def test_it_predicts_in_eval_mode_whatever_mode_the_network_is_in(tiny_net):
    images = pixels(4, 3, 16, 16)
    expected = Classifier(tiny_net().eval(), input_size=16)(images)
    in_training = Classifier(tiny_net().train(), input_size=16)
    assert torch.equal(in_training(images), expected)
    assert in_training.training


def test_the_number_of_classes_takes_one_pass_and_is_kept(tiny_net):
    net = tiny_net(num_classes=5)
    clf = Classifier(net, input_size=16)
    with Passes(net) as passes:
        assert (clf.num_classes, clf.num_classes) == (5, 5)
    assert passes.count == 1


class Wrapped(nn.Module):
    """Gives a tiny network's logits in another form."""

    def __init__(self, net, form):
        super().__init__()
        self.net, self.form = net, form

    def forward(self, x):
        return self.form(self.net(x))


@pytest.mark.parametrize(
    "form",
    [
        lambda logits: (logits, logits * 0),
        lambda logits: [logits],
        lambda logits: {"features": logits * 0, "logits": logits},
        lambda logits: {"only": logits},
        lambda logits: SimpleNamespace(logits=logits),
    ],
    ids=["tuple", "list", "mapping", "mapping-of-one", "attribute"],
)
def test_logits_are_found_in_what_the_network_gives(tiny_net, form):
    images = pixels(2, 3, 16, 16)
    clf = Classifier(Wrapped(tiny_net(), form), input_size=16)
    assert torch.equal(clf(images), Classifier(tiny_net(), input_size=16)(images))


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (lambda logits: logits[:, :, None, None], r"\(\d, 4, 1, 1\).*\(N, K\)"),
        (lambda logits: logits[:1], r"\(1, 4\) for \d images"),
        (lambda logits: None, "NoneType"),
        (lambda logits: {}, "NoneType"),
        (lambda logits: (), "NoneType"),
        (lambda logits: logits / 0 * 0, "NaN"),
        (lambda logits: logits.abs() / 0, "infinite"),
    ],
    ids=["4-d", "batch", "none", "empty-mapping", "empty-tuple", "nan", "infinite"],
)
def test_what_is_not_finite_logits_is_a_model_error_that_says_so(tiny_net, form, said):
    clf = Classifier(Wrapped(tiny_net(), form), input_size=16, name="mine")
    with pytest.raises(ModelError, match=f"mine.*{said}"):
        clf(pixels(2, 3, 16, 16))


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (torch.rand(3, 16, 16), r"\(3, 16, 16\)"),
        (torch.rand(2, 1, 16, 16), r"\(2, 1, 16, 16\)"),
        (torch.rand(2, 16, 16, 3), r"\(2, 16, 16, 3\)"),
        (torch.zeros(2, 3, 16, 16, dtype=torch.uint8), "uint8"),
    ],
)
def test_images_of_another_shape_or_type_are_refused(tiny, images, said):
    with pytest.raises(InputError, match=said):
        tiny(images)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mean": (0.5,)}, r"mean=\(0\.5,\)"),
        ({"std": (1.0, 1.0, 0.0)}, r"std must be .* above 0; got \(1\.0, 1\.0, 0\.0\)"),
        ({"input_size": 0}, "got 0"),
        ({"input_size": (16, 16, 3)}, r"\(16, 16, 3\)"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tiny_net, settings, said):
    with pytest.raises(InputError, match=said):
        Classifier(tiny_net(), **settings)


def test_a_path_in_place_of_a_network_is_refused():
    with pytest.raises(InputError, match="str"):
        Classifier("resnet50")


# The network of a user: after any call it is as it was.


class Fuse(nn.Module):
    """Passes its input on; raises at a chosen forward pass, or in the backward pass."""

    def __init__(self):
        super().__init__()
        self.passes_left, self.blows_backward = None, False

    def forward(self, x):
        if self.passes_left is not None:
            if self.passes_left == 0:
                raise RuntimeError("the fuse blew")
            self.passes_left -= 1
        return _Backward.apply(x) if self.blows_backward else x


class _Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("the fuse blew")


class Users(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        )
        self.fuse = Fuse()
        self.second = nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
        self.aside = nn.Conv2d(4, 2, 1)
        self.drop = nn.Dropout(0.3)
        self.fc = nn.Linear(6, 3)
        self.ruin = 1.0
        self.flatten_second = False

    def forward(self, x):
        x = self.first(x)
        self.aside(x.clone())
        x = self.second(self.fuse(x))
        return self.fc(self.drop(x.mean(dim=(2, 3)))) * self.ruin


def _users_network(dtype=torch.float32):
    net = enliven(Users()).to(dtype, memory_format=torch.channels_last)
    net.train()
    net.second.eval()
    net.first[1].eval()
    net.first[0].weight.requires_grad_(False)
    net.fc.bias.requires_grad_(False)
    net.first[0].weight.grad = torch.full_like(net.first[0].weight, 3.0)  # frozen, yet with one
    net.fc.weight.grad = torch.arange(18.0).view(3, 6).to(dtype)
    net.fc.register_forward_hook(lambda _layer, _inputs, _output: None)
    net.second.register_full_backward_hook(lambda _layer, _inputs, _outputs: None)
    return net


IMAGES, LABELS = pixels(2, 3, 10, 10), torch.tensor([0, 2])
CALLS = {
    "classifier": lambda clf: clf(IMAGES),
    "layer_names": lambda clf: clf.layer_names("convs"),
    "num_classes": lambda clf: clf.num_classes,
    "fgsm": lambda clf: FGSM()(clf, IMAGES, LABELS, [0.1, 0.2]),
    "noise": lambda clf: SignNoise()(clf, IMAGES, LABELS, [0.1]),
    "gradcam": lambda clf: GradCAM()(clf, IMAGES, LABELS),
    "gradcam-layers": lambda clf: GradCAM()(clf, IMAGES, None, ["first.0", "first", "second"]),
}


def _changes(before, net):
    after = state_of(net)
    return [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("call", CALLS)
def test_a_call_leaves_the_users_network_as_it_was(call, dtype):
    net = _users_network(dtype)
    before = state_of(net)
    clf = Classifier(net, input_size=10)
    CALLS[call](clf)
    assert _changes(before, net) == []
    assert clf.training


@pytest.mark.parametrize(
    ("call", "passes"),
    [
        ("classifier", 0),
        ("layer_names", 0),
        ("num_classes", 0),
        ("noise", 0),
        ("fgsm", 0),
        ("fgsm", 1),
        ("gradcam", 0),
        ("gradcam", 1),
        ("gradcam", 2),
        ("gradcam-layers", 0),
        ("gradcam-layers", 1),
    ],
)
def test_a_call_that_raises_in_a_forward_pass_leaves_the_network_as_it_was(call, passes):
    net = _users_network()
    before = state_of(net)
    net.fuse.passes_left = passes
    with pytest.raises(RuntimeError, match="the fuse blew"):
        CALLS[call](Classifier(net, input_size=10))
    assert _changes(before, net) == []


@pytest.mark.parametrize("call", ["fgsm", "gradcam-layers"])
def test_a_call_that_raises_in_the_backward_pass_leaves_the_network_as_it_was(call):
    net = _users_network()
    before = state_of(net)
    net.fuse.blows_backward = True
    with pytest.raises(RuntimeError, match="the fuse blew"):
        CALLS[call](Classifier(net, input_size=10))
    assert _changes(before, net) == []


@pytest.mark.parametrize("call", [name for name in CALLS if name != "layer_names"])
def test_a_call_that_meets_nan_logits_leaves_the_network_as_it_was(call):
    net = _users_network()
    before = state_of(net)
    net.ruin = float("nan")
    with pytest.raises(ModelError, match="NaN"):
        CALLS[call](Classifier(net, input_size=10))
    assert _changes(before, net) == []


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda clf: GradCAM()(clf, IMAGES, layers=["first", "nowhere"]), LayerError),
        (lambda clf: GradCAM()(clf, IMAGES, layers=["first", "aside"]), LayerError),
        (lambda clf: GradCAM()(clf, IMAGES, layers="aside"), LayerError),
        (lambda clf: GradCAM()(clf, IMAGES, torch.tensor([0, 3])), InputError),
        (lambda clf: clf.layer_names(["first", "fc"]), LayerError),
        (lambda clf: FGSM()(clf, IMAGES, LABELS, [2.0]), InputError),
        (lambda clf: SignNoise()(clf, IMAGES * 255, LABELS, [0.1]), InputError),
        (lambda clf: clf(IMAGES[:, :1]), InputError),
    ],
    ids=["unknown", "one-idle", "idle", "class", "no-maps", "epsilon", "range", "shape"],
)
def test_a_call_that_is_refused_leaves_the_network_as_it_was(call, error):
    net = _users_network()
    before = state_of(net)
    with pytest.raises(error) as caught:
        call(Classifier(net, input_size=10))
    assert isinstance(caught.value, LookawayError)
    assert _changes(before, net) == []


def test_the_comparison_of_states_sees_every_kind_of_change():
    changes = {
        "training": lambda net: net.drop.eval(),
        "_forward_hooks": lambda net: net.fc.register_forward_hook(lambda *_: None),
        "requires_grad": lambda net: net.fc.bias.requires_grad_(True),
        "grad": lambda net: net.fc.weight.grad.zero_(),
        "values": lambda net: net.second[1].running_mean.add_(1.0),
        "layout": lambda net: net.to(memory_format=torch.contiguous_format),
    }
    for kind, change in changes.items():
        net = _users_network()
        before = state_of(net)
        change(net)
        assert any(name.endswith(f": {kind}") for name in _changes(before, net)), kind

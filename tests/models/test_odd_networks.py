"""Networks that are not as one wishes: right results, or an error that names the network."""

from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lookaway as la
from lookaway.errors import InputError, LayerError, ModelError
from lookaway.models.steady import check_steady
from odd import (
    AlwaysDrops,
    ChangesMode,
    ChangesModeOfAPart,
    CountsAside,
    CountsInABuffer,
    GathersStatistics,
    NoConvolution,
    NormsTheBatch,
    Odd,
)
from oracles import enliven, pixels, state_of

IMAGES, LABELS = pixels(3, 3, 16, 16), torch.tensor([0, 1, 3])
Output = namedtuple("Output", "logits features")


def classifier(module):
    return la.Classifier(module, input_size=16, name="mine")


def explained(clf):
    found = la.GradCAM()(clf, IMAGES)
    return found.maps[next(iter(found.maps))], found.logits


def attacked(clf):
    return la.FGSM()(clf, IMAGES, LABELS, [0.1])


CALLS = {"classifier": lambda clf: clf(IMAGES), "gradcam": explained, "fgsm": attacked}

# What each call gives in the end: None for the right result, else what the error says of "mine".
NETWORKS = {
    "tuple": (lambda: Odd(lambda logits: (logits, logits * 0)), None),
    "named-tuple": (lambda: Odd(lambda logits: Output(logits, 0)), None),
    "list": (lambda: Odd(lambda logits: [logits]), None),
    "mapping": (lambda: Odd(lambda logits: {"x": logits * 0, "logits": logits}), None),
    "attribute": (lambda: Odd(lambda logits: SimpleNamespace(logits=logits)), None),
    "data-parallel": (lambda: nn.DataParallel(Odd()), None),
    "in-training-mode": (lambda: Odd().train(), None),
    "counts-in-place": (lambda: GathersStatistics(), None),
    "nan": (lambda: Odd(lambda logits: logits / 0 * 0), "mine gives logits that are NaN"),
    "infinity": (lambda: Odd(lambda logits: logits.abs() / 0), "mine gives logits.*infinite"),
    "infinite-maps": (
        lambda: Odd(between=lambda maps: maps / 0),
        "mine gives logits that are NaN or infinite",
    ),
    "none": (lambda: Odd(lambda logits: None), "mine gives NoneType"),
    "text": (lambda: Odd(lambda logits: {"text": "cat"}), "mine gives str"),
    "images-lost": (lambda: Odd(lambda logits: logits[:0]), "mine gave logits"),
    "mode": (lambda: ChangesMode(), "mine turns on training mode|ChangesMode turns on"),
    "mode-of-a-part": (lambda: ChangesModeOfAPart(), "turns on training mode"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_gives_the_right_result_or_an_error_that_names_it(name, call):
    make, said = NETWORKS[name]
    clf = classifier(make())
    before = state_of(clf.module)
    if said is not None:
        with pytest.raises(ModelError, match=said):
            CALLS[call](clf)
    else:
        found, right = CALLS[call](clf), CALLS[call](classifier(Odd()))
        torch.testing.assert_close(found, right)
    after = state_of(clf.module)
    if name in ("counts-in-place", "mode"):  # whose own forward pass writes into its buffers
        before, after = (
            {key: value for key, value in state.items() if key.endswith(": training")}
            for state in (before, after)
        )
    assert after == before


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_network_in_half_precision_looks_and_is_attacked_nearly_as_in_full(dtype):
    half, full = classifier(Odd().to(dtype)), classifier(Odd())
    maps, logits = explained(half)
    assert maps.dtype == logits.dtype == torch.float32
    right, _ = explained(full)
    apart = la.nissim(la.heatmap(maps, 32), la.heatmap(right, 32))
    assert float(apart.max()) < 0.05
    same = (attacked(half) == attacked(full)).float().mean()
    assert float(same) > 0.9
    assert (attacked(half) - IMAGES).abs().max() <= 0.1 + 1e-6


def test_half_precision_that_overflows_is_told():
    def huge(maps):
        return maps * 60_000.0

    clf = classifier(Odd(between=huge).half())
    for call in CALLS.values():
        with pytest.raises(ModelError, match="mine"):
            call(clf)


def test_maps_that_are_not_finite_behind_finite_logits_are_told():
    """The explained layer's own output is infinite somewhere, but the head does not see it."""

    class Blinkers(nn.Module):
        def forward(self, maps):
            return torch.where(torch.isinf(maps), maps.new_zeros(()), maps) + 0 * maps.nan_to_num(
                posinf=1.0
            )

    class Spikes(nn.Module):
        def forward(self, maps):
            spike = torch.zeros_like(maps)
            spike[:, :, 0, 0] = float("inf")
            return maps + spike

    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), Spikes(), Blinkers(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    with pytest.raises(ModelError, match=r"mine has activations or gradients .* at layer '1'"):
        la.GradCAM()(classifier(net), IMAGES, layers="1")


def test_a_network_without_convolutions_is_attacked_but_has_no_maps():
    clf = classifier(NoConvolution())
    assert attacked(clf).shape == (1, 3, 3, 16, 16)
    for layers in ("last", "convs", "stages"):
        with pytest.raises(LayerError, match=r"^mine "):
            la.GradCAM()(clf, IMAGES, layers=layers)


def test_labels_and_classes_that_the_network_does_not_have_are_refused():
    clf = classifier(Odd(classes=3))
    with pytest.raises(InputError, match=r"labels must lie in 0…2; got 0 to 3"):
        attacked(clf)
    with pytest.raises(InputError, match=r"classes must lie in 0…2; got 0 to 3"):
        la.GradCAM()(clf, IMAGES, LABELS)


def test_layers_of_a_wrapped_network_carry_the_wrapper_s_name():
    clf = classifier(nn.DataParallel(Odd()))
    assert clf.layer_names("last") == ["module.net.trunk.5"]
    assert classifier(Odd()).layer_names("last") == ["net.trunk.5"]


def beside_the_batch(maps):
    """Instance norm: statistics of its own for each image."""
    return F.instance_norm(maps)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (CountsInABuffer, "mine keeps state between calls: calls"),
        (GathersStatistics, "mine keeps state between calls: calls"),
        (CountsAside, "mine gives other logits for the same image"),
        (AlwaysDrops, "mine gives other logits for the same image"),
        (
            NormsTheBatch,
            "mine gives other numbers .* in a batch than alone from layer 'net.trunk.1'",
        ),
        (lambda: Odd(between=beside_the_batch), None),
        (Odd, None),
    ],
)
def test_what_depends_on_earlier_calls_or_on_chance_is_noticed(network, said):
    clf = classifier(network())
    if said is None:
        check_steady(clf, IMAGES)
        return
    with pytest.raises(ModelError, match=said):
        check_steady(clf, IMAGES)


def test_what_mixes_images_where_the_logits_do_not_show_it_is_noticed():
    """Batch norm of a branch that the logits get nothing from, but that may be explained."""

    class Beside(Odd):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(8, track_running_stats=False)

        def forward(self, x):
            maps = self.net.trunk(x)
            return self.net.fc(maps.mean(dim=(2, 3)) + 0 * self.norm(maps).mean(dim=(2, 3)))

    with pytest.raises(ModelError, match="in a batch than alone from layer 'norm' on"):
        check_steady(classifier(Beside()), IMAGES)


CLOSED = {
    "scripted": lambda net: torch.jit.script(net),
    "traced": lambda net: torch.jit.trace(net, IMAGES),
    "a part scripted": lambda net: nn.Sequential(torch.jit.script(net)),
    "exported": lambda net: torch.export.export(net, (IMAGES,)).module(),
    "quantised": lambda net: torch.ao.quantization.quantize_dynamic(net, {nn.Linear}),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("kind", CLOSED)
def test_networks_whose_layers_cannot_be_watched_are_refused_with_what_to_give(kind):
    plain = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    )
    what = {"traced": "traced", "a part scripted": "scripted"}.get(kind, kind)
    with pytest.raises(ModelError, match=rf"mine is .*{what}.*give the plain torch.nn.Module"):
        classifier(CLOSED[kind](plain.eval()))


def test_a_compiled_network_is_used_as_it_was_before():
    net = Odd().eval()
    compiled = classifier(torch.compile(net))
    assert compiled.module is net
    torch.testing.assert_close(explained(compiled), explained(classifier(net)))


def test_a_network_made_in_inference_mode_is_explained_and_attacked_and_left_as_it_was():
    with torch.inference_mode():
        net = Odd()
        net.tied = net.net.fc  # the same tensors under two names
    parameters = list(net.parameters())
    clf = classifier(net)
    torch.testing.assert_close(explained(clf), explained(classifier(Odd())))
    torch.testing.assert_close(attacked(clf), attacked(classifier(Odd())))
    assert all(a is b for a, b in zip(net.parameters(), parameters, strict=True))
    assert all(parameter.is_inference() for parameter in parameters)


# Channels.


class Grey(nn.Module):
    def __init__(self, channels=1):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(channels, 8, 3), nn.Linear(8, 4)

    def forward(self, x):
        return self.fc(self.conv(x).relu().mean((2, 3)))


def test_grey_images_go_through_a_network_for_one_channel():
    clf = la.Classifier(enliven(Grey()), mean=0.5, std=0.25, input_size=16, name="mine")
    grey = pixels(3, 1, 20, 20)
    assert clf(grey).shape == (3, 4)
    assert la.FGSM()(clf, grey, LABELS, [0.1]).shape == (1, 3, 1, 20, 20)
    assert la.SignNoise()(clf, grey, LABELS, [0.1]).shape == (1, 3, 1, 20, 20)
    assert la.GradCAM()(clf, grey).maps["conv"].shape == (3, 14, 14)
    assert la.psnr(grey, grey * 0.9).shape == (3,)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("wanted", "given"), [(1, 3), (3, 1)])
def test_images_of_another_number_of_channels_are_refused_with_both_numbers(wanted, given, call):
    clf = la.Classifier(Grey(wanted), input_size=16, name="mine")
    calls = {
        "classifier": lambda images: clf(images),
        "gradcam": lambda images: la.GradCAM()(clf, images),
        "fgsm": lambda images: la.FGSM()(clf, images, LABELS, [0.1]),
    }
    with pytest.raises(InputError, match=rf"mine takes {wanted} channels?, .* have {given}"):
        calls[call](pixels(3, given, 16, 16))


def test_mean_and_std_may_be_one_number_for_all_channels_and_must_fit_the_network():
    three = la.Classifier(Grey(3), mean=0.5, std=(0.1, 0.2, 0.3))
    assert (three.mean, three.std) == ((0.5, 0.5, 0.5), (0.1, 0.2, 0.3))
    with pytest.raises(
        InputError, match=r"first convolution takes 1 channel; got mean=\(0, 0, 0\)"
    ):
        la.Classifier(Grey(1), mean=(0, 0, 0))
    with pytest.raises(InputError, match=r"std must be .* above 0; got 0\.0"):
        la.Classifier(Grey(1), std=0.0)

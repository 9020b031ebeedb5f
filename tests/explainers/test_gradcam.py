from functools import partial
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from captum.attr import LayerGradCam
from torch import nn
from torchcam.methods import GradCAM as TorchCam

from lookaway.attacks.fgsm import FGSM
from lookaway.errors import InputError, LayerError
from lookaway.explainers.cam import CAM, DEAD_BELOW
from lookaway.explainers.gradcam import GradCAM
from lookaway.models.classifier import Classifier
from oracles import Passes, enliven, gradcam_by_full_gradients, pixels, without_inplace


def _assert_same(ours, theirs, tolerance=1e-5):
    """Equal to a part of each map's maximum; a map of zeros only where theirs is."""
    assert ours.shape == theirs.shape
    peak = theirs.amax(dim=(1, 2), keepdim=True)
    assert bool(((ours - theirs).abs() <= tolerance * peak).all())


# Against other libraries, on whole architectures.


@pytest.fixture(scope="session")
def explained(family):
    """Maps of the first, middle and last convolution and of ``last``, for likely classes.

    Two images are explained for their own class, the third for the runner-up.
    """
    convs = family.clf.layer_names("convs")
    layers = [convs[0], convs[len(convs) // 2], convs[-1], family.last]
    with torch.no_grad():
        order = family.clf(family.images).argsort(dim=1, descending=True)
    classes = order[torch.arange(3), torch.tensor([0, 0, 1])]
    return layers, classes, GradCAM()(family.clf, family.images, classes, layers)


def test_maps_equal_captums_on_every_family(family, explained):
    """Torch-CAM's, below, are of the large ones too."""
    layers, classes, ours = explained
    if family.name in ("inception_v3", "legacy_xception"):
        layers = layers[-1:]
    peer = without_inplace(family.clf.module)  # Captum fails where a layer's output is overwritten
    images = family.clf.prepare(family.images)
    for layer in layers:
        cam = LayerGradCam(peer, peer.get_submodule(layer))
        theirs = cam.attribute(images, target=classes, relu_attributions=True)
        _assert_same(ours.maps[layer], theirs[:, 0].detach())


def test_maps_equal_torchcams_on_every_family(family, explained):
    layers, classes, ours = explained
    peer = without_inplace(family.clf.module)
    with TorchCam(peer, layers) as cam:
        scores = peer(family.clf.prepare(family.images))
        theirs = cam(classes.tolist(), scores, normalized=False)
    for layer, maps in zip(layers, theirs, strict=True):
        _assert_same(ours.maps[layer], maps)


def test_most_maps_of_every_family_are_alive_so_that_the_comparison_means_something(explained):
    layers, _, ours = explained
    alive = ~torch.stack([ours.dead[layer] for layer in layers])
    assert float(alive.float().mean()) >= 0.75
    assert bool(alive.any(dim=1).all())
    for layer in layers:
        assert torch.equal(ours.maps[layer].amax(dim=(1, 2)) > 0, ~ours.dead[layer])


def test_maps_and_logits_have_the_sizes_and_types_that_are_promised(family, explained):
    layers, classes, ours = explained
    assert list(ours.maps) == list(ours.dead) == layers
    sizes = family.clf.trace().layers
    for layer in layers:
        assert tuple(ours.maps[layer].shape) == (3, *sizes[layer].size)
        assert ours.maps[layer].dtype == torch.float32
        assert not ours.maps[layer].requires_grad
        assert ours.dead[layer].dtype == torch.bool
        assert bool((ours.maps[layer] >= 0).all())
    assert torch.equal(ours.classes, classes)
    assert ours.classes.dtype == torch.int64
    assert not ours.logits.requires_grad
    plain = family.clf(family.images).detach()
    assert torch.allclose(ours.logits, plain, rtol=1e-5, atol=1e-5 * float(plain.abs().max()))


# On paper, and against the slow version.


def test_the_map_is_the_one_worked_out_on_paper(on_paper, paper_image):
    # ∂logit₀/∂A is 2/4 and −1/4 at each of the four places, so the map is ReLU(A₀/2 − A₁/4).
    first = GradCAM()(on_paper, paper_image, torch.tensor([0]), "act")
    expected = [[0.8 / 2 - 0.2 / 4, 0.0], [0.4 / 2 - 0.8 / 4, 0.0]]
    assert torch.allclose(first.maps["act"][0], torch.tensor(expected), atol=1e-7)
    # ∂logit₁/∂A is −1/4 and 3/4.
    second = GradCAM()(on_paper, paper_image, torch.tensor([1]), "act")
    expected = [[0.6 / 4 - 0.8 / 4 + 0.0, 2.4 / 4], [2.4 / 4 - 0.4 / 4, 0.0]]
    assert torch.allclose(second.maps["act"][0], torch.tensor(expected).relu(), atol=1e-7)
    assert torch.allclose(first.logits, torch.tensor([[2 * 0.3 - 0.45, -0.3 + 3 * 0.45]]))
    assert GradCAM()(on_paper, paper_image).classes.tolist() == [1]


def test_before_a_relu_the_closed_places_count_in_the_map_but_not_in_the_weights(
    on_paper, paper_image
):
    # conv gives 0.8, −0.5, 0.4, 0 and blue; the ReLU is open at two places of four in channel 0
    # and at three in channel 1, so the weights of logit₁ are −1/4 · 2/4 and 3/4 · 3/4.
    explained = GradCAM()(on_paper, paper_image, torch.tensor([1]), "conv")
    red_green = torch.tensor([[0.8, -0.5], [0.4, 0.0]])
    blue = torch.tensor([[0.2, 0.8], [0.8, 0.0]])
    expected = (-1 / 8 * red_green + 9 / 16 * blue).relu()
    assert torch.allclose(explained.maps["conv"][0], expected, atol=1e-6)


@pytest.mark.parametrize("layer", ["trunk.0", "trunk.1", "trunk.2", "trunk.3", "trunk.4", "trunk"])
def test_maps_equal_those_of_full_gradients_image_by_image(tiny, layer):
    images, classes = pixels(4, 3, 16, 16, seed=3), torch.tensor([0, 1, 2, 3])
    ours = GradCAM()(tiny, images, classes, layer)
    theirs = gradcam_by_full_gradients(tiny.module, tiny.prepare(images), classes, layer)
    assert not bool(ours.dead[layer].all())
    _assert_same(ours.maps[layer], theirs)


# One call, many layers, many classes.


LAYERS = ["trunk.0", "trunk.2", "trunk.3", "trunk.5"]


def _assert_equal(one, other):
    assert torch.equal(one.classes, other.classes)
    assert torch.allclose(one.logits, other.logits)
    assert list(one.maps) == list(other.maps)
    for layer in one.maps:
        assert torch.equal(one.dead[layer], other.dead[layer])
        _assert_same(one.maps[layer], other.maps[layer], 1e-6)


def test_several_layers_in_one_call_give_the_maps_of_each_alone(tiny):
    images, classes = pixels(4, 3, 16, 16), torch.tensor([0, 1, 2, 3])
    together = GradCAM()(tiny, images, classes, LAYERS)
    assert list(together.maps) == LAYERS
    for layer in LAYERS:
        alone = GradCAM()(tiny, images, classes, layer)
        assert list(alone.maps) == [layer]
        assert torch.equal(together.dead[layer], alone.dead[layer])
        _assert_same(together.maps[layer], alone.maps[layer], 1e-6)


def test_layers_inside_one_another_give_the_maps_of_each_alone(tiny):
    images, classes = pixels(2, 3, 16, 16), torch.tensor([0, 1])
    together = GradCAM()(tiny, images, classes, ["trunk", "trunk.5", "trunk.4"])
    for layer in together.maps:
        _assert_same(together.maps[layer], GradCAM()(tiny, images, classes, layer).maps[layer])
    assert torch.equal(together.maps["trunk"], together.maps["trunk.5"])


def test_own_and_given_classes_come_from_one_forward_pass_and_equal_separate_calls(tiny):
    images = pixels(4, 3, 16, 16, seed=8)
    classes = (tiny(images).argmax(dim=1) + torch.tensor([0, 1, 2, 3])) % 4
    tiny.layer_names()  # the network is watched once
    with Passes(tiny.module) as passes:
        (own, given), _ = GradCAM().explain(tiny, images, [None, classes], LAYERS)
    assert passes.count == 1
    _assert_equal(own, GradCAM()(tiny, images, None, LAYERS))
    _assert_equal(given, GradCAM()(tiny, images, classes, LAYERS))
    assert torch.equal(own.classes, own.logits.argmax(dim=1))
    assert not torch.equal(own.maps["trunk.5"], given.maps["trunk.5"])
    (given_first, own_last), _ = GradCAM().explain(tiny, images, [classes, None], LAYERS)
    _assert_equal(given_first, given)
    _assert_equal(own_last, own)


def test_a_class_asked_twice_is_given_twice(tiny):
    images = pixels(2, 3, 16, 16)
    classes = torch.tensor([3, 3])
    own = tiny(images).argmax(dim=1)
    found, _ = GradCAM().explain(tiny, images, [None, own, classes, classes], LAYERS)
    assert len(found) == 4
    for one, other in ((0, 1), (2, 3)):
        _assert_equal(found[one], found[other])


def test_a_call_takes_one_forward_pass_once_the_network_is_known(tiny):
    images = pixels(4, 3, 16, 16)
    GradCAM()(tiny, images, torch.tensor([0, 1, 2, 3]))
    with Passes(tiny.module) as passes:
        GradCAM()(tiny, images, torch.tensor([0, 1, 2, 3]), LAYERS)
    assert passes.count == 1


def test_gradients_by_the_pixels_come_from_the_same_pass_and_change_nothing(family, explained):
    if family.name in ("inception_v3", "legacy_xception"):
        pytest.skip("takes longest, of layers that the others have too")
    layers, classes, alone = explained
    labels = (classes + 1) % family.clf.num_classes
    attack = FGSM()
    with Passes(family.clf.module) as passes:
        (found,), (gradient,) = GradCAM().explain(
            family.clf,
            family.images,
            [classes],
            layers,
            [partial(attack.loss, family.clf, labels=labels)],
        )
    assert passes.count == 1
    for layer in layers:
        _assert_same(found.maps[layer], alone.maps[layer])
        assert torch.equal(found.dead[layer], alone.dead[layer])
    signs = attack.find(family.clf, family.images, labels, [0.1]).codes[:, 0].sign()
    # Without the probes in between, rounding may turn the sign of a gradient that is nearly zero.
    codes = attack.of_gradient(gradient, "it").codes[:, 0]
    differing = (codes != 127 * signs).float().mean()
    assert differing < 1e-4
    assert family.images.grad is None
    assert not family.images.requires_grad


def test_an_images_map_does_not_depend_on_its_batch(tiny):
    images, classes = pixels(5, 3, 16, 16), torch.tensor([0, 1, 2, 3, 0])
    together = GradCAM()(tiny, images, classes, LAYERS)
    for place in range(5):
        alone = GradCAM()(tiny, images[place, None], classes[place, None], LAYERS)
        for layer in LAYERS:
            _assert_same(together.maps[layer][place, None], alone.maps[layer])


# Networks of every kind.


def test_frozen_parameters_change_nothing(tiny):
    images, classes = pixels(2, 3, 16, 16), torch.tensor([0, 1])
    expected = GradCAM()(tiny, images, classes, LAYERS)
    tiny.module.requires_grad_(False)
    _assert_equal(GradCAM()(tiny, images, classes, LAYERS), expected)


def test_inplace_activations_change_nothing(tiny):
    images, classes = pixels(2, 3, 16, 16), torch.tensor([0, 1])
    plain = Classifier(without_inplace(tiny.module), input_size=16)
    plain.mean, plain.std = tiny.mean, tiny.std
    assert any(getattr(part, "inplace", False) for part in tiny.module.modules())
    _assert_equal(
        GradCAM()(tiny, images, classes, LAYERS), GradCAM()(plain, images, classes, LAYERS)
    )


class Around(nn.Module):
    """A tiny network whose parts are called in another way."""

    def __init__(self, net, way):
        super().__init__()
        self.trunk, self.fc, self.way = net.trunk, net.fc, way

    def forward(self, x):
        if self.way == "trunk-without-gradients":
            with torch.no_grad():
                maps = self.trunk(x)
        else:
            maps = self.trunk(x)
        logits = self.fc(maps.mean(dim=(2, 3)))
        return {
            "tuple": (logits, maps),
            "mapping": {"maps": maps, "logits": logits},
        }.get(self.way, logits)


@pytest.mark.parametrize("way", ["tuple", "mapping", "trunk-without-gradients"])
def test_networks_that_give_more_or_hold_their_trunk_without_gradients_are_explained(tiny_net, way):
    images, classes = pixels(3, 3, 16, 16), torch.tensor([0, 1, 2])
    expected = GradCAM()(Classifier(tiny_net(), input_size=16), images, classes)
    clf = Classifier(Around(tiny_net(), way), input_size=16)
    assert not bool(expected.dead["trunk.5"].all())
    _assert_equal(GradCAM()(clf, images, classes), expected)


def test_a_layer_inside_a_trunk_without_gradients_is_refused_by_name(tiny_net):
    clf = Classifier(Around(tiny_net(), "trunk-without-gradients"), input_size=16)
    with pytest.raises(LayerError, match=r"trunk\.3"):
        GradCAM()(clf, pixels(1, 3, 16, 16), layers=["trunk.3", "trunk.5"])
    with pytest.raises(LayerError, match=r"trunk\.3"):
        GradCAM()(clf, pixels(1, 3, 16, 16), layers="trunk.3")


class WritesInto(nn.Module):
    """Overwrites a layer's output without a module to do it."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.fc = nn.Linear(4, 3)
        enliven(self)

    def forward(self, x):
        shortcut = self.first(x)
        x = self.second(shortcut)
        x += shortcut
        x.mul_(2.0)
        x.relu_()
        return self.fc(x.mean(dim=(2, 3)))


@pytest.mark.parametrize("layer", ["first", "second"])
def test_a_layer_whose_output_is_overwritten_is_explained_as_it_gave_it(layer):
    net, images, classes = WritesInto(), pixels(4, 3, 8, 8), torch.tensor([0, 1, 2, 0])
    ours = GradCAM()(Classifier(net), images, classes, layer)
    assert not bool(ours.dead[layer].all())
    _assert_same(ours.maps[layer], gradcam_by_full_gradients(net, images, classes, layer))


class Pair(nn.Module):
    """Gives a tuple, as a layer with an auxiliary output does."""

    def __init__(self, layer, kind):
        super().__init__()
        self.layer, self.kind = layer, kind

    def forward(self, x):
        return self.kind((self.layer(x), x.mean()))


class WithPair(nn.Module):
    def __init__(self, net, kind):
        super().__init__()
        self.pair, self.fc = Pair(net.trunk, kind), net.fc

    def forward(self, x):
        maps, _ = self.pair(x)
        return self.fc(maps.mean(dim=(2, 3)))


class Named(NamedTuple):
    maps: torch.Tensor
    mean: torch.Tensor


@pytest.mark.parametrize(
    "kind", [tuple, list, lambda pair: Named(*pair)], ids=["tuple", "list", "named"]
)
def test_a_layer_that_gives_its_maps_first_in_a_tuple_is_explained(tiny_net, kind):
    images, classes = pixels(3, 3, 16, 16), torch.tensor([0, 1, 2])
    expected = GradCAM()(Classifier(tiny_net(), input_size=16), images, classes, "trunk.5")
    clf = Classifier(WithPair(tiny_net(), kind), input_size=16)
    ours = GradCAM()(clf, images, classes, "pair")
    _assert_same(ours.maps["pair"], expected.maps["trunk.5"])


class Twice(nn.Module):
    """A convolution that runs twice; unrolled, the second run has a name of its own."""

    def __init__(self, *, unrolled):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.shared = nn.Conv2d(4, 4, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.fc = nn.Linear(4, 3)
        enliven(self)
        self.second = nn.Conv2d(4, 4, 3, padding=1) if unrolled else None
        if unrolled:
            self.second.load_state_dict(self.shared.state_dict())

    def forward(self, x):
        x = self.act(self.shared(self.stem(x)))
        x = (self.second or self.shared)(x)
        return self.fc(self.act(x).mean(dim=(2, 3)))


def test_a_layer_that_runs_twice_is_explained_at_its_last_run():
    images, classes = pixels(4, 3, 12, 12), torch.tensor([0, 1, 2, 0])
    ours = GradCAM()(Classifier(Twice(unrolled=False)), images, classes, ["stem", "shared"])
    plain = GradCAM()(Classifier(Twice(unrolled=True)), images, classes, ["stem", "second"])
    assert not bool(ours.dead["shared"].all())
    assert torch.equal(ours.dead["shared"], plain.dead["second"])
    _assert_same(ours.maps["shared"], plain.maps["second"])
    _assert_same(ours.maps["stem"], plain.maps["stem"])


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("made_inside", ["nothing", "images", "classes", "classifier"])
@pytest.mark.parametrize("known", [False, True], ids=["first-call", "later-call"])
def test_it_works_where_the_caller_has_turned_autograd_off(tiny_net, mode, made_inside, known):
    images, classes = pixels(2, 3, 16, 16), torch.tensor([0, 1])
    net = tiny_net()
    clf = Classifier(net, input_size=16)
    if known:
        clf.layer_names()
    with mode():
        if made_inside == "images":
            images = images.clone()
        elif made_inside == "classes":
            classes = classes.clone()
        elif made_inside == "classifier":  # around a network of before
            clf = Classifier(net, input_size=16)
            if known:
                clf.layer_names()
        given, own = (GradCAM()(clf, images, chosen, LAYERS) for chosen in (classes, None))
    plain = Classifier(tiny_net(), input_size=16)
    images, classes = pixels(2, 3, 16, 16), torch.tensor([0, 1])
    _assert_equal(given, GradCAM()(plain, images, classes, LAYERS))
    _assert_equal(own, GradCAM()(plain, images, None, LAYERS))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_network_in_half_precision_gives_float32_maps_near_its_own(tiny_net, dtype):
    images, classes = pixels(2, 3, 16, 16), torch.tensor([0, 1])
    full = GradCAM()(Classifier(tiny_net(), input_size=16), images, classes, "trunk.5")
    clf = Classifier(tiny_net().to(dtype), input_size=16)
    half = GradCAM()(clf, images, classes, "trunk.5")
    assert half.maps["trunk.5"].dtype == torch.float32
    _assert_same(half.maps["trunk.5"], full.maps["trunk.5"], 0.05)


def test_maps_are_float32_where_the_caller_computes_in_mixed_precision(tiny):
    images, classes = pixels(2, 3, 16, 16), torch.tensor([0, 1])
    full = GradCAM()(tiny, images, classes, "trunk.5")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = GradCAM()(tiny, images, classes, "trunk.5")
    assert mixed.maps["trunk.5"].dtype == torch.float32
    assert mixed.logits.dtype == torch.float32
    _assert_same(mixed.maps["trunk.5"], full.maps["trunk.5"], 0.05)


def test_a_layer_without_part_in_the_logits_is_refused_by_name():
    class Aside(nn.Module):
        def __init__(self):
            super().__init__()
            self.main, self.aside = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)

        def forward(self, x):
            self.aside(x)
            return self.main(x).mean(dim=(2, 3))

    clf = Classifier(Aside())
    for layers in ("aside", ["main", "aside"]):
        with pytest.raises(LayerError, match="aside"):
            GradCAM()(clf, pixels(1, 3, 8, 8), layers=layers)


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (torch.tensor([0, 4]), "0…3; got 0 to 4"),
        (torch.tensor([-1, 0]), "got -1 to 0"),
        (torch.tensor([0]), "1 entries for 2 images"),
        (torch.tensor([0.0, 1.0]), "integer"),
        ([0, 1], "integer"),
    ],
)
def test_classes_that_do_not_fit_are_refused(tiny, classes, said):
    with pytest.raises(InputError, match=said):
        GradCAM()(tiny, pixels(2, 3, 16, 16), classes)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (pixels(2, 3, 16, 16) * 255, "divide 8-bit"),
        (pixels(3, 16, 16), r"\(3, 16, 16\)"),
        (pixels(0, 3, 16, 16), "empty"),
    ],
)
def test_images_that_are_not_pixels_are_refused(tiny, images, said):
    with pytest.raises(InputError, match=said):
        GradCAM()(tiny, images)


# Dead maps.


class Weighted(nn.Module):
    """Three channels, the colours themselves; each class weighs them as given."""

    def __init__(self, *weights):
        super().__init__()
        self.maps = nn.Conv2d(3, 3, 1, bias=False)
        self.fc = nn.Linear(3, len(weights), bias=False)
        with torch.no_grad():
            self.maps.weight.copy_(torch.eye(3)[:, :, None, None])
            self.fc.weight.copy_(torch.tensor(weights))

    def forward(self, x):
        return self.fc(self.maps(x).mean(dim=(2, 3)))


def _of_colour(red, green, blue):
    return torch.tensor([red, green, blue]).view(1, 3, 1, 1).expand(1, 3, 4, 4).contiguous()


@pytest.mark.parametrize(
    ("weights", "colour", "dead"),
    [
        ((-1.0, -2.0, -3.0), (0.5, 0.5, 0.5), True),  # all evidence speaks against the class
        ((1.0, 2.0, 3.0), (0.0, 0.0, 0.0), True),  # nothing is active
        ((0.0, 0.0, 0.0), (0.5, 0.5, 0.5), True),  # nothing is weighed
        ((1.0, -1.0, 0.0), (0.5 + 4e-7, 0.5, 0.0), True),  # what is left of a sum is rounding
        ((1.0, -1.0, 0.0), (0.5 + 4e-6, 0.5, 0.0), False),
        ((1e-12, 0.0, 0.0), (0.5, 0.5, 0.5), False),  # faint, but all in favour
        ((1.0, -1.0, 0.0), (0.6, 0.5, 0.0), False),
    ],
    ids=["against", "black", "weightless", "rounding", "above-rounding", "faint", "plain"],
)
def test_a_map_without_evidence_is_zeros_and_flagged(weights, colour, dead):
    clf = Classifier(Weighted(weights, (0.0, 0.0, 1.0)))
    images = torch.cat([_of_colour(*colour), _of_colour(0.9, 0.1, 0.2)])
    explained = GradCAM()(clf, images, torch.tensor([0, 1]), "maps")
    assert explained.dead["maps"].tolist() == [dead, False]
    maps = explained.maps["maps"]
    assert bool(torch.isfinite(maps).all())
    assert bool((maps[0] == 0).all()) == dead
    assert bool((maps[1] > 0).all())


def test_the_limit_of_a_dead_map_is_the_designs():
    assert DEAD_BELOW == 1e-6


class Negated(nn.Module):
    """The colours, turned negative and back: the layer between speaks against every class."""

    def __init__(self):
        super().__init__()
        self.minus, self.plus = nn.Conv2d(3, 3, 1, bias=False), nn.Conv2d(3, 3, 1, bias=False)
        with torch.no_grad():
            for layer in (self.minus, self.plus):
                layer.weight.copy_(-torch.eye(3)[:, :, None, None])

    def forward(self, x):
        x = self.plus(self.minus(x) + 2.0)  # 2 − x, then x − 2
        return -x.mean(dim=(2, 3))


def test_a_dead_layer_does_not_flag_the_others():
    images = pixels(2, 3, 4, 4)
    explained = GradCAM()(Classifier(Negated()), images, torch.tensor([0, 2]), ["minus", "plus"])
    # minus gives −x with a weight of 1/16: no evidence. plus gives x − 2 with −1/16: evidence.
    assert explained.dead["minus"].tolist() == [True, True]
    assert explained.dead["plus"].tolist() == [False, False]
    expected = (2.0 - images[torch.arange(2), torch.tensor([0, 2])]) / 16
    assert bool((explained.maps["minus"] == 0).all())
    assert torch.allclose(explained.maps["plus"], expected)


def map_of(weights, activations):
    """The map that weights make, pooled or of each position, of a layer of a network."""

    class Given(CAM):
        name = "given"

        def weights(self, activations, gradients):
            return weights

    clf = SimpleNamespace(name="it", shifts={})
    return Given().map_of(clf, "layer", activations, torch.ones_like(activations))


def test_whether_a_map_is_dead_does_not_depend_on_the_other_images_of_its_batch():
    activations = torch.tensor([1e8, 1.0])[:, None, None, None].expand(2, 1, 3, 3)
    maps, dead = map_of(torch.ones(2, 1), activations)
    assert dead.tolist() == [False, False]
    assert maps[1].tolist() == torch.ones(3, 3).tolist()


def test_a_peak_that_is_rounding_beside_what_cancelled_in_it_is_dead():
    cancelling = torch.full((1, 2, 3, 3), 1e8)
    cancelling[0, 0, 1, 1] += 8.0
    for weights in (torch.tensor([[1.0, -1.0]]), torch.ones(1, 2, 3, 3)):
        weights[:, 1] = -1
        maps, dead = map_of(weights, cancelling)
        assert dead.tolist() == [True]
        assert float(maps.max()) == 0

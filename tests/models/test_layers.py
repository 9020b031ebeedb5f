import pytest
import timm
import torch
import torchvision
from torch import nn

from lookaway.errors import LayerError
from lookaway.explainers.gradcam import GradCAM
from lookaway.models.classifier import Classifier
from networks import narrow_vgg
from oracles import assert_read_as_timm_does, enliven, input_of, output_of, pixels


def test_last_is_the_layer_that_the_design_names(family):
    assert family.clf.layer_names("last") == [family.last]


def test_pooling_the_last_layers_output_gives_what_the_head_gets(family):
    network, images = family.clf.module, family.clf.prepare(family.images)
    maps = output_of(network, family.last, images)
    assert maps.ndim == 4
    assert maps.shape[2] * maps.shape[3] > 1
    entered = input_of(network, family.head, images)
    assert torch.allclose(family.pool(maps).flatten(1), entered.flatten(1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("layers", "name", "options"),
    [(16, "vgg16", {}), (11, "vgg11", {}), (11, "vgg11_bn", {"norm_layer": nn.BatchNorm2d})],
)
def test_the_narrow_vggs_of_these_tests_have_the_layers_of_timms(layers, name, options):
    with torch.device("meta"):
        full = timm.create_model(name, pretrained=False)
    names = {name: type(part) for name, part in full.named_modules()}
    narrow = narrow_vgg(layers, 3, **options)
    assert {name: type(part) for name, part in narrow.named_modules()} == names


def test_convs_are_the_convolutions_in_the_order_in_which_they_run(family):
    network = family.clf.module
    ran: list[str] = []
    handles = [
        part.register_forward_hook(
            lambda _part, _inputs, output, name=name: (
                ran.append(name) if output.shape[2:].numel() > 1 else None
            )
        )
        for name, part in network.named_modules()
        if isinstance(part, nn.Conv2d)
    ]
    with torch.no_grad():
        network.eval()(family.clf.prepare(family.images[:1]))
    for handle in handles:
        handle.remove()
    assert len(ran) >= 13
    assert family.clf.layer_names("convs") == ran


def test_depth_runs_from_0_at_the_first_convolution_to_1_at_the_last_layer(family):
    layers = family.clf.trace().layers
    convs = family.clf.layer_names("convs")
    depths = [layers[name].depth for name in convs]
    assert depths[0] == 0.0
    assert depths[-1] == 1.0
    assert depths == sorted(depths)
    assert layers[family.last].depth == 1.0
    assert all(layers[name].is_conv for name in convs)


def test_layer_sizes_are_those_of_the_outputs(family):
    layers = family.clf.trace().layers
    for name in (family.clf.layer_names("convs")[0], family.last):
        maps = output_of(family.clf.module, name, family.clf.prepare(family.images))
        assert layers[name].size == tuple(maps.shape[2:])


# Channels first only where that is known.


class ChannelsLast(nn.Module):
    """A convolution, then maps (N, H, W, C) between blocks, and back where ``back`` says so."""

    def __init__(self, back):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.LayerNorm(8)
        self.mlp, self.act, self.back = nn.Linear(8, 8), nn.GELU(), back
        self.out, self.fc = nn.Identity(), nn.Linear(8, 4)

    def forward(self, x):
        x = self.stem(x).permute(0, 2, 3, 1)
        x = x + self.act(self.mlp(self.norm(x)))
        if self.back:
            return self.fc(self.out(x.permute(0, 3, 1, 2)).mean((2, 3)))
        return self.fc(self.out(x).mean((1, 2)))


@pytest.mark.parametrize("size", [8, 16])  # with 8 px all axes of its maps are of one length
@pytest.mark.parametrize("back", [True, False])
def test_maps_with_channels_last_are_refused_by_name_and_what_is_known_is_read(back, size):
    clf = Classifier(ChannelsLast(back), input_size=size, name="mine")
    for layer in ("norm", "mlp", "act"):
        with pytest.raises(
            LayerError, match=rf"layer '{layer}' .* is not known to be \(N, C, H, W"
        ):
            clf.layer_names(layer)
    assert list(clf.trace().layers) == (["stem", "out"] if back else ["stem"])
    if back:
        assert clf.layer_names("last") == ["out"]
    else:
        with pytest.raises(LayerError, match=r"mine has no last layer .* ends in 'out'"):
            clf.layer_names("last")


TIMM = {  # size, how to make it smaller
    "test_convnext": (160, {}),
    "test_efficientnet": (160, {}),
    "test_nfnet": (160, {}),
    "test_mambaout": (160, {}),
    "test_vit": (48, {"img_size": 48}),
    "swin_tiny_patch4_window7_224": (
        32,
        {"img_size": 32, "embed_dim": 16, "depths": (1, 1), "num_heads": (1, 1), "window_size": 4},
    ),
    "gcvit_xxtiny": (64, {"img_size": 64, "window_ratio": (4, 8, 16, 32)}),
    "maxvit_pico_rw_256": (64, {"img_size": 64}),
    "davit_tiny": (64, {"depths": (1, 1, 1, 1)}),
    "caformer_s18": (64, {}),
}


@pytest.mark.parametrize("name", TIMM)
def test_what_is_read_of_timms_networks_is_what_timm_calls_nchw(name):
    """Each of timm's intermediates (N, C, h, w) is read where a layer gives it in any order."""
    size, smaller = TIMM[name]
    network = timm.create_model(name, pretrained=False, num_classes=3, **smaller).eval()
    assert_read_as_timm_does(Classifier(network, input_size=size))


class Branches(nn.Module):
    """Registered in another order than run; one convolution idle, one at 1×1 positions."""

    def __init__(self):
        super().__init__()
        self.idle = nn.Conv2d(3, 3, 3)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.gate = nn.Conv2d(4, 4, 1)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = x * torch.sigmoid(self.gate(x.mean(dim=(2, 3), keepdim=True)))
        return self.fc(self.second(x).mean(dim=(2, 3)))


def test_convs_leave_out_idle_convolutions_and_those_at_one_position():
    clf = Classifier(Branches(), input_size=8)
    assert clf.layer_names("convs") == ["first", "second"]
    assert clf.layer_names("last") == ["second"]


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.shared = nn.Conv2d(4, 4, 3, padding=1)
        self.between = nn.ReLU()
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = self.between(self.shared(self.stem(x)))
        return self.fc(self.shared(x).mean(dim=(2, 3)))


def test_a_layer_that_runs_twice_stands_once_where_it_ran_last():
    trace = Classifier(Twice(), input_size=8).trace()
    assert list(trace.layers) == ["stem", "between", "shared"]
    assert trace.names("convs") == ["stem", "shared"]
    assert trace.layers["shared"].depth == 1.0


def test_an_inplace_activation_is_told_from_the_convolution_whose_memory_it_uses():
    trunk = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True))
    net = nn.Sequential(trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    assert Classifier(net, input_size=8).layer_names("last") == ["0.1"]


@pytest.mark.parametrize(
    "end", [nn.MaxPool2d(2), nn.AvgPool2d(2), nn.Dropout2d(), nn.Identity()], ids=lambda m: str(m)
)
def test_last_steps_over_pools_and_passive_layers_at_the_end(end):
    trunk = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), end)
    net = nn.Sequential(trunk, nn.Flatten(), nn.LazyLinear(2)).eval()
    net(torch.zeros(1, 3, 8, 8))
    assert Classifier(net, input_size=8).layer_names("last") == ["0.1"]


class Concat(nn.Sequential):
    """A dense block: a ``Sequential`` with a forward of its own."""

    def forward(self, x):
        for part in self:
            x = torch.cat([x, part(x)], dim=1)
        return x


def test_last_is_a_block_that_joins_its_parts_although_it_is_a_sequential():
    dense = Concat(nn.Conv2d(4, 4, 1), nn.Conv2d(8, 4, 1))
    trunk = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), dense)
    net = nn.Sequential(trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 2))
    clf = Classifier(net.eval(), input_size=8)
    (last,) = clf.layer_names("last")
    images = pixels(2, 3, 8, 8)
    assert output_of(net, last, images).shape[1] == 12
    assert last == "0.2"


def test_last_is_never_another_layer_when_the_images_are_too_small_for_it():
    clf = Classifier(timm.create_model("resnet18", num_classes=3), input_size=32)
    try:
        names = clf.layer_names("last")
    except LayerError:
        return
    assert names == ["layer4.1"]


def test_torchvisions_networks_are_read_too():
    clf = Classifier(torchvision.models.resnet18(num_classes=3), input_size=64)
    assert clf.layer_names("last") == ["layer4.1"]


def test_stages_are_timms():
    clf = Classifier(timm.create_model("test_resnet", num_classes=3), input_size=96)
    assert clf.layer_names("stages") == [
        str(entry["module"])
        for entry in clf.module.feature_info
        if str(entry["module"]) in clf.trace().layers
    ]
    assert clf.layer_names("stages")[-1].startswith("layer4")


def test_a_network_without_stages_says_what_to_give_instead(tiny):
    with pytest.raises(LayerError, match="last, convs"):
        tiny.layer_names("stages")


def test_named_layers_keep_their_order_and_come_once(tiny):
    assert tiny.layer_names("trunk.3") == ["trunk.3"]
    assert tiny.layer_names(["trunk.5", "trunk.0", "trunk.5"]) == ["trunk.5", "trunk.0"]


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ("trunk.33", r"'trunk\.33'.*Nearest: .*trunk\.3"),
        (["trunk.0", "nowhere"], "'nowhere'.*trunk.0"),
        ("fc", "'fc' gives no spatial maps.*trunk.0"),
        ([], "no layer is named"),
    ],
)
def test_a_layer_that_cannot_be_used_is_refused_with_those_that_can(tiny, layers, said):
    with pytest.raises(LayerError, match=said):
        tiny.layer_names(layers)


def test_a_network_of_fully_connected_layers_has_neither_last_nor_convs():
    clf = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), input_size=2)
    for kind in ("last", "convs"):
        with pytest.raises(LayerError):
            clf.layer_names(kind)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("kind", ["last", "convs"])
def test_layers_are_found_where_the_caller_has_turned_autograd_off(tiny_net, mode, kind):
    expected = Classifier(tiny_net(), input_size=16).layer_names(kind)
    with mode():
        assert Classifier(tiny_net(), input_size=16).layer_names(kind) == expected


def test_a_network_that_takes_any_size_is_traced_at_the_size_that_is_asked():
    net = enliven(nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    clf = Classifier(net)
    assert clf.trace((12, 20)).layers["0"].size == (10, 18)
    assert clf.trace((8, 8)).layers["0"].size == (6, 6)


# What looks at an image several times, and what the head really sees.


class Flipped(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk, self.fc = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU()), nn.Linear(8, 4)

    def forward(self, x):
        both = self.fc(self.trunk(torch.cat([x, x.flip(3)])).mean((2, 3)))
        return (both[: len(x)] + both[len(x) :]) / 2


@pytest.mark.parametrize("layers", ["last", "trunk.0"])
def test_a_network_that_looks_at_an_image_twice_is_refused(layers):
    clf = Classifier(Flipped(), input_size=16)
    with pytest.raises(LayerError, match="gives 2 maps for one image"):
        clf.layer_names(layers)


class Backbone(nn.Module):
    """Gives its maps, and what is pooled of them."""

    def __init__(self, pool):
        super().__init__()
        self.body, self.pool = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU()), pool

    def forward(self, x):
        maps = self.body(x)
        return maps, self.pool(maps).flatten(1)


class GeM(nn.Module):
    def __init__(self, keepdim):
        super().__init__()
        self.p, self.keepdim = nn.Parameter(torch.tensor(3.0)), keepdim

    def forward(self, x):
        return x.clamp(min=1e-6).pow(self.p).mean((2, 3), keepdim=self.keepdim).pow(1 / self.p)


class OnBackbone(nn.Module):
    """Its head takes what is pooled, or the maps; a branch beside it has no part in the logits."""

    def __init__(self, pool, takes):
        super().__init__()
        self.backbone, self.takes, self.fc = Backbone(pool), takes, nn.Linear(8, 4)
        self.beside = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        found = self.backbone(x)
        self.beside(found[0])
        return self.fc(found[1] if self.takes else found[0].mean((2, 3)))


@pytest.mark.parametrize("takes", [0, 1])
@pytest.mark.parametrize(
    "pool", [GeM(keepdim=True), GeM(keepdim=False), nn.AdaptiveAvgPool2d(1)], ids=lambda p: str(p)
)
def test_last_is_what_the_head_sees_whatever_stands_beside_it_or_pools_it(pool, takes):
    clf = Classifier(OnBackbone(pool, takes), input_size=16)
    assert clf.layer_names("last") == ["backbone.body.1"]
    before = GradCAM()(clf, pixels(2, 3, 16, 16), layers=clf.module.backbone.body[1])
    assert list(before.maps) == ["backbone.body.1"]


def test_where_the_trunk_itself_leaves_one_place_the_reason_says_so():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 6), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(LayerError, match="its layer '1' leaves maps of 1x1; give larger images"):
        Classifier(net, input_size=8).layer_names("last")


def test_layers_may_be_given_as_modules_of_the_network(tiny):
    trunk = tiny.module.trunk
    assert tiny.layer_names([trunk[3], "trunk.0"]) == ["trunk.3", "trunk.0"]
    with pytest.raises(LayerError, match=r"Conv2d is no part of TinyNet"):
        tiny.layer_names([nn.Conv2d(3, 3, 1)])
    with pytest.raises(LayerError, match=r"last, convs, stages, or names or modules; got 3"):
        tiny.layer_names(3)

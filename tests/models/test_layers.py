import pytest
import timm
import torch
import torchvision
from torch import nn

from lookaway.errors import LayerError
from lookaway.models.classifier import Classifier
from oracles import enliven, input_of, output_of, pixels


def test_last_is_the_layer_that_the_design_names(family):
    assert family.clf.layer_names("last") == [family.last]


def test_pooling_the_last_layers_output_gives_what_the_head_gets(family):
    network, images = family.clf.module, family.clf.prepare(family.images)
    maps = output_of(network, family.last, images)
    assert maps.ndim == 4
    assert maps.shape[2] * maps.shape[3] > 1
    entered = input_of(network, family.head, images)
    assert torch.allclose(family.pool(maps).flatten(1), entered.flatten(1), rtol=1e-5, atol=1e-6)


def test_the_narrow_vgg16_of_these_tests_has_the_layers_of_timms(narrow_vgg16):
    with torch.device("meta"):
        full = timm.create_model("vgg16", pretrained=False)
    names = {name: type(part) for name, part in full.named_modules()}
    assert {name: type(part) for name, part in narrow_vgg16.named_modules()} == names


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


@pytest.fixture(
    params=["vit_tiny_patch16_224", "deit_tiny_patch16_224", "swin_tiny_patch4_window7_224"]
)
def token_network(request):
    small = {"img_size": 32, "num_classes": 3, "pretrained": False}
    if request.param.startswith("swin"):
        small |= {"embed_dim": 16, "depths": (1, 1), "num_heads": (1, 1), "window_size": 4}
    else:
        small |= {"embed_dim": 24, "depth": 1, "num_heads": 1}
    return timm.create_model(request.param, **small).eval()


@pytest.mark.parametrize("kind", ["last", "stages"])
def test_networks_of_tokens_or_channels_last_maps_are_refused(token_network, kind):
    with pytest.raises(LayerError, match=type(token_network).__name__):
        Classifier(token_network, input_size=32).layer_names(kind)


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

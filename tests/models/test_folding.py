"""Folded networks give the same logits, signs and maps under the same names."""

import itertools

import pytest
import timm
import torch
from torch import nn

import lookaway as la
from lookaway.models.folding import FoldedNorm, fold_batch_norm
from lookaway.models.pointwise import by_onednn
from networks import narrow_vgg
from oracles import enliven


def alive(name, size):
    if name == "narrow vgg11_bn":
        net = narrow_vgg(11, 5, norm_layer=nn.BatchNorm2d)
    else:
        net = timm.create_model(name, num_classes=5, pretrained=False)
    return la.Classifier(enliven(net), input_size=size)


def folded(clf):
    return sum(isinstance(part, FoldedNorm) for part in clf.module.modules())


@pytest.mark.parametrize(
    ("name", "size", "count"),
    [
        ("resnet18", 64, 20),
        ("tf_efficientnet_lite0", 64, 49),
        ("densenet121", 64, 59),
        ("inception_v3", 128, 94),
        ("narrow vgg11_bn", 64, 8),
        pytest.param("vgg11_bn", 64, 8, marks=pytest.mark.slow),
    ],
)
def test_logits_and_maps_stay_what_they_were(name, size, count):
    clf = alive(name, size)
    images = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(1))
    last = clf.layer_names("last")
    logits, before = clf(images).detach(), la.GradCAM()(clf, images, layers=last)
    assert fold_batch_norm(clf) == folded(clf) == count
    torch.testing.assert_close(clf(images), logits, rtol=1e-4, atol=1e-4)
    after = la.GradCAM()(clf, images, classes=before.classes, layers=last)
    scale = before.maps[last[0]].max()
    torch.testing.assert_close(
        after.maps[last[0]] / scale, before.maps[last[0]] / scale, rtol=0, atol=1e-4
    )
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in clf.module.modules())


def test_layers_that_are_wanted_as_they_are_stay():
    clf = alive("resnet18", 64)
    convs = clf.layer_names("convs")
    images = torch.rand(2, 3, 64, 64)
    before = la.GradCAM()(clf, images, layers=convs)
    assert fold_batch_norm(clf, keep=convs[:-1]) == 1
    after = la.GradCAM()(clf, images, layers=convs[:-1])
    for layer in convs[:-1]:
        torch.testing.assert_close(after.maps[layer], before.maps[layer], rtol=1e-3, atol=1e-5)


def test_a_container_that_gives_a_convolution_s_output_keeps_it():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    clf = la.Classifier(enliven(net), input_size=16)
    assert fold_batch_norm(clf, keep=["0"]) == 0
    assert fold_batch_norm(clf, keep=["1"]) == 1


@pytest.mark.parametrize(
    ("name", "size", "folds"),
    [
        ("resnet18", 64, 20),
        ("tf_efficientnet_lite0", 64, 49),
        pytest.param("inception_v3", 128, 94, marks=pytest.mark.slow),
    ],
)
def test_convolutions_that_are_explained_are_folded_and_explained_as_before(name, size, folds):
    clf = alive(name, size).double()  # so that no activation changes sign by rounding
    convs = clf.layer_names("convs")
    images = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(1)).double()
    before = la.GradCAM()(clf, images, layers=convs)
    assert fold_batch_norm(clf, shift=convs) == folds
    assert 0 < len(clf.shifts) <= folds
    after = la.GradCAM()(clf, images, classes=before.classes, layers=convs)
    for layer in convs:
        found, expected = la.heatmap(after.maps[layer]), la.heatmap(before.maps[layer])
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
        assert torch.equal(after.dead[layer], before.dead[layer])


def test_a_channel_that_the_norm_switches_off_takes_no_part_before_and_after():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    enliven(net)
    with torch.no_grad():
        net[1].weight[2], net[1].bias[2] = 0.0, 3.0
    clf = la.Classifier(net, input_size=16)
    images = torch.rand(2, 3, 16, 16)
    before = la.GradCAM()(clf, images, layers="0")
    assert fold_batch_norm(clf, shift=["0"]) == 1
    after = la.GradCAM()(clf, images, classes=before.classes, layers="0")
    found, expected = la.heatmap(after.maps["0"]), la.heatmap(before.maps["0"])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


class Forked(nn.Module):
    """A convolution whose output is used beside the norm too."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, x):
        raw = self.conv(x)
        return self.head((raw + self.norm(raw)).mean(dim=(2, 3)))


def test_where_folding_would_change_the_logits_nothing_is_changed():
    torch.manual_seed(0)
    net = Forked()
    nn.init.constant_(net.norm.running_mean, 0.5)
    nn.init.constant_(net.norm.running_var, 4.0)
    clf = la.Classifier(net, input_size=16)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert fold_batch_norm(clf) == 0
    assert type(net.norm) is nn.BatchNorm2d
    assert before.keys() == net.state_dict().keys()
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())


def test_a_norm_that_runs_twice_stays():
    class Twice(Forked):
        def forward(self, x):
            return self.head(self.norm(self.norm(self.conv(x))).mean(dim=(2, 3)))

    assert fold_batch_norm(la.Classifier(Twice(), input_size=16)) == 0


def test_a_convolution_with_two_norms_behind_it_stays():
    class Two(Forked):
        def __init__(self):
            super().__init__()
            self.other = nn.BatchNorm2d(4)

        def forward(self, x):
            raw = self.conv(x)
            return self.head((self.norm(raw) + self.other(raw)).mean(dim=(2, 3)))

    assert fold_batch_norm(la.Classifier(Two(), input_size=16)) == 0


def test_the_parts_of_a_folded_norm_keep_their_names():
    clf = alive("tf_efficientnet_lite0", 64)
    images = torch.rand(1, 3, 64, 64)
    before = la.GradCAM()(clf, images, layers=["bn1.drop", "bn1.act"])
    fold_batch_norm(clf)
    after = la.GradCAM()(clf, images, layers=["bn1.drop", "bn1.act"])
    for layer, maps in before.maps.items():
        torch.testing.assert_close(after.maps[layer], maps, rtol=0, atol=1e-3 * float(maps.max()))


def test_a_network_that_asks_its_norms_for_more_stays_as_it_is():
    class Asks(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x):
            maps = self.norm(self.conv(x))
            return (maps * self.norm.weight[:, None, None]).mean(dim=(2, 3))

    clf = la.Classifier(enliven(Asks().eval(), seed=0), input_size=16)
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    before = clf(images)
    assert fold_batch_norm(clf) == 0
    assert torch.equal(clf(images), before)


def test_convolutions_of_one_pixel_give_the_same_and_do_not_depend_on_threads():
    for stride, groups, padding in itertools.product((1, 2), (1, 2), (0, 1)):
        conv = nn.Conv2d(6, 8, 1, stride=stride, groups=groups, padding=padding)
        x = torch.randn(4, 6, 9, 7)
        expected = conv(x)
        by_onednn(conv)
        torch.testing.assert_close(conv(x), expected, rtol=0, atol=1e-5)
    conv, x = nn.Conv2d(64, 32, 1), torch.randn(4, 64, 20, 20)
    by_onednn(conv)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(conv(x))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)

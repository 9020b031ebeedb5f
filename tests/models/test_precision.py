"""Networks in bfloat16: near their own logits and maps, whatever they are built of."""

import pytest
import timm
import torch
from torch import nn

import lookaway as la
from lookaway.models.folding import fold_batch_norm, to_bfloat16
from oracles import enliven


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0", "densenet121", "vgg11"])
def test_logits_gradients_and_maps_are_float32_and_near_what_they_were(name, fold):
    clf = la.Classifier(enliven(timm.create_model(name, num_classes=5)).eval(), input_size=64)
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    layers = clf.layer_names("last")
    before = la.GradCAM()(clf, images, layers=layers)
    if fold:
        fold_batch_norm(clf, shift=layers)
    to_bfloat16(clf)
    after = la.GradCAM()(clf, images, classes=before.classes, layers=layers)
    scale = before.logits.abs().max()
    assert after.logits.dtype == after.maps[layers[0]].dtype == torch.float32
    assert 0 < (after.logits - before.logits).abs().max() < 0.1 * scale
    apart = la.heatmap(after.maps[layers[0]]) - la.heatmap(before.maps[layers[0]])
    assert float(apart.abs().mean()) < 0.1
    signs = la.FGSM().signs(clf, images, before.classes)
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
    to_bfloat16(clf)
    assert clf.module.scale.dtype == torch.float32
    assert clf.module.one.weight.dtype == clf.module.head.weight.dtype == torch.bfloat16
    torch.testing.assert_close(clf(images), logits, rtol=0.05, atol=0.02)
    assert la.GradCAM()(clf, images, layers="two").maps["two"].shape == (2, 12, 12)

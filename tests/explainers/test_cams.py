"""Each kind of class activation map: its formula, and the library that people trust."""

import numpy as np
import pytest
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

import lookaway as la
from cams import KINDS
from lookaway.explainers.base import explainer_of
from lookaway.models.classifier import Classifier
from lookaway.registry import EXPLAINERS
from networks import narrow_vgg
from oracles import enliven, pixels, without_inplace

LAYERS = ["features.3", "features.8", "features.29"]  # 64, 32 and 4 px; more places or channels
CLASSES = torch.tensor([0, 2, 1])


class Louder(nn.Module):
    """Large gradients: beside them the ε that others add to denominators is nothing."""

    def __init__(self, network):
        super().__init__()
        self.features, self.network = network.features, network

    def forward(self, x):
        return 1e4 * self.network(x)


@pytest.fixture(scope="module")
def clf():
    return Classifier(Louder(enliven(narrow_vgg(16, 4).eval(), seed=1)), input_size=64)


@pytest.fixture(scope="module")
def images():
    return pixels(3, 3, 64, 64, seed=1)


@pytest.fixture(scope="module")
def passed(clf, images):
    """For each layer activations and full gradients, in float64."""
    network = without_inplace(clf.module).double()
    kept = {}

    def keep(name):
        def hook(_layer, _inputs, output):
            output.retain_grad()
            kept[name] = output

        return hook

    for name in LAYERS:
        network.get_submodule(name).register_forward_hook(keep(name))
    network(images.double()).gather(1, CLASSES[:, None]).sum().backward()
    return {name: (one.detach().numpy(), one.grad.numpy()) for name, one in kept.items()}


def test_every_kind_is_tested_here():
    assert set(KINDS) == set(EXPLAINERS)


@pytest.mark.parametrize("name", KINDS)
def test_maps_are_those_of_the_formula(clf, images, passed, name):
    found = explainer_of(name)(clf, images, CLASSES, LAYERS)
    for layer, parts in passed.items():
        expected = np.stack([KINDS[name].formula(a, g) for a, g in zip(*parts, strict=True)])
        expected = expected.clip(min=0)
        ours = found.maps[layer].numpy()
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * expected.max())
        assert (found.dead[layer].numpy() == (expected.max(axis=(1, 2)) == 0)).all()
        assert not found.dead[layer].all()


@pytest.mark.parametrize("name", KINDS)
def test_maps_are_those_of_pytorch_grad_cam(clf, images, name, monkeypatch):
    monkeypatch.setattr("pytorch_grad_cam.base_cam.scale_cam_image", lambda cam, _size=None: cam)
    network = without_inplace(clf.module)
    peer = KINDS[name].peer(network, [network.get_submodule(layer) for layer in LAYERS])
    found = explainer_of(name)(clf, images, CLASSES, LAYERS)
    with peer:
        logits = peer.activations_and_grads(images)
        targets = [ClassifierOutputTarget(one) for one in CLASSES.tolist()]
        loss = sum(target(output) for target, output in zip(targets, logits, strict=True))
        loss.backward()
        theirs = peer.compute_cam_per_layer(images, targets, False)
    for layer, maps in zip(LAYERS, theirs, strict=True):
        for ours, one in zip(found.maps[layer].numpy(), maps[:, 0], strict=True):
            if name == "eigencam" and (ours * one).sum() < 0.5 * (ours * ours).sum():
                continue  # an axis that has the other direction there
            np.testing.assert_allclose(ours, one, rtol=0, atol=1e-5 * one.max())


def test_kinds_that_share_a_pass_are_those_alone_bit_for_bit(clf, images):
    kinds = [explainer_of(name) for name in KINDS]
    passes = []
    handle = clf.module.register_forward_hook(lambda *_: passes.append(1))
    with clf.computing():
        shared, _ = kinds[0].explain_together(kinds, clf, images, [None, CLASSES], LAYERS)
        assert len(passes) == 1
        handle.remove()
        for kind, views in zip(kinds, shared, strict=True):
            alone, _ = kind.explain(clf, images, [None, CLASSES], LAYERS)
            for ours, theirs in zip(views, alone, strict=True):
                for layer in LAYERS:
                    assert torch.equal(ours.maps[layer], theirs.maps[layer])
                    assert torch.equal(ours.dead[layer], theirs.dead[layer])


def test_eigencam_is_the_same_for_every_class_and_dead_where_nothing_varies(clf, images):
    one = la.EigenCAM()(clf, images, CLASSES, LAYERS)
    other = la.EigenCAM()(clf, images, 3 - CLASSES, LAYERS)
    for layer in LAYERS:
        assert torch.equal(one.maps[layer], other.maps[layer])
        assert not one.dead[layer].any()
    flat = la.Classifier(nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    assert la.EigenCAM()(flat, torch.full((2, 3, 8, 8), 0.5)).dead["0"].all()

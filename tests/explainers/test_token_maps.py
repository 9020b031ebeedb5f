"""Maps of tokens and of channels-last layers: the formulas, and the library that people trust."""

import copy

import numpy as np
import pytest
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

import lookaway as la
from cams import KINDS
from lookaway.explainers.base import explainer_of
from networks import OF_TOKENS
from oracles import enliven, pixels


@pytest.fixture(scope="module", params=OF_TOKENS)
def given(request):
    """A network with large gradients, two images, their classes, and what each kind says.

    Beside large gradients the ε that others add to denominators is nothing.
    """
    network = OF_TOKENS[request.param]
    module = enliven(network.make().eval())
    heads = module.get_classifier()
    with torch.no_grad():
        for head in heads if isinstance(heads, tuple) else [heads]:
            head.weight *= 1e6
    clf = la.Classifier(module, input_size=network.size)
    assert clf.layer_names("last") == [network.last]
    images = pixels(2, 3, network.size, network.size, seed=1)
    classes = clf(images).detach().argmax(dim=1)
    kinds = [explainer_of(name) for name in KINDS]
    found, _ = kinds[0].explain_together(kinds, clf, images, [classes], [network.last])
    views = {name: each for name, (each,) in zip(KINDS, found, strict=True)}
    return network, module, images, classes, views


def test_maps_are_those_of_the_formulas(given):
    network, module, images, classes, views = given
    kept = {}

    def keep(_layer, _inputs, output):
        output.retain_grad()
        kept["output"] = output

    twin = copy.deepcopy(module)
    twin.get_submodule(network.last).register_forward_hook(keep)
    twin(images).gather(1, classes[:, None]).sum().backward()
    # Sums of activations of both signs, by which some kinds divide, are rounding in float32.
    activations = network.maps(kept["output"].detach()).double().numpy()
    gradients = network.maps(kept["output"].grad).double().numpy()
    assert (gradients != 0).any(axis=1).all()
    alive = 0
    for name, kind in KINDS.items():
        expected = [kind.formula(a, g) for a, g in zip(activations, gradients, strict=True)]
        expected = np.stack(expected).clip(min=0)
        ours = views[name].maps[network.last].numpy()
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * expected.max())
        alive += not views[name].dead[network.last].all()
    assert alive >= 4


def test_maps_are_those_of_pytorch_grad_cam_with_its_reshape_transform(given, monkeypatch):
    monkeypatch.setattr("pytorch_grad_cam.base_cam.scale_cam_image", lambda cam, _size=None: cam)
    network, module, images, classes, views = given
    for name, kind in KINDS.items():
        layer = module.get_submodule(network.last)
        with kind.peer(module, [layer], reshape_transform=network.maps) as peer:
            logits = peer.activations_and_grads(images)
            targets = [ClassifierOutputTarget(one) for one in classes.tolist()]
            sum(t(output) for t, output in zip(targets, logits, strict=True)).backward()
            passed = peer.activations_and_grads
            passed.activations = [each.double() for each in passed.activations]
            passed.gradients = [each.double() for each in passed.gradients]
            (theirs,) = peer.compute_cam_per_layer(images, targets, False)
        module.zero_grad()
        ours_of_all = views[name].maps[network.last].numpy()
        for ours, one in zip(ours_of_all, theirs[:, 0], strict=True):
            if name == "eigencam" and (ours * one).sum() < 0.5 * (ours * ours).sum():
                continue  # an axis that has the other direction there
            np.testing.assert_allclose(ours, one, rtol=0, atol=1e-5 * one.max())

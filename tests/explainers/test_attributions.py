"""Captum's attributions at the pixels are here what they are there, and leave no trace."""

import pytest
import torch
from captum.attr import IntegratedGradients, LayerGradCam, Saliency

import lookaway as la
from lookaway.errors import InputError
from oracles import enliven, pixels, state_of


@pytest.fixture(scope="module")
def clf():
    made = la.load_classifier("test_resnet", num_classes=4, pretrained=False, input_size=64)
    enliven(made.module)
    return made


@pytest.mark.parametrize("make", [Saliency, IntegratedGradients])
def test_maps_are_captum_s_summed_over_the_channels_absolute(clf, make):
    images = pixels(3, 3, 64, 64)
    before, drawn = state_of(clf.module), torch.random.get_rng_state()
    found = la.from_captum(make)(clf, images)
    assert state_of(clf.module) == before
    assert torch.equal(torch.random.get_rng_state(), drawn)
    (maps,) = found.maps.values()
    theirs = make(clf).attribute(images.clone().requires_grad_(), target=clf(images).argmax(dim=1))
    torch.testing.assert_close(maps, theirs.detach().sum(dim=1).abs(), rtol=1e-4, atol=1e-7)
    assert not any(dead.any() for dead in found.dead.values())


def test_they_are_measured_beside_a_layer_s_maps_at_their_own_size(clf):
    images, labels = pixels(2, 3, 64, 64), torch.tensor([0, 1])
    explainers = [la.GradCAM(), la.from_captum(Saliency, abs=False)]
    found = la.measure(clf, images, labels, explainers=explainers, epsilons=[0.1], grid=32)
    sizes = dict(found.rows().select("method", "map_size").unique().rows())
    assert sizes["saliency"] == "64x64" != sizes["gradcam"]
    assert found.mod().filter(method="saliency", attack="fgsm")["mod"].min() > 0


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda _: la.from_captum(Saliency, n_steps=3), "n_steps: unknown; possible: abs"),
        (lambda _: la.from_captum(LayerGradCam), "gives no attributions of pixels"),
        (lambda _: la.from_captum(len), "gives no attributions of pixels"),
        (
            lambda clf: la.from_captum(Saliency)(clf, pixels(1, 3, 64, 64), layers="stages"),
            "explains pixels, which belong to no layer",
        ),
    ],
)
def test_what_is_no_map_of_pixels_is_refused(clf, call, told):
    with pytest.raises(InputError, match=told):
        call(clf)

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lookaway.attacks.noise import SignNoise
from lookaway.hashing import random_signs
from lookaway.models.classifier import Classifier
from oracles import pixels


def _clf(num_classes=3):
    return Classifier(
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, num_classes)),
        input_size=8,
    )


CLF = _clf()


def _signs(images, seed=0, clf=CLF):
    labels = torch.zeros(len(images), dtype=torch.long)
    return SignNoise(seed=seed).signs(clf, images, labels)


def _plain_image():
    """A ramp whose float32 values are the same on every machine."""
    return (torch.arange(3 * 8 * 8, dtype=torch.float32) / 256).view(1, 3, 8, 8)


def test_bytes_have_the_signs_of_the_pixels_that_they_become():
    grid = np.random.default_rng(0).integers(0, 256, (3, 9, 7), dtype=np.uint8)
    pixels = grid.astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(random_signs(5, grid), random_signs(5, pixels))


def test_the_signs_of_a_known_image_never_change():
    digest = hashlib.sha256(_signs(_plain_image()).numpy().tobytes()).hexdigest()
    assert digest == "b7995852819a7a01d8f81eea84a2e914b02c6e96b1f7ead01fe320edda9264ef"
    digest = hashlib.sha256(_signs(_plain_image(), seed=7).numpy().tobytes()).hexdigest()
    assert digest == "e567e668d7f98aaeade858317d4de14e64e7ae5e93411cc0beba71cb2d084272"


def test_signs_are_minus_one_or_one_with_a_mean_near_zero():
    signs = _signs(pixels(8, 3, 32, 32))
    assert signs.dtype == torch.int8
    assert set(signs.unique().tolist()) == {-1, 1}
    means = signs.float().mean(dim=(1, 2, 3))
    assert float(means.abs().max()) < 4 / np.sqrt(3 * 32 * 32)


def test_neither_channels_nor_neighbouring_pixels_share_their_signs():
    signs = _signs(pixels(4, 3, 32, 32)).float()
    for shifted in (signs.roll(1, 1), signs.roll(1, 2), signs.roll(1, 3)):
        assert abs(float((signs * shifted).mean())) < 4 / np.sqrt(signs.numel())


@settings(max_examples=25, deadline=None, derandomize=True)
@given(order=st.permutations(range(5)), size=st.integers(1, 5), seed=st.integers(0, 3))
def test_an_images_signs_do_not_depend_on_its_place_or_neighbours(order, size, seed):
    images = pixels(5, 3, 6, 7)
    alone = torch.cat([_signs(image[None], seed) for image in images])
    chosen = list(order)[:size]
    assert torch.equal(_signs(images[chosen], seed), alone[chosen])


def test_signs_are_the_same_for_every_epsilon():
    images, labels = pixels(3, 3, 8, 8) * 0.2 + 0.4, torch.zeros(3, dtype=torch.long)
    adv = SignNoise()(CLF, images, labels, [0.01, 0.05, 0.1, 0.4])
    signs = _signs(images)
    for changed in adv:
        assert torch.equal((changed - images).sign().to(torch.int8), signs)
    (again,) = SignNoise()(CLF, images, labels, [0.05])
    assert torch.equal(again, adv[1])


def test_signs_do_not_depend_on_model_or_labels(tiny):
    images = pixels(3, 3, 16, 16)
    signs = [
        SignNoise().signs(clf, images, labels)
        for clf in (_clf(5), tiny)
        for labels in (torch.tensor([0, 1, 2]), torch.tensor([2, 2, 0]))
    ]
    assert all(torch.equal(signs[0], other) for other in signs[1:])


def test_signs_depend_on_the_pixels_and_not_on_how_they_are_stored():
    images = pixels(2, 3, 9, 9)
    signs = _signs(images)
    assert torch.equal(_signs(images.contiguous(memory_format=torch.channels_last)), signs)
    assert torch.equal(_signs(images.double()), signs)
    assert torch.equal(_signs(images.transpose(2, 3).contiguous().transpose(2, 3)), signs)


def test_another_seed_or_one_other_pixel_gives_other_signs():
    images = pixels(1, 3, 16, 16)
    other = images.clone()
    other[0, 0, 0, 0] += 1 / 255
    signs = _signs(images)
    for different in (_signs(images, seed=1), _signs(images, seed=-1), _signs(other)):
        assert 0.4 < float((different != signs).float().mean()) < 0.6


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_works_where_the_caller_has_turned_autograd_off(mode):
    images = pixels(2, 3, 8, 8)
    expected = _signs(images)
    with mode():
        assert torch.equal(_signs(images.clone()), expected)


def test_the_random_state_of_the_caller_is_neither_used_nor_moved():
    images = pixels(2, 3, 8, 8)
    torch.manual_seed(0)
    first, state = _signs(images), torch.random.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(_signs(images), first)
    torch.manual_seed(0)
    assert torch.equal(torch.random.get_rng_state(), state)

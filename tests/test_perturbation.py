"""What an attack changes, as a value: small where it is signs, and never more than ε."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from lookaway.attacks.base import encoded
from lookaway.errors import StoreError
from lookaway.perturbation import Perturbation
from oracles import pixels


def codes_of(shape, low=-127, high=127):
    return np.random.default_rng(0).integers(low, high + 1, shape, dtype=np.int8)


@given(
    arrays(np.int8, array_shapes(min_dims=4, max_dims=4, max_side=7), elements=st.integers(-1, 1))
)
def test_signs_take_two_bits_each_and_come_back_as_they_were(signs):
    change = Perturbation.of_signs(signs)
    (packed,) = change.arrays().values()
    size = int(np.prod(signs.shape[1:]))
    assert packed.dtype == np.uint8
    assert packed.shape == (len(signs), 1, -(-size // 4))
    again = Perturbation.from_arrays(change.arrays(), signs.shape[1:])
    np.testing.assert_array_equal(again.codes, change.codes)


@pytest.mark.parametrize("levels", [1, 3])
def test_codes_that_are_no_signs_take_eight_bits_and_come_back_as_they_were(levels):
    change = Perturbation(codes_of((2, levels, 3, 5, 5)))
    (stored,) = change.arrays().values()
    assert stored.dtype == np.int8
    again = Perturbation.from_arrays(change.arrays(), (3, 5, 5))
    np.testing.assert_array_equal(again.codes, change.codes)


def test_stored_codes_of_other_images_are_refused():
    for codes in (codes_of((2, 1, 3, 5, 5)), 127 * codes_of((2, 1, 3, 5, 5), -1, 1)):
        with pytest.raises(StoreError, match="does not fit its images"):
            Perturbation.from_arrays(Perturbation(codes).arrays(), (3, 9, 9))
    with pytest.raises(StoreError, match="does not fit its images"):
        Perturbation.from_arrays({}, (3, 5, 5))


def test_to_another_process_it_goes_as_small_as_it_is_stored():
    signs = Perturbation.of_signs(codes_of((4, 3, 32, 32), -1, 1))
    raw = pickle.dumps(signs)
    assert len(raw) < signs.codes.size / 4 + 1000
    np.testing.assert_array_equal(pickle.loads(raw).codes, signs.codes)


@pytest.mark.parametrize("levels", [1, 3])
def test_attacked_images_are_clipped_and_the_same_in_numpy_and_torch(levels):
    images, codes = pixels(2, 3, 6, 6), codes_of((2, levels, 3, 6, 6))
    for level, epsilon in enumerate((0.01, 0.05, 0.5)):
        own = codes[:, level if levels > 1 else 0]
        expected = np.clip(images.double().numpy() + epsilon * own / 127, 0, 1)
        by_torch = Perturbation(torch.from_numpy(codes)).attacked(images, level, epsilon)
        by_numpy = Perturbation(codes).attacked(images.numpy(), level, epsilon)
        assert by_numpy.dtype == np.float32
        np.testing.assert_allclose(by_numpy, expected, atol=1e-6)
        np.testing.assert_array_equal(by_torch.numpy(), by_numpy)


@given(st.integers(0, 2**31), st.sampled_from([1e-4, 8 / 255, 0.1, 1.0]))
def test_encoded_images_stay_within_epsilon_and_near_what_was_given(seed, epsilon):
    images = pixels(2, 3, 4, 4, seed=seed)
    random = torch.Generator().manual_seed(seed)
    change = (2 * torch.rand(images.shape, generator=random) - 1) * epsilon
    given = (images + change).clamp(0, 1)
    again = encoded(images, given[None], [epsilon]).attacked(images, 0, epsilon)
    assert float((again - images).abs().max()) <= epsilon + 1e-7
    assert float((again - given).abs().max()) <= epsilon / 127 + 2e-7


def test_whole_steps_are_whole_codes_although_float32_rounds_them():
    images = pixels(4, 3, 16, 16)
    signs = torch.from_numpy(codes_of((4, 3, 16, 16), -1, 1))
    for epsilon in (0.01, 8 / 255, 0.075):
        inside = images.clamp(epsilon, 1 - epsilon)  # where nothing is clipped
        given = inside + epsilon * signs
        np.testing.assert_array_equal(
            encoded(inside, given[None], [epsilon]).codes[:, 0], 127 * signs
        )

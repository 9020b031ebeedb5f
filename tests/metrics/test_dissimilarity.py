import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio

from lookaway.errors import InputError
from lookaway.metrics.dissimilarity import linf_and_psnr, nissim, psnr
from lookaway.metrics.ssim import PRESETS
from oracles import pixels, ssim_by_loops


@pytest.mark.parametrize("preset", PRESETS)
def test_nissim_is_half_of_what_ssim_lacks_to_1(preset):
    a, b = pixels(2, 13, 12, seed=1), pixels(2, 13, 12, seed=2)
    expected = [
        (1 - ssim_by_loops(x.numpy(), y.numpy(), preset)) / 2 for x, y in zip(a, b, strict=True)
    ]
    assert nissim(a, b, preset).tolist() == pytest.approx(expected, abs=1e-9)


def test_nissim_takes_the_gaussian_window_unless_told_otherwise():
    a, b = pixels(2, 16, 16, seed=1), pixels(2, 16, 16, seed=2)
    assert torch.equal(nissim(a, b), nissim(a, b, "gaussian11"))
    assert not torch.equal(nissim(a, b), nissim(a, b, "uniform7"))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seeds=st.tuples(st.integers(0, 10_000), st.integers(0, 10_000)),
    side=st.integers(11, 24),
    power=st.sampled_from([0.05, 1, 4, 30]),
    opposed=st.booleans(),
    preset=st.sampled_from(PRESETS),
)
def test_nissim_is_symmetric_in_0_to_1_and_0_for_equal_maps(seeds, side, power, opposed, preset):
    a = pixels(2, side, side, seed=seeds[0]) ** power
    b = 1 - a if opposed else pixels(2, side, side, seed=seeds[1]) ** power
    found = nissim(a, b, preset)
    assert torch.equal(found, nissim(b, a, preset))
    assert bool(((found >= 0) & (found <= 1)).all())
    for same in (a, b):
        assert nissim(same, same.clone(), preset).tolist() == [0.0, 0.0]
    assert bool((found > 0).all()) or torch.equal(a, b)


def test_nissim_nears_1_for_opposed_maps_and_half_for_unrelated_ones():
    wave = (torch.arange(64) % 2).float().expand(64, 64)[None]
    assert float(nissim(wave, 1 - wave)) > 0.95
    unrelated = float(nissim(pixels(1, 64, 64, seed=1), pixels(1, 64, 64, seed=2)))
    assert unrelated == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("preset", PRESETS)
def test_two_dead_maps_are_the_same(preset):
    assert nissim(torch.zeros(1, 32, 32), torch.zeros(1, 32, 32), preset).tolist() == [0.0]


def test_nissim_takes_maps_with_or_without_an_axis_for_the_channel():
    a, b = pixels(3, 16, 16, seed=1), pixels(3, 16, 16, seed=2)
    assert nissim(a, b).shape == (3,)
    assert torch.equal(nissim(a[:, None], b[:, None]), nissim(a, b))


def test_nissim_refuses_what_ssim_refuses():
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        nissim(pixels(1, 16, 16) * 2, pixels(1, 16, 16))


def test_psnr_equals_scikit_image():
    a, b = pixels(3, 3, 16, 16, seed=1), pixels(3, 3, 16, 16, seed=2)
    expected = [
        peak_signal_noise_ratio(x.double().numpy(), y.double().numpy(), data_range=1)
        for x, y in zip(a, b, strict=True)
    ]
    assert psnr(a, b).tolist() == pytest.approx(expected, abs=1e-9)
    assert psnr(a, b).dtype == torch.float64


def test_psnr_of_equal_images_is_infinite_and_not_nan():
    a = pixels(2, 3, 8, 8)
    b = a.clone()
    b[1, 0, 0, 0] += 0.5
    found = psnr(a, b).tolist()
    assert found[0] == math.inf
    assert found[1] == pytest.approx(-10 * math.log10(0.25 / 192), abs=1e-5)


def test_psnr_refuses_images_that_differ_in_shape():
    with pytest.raises(InputError, match=r"\(1, 3, 8, 8\) and \(3, 8, 8\)"):
        psnr(pixels(1, 3, 8, 8), pixels(3, 8, 8))


def test_linf_is_the_largest_change_of_each_image():
    a = torch.full((3, 3, 4, 4), 0.5)
    b = a.clone()
    b[0, 1, 2, 3] += 0.25
    b[1, 0, 0, 0] -= 0.375
    largest, ratio = linf_and_psnr(a, b)
    assert largest.tolist() == [0.25, 0.375, 0.0]
    assert largest.dtype == torch.float64
    assert torch.equal(ratio, psnr(a, b))

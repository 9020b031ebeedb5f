import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

from lookaway.errors import InputError
from lookaway.explainers.base import heatmap
from lookaway.metrics.ssim import PRESETS, ssim
from oracles import pixels, ssim_by_loops


def _enlarged(seed):
    return heatmap(pixels(1, 7, 7, seed=seed) ** 3, grid=64)[0]


def _sparse(seed):
    noise = pixels(64, 64, seed=seed)
    return torch.where(noise > 0.97, noise, 0.0)


# Pairs of heatmaps of every kind that a study meets.
PAIRS = {
    "random": (pixels(64, 64, seed=1), pixels(64, 64, seed=2)),
    "near": (pixels(64, 64, seed=1), (pixels(64, 64, seed=1) + 0.01).clamp(0, 1)),
    "flat": (torch.full((64, 64), 0.3), torch.full((64, 64), 0.35)),
    "flat-and-random": (torch.full((64, 64), 0.5), pixels(64, 64, seed=3)),
    "bright": (1 - 1e-3 * pixels(64, 64, seed=4), 1 - 1e-3 * pixels(64, 64, seed=5)),
    "ones-and-zeros": (torch.ones(64, 64), torch.zeros(64, 64)),
    "zeros": (torch.zeros(64, 64), pixels(64, 64, seed=6)),
    "sparse": (_sparse(7), _sparse(8)),
    "enlarged": (_enlarged(9), _enlarged(10)),
    "inverted": (pixels(64, 64, seed=11), 1 - pixels(64, 64, seed=11)),
    "oblong": (pixels(20, 45, seed=12), pixels(20, 45, seed=13)),
    "one-window": (pixels(11, 11, seed=14), pixels(11, 11, seed=15)),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_gaussian11_equals_scikit_image(kind):
    a, b = PAIRS[kind]
    theirs = structural_similarity(
        a.double().numpy(),
        b.double().numpy(),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1,
    )
    assert float(ssim(a[None], b[None])) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("kind", PAIRS)
def test_uniform7_equals_scikit_images_default(kind):
    a, b = PAIRS[kind]
    theirs = structural_similarity(a.double().numpy(), b.double().numpy(), data_range=1)
    assert float(ssim(a[None], b[None], "uniform7")) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("kind", ["random", "flat", "bright", "sparse", "enlarged"])
def test_it_equals_the_formula_window_by_window(kind, preset):
    a, b = (heat[20:34, 30:43] for heat in PAIRS[kind])
    expected = ssim_by_loops(a.numpy(), b.numpy(), preset)
    assert float(ssim(a[None], b[None], preset)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("kind", PAIRS)
def test_it_is_symmetric_and_exactly_1_for_equal_pairs(kind, preset):
    a, b = (heat[None] for heat in PAIRS[kind])
    assert ssim(a, a, preset).tolist() == [1.0]
    assert ssim(b, b, preset).tolist() == [1.0]
    assert torch.equal(ssim(a, b, preset), ssim(b, a, preset))


@pytest.mark.parametrize("count", [1, 15, 16, 17, 33])
def test_every_pair_is_measured_by_itself_in_batches_of_any_length(count):
    a, b = pixels(count, 16, 18, seed=1), pixels(count, 16, 18, seed=2)
    together = ssim(a, b)
    assert together.shape == (count,)
    assert together.dtype == torch.float64
    alone = torch.cat([ssim(a[i, None], b[i, None]) for i in range(count)])
    assert torch.allclose(together, alone, rtol=0, atol=1e-12)


def test_an_axis_for_the_channel_changes_nothing():
    a, b = pixels(3, 16, 16, seed=1), pixels(3, 16, 16, seed=2)
    assert torch.equal(ssim(a[:, None], b[:, None]), ssim(a, b))
    assert torch.equal(ssim(a[:, None], b), ssim(a, b))


def test_an_empty_batch_gives_an_empty_result():
    assert ssim(torch.zeros(0, 16, 16), torch.zeros(0, 16, 16)).shape == (0,)


def test_presets_differ_so_that_a_number_needs_its_convention():
    a, b = (heat[None] for heat in PAIRS["enlarged"])
    assert abs(float(ssim(a, b) - ssim(a, b, "uniform7"))) > 1e-3


def test_computing_in_float32_would_not_pass():
    a, b = PAIRS["bright"]
    window = torch.ones(1, 1, 7, 7) / 49
    blur = [F.conv2d(x[None, None], window) for x in (a, b, a * a, b * b, a * b)]
    var_a, var_b = 49 / 48 * (blur[2] - blur[0] ** 2), 49 / 48 * (blur[3] - blur[1] ** 2)
    both = 49 / 48 * (blur[4] - blur[0] * blur[1])
    structure = (2 * both + 9e-4) / (var_a + var_b + 9e-4)
    luminance = (2 * blur[0] * blur[1] + 1e-4) / (blur[0] ** 2 + blur[1] ** 2 + 1e-4)
    single = float((structure * luminance).mean())
    exact = structural_similarity(a.double().numpy(), b.double().numpy(), data_range=1)
    assert abs(single - exact) > 1e-6
    assert abs(float(ssim(a[None], b[None], "uniform7")) - exact) < 1e-9


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    height=st.integers(11, 30),
    width=st.integers(11, 30),
    power=st.sampled_from([0.1, 1, 5, 40]),
    preset=st.sampled_from(PRESETS),
)
def test_it_stays_between_minus_1_and_1(seed, height, width, power, preset):
    a = pixels(2, height, width, seed=seed) ** power
    b = 1 - pixels(2, height, width, seed=seed + 1) ** power
    found = ssim(a, b, preset)
    assert bool(((found >= -1) & (found <= 1)).all())


@pytest.mark.parametrize(
    ("a", "b", "preset", "said"),
    [
        (pixels(1, 16, 16), pixels(2, 16, 16), "gaussian11", r"\(1, 16, 16\) and \(2, 16, 16\)"),
        (pixels(1, 16, 16), pixels(1, 16, 17), "gaussian11", r"\(1, 16, 17\)"),
        (pixels(1, 10, 16), pixels(1, 10, 16), "gaussian11", r"\(10, 16\).*11"),
        (pixels(1, 6, 16), pixels(1, 6, 16), "uniform7", r"\(6, 16\).*7"),
        (pixels(16, 16), pixels(16, 16), "gaussian11", r"\(16, 16\)"),
        (pixels(1, 3, 16, 16), pixels(1, 3, 16, 16), "gaussian11", r"\(1, 3, 16, 16\)"),
        (pixels(1, 16, 16) * 255, pixels(1, 16, 16), "gaussian11", r"a .*\[0, 1\].*25\d"),
        (pixels(1, 16, 16), pixels(1, 16, 16) - 1, "gaussian11", r"b .*\[0, 1\].*-"),
        (pixels(1, 16, 16) * float("nan"), pixels(1, 16, 16), "gaussian11", "nan"),
        (torch.ones(1, 16, 16, dtype=torch.int64), pixels(1, 16, 16), "gaussian11", "float"),
        (pixels(1, 16, 16).numpy(), pixels(1, 16, 16), "gaussian11", "float tensor"),
        (pixels(1, 16, 16), pixels(1, 16, 16), "gauss", "'gauss'.*gaussian11, uniform7"),
    ],
)
def test_what_cannot_be_compared_is_refused(a, b, preset, said):
    with pytest.raises(InputError, match=said):
        ssim(a, b, preset)

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lookaway.errors import InputError
from lookaway.explainers.base import heatmap
from oracles import pixels


@pytest.mark.parametrize("size", [(7, 7), (14, 14), (5, 9), (1, 1), (32, 32)])
def test_enlarged_maps_equal_torchs_interpolation_of_map_over_maximum(size):
    maps = pixels(3, *size) * torch.tensor([0.01, 1.0, 300.0]).view(3, 1, 1)
    scaled = maps / maps.amax(dim=(1, 2), keepdim=True)
    expected = F.interpolate(scaled[:, None], size=(32, 32), mode="bilinear", align_corners=False)
    assert torch.allclose(heatmap(maps, grid=32), expected[:, 0], atol=1e-6)


@pytest.mark.parametrize("size", [(64, 64), (40, 13), (224, 12), (17, 5), (5, 40)])
def test_shrunken_maps_are_antialiased(size):
    maps = pixels(3, *size)
    scaled = (maps / maps.amax(dim=(1, 2), keepdim=True))[:, None]
    options = {"size": (12, 12), "mode": "bilinear", "align_corners": False}
    shrunken = heatmap(maps, grid=12)
    assert torch.allclose(shrunken, F.interpolate(scaled, antialias=True, **options)[:, 0])
    assert not torch.allclose(shrunken, F.interpolate(scaled, **options)[:, 0], atol=1e-2)


def test_the_peak_is_1_where_nothing_is_resized_and_the_shape_is_kept():
    maps = pixels(4, 16, 16) * torch.tensor([1e-20, 1e-3, 1.0, 1e6]).view(4, 1, 1)
    heat = heatmap(maps, grid=16)
    assert heat.amax(dim=(1, 2)).tolist() == [1.0] * 4
    assert torch.allclose(heat, maps / maps.amax(dim=(1, 2), keepdim=True))


def test_every_map_is_divided_by_its_own_maximum():
    maps = pixels(3, 7, 7)
    assert torch.allclose(
        heatmap(maps * torch.tensor([1.0, 10.0, 0.1]).view(3, 1, 1), 20),
        heatmap(maps, 20),
        atol=1e-6,
    )


def test_values_are_not_stretched_to_reach_zero():
    maps = torch.tensor([[[2.0, 4.0], [3.0, 4.0]]])
    assert float(heatmap(maps, grid=11).min()) == pytest.approx(0.5)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    grid=st.integers(11, 40),
    exponent=st.integers(-38, 37),
    sparse=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_heatmaps_lie_in_0_to_1_and_are_finite(height, width, grid, exponent, sparse, seed):
    maps = pixels(2, height, width, seed=seed)
    if sparse:
        maps = maps * (maps > 0.9)
    heat = heatmap(maps * 10.0**exponent, grid=grid)
    assert heat.shape == (2, grid, grid)
    assert heat.dtype == torch.float32
    assert bool(torch.isfinite(heat).all())
    assert float(heat.min()) >= 0
    assert float(heat.max()) <= 1


def test_zeros_stay_zeros_beside_others():
    maps = torch.stack([torch.zeros(7, 7), pixels(7, 7)])
    heat = heatmap(maps)
    assert heat.shape == (2, 224, 224)
    assert bool((heat[0] == 0).all())
    assert float(heat[1].max()) > 0.9


def test_maps_of_other_precision_become_float32():
    maps = pixels(2, 7, 7)
    for dtype, tolerance in ((torch.float64, 1e-6), (torch.float16, 2e-3), (torch.bfloat16, 2e-2)):
        heat = heatmap(maps.to(dtype), grid=14)
        assert heat.dtype == torch.float32
        assert torch.allclose(heat, heatmap(maps, grid=14), atol=tolerance)


@pytest.mark.parametrize("grid", [10, 1, 0, -5])
def test_a_grid_below_the_window_of_ssim_is_refused(grid):
    with pytest.raises(InputError, match=f"at least 11.*got {grid}"):
        heatmap(pixels(1, 7, 7), grid=grid)
    assert heatmap(pixels(1, 7, 7), grid=11).shape == (1, 11, 11)


@pytest.mark.parametrize(
    ("maps", "said"),
    [
        (pixels(7, 7), r"\(7, 7\)"),
        (pixels(1, 1, 7, 7), r"\(1, 1, 7, 7\)"),
        (torch.ones(1, 7, 7, dtype=torch.int64), "int64"),
        (pixels(1, 7, 7) - 0.5, "at least 0"),
        (pixels(1, 7, 7) * float("nan"), "finite"),
        (pixels(1, 7, 7) / 0, "finite"),
    ],
    ids=["2-d", "4-d", "integer", "negative", "nan", "infinite"],
)
def test_what_is_no_map_is_refused(maps, said):
    with pytest.raises(InputError, match=said):
        heatmap(maps)

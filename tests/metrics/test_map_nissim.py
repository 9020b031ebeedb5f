"""NISSIM straight from maps is NISSIM of their heatmaps."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lookaway.explainers.base import heatmap
from lookaway.metrics.dissimilarity import nissim
from lookaway.metrics.map_nissim import nissim_of_maps, nissims


def maps(height, width, seed):
    """Random, sparse, flat, single-cell and dead maps."""
    random = torch.Generator().manual_seed(seed)
    found = torch.rand(6, height, width, generator=random)
    found[1] *= torch.rand(height, width, generator=random) < 0.2
    found[2] = 0.98 + 0.02 * found[2]
    found[3] = 0.0
    found[3, height // 2, width - 1] = 5.0
    found[4] = 0.0
    return found * 1e-3


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 32),
    st.integers(1, 32),
    st.integers(32, 80),
    st.sampled_from(["gaussian11", "uniform7"]),
    st.integers(0, 99),
)
def test_it_equals_the_nissim_of_the_heatmaps(height, width, grid, preset, seed):
    one, two = maps(height, width, seed), maps(height, width, seed + 1).flip(0)
    slow = nissim(heatmap(one, grid), heatmap(two, grid), preset)
    fast = nissim_of_maps(one, two, grid, preset)
    torch.testing.assert_close(fast, slow, rtol=0, atol=2e-6)
    assert torch.equal(fast, nissim_of_maps(two, one, grid, preset))


@pytest.mark.parametrize("size", [7, 14])
def test_it_equals_it_on_the_study_s_own_grid(size):
    one, two = maps(size, size, 0), maps(size, size, 1)
    slow = nissim(heatmap(one), heatmap(two))
    torch.testing.assert_close(nissim_of_maps(one, two, 224), slow, rtol=0, atol=1e-6)


def test_equal_maps_are_exactly_zero_apart_and_a_scale_changes_nothing():
    one = maps(7, 7, 0)
    assert torch.equal(nissim_of_maps(one, one, 224), torch.zeros(6, dtype=torch.float64))
    assert nissim_of_maps(one, 8 * one, 224).max() == 0
    assert nissim_of_maps(one, one.flip(2), 224)[0] > 0.05


@pytest.mark.parametrize("preset", ["gaussian11", "uniform7"])
@pytest.mark.parametrize(
    ("height", "width", "grid"),
    [(7, 5, 33), (32, 32, 40), (33, 3, 40), (3, 33, 40), (14, 20, 16)],
)
def test_maps_of_any_size_are_compared_by_the_way_that_fits_them(height, width, grid, preset):
    one, two = maps(height, width, 0), maps(height, width, 1)
    slow = nissim(heatmap(one, grid), heatmap(two, grid), preset)
    found = nissim_of_maps(one, two, grid, preset)
    torch.testing.assert_close(found, slow, rtol=0, atol=2e-6)
    assert nissim_of_maps(one[:0], two[:0], grid, preset).shape == (0,)


def test_small_maps_are_compared_without_making_heatmaps(monkeypatch):
    monkeypatch.setattr("lookaway.metrics.map_nissim.on_grid", None)
    assert nissim_of_maps(maps(32, 32, 0), maps(32, 32, 1), 224).shape == (6,)


@pytest.mark.parametrize("size", [1, 4, 7, 56])
def test_a_number_is_the_same_bits_in_whatever_company_and_in_however_many_ways(size):
    ways = [("gaussian11", 56), ("uniform7", 56), ("gaussian11", 112)]
    many = [torch.cat([maps(size, size, seed) for seed in range(k, k + 7)]) for k in (0, 9)]
    whole = nissims(*many, ways)
    for count, start in [(1, 0), (1, 41), (3, 7), (8, 1), (33, 5)]:
        some = [each[start : start + count] for each in many]
        for way, found in nissims(*some, ways[1:]).items():
            assert torch.equal(found, whole[way][start : start + count])

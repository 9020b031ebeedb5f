"""Where participation went: known pictures have known numbers."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from lookaway.errors import InputError
from lookaway.metrics.direction import (
    area,
    centre,
    lost_and_gained,
    rank_correlation,
    top_overlap,
)

DEAD = torch.zeros(1, 4, 4)
ALIVE = torch.arange(16.0).view(1, 4, 4)


def block(rows, columns, height=12, width=16):
    """A heatmap of ones in some rows and columns, zeros elsewhere."""
    heat = torch.zeros(1, height, width)
    for column in columns:
        heat[0, list(rows), column] = 1.0
    return heat


FLOATS = st.floats(0, 1, width=32)


def drawn(draw, kind=FLOATS, count=2):
    """Some stacks of maps, all of one small size."""
    number, height, width = draw(st.tuples(*[st.integers(1, top) for top in (3, 6, 7)]))
    size = number * height * width
    return [
        torch.tensor(draw(st.lists(kind, min_size=size, max_size=size))).view(number, height, width)
        for _ in range(count)
    ]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 6), st.integers(0, 9), st.integers(0, 99))
def test_a_blob_that_moves_takes_the_centre_with_it(down, right, seed):
    blob = torch.rand(4, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    heat = torch.zeros(2, 10, 14, dtype=torch.float64)
    heat[0, :4, :5] = blob
    heat[1, down : down + 4, right : right + 5] = blob
    before, after = centre(heat)
    expected = torch.tensor([right / 14, down / 10], dtype=torch.float64)
    torch.testing.assert_close(after - before, expected, rtol=0, atol=1e-12)


def test_the_centre_of_one_cell_is_its_middle_and_of_an_even_map_the_middle_of_the_image():
    heat = torch.stack([torch.zeros(4, 10), torch.full((4, 10), 0.3), torch.zeros(4, 10)])
    heat[0, 3, 0] = 0.2
    heat[2, 0, 9], heat[2, 0, 5] = 0.75, 0.25
    found = centre(heat)
    assert found.dtype == torch.float64
    expected = torch.tensor([[0.05, 0.875], [0.5, 0.5], [0.85, 0.125]], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_a_blob_torn_into_halves_keeps_its_centre_and_area_and_loses_what_left_its_place():
    clean, torn = block(range(3, 7), [6, 7, 8, 9]), block(range(3, 7), [5, 6, 9, 10])
    assert [float(part) for part in lost_and_gained(clean, torn)] == [0.5, 0.5]
    assert torch.equal(centre(clean), centre(torn))
    assert torch.equal(area(clean), area(torn))


def test_a_blob_doubled_to_both_sides_keeps_its_centre_and_doubles_its_area():
    clean, twins = (
        block(range(3, 7), [6, 7, 8, 9]),
        block(range(3, 7), [2, 3, 4, 5, 10, 11, 12, 13]),
    )
    assert [float(part) for part in lost_and_gained(clean, twins)] == [1.0, 2.0]
    assert torch.equal(centre(clean), centre(twins))
    assert float(area(twins)) == 2 * float(area(clean)) == 2 * 16 / (12 * 16)


def test_a_grown_blob_gains_and_a_shrunk_one_loses():
    small, large = block([4, 5], [7, 8]), block([3, 4, 5, 6], [6, 7, 8, 9])
    assert [float(part) for part in lost_and_gained(small, large)] == [0.0, 3.0]
    assert [float(part) for part in lost_and_gained(large, small)] == [0.75, 0.0]
    assert float(area(large)) == 4 * float(area(small))


def test_a_map_that_dies_loses_everything():
    assert [float(part) for part in lost_and_gained(ALIVE, DEAD)] == [1.0, 0.0]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_lost_and_gained_are_sums_over_cells(data):
    clean, attacked = drawn(data.draw)
    assume(bool((clean.flatten(1).sum(dim=1) > 1e-3).all()))
    lost, gained = lost_and_gained(clean, attacked)
    for place in range(len(clean)):
        less = more = mass = 0.0
        for before, after in zip(
            clean[place].flatten().tolist(), attacked[place].flatten().tolist(), strict=True
        ):
            mass += before
            less += before - after if after < before else 0.0
            more += after - before if after > before else 0.0
        assert float(lost[place]) == pytest.approx(less / mass)
        assert float(gained[place]) == pytest.approx(more / mass)
        assert 0 <= float(lost[place]) <= 1 + 1e-12


def test_area_counts_cells_of_half_the_maximum_and_none_below_it():
    heat = torch.tensor([[[0.8, 0.4, 0.399, 0.0, 0.0]], [[0.1, 0.2, 0.11, 0.1, 0.09]]])
    torch.testing.assert_close(area(heat), torch.tensor([0.4, 0.8], dtype=torch.float64))
    assert torch.equal(area(heat / 8), area(heat))


@pytest.mark.parametrize(
    "measure", [centre, area, lambda heat: lost_and_gained(heat, torch.ones_like(heat))]
)
def test_a_dead_map_has_no_place_even_beside_living_ones(measure):
    found = measure(torch.cat([ALIVE, DEAD]))
    for each in found if isinstance(found, tuple) else (found,):
        assert each[:-1].isfinite().all()
        assert each[-1].isnan().all()


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(["ties", "floats"]))
def test_rank_correlation_is_scipy_s_also_with_ties(data, kind):
    values = st.sampled_from([0.0, 0.25, 0.5, 3.0]) if kind == "ties" else FLOATS
    a, b = drawn(data.draw, values)
    assume(all(len(row.unique()) > 1 for maps in (a, b) for row in maps.flatten(1)))
    found = rank_correlation(a, b)
    assert found.dtype == torch.float64
    for place in range(len(a)):
        expected = spearmanr(a[place].flatten().numpy(), b[place].flatten().numpy()).statistic
        assert float(found[place]) == pytest.approx(expected, abs=1e-9)


def test_an_inverted_map_has_the_reverse_order_and_a_faded_one_the_same():
    heat = torch.rand(3, 7, 5, generator=torch.Generator().manual_seed(0))
    ones = torch.ones(3, dtype=torch.float64)
    torch.testing.assert_close(rank_correlation(heat, 1 - heat), -ones, rtol=0, atol=1e-12)
    torch.testing.assert_close(rank_correlation(heat, heat**3 / 2), ones, rtol=0, atol=1e-12)
    assert float(rank_correlation(heat, heat).max()) <= 1.0


@pytest.mark.parametrize("constant", [0.0, 0.7])
def test_a_constant_map_has_no_order_on_either_side_even_beside_others(constant):
    mixed, fine = torch.cat([ALIVE, torch.full_like(ALIVE, constant)]), torch.cat([ALIVE, ALIVE])
    for pair in ((mixed, fine), (fine, mixed)):
        assert rank_correlation(*pair).isnan().tolist() == [False] * len(ALIVE) + [True] * len(
            ALIVE
        )


def test_top_overlap_by_hand():
    first = torch.tensor([[[9.0, 8.0, 7.0, 0.0], [0.0, 0.0, 0.0, 0.0]]])
    other = torch.tensor([[[0.0, 1.0, 2.0, 5.0], [0.0, 0.0, 0.0, 6.0]]])
    assert float(top_overlap(first, other, share=1 / 2)) == 0.75  # 9 8 7 0, 6 5 2 1
    assert float(top_overlap(first, other, share=1 / 4)) == 0.0
    assert float(top_overlap(first, first)) == 1.0
    assert float(top_overlap(first, first.flip(2))) == 0.0  # a tenth of eight cells is one


def test_of_equal_cells_the_first_in_reading_order_count():
    even, late = torch.ones(1, 2, 5), torch.arange(10.0).view(1, 2, 5)
    for share, expected in ((0.5, 0.0), (0.6, 2 / 6), (0.8, 6 / 8)):
        assert float(top_overlap(even, late, share)) == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.floats(0.02, 1))
def test_top_overlap_is_that_of_sorted_lists(data, share):
    a, b = drawn(data.draw, st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))
    for place, found in enumerate(top_overlap(a, b, share).tolist()):
        highest = []
        for maps in (a, b):
            cells = maps[place].flatten().tolist()
            order = sorted(range(len(cells)), key=lambda cell, cells=cells: (-cells[cell], cell))
            highest.append(set(order[: max(1, round(share * len(cells)))]))
        assert found == len(highest[0] & highest[1]) / len(highest[0])


def test_each_map_of_a_batch_is_measured_for_itself():
    random = torch.Generator().manual_seed(3)
    a, b = (torch.rand(5, 6, 8, generator=random) for _ in range(2))
    for measure in (rank_correlation, top_overlap, lambda x, _: area(x), lambda x, _: centre(x)):
        whole = measure(a, b)
        alone = torch.cat([measure(a[i : i + 1], b[i : i + 1]) for i in range(5)])
        np.testing.assert_allclose(whole.numpy(), alone.numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5])
def test_a_share_of_the_cells_outside_0_to_1_is_an_error(share):
    maps = torch.arange(12.0).view(1, 3, 4)
    with pytest.raises(InputError, match="share must be"):
        top_overlap(maps, maps, share)

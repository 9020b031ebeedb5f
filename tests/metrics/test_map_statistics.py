"""How two maps differ beside NISSIM: known pictures, by hand."""

import pytest
import torch

from lookaway.metrics.map_statistics import DISPLACEMENT, conventions, map_statistics
from oracles import pixels

MEASURE = ("gaussian11", 32)
COMMON = (4, 4)
WHERE = ["lost", "gained", "right", "down", "clean_area", "attacked_area"]
ORDER = {
    "rank_correlation",
    *(f"{name}@{place}" for name in ("spearman", "top10") for place in ("native", "common")),
}


def measured(clean, attacked, common=COMMON):
    """A dictionary for each pair of maps; None where there is no number."""
    found = map_statistics(clean, attacked, *MEASURE, common)
    return [
        {
            name: None if values[place].isnan() else float(values[place])
            for name, values in found.items()
        }
        for place in range(len(clean))
    ]


def one(clean, attacked):
    """The numbers of a single pair of (h, w) maps."""
    return measured(clean[None], attacked[None])[0]


def blob(rows, columns, side=14):
    heat = torch.zeros(side, side)
    for row in rows:
        heat[row, list(columns)] = 1.0
    return heat


def test_a_blob_that_moved_is_told_by_how_far_and_where_to():
    # The blobs stay clear of the border, where enlarging would cut their soft edges.
    found = one(blob([4, 5], [2, 3]), blob([3, 4], [7, 8]))
    assert found["right"] == pytest.approx(5 / 14, abs=1e-5)
    assert found["down"] == pytest.approx(-1 / 14, abs=1e-5)
    assert found["lost"] == pytest.approx(1.0)
    assert found["gained"] == pytest.approx(1.0)
    assert found["attacked_area"] == found["clean_area"]
    assert found["strength"] == 0.0


def test_a_faded_map_keeps_its_place_and_loses_strength():
    heat = pixels(9, 9)
    found = one(heat, heat / 2)
    assert found["strength"] == pytest.approx(-1 / 3, abs=1e-6)
    assert one(heat, heat * 3)["strength"] == pytest.approx(1 / 2, abs=1e-6)
    assert [found[name] for name in ("lost", "gained", "right", "down")] == [0, 0, 0, 0]
    assert found["rank_correlation"] == pytest.approx(1.0)
    assert all(found[name] == pytest.approx(0.0, abs=1e-12) for name in conventions(*MEASURE))


def test_an_inverted_map_has_the_reverse_order():
    heat = torch.linspace(0, 1, 81).view(9, 9)
    found = one(heat, 1 - heat)
    assert found["rank_correlation"] == pytest.approx(-1.0)
    assert found["spearman@native"] == found["spearman@common"] == pytest.approx(1.0)
    assert found["top10@native"] == found["top10@common"] == 1.0


def missing(found):
    """The names of the numbers that each pair does not have."""
    return [{name for name, value in row.items() if value is None} for row in found]


@pytest.mark.parametrize("side", [9, 40])  # 40: larger than the grid of the measures
def test_dead_maps_have_none_where_there_is_no_number(side):
    heat, dead = pixels(side, side), torch.zeros(side, side)
    pairs = [(heat, heat.T), (heat, dead), (dead, heat), (dead, dead)]
    clean, attacked = (torch.stack([pair[which] for pair in pairs]) for which in (0, 1))
    found = measured(clean, attacked)
    assert missing(found) == [
        set(),
        {*ORDER, "right", "down", "attacked_area"},
        {*ORDER, *WHERE},
        {*ORDER, *WHERE, "strength"},
    ]
    assert (found[1]["lost"], found[1]["gained"], found[1]["strength"]) == (1.0, 0.0, -1.0)
    assert found[2]["strength"] == 1.0
    assert found[3]["uniform7@16"] == 0.0


@pytest.mark.parametrize("common", [(9, 9), (4, 4)])
def test_constant_maps_have_a_place_but_no_order_at_any_size(common):
    heat, even = pixels(9, 9), torch.full((9, 9), 0.3)
    found = measured(torch.stack([even, heat]), torch.stack([heat, even]), common)
    assert missing(found) == [ORDER, ORDER]
    assert found[0]["clean_area"] == found[1]["attacked_area"] == 1.0


@pytest.mark.parametrize(
    ("ssim", "grid", "smaller"),
    [
        ("gaussian11", 224, [112, 56, 14]),
        ("uniform7", 33, [16, 11]),
        ("uniform7", 20, [11]),
    ],
)
def test_conventions_are_all_but_the_study_s_own(ssim, grid, smaller):
    other = "uniform7" if ssim == "gaussian11" else "gaussian11"
    found = conventions(ssim, grid)
    assert set(found) == {
        *(f"{preset}@{side}" for preset in (ssim, other) for side in smaller),
        f"{ssim}@common",
        f"{other}@{grid}",
        f"{other}@common",
        "spearman@native",
        "spearman@common",
        "top10@native",
        "top10@common",
    }
    assert len(found) == 7 + 2 * len(smaller)
    pair = pixels(2, 5, 5), pixels(2, 5, 5, seed=1)
    whole = map_statistics(*pair, ssim, grid, COMMON)
    assert list(whole) == [*DISPLACEMENT, *found]
    some = map_statistics(*pair, ssim, grid, COMMON, displacement=False)
    assert list(some) == found
    assert all(torch.equal(some[name], whole[name]) for name in found)


def test_on_the_smallest_grid_no_convention_is_named_twice():
    assert len(conventions("gaussian11", 11)) == len(set(conventions("gaussian11", 11))) == 7

"""The shuffled baseline: names and seed fix the pairs, scores are those of the public calls."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lookaway as la
from lookaway.metrics.shuffled import partners, shuffled_nissim
from oracles import pixels

NAMES = [f"{place}.png" for place in range(30)]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=5), min_size=2, max_size=40, unique=True), st.integers(0, 2**31))
def test_partners_are_one_cycle_through_all_images_and_the_same_every_time(images, seed):
    others = partners(images, seed)
    assert others == partners(list(images), seed)
    assert all(type(place) is int for place in others)
    place, seen = 0, []
    for _ in images:
        place = others[place]
        seen.append(place)
    assert sorted(seen) == list(range(len(images)))
    assert place == 0


def test_partners_follow_the_seed_and_the_names():
    found = [partners(NAMES, 0), partners(NAMES, 1), partners([*NAMES[:-1], "x.png"], 0)]
    assert len({tuple(others) for others in found}) == 3


def test_every_way_round_four_images_is_drawn():
    drawn = {tuple(partners(["a", "b", "c", "d"], seed)) for seed in range(100)}
    assert len(drawn) == 6


@pytest.mark.parametrize("batch_size", [1, 3, 64])
@pytest.mark.parametrize("preset", ["gaussian11", "uniform7"])
def test_the_score_is_the_nissim_of_a_map_s_heatmap_and_its_partner_s(batch_size, preset):
    maps = pixels(5, 4, 6, seed=1)
    maps[3] = 0
    others = [2, 3, 1, 4, 0]
    found = shuffled_nissim(maps, others, 24, preset, batch_size)
    for place, other in enumerate(others):
        pair = [la.heatmap(maps[i : i + 1], 24) for i in (place, other)]
        assert float(found[place]) == pytest.approx(float(la.nissim(*pair, preset)), abs=1e-6)

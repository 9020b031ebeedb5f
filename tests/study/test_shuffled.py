"""The shuffled null: pairs are fixed by names and seed, scores are those of the public calls."""

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lookaway.study.cell import CellSettings, Shard, run_cell
from lookaway.study.schemas import SHUFFLED_SCHEMA
from lookaway.study.shuffled import compare_shuffled, partners
from polars.testing import assert_frame_equal

import lookaway as la
from lookaway.study.store import CellKey, map_key
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
    found = compare_shuffled(maps, others, 24, preset, batch_size)
    for place, other in enumerate(others):
        pair = [la.heatmap(maps[i : i + 1], 24) for i in (place, other)]
        assert float(found[place]) == pytest.approx(float(la.nissim(*pair, preset)), abs=1e-6)


def test_stored_rows_are_what_the_public_calls_give_from_stored_maps(looked):
    for index, model in enumerate(["one", "two"]):
        layer = looked.plan["last_layers"][model]
        for shard in (0, 1):
            key = CellKey("none", index, model, shard)
            rows = pl.read_parquet(looked.folder / "shuffled" / f"{key.stem}.parquet")
            images = looked.store.cell_rows(key)["image"].unique(maintain_order=True).to_list()
            others = partners(images, 0)
            for policy in ("own", "clean", "label"):
                maps = looked.store.read_maps(key)[map_key("clean", layer, policy)]
                heats = la.heatmap(torch.from_numpy(maps.astype(np.float32)), 32)
                mine = rows.filter(pl.col("explained_class") == policy)
                assert mine["image"].to_list() == images
                assert mine["partner"].to_list() == [images[place] for place in others]
                expected = la.nissim(heats, heats[others]).numpy()
                np.testing.assert_allclose(mine["nissim"].to_numpy(), expected, atol=2e-3)
                dead = maps.max(axis=(1, 2)) == 0
                np.testing.assert_array_equal(mine["dead"], dead | dead[others])
    assert looked.store.shuffled()["nissim"].max() > 0.01


def test_a_row_for_each_image_model_and_policy_and_every_model_compares_the_same_pairs(looked):
    rows = looked.store.shuffled()
    assert dict(rows.schema) == SHUFFLED_SCHEMA
    assert rows.height == 6 * 2 * 3
    assert not rows.select("image", "model", "layer", "explained_class").is_duplicated().any()
    assert rows.null_count().sum_horizontal()[0] == 0
    assert rows.select("image", "partner").unique().height == 6
    about = looked.rows().select("image", "label", "model", "layer", "depth", "map_size").unique()
    assert rows.join(about, on=about.columns, how="anti").is_empty()


def test_the_same_study_twice_gives_bit_equal_shuffled_rows(
    looked, quick_study, run_quickly, tmp_path
):
    second = run_quickly(quick_study, tmp_path / "out")
    assert_frame_equal(looked.store.shuffled(), second.store.shuffled(), check_exact=True)


@pytest.fixture
def paper_cell(on_paper):
    """Five images through the network that fits on paper; the third explains its label by nothing.

    Class 0 is told by red above green, class 1 by blue; the third is blue and labelled 0.
    """
    random = np.random.default_rng(0)
    grids = random.integers(0, 90, (5, 16, 16, 3), dtype=np.uint8)
    grids[..., 0] += 100
    grids[2, ..., 0] = 0
    grids[2, ..., 1:] = 200
    shard = Shard(
        variant="none",
        images=tuple("abcde"),
        grids=grids,
        labels=np.zeros(5, dtype=np.int64),
        classes=("red", "blue"),
        pictured=np.zeros(5, dtype=bool),
    )
    (layer,) = on_paper.layer_names("last")

    def run(images=slice(None), batch_size=2, layers=(layer,)):
        part = Shard(
            variant="none",
            images=shard.images[images],
            grids=shard.grids[images],
            labels=shard.labels[images],
            classes=shard.classes,
            pictured=shard.pictured[images],
        )
        settings = CellSettings(
            attacks=("fgsm",),
            epsilons=(0.05,),
            quantize=False,
            method="gradcam",
            layers=layers,
            last=layer,
            explained_class=("label", "own"),
            ssim="gaussian11",
            grid=16,
            noise_seed=3,
            batch_size=batch_size,
        )
        return run_cell(on_paper, "paper", part, settings)

    return run


def test_a_pair_is_dead_where_either_of_its_maps_is(paper_cell):
    found = pl.DataFrame(paper_cell().shuffled, schema=SHUFFLED_SCHEMA)
    label = found.filter(pl.col("explained_class") == "label")
    expected = (label["image"] == "c") | (label["partner"] == "c")
    assert label["dead"].to_list() == expected.to_list()
    assert expected.sum() == 2
    assert not found.filter(pl.col("explained_class") == "own")["dead"].any()
    own = found.filter(pl.col("explained_class") == "own")
    assert (label["nissim"] - own["nissim"]).abs().max() > 0.005  # each policy's own maps


def test_pairs_are_of_the_whole_shard_whatever_the_batch_size(paper_cell):
    whole, single = (paper_cell(batch_size=size).shuffled for size in (5, 1))
    assert whole["partner"] == ["abcde"[place] for place in partners("abcde", 3)] * 2
    for name in set(SHUFFLED_SCHEMA) - {"nissim"}:
        assert whole[name] == single[name]
    np.testing.assert_allclose(whole["nissim"], single["nissim"], atol=1e-6)


def test_every_explained_layer_has_its_rows(paper_cell, on_paper):
    layers = tuple(on_paper.layer_names("convs"))
    found = pl.DataFrame(paper_cell(layers=layers).shuffled, schema=SHUFFLED_SCHEMA)
    last = on_paper.layer_names("last")[0]
    assert set(found["layer"]) == {*layers, last}
    assert found.height == 5 * 2 * len({*layers, last})
    scores = found.filter(pl.col("explained_class") == "own").partition_by("layer")
    assert len({tuple(part["nissim"].to_list()) for part in scores}) == len(scores)


def test_an_image_alone_in_its_shard_has_no_shuffled_rows(paper_cell):
    assert paper_cell(images=slice(0, 1)).shuffled == {}


def test_a_study_of_shards_of_one_image_finishes_without_shuffled_rows(
    quick_study, run_quickly, tmp_path
):
    study = {**quick_study, "models": quick_study["models"][:1]}
    result = run_quickly(study, tmp_path / "out", shard=1)
    assert result.store.shuffled().is_empty()
    assert dict(result.store.shuffled().schema) == SHUFFLED_SCHEMA
    assert result.rows()["image"].n_unique() == 6
    assert result.store.looks().height == result.rows().height

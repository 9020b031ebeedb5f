"""A study's shuffled baseline: what the public calls give from its stored maps."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

import lookaway as la
from lookaway.metrics.shuffled import partners
from lookaway.progress import Silent
from lookaway.rows import SHUFFLED_SCHEMA
from lookaway.study import prepare
from lookaway.study.identity import Identity
from lookaway.study.keys import map_key
from lookaway.study.plan import parse_study
from lookaway.study.worker import Job, Shard, do_cell


def test_stored_rows_are_what_the_public_calls_give_from_stored_maps(looked):
    for model in ["one", "two"]:
        layer = looked.plan.last_layers[model]
        for shard in (0, 1):
            key = looked.store.identity.cell("none", model, shard)
            rows = pl.read_parquet(looked.folder / "shuffled" / f"{key.id}.parquet")
            images = (
                looked.store.read_cell("rows", key)["image"].unique(maintain_order=True).to_list()
            )
            others = partners(images, 0)
            for policy in ("own", "clean", "label"):
                maps = looked.store.read_maps(key)[map_key("clean", "gradcam", policy, layer)]
                heats = la.heatmap(torch.from_numpy(maps.astype(np.float32)), 32)
                mine = rows.filter(pl.col("explained_class") == policy)
                assert mine["image"].to_list() == images
                assert mine["partner"].to_list() == [images[place] for place in others]
                expected = la.nissim(heats, heats[others]).numpy()
                np.testing.assert_allclose(mine["nissim"].to_numpy(), expected, atol=2e-3)
                dead = maps.max(axis=(1, 2)) == 0
                np.testing.assert_array_equal(mine["dead"], dead | dead[others])
    assert looked.store.frame("shuffled")["nissim"].max() > 0.01


def test_a_row_for_each_image_model_and_policy_and_every_model_compares_the_same_pairs(looked):
    rows = looked.store.frame("shuffled")
    assert dict(rows.schema) == SHUFFLED_SCHEMA
    assert rows.height == 6 * 2 * 3
    assert not rows.select("image", "model", "layer", "explained_class").is_duplicated().any()
    assert rows.null_count().sum_horizontal()[0] == 0
    assert rows.select("image", "partner").unique().height == 6
    about = looked.rows().select("image", "label", "model", "layer", "depth", "map_size").unique()
    assert rows.join(about, on=about.columns, how="anti").is_empty()


@pytest.fixture
def paper_cell(on_paper, quick_study):
    """Five images through the network that fits on paper; the third explains its label by nothing.

    Class 0 is told by red above green, class 1 by blue; the third is blue and labelled 0.
    """
    random = np.random.default_rng(0)
    grids = random.integers(0, 90, (5, 16, 16, 3), dtype=np.uint8)
    grids[..., 0] += 100
    grids[2, ..., 0] = 0
    grids[2, ..., 1:] = 200
    explain = {"explained_class": ["label", "own"], "pictured": 0}
    study = {**quick_study, "models": quick_study["models"][:1], "transfer_from": []}
    study |= {"epsilons": [0.05], "explain": explain, "measure": {"grid": 16}}
    study["data"] = {**study["data"], "split": {**study["data"]["split"], "seed": 3}}
    prepared = prepare.prepare(parse_study(study), None, None, Silent(), "the study")
    images_of_two = replace(prepared.images, classes=["red", "blue"])
    (last,) = on_paper.layer_names("last")

    def run(images=slice(None), batch_size=2, layers=(last,)):
        other = {"layers": {"one": list(layers)}, "last_layers": {"one": last}}
        other |= {"batch_sizes": {"one": batch_size}, "last_sizes": {"one": [4, 4]}}
        plan = prepared.plan.model_copy(update=other)
        spec, identity = prepared.study.models[0], Identity(plan, images_of_two.samples())
        job = Job(spec, identity.cell("none", "one", 0), range(5))
        shard = Shard(
            job,
            replace(prepared, plan=plan, images=images_of_two),
            names=list("abcde")[images],
            grids=grids[images],
            labels=np.zeros(5, dtype=np.int64)[images],
            pictured=np.zeros(5, dtype=bool)[images],
            part=identity.whole("one"),
        )
        return do_cell(on_paper, shard, {})[0]

    return run


def test_a_pair_is_dead_where_either_of_its_maps_is(paper_cell):
    found = paper_cell().shuffled
    label = found.filter(pl.col("explained_class") == "label")
    expected = (label["image"] == "c") | (label["partner"] == "c")
    assert label["dead"].to_list() == expected.to_list()
    assert expected.sum() == 2
    assert not found.filter(pl.col("explained_class") == "own")["dead"].any()
    own = found.filter(pl.col("explained_class") == "own")
    assert (label["nissim"] - own["nissim"]).abs().max() > 0.005  # each policy's own maps


def test_pairs_are_of_the_whole_shard_whatever_the_batch_size(paper_cell):
    whole, single = (paper_cell(batch_size=size).shuffled for size in (5, 1))
    assert whole["partner"].to_list() == ["abcde"[place] for place in partners("abcde", 3)] * 2
    assert whole.drop("nissim").equals(single.drop("nissim"))
    np.testing.assert_allclose(whole["nissim"], single["nissim"], atol=1e-6)


def test_every_explained_layer_has_its_rows(paper_cell, on_paper):
    layers = tuple(on_paper.layer_names("convs"))
    found = paper_cell(layers=layers).shuffled
    last = on_paper.layer_names("last")[0]
    assert set(found["layer"]) == {*layers, last}
    assert found.height == 5 * 2 * len({*layers, last})
    scores = found.filter(pl.col("explained_class") == "own").partition_by("layer")
    assert len({tuple(part["nissim"].to_list()) for part in scores}) == len(scores)


def test_an_image_alone_in_its_shard_has_no_shuffled_rows(paper_cell):
    found = paper_cell(images=slice(0, 1)).shuffled
    assert found.is_empty()
    assert dict(found.schema) == SHUFFLED_SCHEMA


def test_a_study_of_shards_of_one_image_finishes_without_shuffled_rows(
    quick_study, run_quickly, tmp_path
):
    study = {**quick_study, "models": quick_study["models"][:1]}
    result = run_quickly(study, tmp_path / "out", shard=1)
    assert result.store.frame("shuffled").is_empty()
    assert dict(result.store.frame("shuffled").schema) == SHUFFLED_SCHEMA
    assert result.rows()["image"].n_unique() == 6
    assert result.store.frame("statistics").height == result.rows().height

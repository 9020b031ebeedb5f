"""A study's shuffled baseline: what the public calls give from its stored maps."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

import lookaway as la
from lookaway.data.pixels import floats_on
from lookaway.metrics.shuffled import OTHER_CLASS, SAME_CLASS
from lookaway.progress import Silent
from lookaway.rows import SHUFFLED_SCHEMA
from lookaway.study import prepare
from lookaway.study.cell import Shard, do_cell
from lookaway.study.identity import Identity
from lookaway.study.job import Job
from lookaway.study.keys import map_key
from lookaway.study.plan import parse_study


def test_stored_rows_are_what_the_public_calls_give_from_stored_maps(looked):
    """Of each image's own class, for which no map is made anew."""
    for model in ["one", "two"]:
        layer = looked.plan.last_layers[model]
        for shard in (0, 1):
            key = looked.store.identity.cell("none", model, shard)
            rows = pl.read_parquet(looked.folder / "shuffled" / f"{key.id}.parquet")
            measured = looked.store.read_cell("rows", key)
            images = measured["image"].unique(maintain_order=True).to_list()
            maps = looked.store.read_maps(key)[map_key("clean", "gradcam", "own", layer)]
            heats = la.heatmap(torch.from_numpy(maps.astype(np.float32)), 32)
            mine = rows.filter(pl.col("explained_class") == "own")
            assert set(mine["image"]) <= set(images)
            first, second = (
                [images.index(name) for name in mine[column]] for column in ("image", "partner")
            )
            expected = la.nissim(heats[first], heats[second]).numpy()
            np.testing.assert_allclose(mine["nissim"].to_numpy(), expected, atol=2e-3)
            dead = maps.max(axis=(1, 2)) == 0
            np.testing.assert_array_equal(mine["dead"], dead[first] | dead[second])
            labels = dict(measured.select("image", "label").unique().iter_rows())
            for image, partner, relation in mine.select("image", "partner", "relation").iter_rows():
                same = labels[image] == labels[partner]
                assert relation == ("same class" if same else "other class")
    assert looked.store.frame("shuffled")["nissim"].max() > 0.01


def test_every_model_and_policy_compares_the_same_pairs(looked):
    rows = looked.store.frame("shuffled")
    assert dict(rows.schema) == SHUFFLED_SCHEMA
    view = ["model", "layer", "explained_class"]
    assert not rows.select("image", "partner", *view).is_duplicated().any()
    assert rows.null_count().sum_horizontal()[0] == 0
    pairs = rows.group_by("image", "partner").agg(pl.struct(view).n_unique().alias("views"))
    assert set(pairs["views"]) == {2 * 3}
    about = looked.rows().select("image", "label", "model", "layer", "depth", "map_size").unique()
    assert rows.join(about, on=about.columns, how="anti").is_empty()


@pytest.fixture
def paper_cell(on_paper, quick_study):
    """Five images through the network that fits on paper.

    Class 0 is told by red above green, class 1 by blue; the third and fourth are blue.
    """
    random = np.random.default_rng(0)
    grids = random.integers(0, 90, (5, 16, 16, 3), dtype=np.uint8)
    grids[..., 0] += 100
    grids[2:4, ..., 0] = random.integers(0, 30, (2, 16, 16))
    grids[2:4, ..., 1:] += 60
    labels = np.array([0, 0, 1, 1, 0])
    explain = {"explained_class": ["label", "own", "clean"], "pictured": 0}
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
            labels=labels[images],
            noise=la.SignNoise(3).find(None, floats_on("cpu", grids[images]), None, []),
            pictured=np.zeros(5, dtype=bool)[images],
            part=identity.whole("one"),
        )
        return do_cell(on_paper, shard, {})[0]

    run.grids, run.labels = grids, labels
    return run


def test_a_class_held_fixed_is_that_of_the_first_image_for_both_maps(paper_cell, on_paper):
    found = paper_cell().shuffled.filter(relation=OTHER_CLASS)
    layer = on_paper.layer_names("last")[0]
    grids, labels = paper_cell.grids, paper_cell.labels
    pixels = torch.from_numpy(grids.transpose(0, 3, 1, 2) / np.float32(255))
    assert set(found["explained_class"]) == {"clean", "own", "label"}
    for row in found.iter_rows(named=True):
        first, second = ("abcde".index(row[side]) for side in ("image", "partner"))
        images = pixels[[first, second]]
        own = on_paper(images).argmax(dim=1)
        held = {
            "own": own,
            "clean": own[[0, 0]],
            "label": torch.tensor([labels[first], labels[first]]),
        }
        e = la.GradCAM()(on_paper, images, held[row["explained_class"]])
        heats = la.heatmap(e.maps[layer], 16)
        assert row["nissim"] == pytest.approx(float(la.nissim(heats[:1], heats[1:])), abs=1e-5)
        assert row["dead"] == bool(e.dead[layer].any())
    clean, own = (found.filter(explained_class=policy) for policy in ("clean", "own"))
    assert (clean["nissim"] - own["nissim"]).abs().max() > 0.005


def test_an_image_has_several_partners_of_other_classes_and_one_of_its_own(paper_cell):
    found = paper_cell().shuffled.filter(explained_class="own")
    counts = found.group_by("image", "relation").len().sort("image", "relation")
    # a, b, e are of one class, c and d of the other.
    assert dict(counts.filter(relation=OTHER_CLASS).select("image", "len").iter_rows()) == {
        **dict.fromkeys("abe", 2),
        **dict.fromkeys("cd", 3),
    }
    assert counts.filter(relation=SAME_CLASS)["len"].to_list() == [1] * 5


def test_pairs_are_of_the_whole_shard_whatever_the_batch_size(paper_cell):
    whole, single = (paper_cell(batch_size=size).shuffled for size in (5, 1))
    assert whole.drop("nissim").equals(single.drop("nissim"))
    np.testing.assert_allclose(whole["nissim"], single["nissim"], atol=1e-6)


def test_every_explained_layer_has_its_rows_and_those_before_the_last_one_partner(
    paper_cell, on_paper
):
    layers = tuple(on_paper.layer_names("convs"))
    found = paper_cell(layers=layers).shuffled
    last = on_paper.layer_names("last")[0]
    assert set(found["layer"]) == {*layers, last}
    before = found.filter(pl.col("layer") != last, relation=OTHER_CLASS, explained_class="own")
    assert before.height == 5 * len({*layers} - {last})
    scores = found.filter(explained_class="own").partition_by("layer")
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

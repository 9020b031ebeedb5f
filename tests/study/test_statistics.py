"""What was measured of a finished study's maps is what the public calls give from stored maps."""

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal
from scipy.stats import spearmanr

import lookaway as la
from lookaway.metrics.direction import area, centre, lost_and_gained, top_overlap
from lookaway.metrics.map_statistics import DISPLACEMENT, conventions
from lookaway.rows import STATISTIC_KEYS
from lookaway.study.keys import map_key
from oracles import resized

MEASURE = ("gaussian11", 32)


def cells_of(result):
    """Each cell's key and last layer."""
    for model in ["one", "two"]:
        for shard in (0, 1):
            yield result.store.identity.cell("none", model, shard), result.plan.last_layers[model]


def pairs_of(result):
    """Each row of statistics with its clean and its attacked map as they are stored."""
    for key, layer in cells_of(result):
        maps = result.store.read_maps(key)
        frame = pl.read_parquet(result.folder / "statistics" / f"{key.id}.parquet")
        images = result.store.read_cell("rows", key)["image"].unique(maintain_order=True).to_list()
        for row in frame.iter_rows(named=True):
            policy, level = row["explained_class"], [0.02, 0.1].index(row["epsilon"])
            place = images.index(row["image"])
            names = (
                map_key("clean", "gradcam", policy, layer),
                map_key("attacked", "gradcam", policy, layer, row["attack"], row["source"]),
            )
            pair = maps[names[0]][place], maps[names[1]][place, level]
            yield row, *(torch.from_numpy(part.astype(np.float32))[None] for part in pair)


def test_a_row_of_statistics_for_each_row_of_the_last_layers(looked):
    found = looked.store.frame("statistics")
    assert found.columns == [*STATISTIC_KEYS, *DISPLACEMENT, *conventions("gaussian11", 32)]
    rows = looked.rows().select(STATISTIC_KEYS)
    assert_frame_equal(found.select(STATISTIC_KEYS), rows, check_row_order=False)
    assert found.height == 6 * 5 * 2 * 3


def test_every_number_is_what_the_public_calls_give_from_stored_maps(looked):
    assert {tuple(size) for size in looked.plan.last_sizes.values()} == {(2, 2), (3, 3)}
    sizes, moved = set(), 0
    for row, clean, attacked in pairs_of(looked):
        sizes.add((row["model"], tuple(clean.shape[1:])))
        common = [resized(maps[:, None], (2, 2))[:, 0] for maps in (clean, attacked)]
        for preset in ("gaussian11", "uniform7"):
            for pair, grid, place in (
                ((clean, attacked), 32, "32"),
                ((clean, attacked), 16, "16"),
                (common, 32, "common"),
            ):
                expected = float(la.nissim(*(la.heatmap(m, grid) for m in pair), preset))
                if (preset, grid, place) != (*MEASURE, "32"):  # the study's own is in its rows
                    assert row[f"{preset}@{place}"] == pytest.approx(expected, abs=2e-3)
        for place, (first, second) in (("native", (clean, attacked)), ("common", common)):
            if row[f"spearman@{place}"] is None:
                assert any(len(maps.unique()) == 1 for maps in (first, second))
                continue
            order = spearmanr(first.flatten().numpy(), second.flatten().numpy()).statistic
            assert row[f"spearman@{place}"] == pytest.approx((1 - order) / 2, abs=1e-6)
            assert row[f"top10@{place}"] == 1 - float(top_overlap(first, second))
            if place == "native":
                assert row["rank_correlation"] == pytest.approx(order, abs=1e-6)
        heat = [la.heatmap(maps, 56) for maps in (clean, attacked)]
        if row["clean_dead"]:
            assert row["lost"] is None
            continue
        expected = [float(part) for part in lost_and_gained(*heat)]
        assert [row["lost"], row["gained"]] == pytest.approx(expected, abs=2e-3)
        assert row["clean_area"] == pytest.approx(float(area(heat[0])), abs=2e-3)
        if not row["attacked_dead"]:
            away = (centre(heat[1]) - centre(heat[0]))[0].tolist()
            assert [row["right"], row["down"]] == pytest.approx(away, abs=2e-3)
            moved += max(map(abs, away)) > 0.01
    assert sizes == {("one", (2, 2)), ("two", (3, 3))}
    assert moved > 20


def test_maps_of_another_size_are_brought_to_the_common_one_first(looked):
    differs = {
        model: (part["uniform7@32"] - part["uniform7@common"]).abs().max()
        for (model,), part in looked.store.frame("statistics")
        .partition_by("model", as_dict=True)
        .items()
    }
    assert differs["one"] == 0
    assert differs["two"] > 0.01


def test_strength_is_of_the_maxima_of_the_maps_as_they_were(looked):
    found = looked.store.frame("statistics")
    seen = 0
    for key, layer in cells_of(looked):
        maps = looked.store.read_maps(key)
        rows = looked.store.read_cell("rows", key)
        images = rows["image"].unique(maintain_order=True).to_list()
        before = maps[map_key("clean peak", "gradcam", "own", layer)]
        after = maps[map_key("attacked peak", "gradcam", "own", layer, "noise", None)]
        kept = maps[map_key("attacked", "gradcam", "own", layer, "noise", None)].max(axis=(2, 3))
        np.testing.assert_array_equal(kept, after > 0)  # the maps themselves reach up to 1
        mine = found.filter(
            (pl.col("model") == key.model) & pl.col("image").is_in(images),
            (pl.col("attack") == "noise") & (pl.col("explained_class") == "own"),
        )
        for row in mine.iter_rows(named=True):
            place, level = images.index(row["image"]), [0.02, 0.1].index(row["epsilon"])
            a, b = float(before[place]), float(after[place, level])
            assert row["strength"] == pytest.approx((b - a) / (b + a), abs=1e-9)
            seen += 1
    assert seen == 2 * 6 * 2


def test_own_and_clean_agree_exactly_where_no_class_flips_and_differ_where_one_does(looked):
    keys = ["image", "model", "attack", "source", "epsilon"]
    classes = looked.rows().unique(keys, maintain_order=True)
    flips = classes.select(*keys, flip=pl.col("clean_class") != pl.col("attacked_class"))
    found = looked.store.frame("statistics").join(
        flips, on=keys, nulls_equal=True, maintain_order="left"
    )
    own, clean = (
        found.filter(pl.col("explained_class") == policy).drop("explained_class")
        for policy in ("own", "clean")
    )
    assert own["flip"].sum() >= 3
    assert (~own["flip"]).sum() >= 3
    assert_frame_equal(own.filter(~pl.col("flip")), clean.filter(~pl.col("flip")), check_exact=True)
    other = own.filter("flip")["uniform7@32"] != clean.filter("flip")["uniform7@32"]
    assert other.sum() >= 3


def test_each_cell_has_statistics(looked):
    stored = {path.name for path in (looked.folder / "statistics").iterdir()}
    assert stored == {f"{key.id}.parquet" for key, _ in cells_of(looked)}


def test_statistics_are_the_same_in_a_second_run(looked, quick_study, run_quickly, tmp_path):
    second = run_quickly(quick_study, tmp_path / "new")
    assert_frame_equal(
        second.store.frame("statistics"), looked.store.frame("statistics"), check_exact=True
    )
    assert_frame_equal(
        second.store.frame("shuffled"), looked.store.frame("shuffled"), check_exact=True
    )


def test_batch_sizes_agree_on_rows_and_nearly_on_numbers(
    looked, quick_study, run_quickly, tmp_path
):
    single = run_quickly({**quick_study, "run": {"batch_size": 1}}, tmp_path / "out")
    exact = STATISTIC_KEYS
    many, few = looked.store.frame("statistics"), single.store.frame("statistics")
    assert_frame_equal(many.select(exact), few.select(exact))
    for name in ("lost", "gained", "right", "down", "strength", "uniform7@32", "gaussian11@common"):
        difference = (many[name] - few[name]).abs().drop_nulls()
        assert difference.quantile(0.9) < 5e-3  # a random sign of FGSM may turn
    rows = [result.store.frame("shuffled") for result in (looked, single)]
    assert_frame_equal(rows[0].drop("nissim"), rows[1].drop("nissim"))
    np.testing.assert_allclose(rows[0]["nissim"], rows[1]["nissim"], atol=1e-4)

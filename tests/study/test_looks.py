"""What stored maps say: known pictures by hand, and a finished study by the public calls."""

import shutil

import numpy as np
import polars as pl
import pytest
import torch
from lookaway.study.looks import DIRECTION, KEYS, cell_looks, conventions
from polars.testing import assert_frame_equal
from scipy.stats import spearmanr

import lookaway as la
from lookaway.metrics.direction import area, centre, lost_and_gained, top_overlap
from lookaway.study import looks
from lookaway.study.store import CellKey, map_key
from oracles import pixels, resized

MEASURE = ("gaussian11", 32)
COMMON = (4, 4)
WHERE = ["lost", "gained", "right", "down", "clean_area", "attacked_area"]


class Cell:
    """Rows and maps of a cell, by hand: clean maps, and attacked ones for each setting."""

    def __init__(self, images, epsilons=(0.1,)):
        self.images, self.epsilons = images, epsilons
        self.maps, self.rows = {}, []

    def add(self, clean, attacked, policy="own", attack="fgsm", source="m", flipped=()):
        """``clean`` is (n, h, w) and ``attacked`` (n, E, h, w), with their own maxima.

        Images in ``flipped`` are classed as "b" after the attack, and as their label "a" before.
        """
        for what, maps in (("clean", clean), ("attacked", attacked)):
            peaks = maps.amax(dim=(-2, -1))
            scaled = maps / torch.where(peaks > 0, peaks, 1.0)[..., None, None]
            where = () if what == "clean" else (attack, source)
            self.maps[map_key(what, "l", policy, *where)] = scaled.numpy().astype(np.float16)
            self.maps[map_key(f"{what} peak", "l", policy, *where)] = peaks.numpy()
        self.rows += [
            {
                "image": image,
                "label": "a",
                "variant": "none",
                "model": "m",
                "attack": attack,
                "source": source,
                "epsilon": epsilon,
                "explained_class": policy,
                "clean_class": "a",
                "attacked_class": "b" if image in flipped else "a",
                "clean_dead": bool(clean[place].amax() == 0),
                "attacked_dead": bool(attacked[place, level].amax() == 0),
            }
            for level, epsilon in enumerate(self.epsilons)
            for place, image in enumerate(self.images)
        ]
        return self

    def looks(self, measure=MEASURE, common=COMMON):
        frame = pl.DataFrame(self.rows, schema_overrides={"source": pl.String})
        return cell_looks(frame, self.maps, "l", measure, common)


def one(clean, attacked):
    """The looks of a single pair of (h, w) maps."""
    found = Cell(["i"]).add(clean[None], attacked[None, None]).looks()
    assert found.height == 1
    return found.row(0, named=True)


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


def test_a_blob_that_doubled_to_both_sides_stays_in_place_and_gains_area():
    found = one(blob([5, 6], [6, 7]), blob([5, 6], [2, 3, 10, 11]))
    assert found["right"] == pytest.approx(0.0, abs=1e-6)
    assert found["down"] == pytest.approx(0.0, abs=1e-6)
    assert found["lost"] == pytest.approx(1.0, abs=1e-5)
    assert found["gained"] == pytest.approx(2.0, abs=1e-5)
    assert found["attacked_area"] == 2 * found["clean_area"]


def test_growing_gains_and_shrinking_loses():
    small, large = blob([5, 6], [5, 6]), blob([4, 5, 6, 7], [4, 5, 6, 7])
    grown, shrunk = one(small, large), one(large, small)
    assert grown["lost"] == shrunk["gained"] == 0.0
    assert grown["gained"] > 1 > shrunk["lost"] > 0.5
    assert grown["attacked_area"] == shrunk["clean_area"] > grown["clean_area"]
    assert grown["clean_area"] == shrunk["attacked_area"]


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


ORDER = {
    "rank_correlation",
    *(f"{name}@{place}" for name in ("spearman", "top10") for place in ("native", "common")),
}


def nulls(found):
    """The names of the numbers that each row does not have."""
    numbers = found.select(pl.col(pl.Float64))
    assert not any(series.is_nan().any() for series in numbers)
    return [{name for name in row if row[name] is None} for row in numbers.iter_rows(named=True)]


@pytest.mark.parametrize("side", [9, 40])  # 40: larger than the grid of the measures
def test_dead_maps_have_nulls_where_there_is_no_number(side):
    heat, dead = pixels(side, side), torch.zeros(side, side)
    pairs = [(heat, heat.T), (heat, dead), (dead, heat), (dead, dead)]
    clean, attacked = (torch.stack([pair[which] for pair in pairs]) for which in (0, 1))
    found = Cell(list("abcd")).add(clean, attacked[:, None]).looks()
    assert found["clean_dead"].to_list() == [False, False, True, True]
    assert found["attacked_dead"].to_list() == [False, True, False, True]
    assert nulls(found) == [
        set(),
        {*ORDER, "right", "down", "attacked_area"},
        {*ORDER, *WHERE},
        {*ORDER, *WHERE, "strength"},
    ]
    rows = list(found.iter_rows(named=True))
    assert (rows[1]["lost"], rows[1]["gained"], rows[1]["strength"]) == (1.0, 0.0, -1.0)
    assert rows[2]["strength"] == 1.0
    assert rows[3]["uniform7@16"] == 0.0


@pytest.mark.parametrize("common", [(9, 9), (4, 4)])
def test_constant_maps_have_a_place_but_no_order_at_any_size(common):
    heat, even = pixels(9, 9), torch.full((9, 9), 0.3)
    clean, attacked = torch.stack([even, heat]), torch.stack([heat, even])
    found = Cell(["a", "b"]).add(clean, attacked[:, None]).looks(common=common)
    assert nulls(found) == [ORDER, ORDER]
    assert found["clean_area"][0] == found["attacked_area"][1] == 1.0


def test_every_pair_has_its_own_numbers_in_the_order_of_rows():
    count, epsilons = 7, (0.3, 0.1, 0.2)  # more pairs than are measured at once
    clean = torch.stack([blob([4], [2 + place]) * (1 + place) for place in range(count)])
    attacked = torch.stack(
        [
            torch.stack([blob([4 + level], [5 + place // 2]) * 2 for level in range(3)])
            for place in range(count)
        ]
    )
    found = Cell(list("abcdefg"), epsilons).add(clean, attacked).looks()
    assert found["epsilon"].to_list() == [epsilon for epsilon in epsilons for _ in range(count)]
    assert found["image"].to_list() == list("abcdefg") * 3
    for place, row in enumerate(found.iter_rows(named=True)):
        level, image = divmod(place, count)
        assert row["down"] == pytest.approx(level / 14, abs=1e-5)
        assert row["right"] == pytest.approx((3 + image // 2 - image) / 14, abs=1e-5)
        assert row["strength"] == pytest.approx((1 - image) / (3 + image), abs=1e-6)


def test_attacks_and_sources_are_measured_on_maps_of_their_own():
    clean = blob([6], [6])[None]
    cell = Cell(["i"])
    for source, column in (("m", 7), ("other", 8), (None, 9)):
        attack = "noise" if source is None else "fgsm"
        cell.add(clean, blob([6], [column])[None, None], attack=attack, source=source)
    found = cell.looks()
    assert found.select("attack", "source").rows() == [
        ("fgsm", "m"),
        ("fgsm", "other"),
        ("noise", None),
    ]
    np.testing.assert_allclose(found["right"] * 14, [1, 2, 3], atol=1e-4)


@pytest.mark.parametrize("first", ["own", "clean"])
def test_policies_share_numbers_where_they_explain_the_same_classes_and_differ_elsewhere(first):
    clean = torch.stack([blob([6], [6])] * 3)

    def at(column):
        return torch.stack([blob([6], [column])] * 3)[:, None]

    # Recomputed maps differ by rounding; here by a lot, to see which were measured.
    second = "clean" if first == "own" else "own"
    cell = Cell(list("abc"))
    cell.add(clean, at(7), policy=first, flipped=["b"])
    cell.add(clean, at(9), policy=second, flipped=["b"])
    cell.add(clean, at(10), policy="label", flipped=["b"])
    found = cell.looks()
    moved = {
        policy: [round(14 * value) for value in part["right"]]
        for (policy,), part in found.partition_by("explained_class", as_dict=True).items()
    }
    assert moved[first] == [1, 1, 1]
    assert moved[second] == [1, 3, 1]
    label = 3 if second == "clean" else 1  # the label is the clean image's class
    assert moved["label"] == [1, label, 1]
    both = [found.filter(pl.col("explained_class") == policy) for policy in (first, second)]
    stays = pl.col("image") != "b"
    assert_frame_equal(*(part.filter(stays).drop("explained_class") for part in both))


def test_label_is_measured_for_itself_where_the_clean_image_is_misclassified():
    clean = blob([6], [6])[None]
    cell = Cell(["i"])
    for policy, column in (("own", 7), ("clean", 8), ("label", 9)):
        cell.add(clean, blob([6], [column])[None, None], policy=policy)
    for row in cell.rows:
        row["clean_class"] = row["attacked_class"] = "c"
    assert [round(14 * value) for value in cell.looks()["right"]] == [1, 1, 3]


@pytest.mark.parametrize(
    ("ssim", "grid", "half"), [("gaussian11", 224, 112), ("uniform7", 33, 16), ("uniform7", 20, 11)]
)
def test_conventions_are_all_but_the_study_s_own(ssim, grid, half):
    found = conventions(ssim, grid)
    other = "uniform7" if ssim == "gaussian11" else "gaussian11"
    assert len(found) == len(set(found)) == 9
    assert set(found) == {
        f"{ssim}@{half}",
        f"{ssim}@common",
        f"{other}@{grid}",
        f"{other}@{half}",
        f"{other}@common",
        "spearman@native",
        "spearman@common",
        "top10@native",
        "top10@common",
    }


def test_on_the_smallest_grid_no_convention_is_named_twice():
    assert len(conventions("gaussian11", 11)) == len(set(conventions("gaussian11", 11))) == 7


# A finished study


def cells_of(result):
    """Each cell's key and last layer."""
    for index, model in enumerate(["one", "two"]):
        for shard in (0, 1):
            yield CellKey("none", index, model, shard), result.plan["last_layers"][model]


def pairs_of(result):
    """Each row of looks with its clean and its attacked map as they are stored."""
    for key, layer in cells_of(result):
        maps = result.store.read_maps(key)
        frame = pl.read_parquet(result.folder / "looks" / f"{key.stem}.parquet")
        images = result.store.cell_rows(key)["image"].unique(maintain_order=True).to_list()
        for row in frame.iter_rows(named=True):
            policy, level = row["explained_class"], [0.02, 0.1].index(row["epsilon"])
            place = images.index(row["image"])
            names = (
                map_key("clean", layer, policy),
                map_key("attacked", layer, policy, row["attack"], row["source"]),
            )
            pair = maps[names[0]][place], maps[names[1]][place, level]
            yield row, *(torch.from_numpy(part.astype(np.float32))[None] for part in pair)


def test_a_row_of_looks_for_each_row_of_the_last_layers(looked):
    found = looked.store.looks()
    assert found.columns == [
        *KEYS,
        "clean_dead",
        "attacked_dead",
        *DIRECTION,
        *conventions("gaussian11", 32),
    ]
    shared = [*KEYS, "clean_dead", "attacked_dead"]
    rows = looked.rows().select(shared)
    assert_frame_equal(found.select(shared), rows, check_row_order=False)
    assert found.height == 6 * 5 * 2 * 3


def test_every_number_is_what_the_public_calls_give_from_stored_maps(looked):
    assert {tuple(size) for size in looked.plan["last_sizes"].values()} == {(2, 2), (5, 5)}
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
    assert sizes == {("one", (2, 2)), ("two", (5, 5))}
    assert moved > 20


def test_maps_of_another_size_are_brought_to_the_common_one_first(looked):
    differs = {
        model: (part["uniform7@32"] - part["uniform7@common"]).abs().max()
        for (model,), part in looked.store.looks().partition_by("model", as_dict=True).items()
    }
    assert differs["one"] == 0
    assert differs["two"] > 0.01


def test_strength_is_of_the_maxima_of_the_maps_as_they_were(looked):
    found = looked.store.looks()
    seen = 0
    for key, layer in cells_of(looked):
        maps = looked.store.read_maps(key)
        rows = looked.store.cell_rows(key)
        images = rows["image"].unique(maintain_order=True).to_list()
        before = maps[map_key("clean peak", layer, "own")]
        after = maps[map_key("attacked peak", layer, "own", "noise", None)]
        kept = maps[map_key("attacked", layer, "own", "noise", None)].max(axis=(2, 3))
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
    found = looked.store.looks().join(flips, on=keys, nulls_equal=True, maintain_order="left")
    own, clean = (
        found.filter(pl.col("explained_class") == policy).drop("explained_class")
        for policy in ("own", "clean")
    )
    assert own["flip"].sum() >= 3
    assert (~own["flip"]).sum() >= 3
    assert_frame_equal(own.filter(~pl.col("flip")), clean.filter(~pl.col("flip")), check_exact=True)
    other = own.filter("flip")["uniform7@32"] != clean.filter("flip")["uniform7@32"]
    assert other.sum() >= 3


def test_looks_stand_beside_the_manifest_s_other_files(looked):
    stored = {path.name for path in (looked.folder / "looks").iterdir()}
    assert stored == {f"{key.stem}.parquet" for key, _ in cells_of(looked)}
    assert {f"looks/{name}" for name in stored} <= set(looked.manifest["files"])
    assert {f"shuffled/{name}" for name in stored} <= set(looked.manifest["files"])


def test_looks_are_the_same_in_a_second_run_and_are_not_measured_again_in_the_same(
    looked, quick_study, run_quickly, tmp_path, monkeypatch
):
    second = run_quickly(quick_study, tmp_path / "new")
    assert_frame_equal(second.store.looks(), looked.store.looks(), check_exact=True)
    monkeypatch.setattr(looks, "cell_looks", None)
    third = run_quickly(quick_study, tmp_path / "new")
    assert_frame_equal(third.store.looks(), looked.store.looks(), check_exact=True)


@pytest.mark.parametrize("damage", ["gone", "cut", "empty", "of other maps"])
def test_damaged_or_outdated_looks_are_measured_again_and_no_others(
    looked, quick_study, run_quickly, tmp_path, monkeypatch, damage
):
    copy = shutil.copytree(looked.folder, tmp_path / "out")
    paths = sorted((copy / "looks").iterdir())
    if damage == "gone":
        paths[1].unlink()
    elif damage == "of other maps":
        pl.read_parquet(paths[1]).with_columns(lost=0.5).write_parquet(
            paths[1], metadata={"made_of": "x"}
        )
    else:
        paths[1].write_bytes(paths[1].read_bytes()[:-9] if damage == "cut" else b"")
    measured = []
    real = looks.cell_looks
    monkeypatch.setattr(looks, "cell_looks", lambda *a: measured.append(1) or real(*a))
    again = run_quickly(quick_study, copy)
    assert len(measured) == 1
    assert_frame_equal(again.store.looks(), looked.store.looks(), check_exact=True)


def test_batch_sizes_agree_on_rows_and_nearly_on_numbers(
    looked, quick_study, run_quickly, tmp_path
):
    single = run_quickly({**quick_study, "run": {"batch_size": 1}}, tmp_path / "out")
    exact = [*KEYS, "clean_dead", "attacked_dead"]
    many, few = looked.store.looks(), single.store.looks()
    assert_frame_equal(many.select(exact), few.select(exact))
    for name in (*WHERE[:4], "strength", "uniform7@32", "gaussian11@common"):
        difference = (many[name] - few[name]).abs().drop_nulls()
        assert difference.quantile(0.9) < 5e-3  # a random sign of FGSM may turn
    rows = [result.store.shuffled() for result in (looked, single)]
    assert_frame_equal(rows[0].drop("nissim"), rows[1].drop("nissim"))
    np.testing.assert_allclose(rows[0]["nissim"], rows[1]["nissim"], atol=1e-4)

"""Files are whole or absent; damage is noticed; other settings are refused by name."""

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from lookaway.errors import StoreError
from lookaway.models.provenance import Epoch
from lookaway.perturbation import Perturbation
from lookaway.rows import ROW_SCHEMA, SAMPLE_SCHEMA, SHUFFLED_SCHEMA, STATISTIC_KEYS
from lookaway.study.json_files import TrainedModel
from lookaway.study.keys import map_key
from lookaway.study.store import CellResult, Store
from plans import a_manifest, a_plan, with_settings, write_json

SETTINGS = {"epsilons": [0.1], "controls": {"shifted": 0}, "explain": {"explained_class": ["own"]}}
PLAN = a_plan(["a model"], images=1, settings=SETTINGS)


def samples(**hashes):
    hashes = hashes or {"one": "1"}
    rows = [(name, "a", "test", False, sha, ["none"], []) for name, sha in hashes.items()]
    return pl.DataFrame(rows, schema=SAMPLE_SCHEMA, orient="row")


SIGNS = Perturbation.of_signs(np.array([[[[-1, 0, 1]]]], dtype=np.int8))
MET = [("fgsm", "a model"), ("noise", None)]
ATTACKED = map_key("attacked", "gradcam", "own", "last", "fgsm", "a model")


def a_key(store, shard=0):
    return store.identity.cell("none", "a model", shard)


def a_cell(store, shard=0, **numbers):
    """Keep a cell of a row for each perturbation, with one perturbation."""
    rows = pl.concat(pl.DataFrame(row(attack=a, source=s), ROW_SCHEMA) for a, s in MET)
    frames = {
        "rows": rows,
        "statistics": rows.select(*STATISTIC_KEYS, "nissim", lost=0.5),
        "shuffled": pl.DataFrame(row(SHUFFLED_SCHEMA), SHUFFLED_SCHEMA),
        "maps": {
            map_key("clean", "gradcam", "own", "last"): np.ones((1, 2, 3), np.float16),
            **{
                map_key("attacked", "gradcam", "own", "last", *met): np.arange(
                    6, dtype=np.float16
                ).reshape(1, 1, 2, 3)
                for met in MET
            },
        },
        "perturbations": {"fgsm": SIGNS},
    }
    store.write_cell(a_key(store, shard), CellResult(**{**frames, **numbers}))


def has_cell(store, shard=0, weights=""):
    """Whether nothing of a cell is missing."""
    missing = store.missing(a_key(store, shard), weights, scored=False, source=False)
    return not missing.parts and not missing.signs


def row(schema=ROW_SCHEMA, **given):
    values = {pl.String: "x", pl.Float64: 0.5, pl.Boolean: False, pl.Int64: 1}
    named = {"variant": "none", "model": "a model", "epsilon": 0.1, "method": "gradcam"}
    named |= {"layer": "last", "explained_class": "own", **given}
    return {name: [named.get(name, values[kind])] for name, kind in schema.items()}


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "run")
    store.begin(PLAN, samples())
    return store


def test_a_plan_s_attacks_have_the_names_that_rows_have(store):
    attacks = ["fgsm", {"name": "mine", "nets.attacks:Mine": {"steps": 3}}]
    store.write_model("plan.json", with_settings(PLAN, attacks=attacks))
    assert store.read_plan().attacks == ["fgsm", "mine"]


def test_what_changed_is_told_and_another_version_is_refused_by_name(store):
    assert store.begin(with_settings(PLAN), samples()) == []
    other = with_settings(PLAN, epsilons=[0.2], measure={"grid": 64})
    told = store.begin(other, samples())
    assert told == ["settings.epsilons[0]: 0.1 → 0.2", "settings.measure.grid: 32 → 64"]
    newer = other.model_copy(update={"versions": {**other.versions, "torch": "9"}})
    with pytest.raises(StoreError, match=r'versions.torch: "0" → "9"'):
        store.begin(newer, samples())


def test_files_that_were_not_used_change_no_result(store):
    aside = {"set_aside": {"notes.txt": "not named as an image file"}}
    store.begin(PLAN.model_copy(update=aside), samples())
    assert "notes.txt" in store.read_plan().set_aside


def test_where_images_and_weights_lie_and_how_work_is_done_changes_no_result(store):
    moved = with_settings(PLAN, data={"folder": "elsewhere"}, run={"engine": "ray", "workers": 2})
    store.begin(moved, samples())
    assert store.read_plan().settings.data.folder == "elsewhere"


def test_a_run_killed_before_its_plan_was_written_begins_again(store):
    (store.folder / "plan.json").unlink()
    store.begin(PLAN, samples())
    assert store.read_plan() == PLAN


def test_changed_images_are_named(tmp_path):
    store = Store(tmp_path / "run")
    store.begin(PLAN, samples(one="1", two="2", three="3"))
    other = a_plan(["a model"], images=2, settings={"epsilons": [0.1]})
    told = store.begin(other, samples(two="!", three="3", four="4"))
    assert told[-3:] == [
        "images added: four (1)",
        "images gone: one (1)",
        "images of other content: two (1)",
    ]


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StoreError, match="not empty"):
        Store(tmp_path).begin(PLAN, samples())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_cell_comes_back_as_it_was(store):
    assert not has_cell(store)
    a_cell(store)
    assert has_cell(store)
    assert not has_cell(store, weights="of another training")
    assert dict(store.frame("rows").schema) == ROW_SCHEMA
    maps = store.read_maps(a_key(store))
    np.testing.assert_array_equal(maps[ATTACKED], np.arange(6).reshape(1, 1, 2, 3))
    found = store.read_perturbations(a_key(store), (1, 1, 3))
    np.testing.assert_array_equal(found["fgsm"].codes, SIGNS.codes)
    with pytest.raises(StoreError, match="does not fit its images"):
        store.read_perturbations(a_key(store), (3, 9, 9))


@pytest.mark.parametrize("folder", ["rows", "maps", "signs", "shuffled", "statistics"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_cell_does_not_count_as_done(store, folder, damage):
    a_cell(store)
    (path,) = (store.folder / folder).iterdir()
    path.unlink() if damage == "gone" else path.write_bytes(path.read_bytes()[:-9])
    assert not has_cell(store)


def test_shuffled_rows_come_back_in_the_order_of_cells_and_none_are_a_frame_too(tmp_path):
    store = Store(tmp_path / "run")
    plan = a_plan(["a model"], images=3, settings=SETTINGS, shard=1)
    store.begin(plan, samples(one="1", two="2", three="3"))
    with pytest.raises(StoreError, match="no shuffled yet"):
        store.frame("shuffled")
    for shard, partner in ((2, "z"), (0, "y")):
        given = row(SHUFFLED_SCHEMA, partner=partner)
        a_cell(store, shard, shuffled=pl.DataFrame(given, SHUFFLED_SCHEMA))
    a_cell(store, 1, shuffled=pl.DataFrame(schema=SHUFFLED_SCHEMA))
    found = store.frame("shuffled")
    assert dict(found.schema) == SHUFFLED_SCHEMA
    assert found["partner"].to_list() == ["y", "z"]
    assert found["nissim"].to_list() == [0.5, 0.5]
    assert all(has_cell(store, shard) for shard in range(3))


def test_what_a_study_no_longer_asks_for_stays_and_comes_back_under_its_present_names(store):
    a_cell(store)
    before = {path: path.read_bytes() for path in (store.folder / "rows").iterdir()}
    renamed = {"models": [{"name": "mine", "timm": "test_resnet", "train": "none"}]}
    less = a_plan({"mine": "test_resnet"}, images=1, settings={**SETTINGS, **renamed})
    store.begin(less, samples())
    assert store.frame("rows")["model"].unique().to_list() == ["mine"]
    assert store.frame("rows")["source"].to_list() == ["mine", None]
    assert {path: path.read_bytes() for path in before} == before
    more = with_settings(PLAN, epsilons=[0.1, 0.2])
    store.begin(more, samples())
    left = store.missing(a_key(store), "", scored=False, source=False)
    assert [part.epsilons for part in left.parts] == [(0.2,)]
    assert left.parts[0].met == tuple(MET)
    assert (left.units, left.wanted, left.signs) == (2, 4, False)
    with pytest.raises(StoreError, match="lacks some of what the study asks for"):
        store.frame("rows")


def test_statistics_come_back(store):
    with pytest.raises(StoreError, match="no statistics yet"):
        store.frame("statistics")
    frame = pl.concat(pl.DataFrame(row(attack=a, source=s), ROW_SCHEMA) for a, s in MET)
    frame = frame.select(*STATISTIC_KEYS, lost=pl.lit(None, pl.Float64))
    a_cell(store, statistics=frame)
    assert_frame_equal(store.frame("statistics"), frame)


def test_rows_alone_make_a_cell_count_so_they_are_written_last(store, monkeypatch):
    real = Store.write_frame

    def full(self, name, *given):
        if name.startswith("rows"):
            raise OSError
        real(self, name, *given)

    monkeypatch.setattr(Store, "write_frame", full)
    with pytest.raises(OSError):
        a_cell(store)
    assert all((store.folder / name).is_dir() for name in ("maps", "signs", "shuffled"))
    assert not has_cell(store)


def test_a_write_that_fails_leaves_the_old_file_and_no_other(store, monkeypatch):
    store.write_text("x.txt", "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        store.write_text("x.txt", "new")
    assert (store.folder / "x.txt").read_text() == "old"
    assert not [path for path in store.folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"', "[" * 100_000])
def test_a_damaged_plan_is_a_clear_error(tmp_path, text):
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(StoreError, match=r"plan\.json"):
        Store(tmp_path).read_plan()


def test_a_study_file_of_the_user_s_own_in_the_folder_is_left_alone(tmp_path):
    (tmp_path / "study.yaml").write_text("# mine")
    with pytest.raises(StoreError, match="not empty"):
        Store(tmp_path).begin(PLAN, samples())
    assert (tmp_path / "study.yaml").read_text() == "# mine"


def test_a_file_in_the_folder_s_place_is_told_before_any_work(tmp_path):
    (tmp_path / "out").write_text("x")
    for place in (tmp_path / "out", tmp_path / "out" / "deeper"):
        with pytest.raises(StoreError, match=r"is a file|cannot be written|cannot be used"):
            Store(place).check_usable()


def test_a_run_that_goes_on_has_no_manifest_and_no_half_written_files(store):
    store.write_model("manifest.json", a_manifest())
    (store.folder / ".x.part").write_text("half")
    store.reopen()
    with pytest.raises(StoreError, match="not finished"):
        store.read_manifest()
    assert not (store.folder / ".x.part").exists()


@pytest.mark.parametrize("folder", ["rows", "statistics", "shuffled"])
def test_altered_numbers_do_not_count_though_their_file_can_be_read(store, folder):
    a_cell(store)
    assert has_cell(store)
    (path,) = (store.folder / folder).iterdir()
    kept = pl.read_parquet_metadata(path)
    kept.pop("ARROW:schema", None)
    pl.read_parquet(path).with_columns(nissim=0.25).write_parquet(path, metadata=kept)
    assert not has_cell(store)


def test_a_plan_that_lacks_a_setting_or_has_another_kind_of_it_is_refused_with_the_place(store):
    for odd, place in (
        (lambda about: about["settings"].pop("epsilons"), r"settings\.epsilons"),
        (lambda about: about["settings"]["measure"].update(grid="32"), r"settings\.measure\.grid"),
        (lambda about: about["images"].pop("test"), r"images\.test"),
        (lambda about: about.update(more=1), "more"),
        (lambda about: about.update(layout=3), r"layout: got 3.* reads layout 7"),
    ):
        about = PLAN.model_dump(mode="json")
        odd(about)
        write_json(store, "plan.json", about)
        for read in (store.read_plan, store.known_plan):
            with pytest.raises(StoreError, match=place):
                read()


def test_trained_models_come_back_by_name_and_variant_with_every_epoch(store):
    trained = [{"name": "a/model", "timm": "test_resnet", "train": "head"}]
    settings = {"models": trained, "data": {"variants": ["none", "cascade"]}}
    store.begin(a_plan({"a/model": "test_resnet"}, images=1, settings=settings), samples())
    assert store.trained() == {}
    epoch = {"epoch": 1, "train_loss": 1.5, "train_accuracy": 0.5}
    history = [Epoch(**epoch, val_loss=2.0, val_accuracy=0.25)]
    about = {"model": "a/model", "trained": "head", "sha256": "x", "history": history}
    keys = list(store.identity.models())
    assert len({key.head for key in keys}) == 1  # all has no aligner here, so they learn the same
    for key in keys:
        model = TrainedModel(**about, variant=key.variant, best_epoch=1)
        store.write_model(f"heads/{key.head}.json", model)
    found = store.trained()
    assert list(found) == ["a/model / cascade", "a/model"]
    assert found["a/model"] == model.model_copy(update={"variant": "none"})
    assert found["a/model"].val_accuracy == 0.25
    write_json(store, f"heads/{keys[0].head}.json", {**model.model_dump(), "best_epoch": 2})
    with pytest.raises(StoreError, match=r"json.*best_epoch is none of history"):
        store.trained()

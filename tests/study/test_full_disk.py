"""A full disk, a read-only folder and missing rights are told; what is stored stays and goes on."""

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import lookaway as la
from lookaway.errors import StoreError
from lookaway.perturbation import Perturbation
from lookaway.rows import ROW_SCHEMA, SAMPLE_SCHEMA
from lookaway.study.checksum import is_whole
from lookaway.study.identity import Identity
from lookaway.study.keys import CellKey
from lookaway.study.lock import locked
from lookaway.study.store import CellResult, Store
from machine import small_disk, without_rights
from plans import a_manifest, a_plan

PLAN = a_plan()
KEY = Identity(PLAN, pl.DataFrame(schema=SAMPLE_SCHEMA)).model("none", "one")
KEY = CellKey("none", "one", 0, "a-cell", KEY)
VALUES = {"String": "x", "Float64": 0.5, "Boolean": False, "Int64": 1}
ROW = pl.DataFrame({name: [VALUES[str(kind)]] for name, kind in ROW_SCHEMA.items()}, ROW_SCHEMA)
SIGNS = Perturbation.of_signs(np.array([[[[-1, 0, 1]]]], dtype=np.int8))
CELL = (KEY, CellResult(ROW, ROW, ROW, {}, {"fgsm": SIGNS}))


def a_store(folder):
    """One in which there is room for the cell."""
    store = Store(folder)
    store.use(PLAN, None)
    return store


def has_cell(store):
    missing = store.missing(KEY, "", scored=False, source=False)
    return not missing.parts and not missing.signs


CHECKED = {".json", ".parquet", ".safetensors", ".yaml"}


class Disk:
    """Has no room at the n-th step of writing from now on, nor later; ``room`` None: enough."""

    def __init__(self, monkeypatch):
        self.room = None
        steps = [(os, "fsync"), (Path, "replace"), (Path, "mkdir"), (Path, "open")]
        for place, name in steps:
            monkeypatch.setattr(place, name, self._wrapped(getattr(place, name)))

    def _wrapped(self, real):
        def step(*given, **named):
            reads = real.__name__ == "open" and "xb" not in given
            if self.room is not None and not reads:
                if self.room == 0:
                    raise OSError(28, "No space left on device")
                self.room -= 1
            return real(*given, **named)

        return step


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


def broken(folder):
    """Files that are not whole: each kind carries its checksum, but for pages and pictures."""
    return [
        path
        for path in folder.rglob("*")
        if path.suffix in CHECKED
        and path.parent.name not in ("log", "heads")
        and not is_whole(path.read_bytes(), path.name)
    ]


def test_a_disk_that_is_full_at_any_step_of_a_cell_leaves_a_run_that_goes_on(tmp_path, disk):
    for steps in range(100):
        store = a_store(tmp_path / str(steps))
        disk.room = steps
        try:
            store.write_cell(*CELL)
        except StoreError as error:
            assert "No space left" in str(error)
        else:
            break
        disk.room = None
        assert not has_cell(store)
        assert not list(tmp_path.rglob(".*"))
        store.write_cell(*CELL)
        assert has_cell(store)
        assert not store.damaged
    assert steps >= 4 * 5  # of each of five files


@pytest.mark.slow
def test_a_disk_that_is_full_at_every_write_of_a_study_in_turn_costs_no_row(
    quick_study, looked, run_quickly, tmp_path, disk
):
    """Each attempt gets room for one write more than it needs to come where it was."""
    refused, steps = 0, 0
    while True:
        disk.room = steps
        try:
            result = run_quickly(quick_study, tmp_path / "out")
            break
        except StoreError as error:
            assert "No space left" in str(error)
        assert not broken(tmp_path)
        refused, steps = refused + 1, steps + 1
    disk.room = None
    assert refused > 20
    assert result.store.damaged == []
    assert_frame_equal(result.rows(), looked.rows(), check_exact=True)
    assert_frame_equal(
        result.store.frame("statistics"), looked.store.frame("statistics"), check_exact=True
    )


def test_a_small_disk_that_fills_up_and_then_grows_costs_no_row(
    quick_study, looked, run_quickly, tmp_path
):
    refused, kilobytes = 0, 16
    with small_disk(tmp_path / "disk", kilobytes) as mount:
        out = tmp_path / "disk" / "out"
        while True:
            try:
                result = run_quickly(quick_study, out)
                break
            except StoreError as error:
                assert "No space left" in str(error)
                assert str(out) in str(error)
            assert not broken(out)
            refused, kilobytes = refused + 1, kilobytes + 80
            mount(f"size={kilobytes}k")
        assert_frame_equal(result.rows(), looked.rows(), check_exact=True)
        assert result.store.damaged == []
    assert refused >= 3


def test_a_disk_that_becomes_read_only_is_told_before_any_work_and_can_still_be_read(
    quick_study, looked, run_quickly, tmp_path, monkeypatch
):
    with small_disk(tmp_path / "disk", 20_000) as mount:
        out = tmp_path / "disk" / "out"
        run_quickly(quick_study, out)
        mount("ro")
        with monkeypatch.context() as patch:
            patch.setattr("lookaway.run.prepare", None)
            for place in (out, tmp_path / "disk" / "new"):
                with pytest.raises(StoreError, match="cannot be written"):
                    run_quickly(quick_study, place)
        assert_frame_equal(la.open_result(out).rows(), looked.rows(), check_exact=True)
        mount("rw")
        run_quickly(quick_study, out)


def test_a_folder_without_the_right_to_write_is_told_and_left_as_it_is(tmp_path):
    store = Store(tmp_path / "out")
    store.begin(PLAN, pl.DataFrame(schema=SAMPLE_SCHEMA))
    store.write_cell(*CELL)
    store.write_model("manifest.json", a_manifest())
    for place in (tmp_path, *tmp_path.rglob("*")):
        place.chmod(0o555 if place.is_dir() else 0o444)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with without_rights(tmp_path):
        for place in (store.folder, tmp_path / "new" / "deep"):
            with pytest.raises(StoreError, match="cannot be written"):
                begin_in(place)
        with pytest.raises(StoreError, match="cannot be written: Permission denied"):
            store.write_cell(*CELL)
        with pytest.raises(StoreError, match="cannot be written"):
            store.reopen()
        assert has_cell(store)
    tmp_path.chmod(0o755)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def begin_in(folder):
    Store(folder).check_usable()
    with locked(folder):
        pass

"""Each kind of stored file, cut or with one byte altered, is named and made again."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from polars.testing import assert_frame_equal

import lookaway as la
from lookaway.errors import StoreError
from lookaway.export import export
from lookaway.models import training
from lookaway.study import prepare
from lookaway.study.store import Store
from shared_runs import run_bare
from widened import widened

KINDS = {  # those of cells with their model and shard
    "rows": "rows/two 0.parquet",
    "maps": "maps/two 1.safetensors",
    "signs-of-a-source": "signs/one 0.safetensors",
    "signs-of-the-pictured": "signs/two 0.safetensors",
    "shuffled": "shuffled/one 1.parquet",
    "statistics": "statistics/two 0.parquet",
    "weights": "heads/one.safetensors",
    "about-weights": "heads/two.json",
    "picture": "images/*.png",
    "samples": "samples.parquet",
    "study": "study.yaml",
    "plan": "plan.json",
    "manifest": "manifest.json",
}


def path_of(kind, folder):
    """The file of a kind in a run."""
    place, identity = Path(KINDS[kind]), Store(folder).identity
    model, _, shard = place.stem.partition(" ")
    if shard:
        id_ = identity.cell("none", model, int(shard)).id
    elif place.parent.name == "heads":
        id_ = identity.model("none", model).head
    else:
        return sorted(folder.glob(KINDS[kind]))[0]
    return folder / place.with_name(id_ + place.suffix)


READS = {
    "rows": lambda folder: la.open_result(folder).rows(),
    "statistics": lambda folder: la.open_result(folder).direction(),
    "shuffled": lambda folder: la.open_result(folder).shuffled(),
    "maps": lambda folder: list(la.open_result(folder).store.cells_with_maps()),
    "about-weights": lambda folder: la.open_result(folder).store.trained(),
    "signs-of-a-source": lambda folder: export(folder, folder / "exported"),
    "samples": lambda folder: la.open_result(folder).samples(),
    "plan": la.open_result,
    "manifest": la.open_result,
}


@pytest.fixture(scope="module", params=["small", pytest.param("wide", marks=pytest.mark.program)])
def given(request, small_study):
    """A study that is run and damaged."""
    return widened(small_study) if request.param == "wide" else small_study


@pytest.fixture(scope="module")
def finished(given, tmp_path_factory):
    return run_bare(given, tmp_path_factory.mktemp("damage") / "out", shard=4)


def cut(raw):
    return raw[: len(raw) // 2]


def flipped(raw):
    place = int(np.random.default_rng(len(raw)).integers(len(raw)))
    return raw[:place] + bytes([raw[place] ^ 0x10]) + raw[place + 1 :]


def made_again(folder):
    """What the last run says that it made again."""
    logs = [json.loads(path.read_text()) for path in (folder / "log").iterdir()]
    return [name for log in logs for name in log["made_again"]]


def contents(folder):
    """Every file that holds a result, but for the times in ``log``."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "log"
    }


def test_each_kind_of_stored_file_is_damaged_here(finished):
    assert {kind for kinds in TOGETHER for kind in kinds} == set(KINDS)
    assert {kind for kinds in UNREAD for kind in kinds} == set(KINDS) - set(READS)
    kept = {path.parent.name for path in finished.folder.rglob("*") if path.is_file()}
    kept -= {"log", "out"}
    assert kept == {pattern.split("/")[0] for pattern in KINDS.values() if "/" in pattern}
    here = {path.name for path in finished.folder.iterdir() if path.is_file()}
    assert here == {pattern for pattern in KINDS.values() if "/" not in pattern}


# Several kinds at a time, none of which is made from another's file.
TOGETHER = [
    ["rows", "signs-of-a-source", "picture", "manifest"],
    ["maps", "weights", "study"],
    ["shuffled", "statistics", "about-weights"],
    ["signs-of-the-pictured", "plan"],
    ["samples"],
]
UNREAD = [["picture", "weights", "study"], ["signs-of-the-pictured"]]  # but by a study


@pytest.mark.parametrize(
    ("kinds", "damage"),
    [*((kinds, flipped) for kinds in TOGETHER), *((kinds, cut) for kinds in UNREAD)],
    ids=lambda given: "-".join(given) if isinstance(given, list) else given.__name__,
)
def test_damaged_files_are_named_and_made_again(
    finished, given, run_quickly, tmp_path, capsys, kinds, damage
):
    copy = shutil.copytree(finished.folder, tmp_path / "out")
    shutil.rmtree(copy / "log")
    paths = {kind: path_of(kind, copy) for kind in kinds}
    for kind, path in paths.items():
        whole = path.read_bytes()
        for each in (cut, flipped) if kind in READS else ():
            path.write_bytes(each(whole))
            with pytest.raises(StoreError, match=path.name):
                READS[kind](copy)
            path.write_bytes(whole)
    for path in paths.values():
        path.write_bytes(damage(path.read_bytes()))
    again = run_quickly(given, copy, progress=True)
    # The manifest is taken away before the work begins, whatever it holds.
    named = [
        path.relative_to(copy).as_posix() for kind, path in paths.items() if kind != "manifest"
    ]
    assert sorted(made_again(copy)) == sorted(named)
    told = capsys.readouterr().err.replace("\n", "")
    assert all(name in told for name in named)
    assert contents(copy) == contents(finished.folder)
    assert_frame_equal(again.rows(), finished.rows(), check_exact=True)


def test_nothing_is_made_again_where_nothing_is_damaged(finished, given, run_quickly, tmp_path):
    copy = shutil.copytree(finished.folder, tmp_path / "out")
    shutil.rmtree(copy / "log")
    run_quickly(given, copy)
    assert made_again(copy) == []
    assert contents(copy) == contents(finished.folder)


def test_a_plan_that_is_damaged_together_with_its_copy_is_refused(
    finished, given, run_quickly, tmp_path
):
    copy = shutil.copytree(finished.folder, tmp_path / "out")
    for name in ("plan.json", "samples.parquet"):
        (copy / name).write_bytes(flipped((copy / name).read_bytes()))
    before = contents(copy)
    with pytest.raises(StoreError, match=r"plan\.json.*copy in samples\.parquet.*another --out"):
        run_quickly(given, copy)
    assert contents(copy) == before


def test_another_version_is_refused_also_where_the_plan_is_damaged(
    finished, given, run_quickly, tmp_path, monkeypatch
):
    copy = shutil.copytree(finished.folder, tmp_path / "out")
    (copy / "plan.json").write_text("{}")
    monkeypatch.setattr(prepare, "versions", lambda _: {**finished.plan.versions, "timm": "9"})
    with pytest.raises(StoreError, match=r"versions\.timm"):
        run_quickly(given, copy)


@pytest.mark.parametrize("damage", [flipped, lambda _: b""])
def test_a_training_s_damaged_state_is_named_and_the_training_begins_anew(
    finished, given, run_quickly, tmp_path, monkeypatch, damage
):
    monkeypatch.setattr(training, "KEEP_EVERY", 0.0)
    epoch, done = training.one_pass, []

    def pulled(*given):
        done.append(1)
        if len(done) == 6:
            raise KeyboardInterrupt
        return epoch(*given)

    monkeypatch.setattr(training, "one_pass", pulled)
    with pytest.raises(KeyboardInterrupt):
        run_quickly(given, tmp_path / "out")
    (state,) = (tmp_path / "out" / "training").iterdir()
    state.write_bytes(damage(state.read_bytes()))
    run_quickly(given, tmp_path / "out")
    assert made_again(tmp_path / "out") == [f"training/{state.name}"]
    shutil.rmtree(tmp_path / "out" / "log")
    assert contents(tmp_path / "out") == contents(finished.folder)


def test_signs_that_were_made_before_their_cells_are_not_made_again(
    small_study, run_quickly, tmp_path, monkeypatch
):
    """Where sources need each other's, all signs come first; damaged ones alone are made again."""
    from lookaway.study import worker

    made, real = [], worker.perturb_cell
    monkeypatch.setattr(worker, "perturb_cell", lambda *given: made.append(1) or real(*given))

    def stop(*_):
        raise KeyboardInterrupt

    both = {**small_study, "transfer_from": ["one", "two"]}
    with monkeypatch.context() as patch:
        patch.setattr(worker, "do_cell", stop)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                run_quickly(both, tmp_path / "out")
    assert len(made) == 4
    id_ = Store(tmp_path / "out").identity.cell("none", "two", 1).id
    path = tmp_path / f"out/signs/{id_}.safetensors"
    before = path.read_bytes()
    path.write_bytes(flipped(before))
    run_quickly(both, tmp_path / "out")
    assert len(made) == 5
    assert path.read_bytes() == before
    assert made_again(tmp_path / "out") == [f"signs/{id_}.safetensors"]


@pytest.mark.parametrize("folder", ["rows", "statistics", "shuffled"])
def test_a_finished_run_that_lacks_a_cell_is_not_opened(finished, tmp_path, folder):
    copy = shutil.copytree(finished.folder, tmp_path / "out")
    key = Store(copy).identity.cell("none", "two", 1)
    (copy / folder / f"{key.id}.parquet").unlink()
    with pytest.raises(StoreError, match=rf"{folder}/{key.id}\.parquet missing"):
        la.open_result(copy)


def test_a_cell_s_file_of_other_weights_or_in_another_s_place_is_made_again(
    finished, given, run_quickly, tmp_path
):
    copy = shutil.copytree(finished.folder, tmp_path / "out")
    shutil.rmtree(copy / "log")
    store = Store(copy)
    key, other = (store.identity.cell("none", "one", shard) for shard in (0, 1))
    names = [f"maps/{key.id}.safetensors", f"statistics/{key.id}.parquet"]
    store.write_arrays(names[0], store.read_maps(key), {"weights": "of an earlier training"})
    shutil.copy(copy / f"statistics/{other.id}.parquet", copy / names[1])
    run_quickly(given, copy)
    assert sorted(made_again(copy)) == names
    assert contents(copy) == contents(finished.folder)

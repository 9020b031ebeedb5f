"""A run in a bucket: as on disk, one process at a time, after a kill, with damage, from the URL."""

import json
import os
import platform
import re
import signal
import subprocess
import sys

import pytest
from polars.testing import assert_frame_equal

import lookaway as la
from buckets import contents, upload
from lookaway.cli import main
from lookaway.errors import RemoteError, StoreError, StudyError
from lookaway.places import RemotePath
from lookaway.study import lock
from lookaway.study.json_files import Plan
from lookaway.study.lock import NAME, locked
from lookaway.study.store import Store
from plans import a_plan
from widened import widened


def on_disk(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "log"
    }


def environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def stored_faces(faces_for_all, make_bucket):
    return upload(faces_for_all, make_bucket() / "faces")


@pytest.fixture
def remote_study(quick_study, stored_faces):
    return {**quick_study, "data": {**quick_study["data"], "folder": str(stored_faces)}}


def test_a_study_of_a_bucket_in_a_bucket_has_the_files_of_one_on_disk_and_goes_on_after_damage(
    remote_study, looked, run_quickly, bucket, capsys
):
    out = bucket / "runs" / "first"
    result = run_quickly(remote_study, str(out))
    assert_frame_equal(result.rows(), looked.rows(), check_exact=True)
    here, there = contents(out), on_disk(looked.folder)
    assert set(here) == set(there)
    own = {
        "study.yaml",
        "plan.json",
        "manifest.json",
        "samples.parquet",
    }  # which name the image folder
    assert {name for name in here if here[name] != there[name]} <= own
    assert not (out / NAME).exists()

    victim = out / "rows" / f"{result.store.identity.cell('none', 'two', 0).id}.parquet"
    raw = bytearray(victim.read_bytes())
    raw[len(raw) // 2] ^= 0x10
    victim.write_bytes(bytes(raw))
    with pytest.raises(StoreError, match=f"{victim.name}' is missing or damaged"):
        la.open_result(str(out)).rows()
    again = run_quickly(remote_study, str(out), progress=True)
    assert again.store.damaged == []
    told = capsys.readouterr().err.replace("\n", "")
    assert f"{str(victim)!r} is missing or altered since it was written; it is made" in told
    assert contents(out) == here


@pytest.mark.program
def test_two_attacks_two_methods_and_a_vit_are_stored_in_a_bucket_as_on_disk(
    quick_study, remote_study, run_quickly, bucket, tmp_path
):
    local = run_quickly(widened(quick_study), tmp_path / "out")
    out = bucket / "out"
    assert run_quickly(widened(remote_study), str(out)).rows().equals(local.rows())
    here = contents(out)
    assert set(here) == set(on_disk(local.folder))
    identity = local.store.identity
    keys = [identity.cell("none", model, shard).id for model, shard in (("one", 0), ("two", 1))]
    for name in (f"signs/{keys[0]}.safetensors", f"maps/{keys[1]}.safetensors"):
        (out / name).write_bytes(here[name][: len(here[name]) // 2])
    run_quickly(widened(remote_study), str(out))
    assert contents(out) == here


_KILLED = """
import os, signal, sys
import lookaway as la
from lookaway.places import RemotePath
from lookaway.study import prepare
prepare.SHARD = 4
write, left = RemotePath.write_bytes, int(sys.argv[3])
def written(path, raw):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    write(path, raw)
RemotePath.write_bytes = written
import json
la.run_study(json.loads(sys.argv[1]), sys.argv[2], progress=False)
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_study_in_a_bucket_that_is_killed_again_and_again_ends_as_if_it_had_not_been(
    remote_study, looked, run_quickly, bucket
):
    out, steps = bucket / "out", (3, 9)
    for step in steps:
        command = [sys.executable, "-c", _KILLED, json.dumps(remote_study), str(out), str(step)]
        done = subprocess.run(command, env=environment(), capture_output=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        assert (out / NAME).exists()
    told = []
    with locked(str(out), told.append):
        pass
    assert re.search("was left by process .* and has ended; going on", told[0])
    result = run_quickly(remote_study, str(out))
    assert_frame_equal(result.rows(), looked.rows(), check_exact=True)
    assert set(contents(out)) == set(on_disk(looked.folder))
    assert result.store.damaged == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_command_takes_a_url(small_study, stored_faces, bucket, tmp_path, monkeypatch):
    def lookaway(*given):
        monkeypatch.setattr(sys, "argv", ["lookaway", *given])
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == 0

    study, out = tmp_path / "study.yaml", str(bucket / "runs" / "first")
    study.write_text(json.dumps(small_study))
    lookaway("run", str(study), "--data", str(stored_faces), "--out", out, "--quiet")
    page = la.open_result(out).report
    first = page.read_bytes()
    assert first.startswith(b"<!")
    page.unlink()
    lookaway("report", out, "--quiet")
    assert page.read_bytes() == first
    lookaway("figures", out, "--only", "mod", "--format", "svg,pdf", "--quiet")
    made = {path.name for path in (page.parent / "figures").iterdir() if "mod" in path.name}
    assert {path for path in made if path.endswith(".pdf")}
    lookaway("figures", out, "--only", "mod", "--format", "png", "--out", str(tmp_path / "here"))
    assert list((tmp_path / "here").glob("*.png"))
    lookaway("export", out, "--out", str(bucket / "perturbed"), "--quiet")
    assert {name.rsplit(".")[-1] for name in (bucket / "perturbed").below()} == {"png"}
    lookaway("compare", out, out, "--max-mod-rise", "0.1", "--quiet")


def test_a_run_inside_the_image_folder_is_refused(remote_study, stored_faces, monkeypatch):
    monkeypatch.setattr("lookaway.run.prepare", None)
    with pytest.raises(StoreError, match="lies inside the image folder"):
        la.run_study(remote_study, str(stored_faces / "run"), progress=False)


def test_a_bucket_that_is_not_there_is_told_before_any_work(
    quick_study, s3_server, bucket, monkeypatch
):
    monkeypatch.setattr("lookaway.run.prepare", None)
    with pytest.raises(RemoteError, match="there is no bucket 'no-such-bucket'"):
        la.run_study(quick_study, "s3://no-such-bucket/run", progress=False)
    with pytest.raises(RemoteError, match="there is no bucket 'no-such-bucket'"):
        la.open_result("s3://no-such-bucket/run")
    with pytest.raises(StoreError, match="holds no run of lookaway"):
        la.open_result(str(bucket / "run"))
    (bucket / "other" / "x").write_bytes(b"x")
    with pytest.raises(StoreError, match="is not empty and holds no run"):
        la.run_study(quick_study, str(bucket / "other"), progress=False)


def test_images_landmarks_and_checkpoints_that_cannot_be_used_are_problems_of_the_study(
    quick_study, s3_server, bucket
):
    data = {
        **quick_study["data"],
        "folder": str(bucket / "none"),
        "variants": ["landmarks"],
        "landmarks": "s3://bucket/points.csv",
    }
    models = [{**quick_study["models"][0], "checkpoint": "s3://bucket/mine.safetensors"}]
    given = {**quick_study, "data": data, "models": models, "transfer_from": []}
    with pytest.raises(StudyError) as caught:
        la.run_study(given, str(bucket / "out"), progress=False)
    told = {problem.where: problem.message for problem in caught.value.problems}
    assert "does not exist" in told["data.folder"]
    assert "landmarks must lie on this machine" in told["data.landmarks"]
    assert "a checkpoint must lie on this machine" in told["models[0].checkpoint"]


def test_a_store_that_stops_answering_is_no_damage(bucket, connect_anew, monkeypatch):
    store = Store(str(bucket / "run"))
    store.write_model("plan.json", a_plan())
    connect_anew()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for ask in (lambda: store.sound_model("plan.json", Plan), store.known_plan, store.reopen):
        with pytest.raises(RemoteError, match="check the network"):
            ask()
    assert store.damaged == []


# The lock


def signed(folder, **changes):
    """A lock's object as a process that was killed leaves it: this one's, but for some changes."""
    text = lock._signature().decode()
    for name, value in {"pid": 2**22 + 1, **changes}.items():
        text = re.sub(rf"(?m)^{name}=.*$", f"{name}={value}", text)
    (folder / NAME).write_bytes(text.encode())


def holder(folder, name="pid"):
    """The process, or the host, that a lock's object names."""
    return re.search(rf"(?m)^{name}=(.*)$", (folder / NAME).read_text())[1]


_HOLD = """
import sys
from lookaway.study.lock import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_bucket_s_run_is_held_by_one_process_and_taken_over_once_that_is_gone(
    bucket, monkeypatch
):
    monkeypatch.setattr(lock, "_SETTLED", 0.0)
    run = str(bucket / "run")
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, run],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    )
    try:
        assert process.stdout.readline() == b"held\n"
        told = rf"in use by process {process.pid} on '{re.escape(platform.node())}', which holds it"
        with pytest.raises(StoreError, match=told), locked(run):
            pass
    finally:
        process.kill()
        process.communicate()
    lines = []
    with locked(run, lines.append):
        assert holder(bucket / "run") == str(os.getpid())
        with pytest.raises(StoreError, match=f"process {os.getpid()} "), locked(run):
            pass
    assert len(lines) == 1
    assert f"process {process.pid} " in lines[0]
    assert not (bucket / "run").exists()


def test_another_machine_s_lock_is_refused_with_what_to_do(bucket):
    signed(bucket / "run", host="far-away", pid=7)
    told = r"process 7 on 'far-away', which .*gone, delete 's3://.*/run/\.lock'"
    with pytest.raises(StoreError, match=told), locked(str(bucket / "run")):
        pass
    (bucket / "run" / NAME).unlink()
    with locked(str(bucket / "run")):
        pass


def test_a_lock_that_says_nothing_is_taken_over(bucket, monkeypatch):
    monkeypatch.setattr(lock, "_SETTLED", 0.0)
    for text in (b"", b"{", b"[]", b'{"pid": []}'):
        (bucket / NAME).write_bytes(text)
        with locked(str(bucket)):
            assert holder(bucket) == str(os.getpid())


@pytest.mark.parametrize("stale", [False, True], ids=["free", "left behind"])
def test_of_two_that_take_it_at_once_the_later_one_is_refused(bucket, monkeypatch, stale):
    """Another process takes the lock between this one's look at it and its writing."""
    if stale:
        signed(bucket)
    look = lock._content

    def look_and_be_late(path):
        monkeypatch.setattr(lock, "_content", look)
        found = look(path)
        signed(bucket, host="far-away")
        return found

    monkeypatch.setattr(lock, "_content", look_and_be_late)
    with pytest.raises(StoreError, match="on 'far-away'"), locked(str(bucket)):
        pass
    assert holder(bucket, "host") == "far-away"


def test_where_the_store_heeds_no_condition_the_last_one_that_wrote_holds_it(bucket, monkeypatch):
    def writes_anyway(path, raw, **_condition):
        path.write_bytes(raw)
        return True

    monkeypatch.setattr(RemotePath, "_written_if", writes_anyway)
    waited = []
    monkeypatch.setattr(lock.time, "sleep", waited.append)
    with locked(str(bucket)):
        assert holder(bucket) == str(os.getpid())
    assert waited == [lock._SETTLED]
    monkeypatch.setattr(lock.time, "sleep", lambda _: signed(bucket, host="far-away"))
    with pytest.raises(StoreError, match="on 'far-away'"), locked(str(bucket)):
        pass


def test_a_lock_that_another_took_meanwhile_is_left_to_it(bucket):
    with locked(str(bucket)):
        signed(bucket, host="far-away")
    assert holder(bucket, "host") == "far-away"

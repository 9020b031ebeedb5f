"""One process at a time writes to a run's folder; a dead one's lock is taken over."""

import calendar
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import lookaway as la
from lookaway.cli import main
from lookaway.errors import StoreError, StudyError
from lookaway.study import lock
from lookaway.study.lock import NAME, locked

_HOLD = """
import sys
from lookaway.study.lock import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds ``tmp_path / "run"`` until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path / "run")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def signed(folder, **changes):
    """A lock's file as a process that was killed leaves it: this one's, but for some changes."""
    folder.mkdir(exist_ok=True)
    with locked(folder):
        text = (folder / NAME).read_text()
    for name, value in {"pid": 2**22 + 1, **changes}.items():
        text = re.sub(rf"(?m)^{name}=.*$", f"{name}={value}", text)
    (folder / NAME).write_text(text)
    made = calendar.timegm((2026, 1, 2, 3, 4, 5))
    os.utime(folder / NAME, (made, made))


def holder(folder):
    """The process that a lock's file names."""
    return int(re.search(r"(?m)^pid=(\d+)$", (folder / NAME).read_text())[1])


def test_a_second_process_is_refused_with_the_first_one_s_host_number_and_start(other, tmp_path):
    told = rf"process {other.pid} on '{re.escape(platform.node())}'.* since 20\d\d-\d\d-\d\d \d\d:"
    with pytest.raises(StoreError, match=told), locked(tmp_path / "run"):
        pass
    assert holder(tmp_path / "run") == other.pid


def test_a_study_in_a_folder_that_is_in_use_is_refused_before_any_work(
    other, small_study, tmp_path, monkeypatch
):
    monkeypatch.setattr("lookaway.run.prepare", None)
    with pytest.raises(StoreError, match=f"in use by process {other.pid}"):
        la.run_study(small_study, tmp_path / "run", progress=False)


def test_a_killed_process_s_lock_is_taken_over_and_told(other, tmp_path):
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert holder(tmp_path / "run") == other.pid
    told = []
    with locked(tmp_path / "run", told.append):
        assert holder(tmp_path / "run") == os.getpid()
    assert len(told) == 1
    assert f"process {other.pid}" in told[0]


def test_a_lock_that_was_released_leaves_nothing_and_can_be_taken_again(tmp_path):
    told = []
    for _ in range(2):
        with locked(tmp_path / "deep" / "run", told.append):
            assert (tmp_path / "deep" / "run" / NAME).is_file()
        assert not (tmp_path / "deep").exists()
    assert not told
    (tmp_path / "deep" / "run").mkdir(parents=True)
    with locked(tmp_path / "deep" / "run"):
        pass
    assert not list((tmp_path / "deep" / "run").iterdir())


def test_the_same_process_cannot_hold_a_folder_twice(tmp_path):
    with locked(tmp_path / "run"):
        with pytest.raises(StoreError, match=f"process {os.getpid()} "), locked(tmp_path / "run"):
            pass
        assert (tmp_path / "run" / NAME).is_file()


def test_another_machine_s_lock_is_refused_with_what_to_do(tmp_path):
    signed(tmp_path / "run", host="far-away", pid=7)
    told = r"process 7 on 'far-away', which holds it since 2026-01-02.*gone, delete '.*run/\.lock'"
    with pytest.raises(StoreError, match=told), locked(tmp_path / "run"):
        pass
    (tmp_path / "run" / NAME).unlink()
    with locked(tmp_path / "run"):
        pass


def test_a_lock_that_names_no_process_is_taken_over(tmp_path):
    def take(folder):
        with locked(folder):
            return holder(folder)

    texts = ['{"pid": 1}', "filelock/2\npid=1\n", "\0"]
    folders = [tmp_path / str(place) for place in range(len(texts))]
    for folder, text in zip(folders, texts, strict=True):
        folder.mkdir()
        (folder / NAME).write_text(text)
    with ThreadPoolExecutor() as pool:  # each waits two seconds
        assert list(pool.map(take, folders)) == [os.getpid()] * len(texts)


def test_an_empty_lock_may_be_about_to_be_signed_and_is_refused_with_what_to_do(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(lock, "_UNREADABLE", 0.1)
    (tmp_path / NAME).touch()
    told = r"another process, which does not say who.* gone, delete '.*\.lock'"
    with pytest.raises(StoreError, match=told), locked(tmp_path):
        pass


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_number_that_is_gone_or_used_again_holds_nothing(tmp_path):
    for pid in (2**22 + 1, os.getppid(), 1):  # no such process, and processes born before
        signed(tmp_path / "run", pid=pid)
        told = []
        with locked(tmp_path / "run", told.append):
            pass
        assert f"process {pid} " in told[0]
        assert not (tmp_path / "run" / NAME).exists()


def test_of_many_that_ask_at_once_one_holds_it_at_any_time(tmp_path):
    """Four processes count to fifty in one file, each step under the lock."""
    script = """
import sys, pathlib
from lookaway.errors import StoreError
from lookaway.study.lock import locked
counter, done = pathlib.Path(sys.argv[2]), 0
while done < 50:
    try:
        with locked(sys.argv[1]):
            counter.write_text(str(int(counter.read_text()) + 1))
            done += 1
    except StoreError:
        pass
"""
    (tmp_path / "count").write_text("0")
    (tmp_path / "run").mkdir()
    command = [sys.executable, "-c", script, str(tmp_path / "run"), str(tmp_path / "count")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [subprocess.Popen(command, env=env) for _ in range(4)]
    assert [process.wait(timeout=120) for process in processes] == [0] * 4
    assert (tmp_path / "count").read_text() == "200"


def test_a_study_that_cannot_run_leaves_no_folder_behind(small_study, tmp_path):
    with pytest.raises(StudyError):
        la.run_study(
            {**small_study, "explain": {"layers": ["x"]}}, tmp_path / "a/b", progress=False
        )
    assert not (tmp_path / "a").exists()


def test_the_report_is_not_made_again_in_a_folder_that_is_in_use_but_can_be_read(
    looked, tmp_path, monkeypatch, capsys
):
    shutil.copytree(looked.folder, tmp_path / "out")
    with locked(tmp_path / "out"):
        assert la.open_result(tmp_path / "out").rows().equals(looked.rows())
        monkeypatch.setattr(sys, "argv", ["lookaway", "report", str(tmp_path / "out")])
        with pytest.raises(SystemExit) as caught:
            main()
    assert caught.value.code == 2
    assert f"in use by process {os.getpid()}" in capsys.readouterr().err


def test_a_lock_s_time_is_that_of_its_making(tmp_path):
    with locked(tmp_path):
        os.utime(tmp_path / NAME, (0, 0))
        with pytest.raises(StoreError, match="since 1970-01-01 00:00:00"), locked(tmp_path):
            pass

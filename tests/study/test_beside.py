"""Images are read ahead of a cell and files written behind it: in order, bounded, nothing lost."""

import threading
from itertools import pairwise

import pytest

from lookaway.errors import StoreError
from lookaway.study import schedule, worker
from lookaway.study.beside import Ahead, Behind

_LONG = 20.0  # seconds; a test that waits so long has failed


def test_one_thing_is_made_ahead_by_another_thread_and_no_second_one():
    made = []

    def make(given, each):
        made.append((given, threading.current_thread() is threading.main_thread()))
        return sum(each(int, given))

    ahead = Ahead(make, "cpu")
    ahead.begin("12")
    ahead.begin("99")
    assert ahead.take("12") == 3
    assert ahead.take("34") == 7
    ahead.close()
    assert made == [("12", False), ("34", True)]


def test_what_fails_behind_is_raised_at_the_next_and_at_the_end():
    def fail():
        raise StoreError("the disk is full")

    def study(*work):
        with Behind() as behind:
            for each in work:
                behind.do(each)

    done = []
    for work in ([fail, lambda: done.append("never")], [fail]):
        with pytest.raises(StoreError, match="full"):
            study(*work)
    assert not done


def test_what_was_begun_behind_is_done_to_its_end_when_the_work_is_interrupted():
    begun, done = threading.Event(), []

    def write():
        begun.wait(_LONG)
        done.append("written")

    def study():
        with Behind() as behind:
            behind.do(write)
            begun.set()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study()
    assert done == ["written"]


def test_a_cell_is_measured_while_the_next_is_read_and_the_last_is_written(
    quick_study, looked, run_quickly, tmp_path, monkeypatch
):
    """Each waits for the others, so that the study would not end if they took turns."""
    load, cell, keep = worker.Shard.load.__func__, worker.do_cell, schedule.keep
    events, cells = {}, []

    def event(kind, key):
        return events.setdefault((kind, key.name), threading.Event())

    def loaded(kind, prepared, job, each=map):
        event("read", job.key).set()
        return load(kind, prepared, job, each)

    def measured(clf, shard, *given):
        cells.append(shard.job.key)
        event("measured", shard.job.key).set()
        following = {a.name: b for a, b in pairwise(keys)}
        after = following.get(shard.job.key.name)
        assert after is None or event("read", after).wait(_LONG)
        return cell(clf, shard, *given)

    def kept(session, job, results):
        place = [key.name for key in keys].index(job.key.name)
        same = [key for key in keys[place + 1 :] if key.model == job.key.model]
        assert not same or event("measured", same[0]).wait(_LONG)
        keep(session, job, results)

    jobs, real = schedule.cells, schedule.run_here
    keys = []

    def run_here(session, left):
        keys.extend(job.key for job in jobs(session))
        real(session, left)

    monkeypatch.setattr("lookaway.run.run_here", run_here)
    monkeypatch.setattr(worker.Shard, "load", classmethod(loaded))
    monkeypatch.setattr(worker, "do_cell", measured)
    monkeypatch.setattr(schedule, "keep", kept)
    result = run_quickly(quick_study, tmp_path / "out")
    assert [key.name for key in cells] == [key.name for key in keys]
    assert result.rows().equals(looked.rows())

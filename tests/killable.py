"""Studies in processes that die by SIGKILL at a chosen moment.

As a script it imports everything once, then forks a process for each study that it is asked for:
starting anew would take seconds each time. Every step of a study is an event with a label that does
not depend on what was done before, so that a moment is the same in each attempt.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Moment:
    """When to kill: at the first event that stands at ``place`` of ``order`` or behind it.

    Attributes:
        order: the labels of an undisturbed run.
        place: in it.
        delay: seconds that pass until it dies, in which it works on; 0: at once.
    """

    order: list[str]
    place: int
    delay: float


class Killable:
    """Runs studies, each in a process of its own."""

    def __enter__(self):
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        )
        return self

    def __exit__(self, *_):
        self._server.kill()
        self._server.communicate()

    def run(self, study, out, moment=None, page=False):
        """Run a study; whether it was killed, and its events."""
        when = None if moment is None else [moment.order, moment.place, moment.delay]
        asked = {"study": study, "out": str(out), "moment": when, "page": page}
        self._server.stdin.write(json.dumps(asked) + "\n")
        self._server.stdin.flush()
        told = json.loads(self._server.stdout.readline())
        if told["status"] not in (0, -signal.SIGKILL):
            raise AssertionError("\n".join(told["events"][-40:]))
        return told["status"] == -signal.SIGKILL, told["events"]


# Stages whose steps are counted from the beginning in each attempt.
COUNTED = ("reading", "finding faces", "training")
_REPORTED = ("tables", "figures", "frames", "report.html")


def stage_of(label):
    """The stage of a run that an event belongs to."""
    return label.partition(" ")[0]


def _serve():
    import lookaway.run
    import lookaway.study.prepare

    lookaway.study.prepare.SHARD = 4
    for line in sys.stdin:
        asked = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _study(asked, writing)
        os.close(writing)
        with os.fdopen(reading) as events:
            labels = events.read().splitlines()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps({"status": status, "events": labels}), flush=True)  # noqa: T201


def _study(asked, writing):
    """Run a study and end the process, whatever comes."""
    import lookaway.run

    try:
        events = _Events(writing, asked["moment"])
        _watch(events, Path(asked["out"]))
        lookaway.run.Silent = lambda: events
        if not asked["page"]:
            lookaway.run.build_report = lambda _store: None
        lookaway.run.run_study(asked["study"], asked["out"], progress=False)
    except BaseException:  # noqa: BLE001  told to the test
        os.write(writing, traceback.format_exc().encode())
        os._exit(1)
    os._exit(0)


class _Events:
    """Notes every step, and dies at the chosen one; it is the study's reporter too."""

    def __init__(self, writing, moment):
        order, self._place, self._delay = moment or ([], None, 0.0)
        self._places = {label: order.index(label) for label in order}  # where it comes first
        self._writing = writing

    def note(self, label):
        os.write(self._writing, f"{label}\n".encode())
        if self._place is not None and self._places.get(label, -1) >= self._place:
            self._place = None
            if self._delay:
                threading.Thread(target=self._die, daemon=True).start()
            else:
                self._die()

    def _die(self):
        time.sleep(self._delay)
        os.kill(os.getpid(), signal.SIGKILL)

    @contextmanager
    def stage(self, title, _total, _unit="steps"):
        name, _, what = title.partition(": ")
        total = 0

        def advance(count):
            nonlocal total
            total += count
            if what in COUNTED:
                self.note(f"{what} {name} {total}")

        yield advance

    def warn(self, line):
        self.note(f"warned {line}")


def _watch(events, out):
    """Note the cells' batches, each file that appears, and the page."""
    from lookaway.models import training
    from lookaway.study import worker

    training.KEEP_EVERY = 0.0
    do_cell, perturb_cell, replace = worker.do_cell, worker.perturb_cell, Path.replace

    def cell(clf, shard, given, _advance):
        done, model = 0, shard.job.spec.name

        def advance(count):
            nonlocal done
            done += count
            events.note(f"batch {model} {shard.names[0]} {done}")

        events.note(f"cell {model} {shard.names[0]}")
        return do_cell(clf, shard, given, advance)

    def signs(clf, shard):
        events.note(f"signs {clf.name} {shard.names[0]}")
        return perturb_cell(clf, shard)

    def renamed(path, target):
        name = Path(target).relative_to(out).as_posix()
        if name.endswith(".state"):  # comes anew with each epoch
            replace(path, target)
            return
        stage = "report" if name.startswith(_REPORTED) else "write"
        events.note(f"{stage} {name} aside")
        replace(path, target)
        events.note(f"{stage} {name} there")

    worker.do_cell, worker.perturb_cell, Path.replace = cell, signs, renamed


if __name__ == "__main__":
    _serve()

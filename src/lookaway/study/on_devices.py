"""The local engine on several devices, or in several processes of a processor.

Each does whole cells; this process writes all files.
"""

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import IO, Any, cast

import torch

from lookaway.errors import EngineError, LookawayError
from lookaway.memory import kept_memory
from lookaway.models.precision import computing
from lookaway.study.beside import Behind
from lookaway.study.cell_result import CellResult
from lookaway.study.grid_cache import grid_cache
from lookaway.study.job import Given, Job
from lookaway.study.keys import ModelKey
from lookaway.study.prepare import Prepared
from lookaway.study.schedule import Open, given_to, keep
from lookaway.study.session import Session
from lookaway.study.trained import trained_bytes
from lookaway.study.worker import Worker

# A process of its own that knows nothing of the caller's script, which may have no guard.
_COMMAND = [sys.executable, "-c", "from lookaway.study.on_devices import serve; serve()"]


def run_cells(session: Session, left: Open) -> None:
    """Do what is not done yet, on every device of the machine that the study may use.

    Raises:
        EngineError: a device's process ended.
    """
    devices = session.prepared.devices[: max(len(left.perturbing), len(left.jobs))]
    sources = session.study.transfer_from
    with ExitStack() as stack:
        behind = stack.enter_context(Behind())
        hands = [stack.enter_context(_Hand(each, session.prepared)) for each in devices]
        pool = stack.enter_context(ThreadPoolExecutor(max(1, len(hands)), "lookaway-device"))
        for hand in hands:
            stack.callback(hand.end)  # before the pool waits for it
        for what, jobs, images in left.stages:
            unit = "processes" if session.prepared.device == "cpu" else "devices"
            name = f"{len(hands)} {unit}: {what}"
            with session.progress.stage(name, images, "images") as advance:
                made_first = [job for job in jobs if job.spec.name in sources]
                for some in (made_first, [job for job in jobs if job.spec.name not in sources]):
                    for job, found in _done(session, some, hands, pool, _one_at_a_time(advance)):
                        behind.do(partial(keep, session, job, found))
                    behind.wait()  # others may need its perturbations


def _one_at_a_time(advance: Callable[[int], None]) -> Callable[[int], None]:
    """The same, for several threads."""
    lock = Lock()

    def locked(count: int) -> None:
        with lock:
            advance(count)

    return locked


def _done(
    session: Session,
    jobs: Sequence[Job],
    hands: Sequence["_Hand"],
    pool: ThreadPoolExecutor,
    advance: Callable[[int], None],
) -> Iterable[tuple[Job, list[CellResult]]]:
    """Cells and what was found, as they are done; whoever is free takes the next."""
    waiting, busy = deque(jobs), dict[Future[list[CellResult]], _Hand]()
    found: list[tuple[Job, list[CellResult]]] = []
    while True:
        for hand in hands:
            if hand not in busy.values() and (job := hand.next(waiting, len(hands))) is not None:
                weights = partial(trained_bytes, session.store, job.model, job.spec)
                given = given_to(session, job)
                busy[pool.submit(hand.do, job, given, weights, advance)] = hand
        yield from found
        if not busy:
            return
        ended = wait(busy, return_when=FIRST_COMPLETED).done
        found = [(busy.pop(each).job, each.result()) for each in ended]


class _Hand:
    """A process that does cells on one device."""

    def __init__(self, device: str, prepared: Prepared) -> None:
        self.device = device
        self.job: Job
        self._following: Job | None = None
        self._model: ModelKey | None = None
        path = os.pathsep.join(each or os.getcwd() for each in sys.path)  # noqa: PTH109
        self._process = subprocess.Popen(  # noqa: S603
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        self._input = cast(IO[bytes], self._process.stdin)
        self._output = cast(IO[bytes], self._process.stdout)
        threads = max(1, torch.get_num_threads() // len(prepared.devices))
        here = replace(prepared, device=device, devices=(device,))
        self._given: Any = here, threads

    def __enter__(self) -> "_Hand":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._process.communicate()

    def end(self) -> None:
        """End the process; it writes no files."""
        self._process.kill()

    def next(self, waiting: deque[Job], hands: int) -> Job | None:
        """The next job, and another one to read ahead where enough is left for all."""
        job = self._following or (waiting.popleft() if waiting else None)
        self._following = waiting.popleft() if len(waiting) >= hands else None
        return job

    def do(
        self,
        job: Job,
        given: Given,
        weights: Callable[[], bytes | None],
        advance: Callable[[int], None],
    ) -> list[CellResult]:
        """Do a cell; trained weights are asked for where the process has another model's.

        Raises:
            EngineError: the process ended, or failed.
        """
        self.job = job
        trained = None if self._model == job.model else weights()
        self._model = job.model
        try:
            for each in (self._given, (job, given, trained, self._following)):
                if each is not None:
                    pickle.dump(each, self._input)
            self._given = None
            self._input.flush()
            while isinstance(found := pickle.load(self._output), int):  # noqa: S301  our own
                advance(found)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise EngineError(
                f"the process of {self.device} ended with exit status {self._process.wait()} at "
                f"cell {job.key.name}; what is done stays, and the same command goes on from there"
            ) from error
        if isinstance(found, LookawayError):
            raise found
        results: list[CellResult] = found
        return results


def serve() -> None:
    """Do cells as they come on stdin, and answer on stdout, until there are no more."""
    asked, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a network prints is no answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    prepared, threads = pickle.load(asked)  # noqa: S301  of our own parent
    torch.set_num_threads(threads)
    with kept_memory(), computing(), grid_cache(Path(tempfile.gettempdir())) as cache:
        cached = replace(prepared, images=replace(prepared.images, cache=cache))
        with closing(Worker(cached)) as worker, suppress(EOFError, BrokenPipeError):

            def answer(what: object) -> None:
                try:
                    pickle.dump(what, answers)
                    answers.flush()
                except BrokenPipeError:  # the parent was killed; what is left goes nowhere
                    os.dup2(os.open(os.devnull, os.O_WRONLY), answers.fileno())
                    raise

            while True:
                job, given, trained, following = pickle.load(asked)  # noqa: S301
                answer(_answer(worker, job, given, trained, following, answer))


def _answer(
    worker: Worker,
    job: Job,
    given: Given,
    trained: bytes | None,
    following: Job | None,
    advance: Callable[[int], None],
) -> list[CellResult] | LookawayError:
    """What a cell gave, or what went wrong; before that how many images are done, each time."""
    try:
        return worker.do(job, given, lambda: trained, advance, following)
    except LookawayError as error:
        return error
    except BrokenPipeError:
        raise
    except Exception:  # noqa: BLE001  told with its traceback by the parent
        return EngineError(f"cell {job.key.name} failed:\n{traceback.format_exc()}")

"""The engine of many machines: cells on Ray's workers, files and progress in this process.

A worker holds one model at a time. Each has one cell in work and one waiting, so that nothing piles
up and none is idle while this process writes. What a worker or its machine had in hand when it died
is done again by another.
"""

import logging
import os
import platform
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from lookaway.errors import EngineError, LookawayError
from lookaway.memory import kept_memory
from lookaway.registry import own_code
from lookaway.study.keys import CellKey, ModelKey
from lookaway.study.prepare import Prepared, named_code, versions
from lookaway.study.schedule import given_to, keep, open_jobs, open_perturbations, sources_of
from lookaway.study.session import Session
from lookaway.study.settings import Study
from lookaway.study.store import CellResult
from lookaway.study.trained import trained_bytes
from lookaway.study.worker import Given, Job, Worker
from lookaway.threads import wait_settings

_IN_HAND = 2  # cells of a worker: one in work, one waiting
_DEATHS = 5  # of workers at one cell, or before any has begun, until it is given up
_LOOK = 2.0  # seconds until the cluster is looked at again
_KNOCK = 5.0  # seconds until a cluster that does not answer is not there
_PATIENCE = 60.0  # seconds without any worker until that is told


def run_cells(session: Session) -> None:
    """Do every cell that is not done yet, on a cluster; this process alone writes files.

    Args:
        session: of the run; each worker must find the images where this process does.

    Raises:
        EngineError: the cluster cannot be reached or has no room, a machine has other versions of
            what makes the numbers, or a cell ends every worker that tries it.
    """
    left = open_jobs(session)
    if not left:
        return
    with _cluster(session.study), closing(_Pool(session)) as pool:
        for found, what in (
            (open_perturbations(session, left), "perturbations for the others"),
            (left, "measuring"),
        ):
            images = sum(len(job.images) for job in found)
            if found:
                with session.progress.stage(f"Ray: {what}", images, "images") as advance:
                    pool.run(found, advance)


def check_cluster(prepared: Prepared) -> None:
    """Find out early whether the study's cluster is there and has room for a worker.

    Raises:
        EngineError: it is not, or has not.
    """
    if prepared.study.run.address is not None:
        with _cluster(prepared.study):
            _check_room(prepared)


@contextmanager
def _cluster(study: Study) -> Iterator[None]:
    """A connection to the study's cluster, or one of this machine; one that is there is used."""
    if ray.is_initialized():
        yield
        return
    address = study.run.address
    if address is None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        _knock(address)
        ray.init(
            address or "local",
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise EngineError(
            f"there is no Ray cluster at {address!r} ({error}); start one with `ray start --head` "
            "and give its address, or leave the address out to use this machine. A cluster that "
            "asks for a token needs RAY_AUTH_MODE=token and its ~/.ray/auth_token here"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str | None) -> None:
    """Find out whether anything listens: Ray itself would try for minutes.

    Raises:
        OSError: nothing does.
    """
    host, _, port = (address or "").rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_KNOCK).close()


class _Remote:
    """A worker on one of the cluster's machines."""

    def __init__(self, prepared: Prepared) -> None:
        if prepared.device == "cpu":
            torch.set_num_threads(prepared.study.run.cpus_per_worker)
        self._memory = kept_memory()
        self._memory.__enter__()
        self._prepared, self._worker = prepared, Worker(prepared)

    def about(self) -> dict[str, Any]:
        """Where this worker runs, and with which versions."""
        return {
            "versions": versions(self._prepared.plan.versions),
            "own_code": self._own_code(),
            "pid": os.getpid(),
            "host": platform.node(),
            "node": ray.get_runtime_context().get_node_id(),
        }

    def _own_code(self) -> dict[str, str]:
        """The checksums of the study's own modules here; of one that is not here, why."""
        found: dict[str, str] = {}
        for name in named_code(self._prepared.study):
            try:
                found |= own_code([name])
            except ImportError as error:
                found[name.partition(":")[0]] = f"{type(error).__name__}: {error}"
        return found

    def do(self, job: Job, given: Given, weights: list[Any]) -> CellResult:
        """Do a cell; the weights come as a reference, fetched when the model is loaded."""
        return self._worker.do(job, given, partial(_fetched, weights))


_ACTOR: Any = ray.remote(max_restarts=0)(_Remote)


def _fetched(weights: list[Any]) -> bytes | None:
    found: bytes | None = ray.get(weights[0])
    return found


@dataclass
class _Hand:
    """A worker, where it runs, its jobs by the reference of their outcome, its loaded model."""

    actor: Any
    about: Mapping[str, Any]
    jobs: dict[Any, Job] = field(default_factory=dict)
    model: ModelKey | None = None


class _Pool:
    """Workers, to whom it hands jobs until all are done; they stay until it is closed."""

    def __init__(self, session: Session) -> None:
        self._session, self._study, self._prepared = session, session.study, session.prepared
        self._tell = session.progress.warn
        self._given = ray.put(session.prepared)
        self._waiting: dict[ModelKey, deque[Job]] = {}
        self._needed: set[CellKey] = set()
        self._weights: dict[ModelKey, Any] = {}
        self._starting: dict[Any, Any] = {}  # actors by the reference of what they are
        self._hands: list[_Hand] = []
        self._deaths: Counter[str] = Counter()
        self._seen = time.monotonic()

    def run(self, jobs: list[Job], advance: Callable[[int], None]) -> None:
        """Do all jobs; ``advance`` is told of the images done.

        Raises:
            EngineError: see ``run_cells``.
        """
        _check_room(self._prepared)
        for job in jobs:
            self._waiting.setdefault(job.model, deque()).append(job)
        # A source's perturbations are there when its cell is done, or were made before all cells.
        sources = self._study.transfer_from
        if len(sources) == 1:
            self._needed = {job.key for job in jobs if job.spec.name in sources}
        while any(self._waiting.values()) or any(hand.jobs for hand in self._hands):
            self._hire()
            for hand in self._hands:
                self._hand_out(hand)
            self._collect(advance)

    def close(self) -> None:
        """End the workers."""
        for actor in [*(hand.actor for hand in self._hands), *self._starting.values()]:
            ray.kill(actor)

    def _hire(self) -> None:
        """Ask for as many workers as there is room and work for."""
        left = sum(map(len, self._waiting.values()))
        there = len(self._hands) + len(self._starting)
        for _ in range(min(_room(self._prepared) - there, left - len(self._starting))):
            actor = _ACTOR.options(
                num_cpus=self._study.run.cpus_per_worker,
                num_gpus=int(_on_gpu(self._prepared)),
                runtime_env={"env_vars": wait_settings()},
            ).remote(self._given)
            self._starting[actor.about.remote()] = actor

    def _hand_out(self, hand: _Hand) -> None:
        """Fill a worker's hands."""
        while len(hand.jobs) < _IN_HAND:
            job = self._next(hand)
            if job is None:
                return
            model = job.model
            if model not in self._weights:
                # A source's weights and another model's are seldom needed at once: two are kept.
                while len(self._weights) > 1:
                    self._weights.pop(next(iter(self._weights)))
                self._weights[model] = ray.put(
                    trained_bytes(self._session.store, job.model, job.spec)
                )
            given = given_to(self._session, job)
            outcome = hand.actor.do.remote(job, given, [self._weights[model]])
            hand.jobs[outcome], hand.model = job, model

    def _next(self, hand: _Hand) -> Job | None:
        """The next job of the worker's own model, or of the first that has one."""
        models = sorted(self._waiting, key=lambda model: model != hand.model)
        for model in models:
            queue = self._waiting[model]
            if queue and self._can_begin(queue[0]):
                return queue.popleft()
        return None

    def _can_begin(self, job: Job) -> bool:
        """Whether the perturbations that it needs are there."""
        return job.perturbs_only or self._needed.isdisjoint(sources_of(self._study, job.key))

    def _collect(self, advance: Callable[[int], None]) -> None:
        """Wait for something to happen, and take it."""
        by_outcome = {outcome: hand for hand in self._hands for outcome in hand.jobs}
        waited = [*by_outcome, *self._starting]
        if not self._hands and time.monotonic() - self._seen > _PATIENCE:
            self._seen = time.monotonic()
            self._tell(
                f"no worker has begun yet; {len(self._starting)} wait for room on the cluster"
            )
        if not waited:
            time.sleep(_LOOK)
            return
        for reference in ray.wait(waited, num_returns=1, timeout=_LOOK)[0]:
            if reference in self._starting:
                self._begin(reference)
            else:
                self._take(by_outcome[reference], reference, advance)

    def _begin(self, reference: Any) -> None:
        """Let a worker that has started work, where it computes what this process would."""
        actor = self._starting.pop(reference)
        try:
            about = ray.get(reference)
        except RayTaskError as error:
            raise EngineError(f"a worker cannot start: {_first_line(error)}") from error
        except RayError as error:
            self._count_death("a worker's start", error)
            return
        odd = {
            name: f"{about['versions'].get(name, 'missing')} there, {own} here"
            for name, own in self._prepared.plan.versions.items()
            if about["versions"].get(name) != own
        }
        if odd:
            raise EngineError(
                "a machine of the cluster has other versions than this one, which would change "
                "the numbers: " + "; ".join(f"{name} {told}" for name, told in odd.items())
            )
        for name, here in self._prepared.plan.own_code.items():
            if (there := about["own_code"].get(name)) != here:
                raise EngineError(
                    f"the machine {about['host']!r} of the cluster has not this machine's module "
                    f"{name!r}, which the study names ({there} there, {here} here); install it on "
                    "every machine, or start Ray there with it on PYTHONPATH"
                )
        self._seen = time.monotonic()
        self._hands.append(_Hand(actor, about))

    def _take(self, hand: _Hand, reference: Any, advance: Callable[[int], None]) -> None:
        """Store what a job gave; where its worker died, put its jobs back."""
        try:
            result = ray.get(reference)
        except RayTaskError as error:
            if isinstance(error.cause, LookawayError):
                raise error.cause from None
            raise
        except RayError as error:
            self._put_back(hand, error)
            return
        job = hand.jobs.pop(reference)
        keep(self._session, job, result)
        self._needed.discard(job.key)
        advance(len(job.images))

    def _put_back(self, hand: _Hand, error: RayError) -> None:
        """A worker died, or what it gave was lost with its machine."""
        self._hands.remove(hand)
        ray.kill(hand.actor)
        jobs = list(hand.jobs.values())
        for job in reversed(jobs):
            self._waiting[job.model].appendleft(job)
        self._count_death(f"cell {jobs[0].key.stem}", error)
        self._tell(
            f"a worker on {hand.about['host']!r} was lost ({_first_line(error)}); its "
            f"{len(jobs)} cells are done again"
        )

    def _count_death(self, at: str, error: RayError) -> None:
        self._deaths[at] += 1
        if self._deaths[at] >= _DEATHS:
            raise EngineError(
                f"{_DEATHS} workers died at {at}: {_first_line(error)}; what is done stays. If "
                "memory is short, ask for fewer workers (run.workers) or a smaller batch_size"
            ) from error


def _room(prepared: Prepared) -> int:
    """How many workers the cluster's machines have room for now, and the study wants."""
    study = prepared.study
    rooms = []
    for there in _machines():
        room = int(there.get("CPU", 0) // study.run.cpus_per_worker)
        rooms.append(min(room, int(there.get("GPU", 0))) if _on_gpu(prepared) else room)
    return sum(rooms) if study.run.workers is None else min(sum(rooms), study.run.workers)


def _check_room(prepared: Prepared) -> None:
    if _room(prepared) < 1:
        there = [
            f"{machine.get('CPU', 0):g} CPUs and {machine.get('GPU', 0):g} GPUs"
            for machine in _machines()
        ]
        raise EngineError(
            f"a worker needs a machine with {prepared.study.run.cpus_per_worker} CPUs"
            f"{' and a GPU' if _on_gpu(prepared) else ''}; the cluster's have "
            f"{', '.join(there) or 'gone'}: change run.cpus_per_worker or run.device, or add "
            "machines"
        )


def _on_gpu(prepared: Prepared) -> bool:
    return prepared.device.startswith("cuda")


def _machines() -> list[dict[str, float]]:
    """What each of the cluster's machines has."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__

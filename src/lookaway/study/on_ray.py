"""The engine of many machines: cells on Ray's workers, files and progress in this process.

A worker holds one model at a time. Each has one cell in work and one waiting, so that nothing piles
up and none is idle while this process writes. What a worker or its machine had in hand when it died
is done again by another.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from lookaway.errors import EngineError, LookawayError
from lookaway.study.job import Given, Job
from lookaway.study.keys import CellKey, ModelKey
from lookaway.study.prepare import Prepared
from lookaway.study.ray_cluster import (
    DEATHS,
    LOOK,
    OnMachine,
    check_room,
    connected,
    first_line,
    room_for,
    started,
    what_it_takes,
)
from lookaway.study.schedule import Open, given_to, keep, sources_of
from lookaway.study.session import Session
from lookaway.study.store import CellResult
from lookaway.study.trained import trained_bytes
from lookaway.study.worker import Worker

_IN_HAND = 2  # cells of a worker: one in work, one waiting
_PATIENCE = 60.0  # seconds without any worker until that is told


def run_cells(session: Session, left: Open) -> None:
    """Do what is not done yet, on a cluster; this process alone writes files.

    Each worker must find the images where this process does.

    Raises:
        EngineError: the cluster cannot be reached or has no room, a machine has other versions of
            what makes the numbers, or a cell ends every worker that tries it.
    """
    if not left.stages:
        return
    with connected(session.study), closing(_Pool(session)) as pool:
        for what, jobs, images in left.stages:
            with session.progress.stage(f"Ray: {what}", images, "images") as advance:
                pool.run(jobs, advance)


class _Remote(OnMachine):
    """A worker on one of the cluster's machines."""

    def __init__(self, prepared: Prepared) -> None:
        super().__init__(prepared)
        self._worker = Worker(prepared)

    def do(self, job: Job, given: Given, weights: list[Any]) -> list[CellResult]:
        """Do a cell; the weights come as a reference, fetched when the model is loaded."""
        return self._worker.do(job, given, lambda: ray.get(weights[0]))


_ACTOR: Any = ray.remote(max_restarts=0)(_Remote)


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
        check_room(self._prepared)
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
        for _ in range(min(room_for(self._prepared) - there, left - len(self._starting))):
            actor = _ACTOR.options(**what_it_takes(self._prepared)).remote(self._given)
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
        return job.perturbs_only or self._needed.isdisjoint(sources_of(self._session, job.key))

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
            time.sleep(LOOK)
            return
        for reference in ray.wait(waited, num_returns=1, timeout=LOOK)[0]:
            if reference in self._starting:
                self._begin(reference)
            else:
                self._take(by_outcome[reference], reference, advance)

    def _begin(self, reference: Any) -> None:
        """Let a worker that has started work, where it computes what this process would."""
        actor = self._starting.pop(reference)
        try:
            about = started(self._prepared, reference)
        except RayError as error:
            self._count_death("a worker's start", error)
            return
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
        self._count_death(f"cell {jobs[0].key.name}", error)
        self._tell(
            f"a worker on {hand.about['host']!r} was lost ({first_line(error)}); its "
            f"{len(jobs)} cells are done again"
        )

    def _count_death(self, at: str, error: RayError) -> None:
        self._deaths[at] += 1
        if self._deaths[at] >= DEATHS:
            raise EngineError(
                f"{DEATHS} workers died at {at}: {first_line(error)}; what is done stays. If "
                "memory is short, ask for fewer workers (run.workers) or a smaller batch_size"
            ) from error

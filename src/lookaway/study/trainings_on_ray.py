"""Trainings on a Ray cluster: each network on a worker of its own, files in this process.

Where a training stands is fetched from its worker every few seconds and stored here, so that one
whose worker or machine is lost goes on from there, on whatever machine.
"""

import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from lookaway.errors import EngineError, LookawayError
from lookaway.models.precision import computing
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
from lookaway.study.session import Session
from lookaway.study.trainings import (
    Learnt,
    TrainingJob,
    enrol_people,
    keep_learnt,
    keep_state,
    learn,
    open_trainings,
    saved_state,
)


def train_models(session: Session) -> bool:
    """Train, or enrol, what is not stored yet: as many networks at once as there is room for.

    Whether that was anything.

    Raises:
        EngineError: the cluster cannot be reached or has no room, a machine has other versions of
            what makes the numbers, or a training ends every worker that tries it.
    """
    jobs, left = [], open_trainings(session)
    for job in left:
        if job.spec.train == "enrol":
            enrol_people(session, job)
        else:
            jobs.append(job)
    if not jobs:
        return bool(left)
    epochs = sum(job.epochs(session.study) for job in jobs)
    with (
        connected(session.study),
        closing(_Trainings(session, jobs)) as trainings,
        session.progress.stage("Ray: training", epochs, "epochs") as advance,
    ):
        trainings.run(advance)
    return True


class _Trainer(OnMachine):
    """Trains one network; asked meanwhile how far it is."""

    def __init__(self, prepared: Prepared) -> None:
        super().__init__(prepared)
        self._epochs, self._states = 0, 0
        self._state: bytes | None = None

    def train(self, job: TrainingJob, saved: bytes | None) -> Learnt:
        """Train, from where it stood."""
        with computing():
            return learn(self._prepared, job, saved, self._keep, self._advance)

    def standing(self, known: int) -> tuple[int, int, bytes | None]:
        """Epochs done, how many states there were, and the last of them if it is not known yet."""
        count = self._states
        return self._epochs, count, self._state if count > known else None

    def _keep(self, raw: bytes) -> None:
        self._state = raw
        self._states += 1

    def _advance(self, epochs: int) -> None:
        self._epochs += epochs


_ACTOR: Any = ray.remote(max_restarts=0)(_Trainer)


@dataclass
class _Running:
    """A training on its worker: how many states of it are stored."""

    actor: Any
    job: TrainingJob
    states: int = 0


class _Trainings:
    """Hands trainings to workers until all are done."""

    def __init__(self, session: Session, jobs: list[TrainingJob]) -> None:
        self._session, self._prepared = session, session.prepared
        self._waiting = deque(jobs)
        self._given = ray.put(session.prepared)
        self._starting: dict[Any, _Running] = {}  # by the reference of what its worker is
        self._running: dict[Any, _Running] = {}  # by the reference of what it gives
        self._deaths: Counter[str] = Counter()
        self._done: Counter[str] = Counter()  # epochs that were told

    def run(self, advance: Callable[[int], None]) -> None:
        """Do all; ``advance`` is told of epochs, of each once."""
        check_room(self._prepared)
        while self._waiting or self._starting or self._running:
            self._hire()
            every = {**self._starting, **self._running}
            if not every:  # machines were lost, and others may join
                time.sleep(LOOK)
                continue
            for reference in ray.wait([*every], num_returns=1, timeout=LOOK)[0]:
                if reference in self._starting:
                    self._begin(reference)
                else:
                    self._take(reference, advance)
            self._look(advance)

    def close(self) -> None:
        """End the workers."""
        for each in [*self._starting.values(), *self._running.values()]:
            ray.kill(each.actor)

    def _hire(self) -> None:
        """Ask for as many workers as there is room and work for."""
        there = len(self._starting) + len(self._running)
        for _ in range(min(room_for(self._prepared) - there, len(self._waiting))):
            options = {
                **what_it_takes(self._prepared),
                "max_concurrency": 2,
            }  # to train, and to tell
            actor = _ACTOR.options(**options).remote(self._given)
            self._starting[actor.about.remote()] = _Running(actor, self._waiting.popleft())

    def _begin(self, reference: Any) -> None:
        """Let a worker that has started train, where it computes what this process would."""
        mine = self._starting.pop(reference)
        try:
            started(self._prepared, reference)
        except RayError as error:
            self._put_back(mine, error)
            return
        saved = saved_state(self._session.store, mine.job)
        self._running[mine.actor.train.remote(mine.job, saved)] = mine

    def _take(self, reference: Any, advance: Callable[[int], None]) -> None:
        """Store what a training gave; where its worker died, put it back."""
        mine = self._running.pop(reference)
        try:
            learnt = ray.get(reference)
        except RayTaskError as error:
            ray.kill(mine.actor)
            if isinstance(error.cause, LookawayError):
                raise error.cause from None
            raise
        except RayError as error:
            self._put_back(mine, error)
            return
        keep_learnt(self._session, mine.job, learnt)
        self._tell(mine.job, mine.job.epochs(self._session.study), advance)
        ray.kill(mine.actor)

    def _look(self, advance: Callable[[int], None]) -> None:
        """Ask each worker how far it is, and store where its training stands."""
        for mine in self._running.values():
            try:
                asked = mine.actor.standing.remote(mine.states)
                epochs, mine.states, state = ray.get(asked, timeout=LOOK)
            except RayError:
                continue  # busy, or gone: what it was to give says so
            self._tell(mine.job, epochs, advance)
            if state is not None:
                keep_state(self._session.store, mine.job, state)

    def _tell(self, job: TrainingJob, epochs: int, advance: Callable[[int], None]) -> None:
        if (more := epochs - self._done[job.key.head]) > 0:
            self._done[job.key.head] = epochs
            advance(more)

    def _put_back(self, mine: _Running, error: RayError) -> None:
        """A worker died; its training goes on elsewhere."""
        ray.kill(mine.actor)
        self._waiting.appendleft(mine.job)
        self._deaths[mine.job.name] += 1
        if self._deaths[mine.job.name] >= DEATHS:
            raise EngineError(
                f"{DEATHS} workers died while {mine.job.name} was trained: {first_line(error)}; "
                "what is done stays. If memory is short, ask for fewer workers (run.workers) or a "
                "smaller training.batch_size"
            ) from error
        self._session.progress.warn(
            f"a worker was lost ({first_line(error)}); the training of {mine.job.name} goes on "
            "from where it last stood"
        )

"""What Ray's workers are given, and what is done when they are lost; Ray itself is played."""

from types import SimpleNamespace

import pytest

from lookaway.errors import DataError, EngineError
from lookaway.study.job import Job
from lookaway.study.keys import CellKey, ModelKey
from lookaway.study.settings import ModelSpec
from plans import a_plan

pytest.importorskip("ray")

from ray.exceptions import ActorDiedError, ObjectLostError, RayTaskError

from lookaway.study import on_ray

VERSIONS = {"torch": "2.0"}


def a_key(model, shard):
    return CellKey("none", model, shard, f"{model}-{shard}", ModelKey("none", model, model))


class Promise:
    """A reference; ``make`` gives what it stands for, or raises."""

    def __init__(self, make, worker=None, job=None):
        self.make, self.worker, self.job = make, worker, job


class Ray:
    """Machines of a processor each, on which whatever is waited for is done at once.

    ``do`` is asked what a worker makes of a job, ``start`` what it says of itself. Of what is
    waited for, workers that start come first, then the jobs that were begun first.
    """

    def __init__(self, machines=2):
        self.machines, self.workers, self.killed, self.given = machines, [], [], []
        self.before = lambda job: None  # is called before a worker is given a job
        self.start = lambda worker: {"versions": VERSIONS, "host": f"host {worker}", "pid": worker}
        self.do = lambda worker, job: f"result of {job.key.id}"

    def options(self, **_):
        return self

    def remote(self, _prepared):
        worker = len(self.workers)

        def do(job, _given, weights):
            self.before(job)
            self.given.append((worker, job, weights[0].make()))
            return Promise(lambda: self.do(worker, job), worker, job)

        about = SimpleNamespace(remote=lambda: Promise(lambda: self.start(worker), worker))
        self.workers.append(
            SimpleNamespace(number=worker, about=about, do=SimpleNamespace(remote=do))
        )
        return self.workers[-1]

    def nodes(self):
        return [{"Alive": True, "Resources": {"CPU": 1.0}}] * self.machines

    def put(self, value):
        return Promise(lambda: value)

    def get(self, promise):
        return promise.make()

    def wait(self, promises, num_returns, timeout):
        begun = [job for _, job, _ in self.given]
        first = min(promises, key=lambda one: -1 if one.job is None else begun.index(one.job))
        return [first], []

    def kill(self, actor):
        self.killed.append(actor.number)


@pytest.fixture
def ray(monkeypatch):
    played = Ray()
    for name in ("put", "get", "wait", "kill", "nodes"):
        monkeypatch.setattr(on_ray.ray, name, getattr(played, name))
    monkeypatch.setattr(on_ray, "_ACTOR", played)
    monkeypatch.setattr(on_ray, "given_to", lambda _session, _job: {})
    monkeypatch.setattr(on_ray, "trained_bytes", lambda _store, key, _spec: f"of {key.name}")
    return played


@pytest.fixture
def pool(ray, monkeypatch):
    """Make a pool: ``pool(models, sources)``; what it stores and tells comes into lists of it."""

    def make(models=("one", "two"), sources=()):
        specs = [ModelSpec(name=name, timm="test_resnet") for name in models]
        study = SimpleNamespace(
            run=SimpleNamespace(cpus_per_worker=1, workers=None),
            transfer_from=list(sources),
            models=specs,
        )
        prepared = SimpleNamespace(study=study, device="cpu", plan=a_plan(versions=VERSIONS))
        told, stored = [], []
        session = SimpleNamespace(
            study=study,
            prepared=prepared,
            store=SimpleNamespace(identity=SimpleNamespace(cell=lambda _, *of: a_key(*of))),
            progress=SimpleNamespace(warn=told.append),
        )
        monkeypatch.setattr(on_ray, "keep", lambda _, job, result: stored.append((job, result)))
        made = on_ray._Pool(session)
        made.told, made.stored = told, stored
        return made

    return make


def jobs(*models, cells=3):
    """So many cells of two images of each model, in order."""
    return [
        Job(
            ModelSpec(name=model, timm="test_resnet"),
            a_key(model, cell),
            range(2 * cell, 2 * cell + 2),
        )
        for model in models
        for cell in range(cells)
    ]


def test_every_job_is_done_once_two_at_most_in_hand_one_model_after_the_other(ray, pool):
    made, done = pool(), []
    in_hand = []
    real = made._collect

    def collect(advance):
        in_hand.append(max((len(hand.jobs) for hand in made._hands), default=0))
        real(advance)

    made._collect = collect
    wanted = jobs("one", "two", cells=5)
    made.run(wanted, done.append)
    assert sorted(job.key.id for job, _ in made.stored) == sorted(job.key.id for job in wanted)
    assert all(result == f"result of {job.key.id}" for job, result in made.stored)
    assert done == [2] * 10
    assert max(in_hand) == 2
    assert {worker for worker, _, _ in ray.given} == {0, 1}
    for number in (0, 1):
        models = [job.key.model for worker, job, _ in ray.given if worker == number]
        assert models == sorted(models)
    assert all(weights == f"of {job.key.model}" for _, job, weights in ray.given)
    made.close()
    assert ray.killed == [0, 1]


@pytest.mark.parametrize("error", [ActorDiedError, ObjectLostError], ids=lambda kind: kind.__name__)
def test_the_jobs_of_a_lost_worker_are_put_back_and_another_is_hired(ray, pool, error):
    made, lost = pool(), []
    wanted = jobs("one", "two")

    def do(worker, job):
        if worker == 0 and job.key.shard == 1:
            lost.extend(each for number, each, _ in ray.given if number == 0)
            raise ActorDiedError() if error is ActorDiedError else ObjectLostError("a", None, "b")
        return "done"

    ray.do = do
    made.run(wanted, lambda _: None)
    stored = [job.key.id for job, _ in made.stored]
    assert sorted(stored) == sorted(job.key.id for job in wanted)
    assert ray.killed == [0]
    assert {worker for worker, _, _ in ray.given} == {0, 1, 2}
    (told,) = made.told
    assert "'host 0' was lost" in told
    assert "its 2 cells are done again" in told
    again = [job for number, job, _ in ray.given if number > 0 and job in lost]
    assert len(again) == 2


def test_a_worker_stays_with_its_model_when_jobs_of_another_are_put_back(ray, pool):
    """Each change of model is a load: what was put back goes to the worker that has none yet."""
    ray.machines = 1
    made = pool()
    first, *others = jobs("one", "two", cells=4)[3:]
    for job in others:
        made._waiting.setdefault(job.model, on_ray.deque()).append(job)
    made._hire()
    made._begin(next(iter(made._starting)))
    (hand,) = made._hands
    made._hand_out(hand)
    made._waiting = {first.model: on_ray.deque([first]), **made._waiting}
    hand.jobs.clear()
    made._hand_out(hand)
    assert [job.key.model for _, job, _ in ray.given] == ["two"] * 4
    hand.jobs.clear()
    made._hand_out(hand)
    assert ray.given[-1][1] == first


def test_cells_wait_for_their_source_s_perturbations(ray, pool):
    made, early = pool(sources=["one"]), []

    def before(job):
        done = {kept.key for kept, _ in made.stored}
        source = a_key("one", job.key.shard)
        early.extend([job] if job.key.model == "two" and source not in done else [])

    ray.before = before
    made.run(jobs("one", "two")[::-1], lambda _: None)  # even where the source comes last
    assert len(made.stored) == 6
    assert early == []


def test_weights_of_two_models_are_kept(ray, pool):
    made = pool(models=("a", "b", "c"))
    sizes = []
    real = made._hand_out

    def hand_out(hand):
        real(hand)
        sizes.append(len(made._weights))

    made._hand_out = hand_out
    made.run(jobs("a", "b", "c"), lambda _: None)
    assert max(sizes) == 2
    assert {model.name for model in made._weights} == {"b", "c"}
    assert all(weights == f"of {job.key.model}" for _, job, weights in ray.given)


def test_a_cell_that_ends_every_worker_is_given_up_and_named(ray, pool, monkeypatch):
    monkeypatch.setattr(on_ray, "DEATHS", 2)
    ray.machines = 1

    def do(_worker, job):
        if job.key.shard == 1:
            raise ActorDiedError()
        return "done"

    ray.do = do
    made = pool()
    with pytest.raises(EngineError, match=r"2 workers died at cell one-00001.*memory"):
        made.run(jobs("one"), lambda _: None)
    assert [job.key.shard for job, _ in made.stored] == [0]


def test_workers_that_die_as_they_start_are_given_up(ray, pool, monkeypatch):
    monkeypatch.setattr(on_ray, "DEATHS", 2)

    def start(_):
        raise ActorDiedError()

    ray.start = start
    with pytest.raises(EngineError, match="2 workers died at a worker's start"):
        pool().run(jobs("one"), lambda _: None)


def failed(cause):
    return RayTaskError("do", "a traceback", cause)


def test_a_worker_that_cannot_start_is_told(ray, pool):
    def start(_):
        raise failed(ImportError("no module named timm"))

    ray.start = start
    with pytest.raises(EngineError, match="a worker cannot start"):
        pool().run(jobs("one"), lambda _: None)


@pytest.mark.parametrize("error", [DataError("changed"), ZeroDivisionError("odd")], ids=repr)
def test_an_error_of_a_cell_is_no_death_and_comes_as_it_is(ray, pool, error):
    def do(_worker, _job):
        raise failed(error)

    ray.do = do
    own = isinstance(error, DataError)
    with pytest.raises(DataError if own else RayTaskError) as caught:
        pool().run(jobs("one"), lambda _: None)
    assert (caught.value if own else caught.value.cause) is error


def test_other_versions_on_a_machine_are_refused(ray, pool):
    ray.start = lambda _: {"versions": {"torch": "1.0"}}
    with pytest.raises(EngineError, match=r"other versions.*: torch 1\.0 there, 2\.0 here"):
        pool().run(jobs("one"), lambda _: None)
    assert ray.given == []

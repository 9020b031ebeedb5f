"""Cells on Ray's workers: the rows of one machine, also when workers and machines are lost."""

import os
import shutil
import signal
import time

import pytest

from lookaway.errors import DataError, EngineError

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")

from lookaway.models import training  # noqa: E402
from lookaway.study import on_ray, trainings_on_ray  # noqa: E402  need ray
from widened import widened  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def busy_machine():
    """Ray gives its workers the least of a busy machine; here they wait for no other work.

    Nor does it begin workers before any is asked for.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("RAY_enable_worker_prestart", "0")
        patch.setenv("RAY_prestart_worker_first_driver", "0")
        yield


@pytest.fixture(scope="module")
def cluster():
    """Two machines with a processor each."""
    bare = {"include_dashboard": False, "include_log_monitor": False, "no_monitor": True}
    head = {"num_cpus": 1, **bare}
    found = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    found.add_node(num_cpus=1)
    yield found
    found.shutdown()


@pytest.fixture
def hands(monkeypatch):
    """A pool's workers, and work for them only while enough of them live.

    On its own the first to begin might do everything before the others are there. ``steps`` holds,
    for each next step, how many must live and what is then done after the next cell that is stored;
    the names of stored cells come into ``stored``.
    """
    found = _Hands()
    real, keep = on_ray._Pool._hand_out, on_ray.keep

    def hand_out(pool, hand):
        found.all = pool._hands
        if hand.about["pid"] in found.ended or len(found.living) >= found.wanted:
            real(pool, hand)
        if hand.jobs:
            found.worked.append(hand)

    def kept(session, job, result):
        keep(session, job, result)
        found.stored.append(job.key.name)
        if found.steps and len(found.living) >= found.wanted:
            _, act = found.steps.pop(0)
            act(found.living)

    monkeypatch.setattr(on_ray._Pool, "_hand_out", hand_out)
    monkeypatch.setattr(on_ray, "keep", kept)
    return found


class _Hands:
    """See ``hands``; processes in ``ended`` live no more, whether or not the pool knows it yet."""

    def __init__(self):
        self.all, self.ended, self.worked = [], set(), []
        self.steps, self.stored = [], []

    @property
    def living(self):
        return [hand for hand in self.all if hand.about["pid"] not in self.ended]

    @property
    def wanted(self):
        return self.steps[0][0] if self.steps else 0


def study_on(study, cluster, **run):
    return {**study, "run": {"engine": "ray", "address": cluster.address, **run}}


@pytest.mark.slow
def test_an_error_of_the_study_comes_as_it_is_and_the_other_engine_goes_on(
    quick_study, looked, run_quickly, faces_for_all, tmp_path, monkeypatch
):
    """On a cluster of this machine, which is there as long as the run."""
    assert not ray.is_initialized()
    faces = tmp_path / "faces"
    shutil.copytree(faces_for_all, faces)
    real, changed = on_ray.run_cells, []

    def change_an_image(session, left):
        changed.append(faces / session.prepared.images.parts["test"][-1].image)
        changed[0].write_bytes(b"changed")
        return real(session, left)

    monkeypatch.setattr(on_ray, "run_cells", change_an_image)
    given = {**quick_study, "data": {**quick_study["data"], "folder": str(faces)}}
    with pytest.raises(DataError, match="changed while the study ran"):
        run_quickly({**given, "run": {"engine": "ray", "workers": 1}}, tmp_path / "out")
    assert not ray.is_initialized()
    assert 0 < len(list((tmp_path / "out" / "rows").iterdir())) < 4
    shutil.copy(faces_for_all / changed[0].relative_to(faces), changed[0])
    assert run_quickly(given, tmp_path / "out").rows().equals(looked.rows())


@pytest.mark.program
def test_rows_are_those_of_the_local_engine(
    quick_study, cluster, run_quickly, hands, tmp_path, monkeypatch, capsys
):
    """With weights trained here, and two sources of which each needs the other's signs first."""

    class Tells(on_ray._Remote):
        def about(self):
            return {**super().about(), "spins": os.environ.get("GOMP_SPINCOUNT")}

    heads = [{**spec, "train": "head"} for spec in quick_study["models"]]
    both = {"training": {"epochs": 1}, "transfer_from": ["one", "two"]}
    study = widened({**quick_study, "models": heads, **both})
    there = run_quickly(study, tmp_path / "local", 2)
    monkeypatch.setattr(on_ray, "_ACTOR", ray.remote(Tells))
    monkeypatch.setenv("GOMP_SPINCOUNT", "1234")
    hands.steps = [(2, lambda _: None)]
    result = run_quickly(study_on(study, cluster), tmp_path / "ray", 2, progress=True)
    assert not hands.steps
    assert result.rows().equals(there.rows())
    assert result.shuffled().equals(there.shuffled())
    assert "was lost" not in capsys.readouterr().err
    assert len(hands.stored) == 2 * len(set(hands.stored)) == 12  # signs first, then the cell
    # Those that made the signs do the cells too; their threads wait as this process's do.
    workers = {hand.about["pid"]: hand.about for hand in hands.worked}.values()
    nodes = {machine.node_id for machine in cluster.list_all_nodes()}
    assert {about["node"] for about in workers} == nodes
    assert [about["spins"] for about in workers] == ["1234"] * 2


@pytest.mark.slow
def test_workers_and_machines_that_are_lost_cost_time_and_nothing_else_and_new_ones_get_work(
    quick_study, cluster, run_quickly, hands, tmp_path, capsys
):
    split = {"train": 0.2, "val": 0.2, "test": 0.6, "seed": 0}
    study = {**quick_study, "data": {**quick_study["data"], "split": split}}
    there = run_quickly(study, tmp_path / "local", 1)
    head, second = cluster.list_all_nodes()
    joined = []

    def end(node, how):
        def act(living):
            (hand,) = (hand for hand in living if hand.about["node"] == node.node_id)
            assert hand.jobs
            hands.ended.add(hand.about["pid"])
            how(hand)

        return act

    def kill(hand):
        os.kill(hand.about["pid"], signal.SIGKILL)
        joined.append(cluster.add_node(num_cpus=1))

    hands.steps = [
        (2, end(head, kill)),
        (3, end(second, lambda _: cluster.remove_node(second, allow_graceful=False))),
    ]
    result = run_quickly(study_on(study, cluster), tmp_path / "ray", 1, progress=True)
    assert not hands.steps
    assert joined[0].node_id in {hand.about["node"] for hand in hands.worked}
    assert result.rows().equals(there.rows())
    assert capsys.readouterr().err.count("was lost") == 2
    assert len(hands.stored) == len(set(hands.stored)) == 2 * result.rows()["image"].n_unique()


@pytest.mark.slow
def test_a_cell_that_ends_every_worker_is_given_up_and_named(
    quick_study, cluster, run_quickly, tmp_path, monkeypatch
):
    class Dies(on_ray._Remote):
        def do(self, *_):
            os._exit(1)

    monkeypatch.setattr(on_ray, "_ACTOR", ray.remote(Dies))
    monkeypatch.setattr(on_ray, "DEATHS", 2)
    with pytest.raises(EngineError, match=r"2 workers died at cell one-0000\d.*memory"):
        run_quickly(study_on(quick_study, cluster, workers=1), tmp_path / "out")


@pytest.mark.program
def test_a_cluster_whose_machines_are_too_small_is_told_before_any_work(
    quick_study, cluster, run_quickly, tmp_path
):
    with pytest.raises(EngineError, match="a machine with 2 CPUs; the cluster's have 1 CPUs and 0"):
        run_quickly(study_on(quick_study, cluster, cpus_per_worker=2), tmp_path / "out")
    assert not (tmp_path / "out" / "plan.json").exists()


def test_a_cluster_that_is_not_there_is_told_before_any_work(
    quick_study, run_quickly, tmp_path, monkeypatch
):
    monkeypatch.setattr(ray, "init", None)  # it would try for minutes
    given = {**quick_study, "run": {"engine": "ray", "address": "127.0.0.1:1"}}
    with pytest.raises(EngineError, match=r"no Ray cluster at '127\.0\.0\.1:1'.*ray start --head"):
        run_quickly(given, tmp_path / "out")
    assert not (tmp_path / "out" / "plan.json").exists()


@pytest.mark.slow
def test_two_workers_of_one_thread_are_one_and_a_half_times_as_fast_as_one(
    run_quickly, tmp_path, monkeypatch, capsys
):
    """From the moment that all have begun; the best of three, on two free processors."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two processors")
    split = {"train": 0.44, "val": 0.44, "test": 0.12}
    study = {
        "data": {"folder": "sample:lfw_subset", "image_size": 128, "split": split},
        "models": [{"name": "one", "timm": "resnet50", "pretrained": False, "train": "none"}],
        "measure": {"grid": 64},
    }
    study["models"][0]["input_size"] = 128
    hand_out, keep = on_ray._Pool._hand_out, on_ray.keep
    stamps = []

    def stamped(*given):
        keep(*given)
        stamps.append(time.monotonic())

    monkeypatch.setattr(on_ray, "keep", stamped)
    seconds = {1: [], 2: []}
    for count in (1, 2) * 3:
        begun = []

        def hand_out_when_all_have_begun(pool, hand, count=count, begun=begun):
            if len(pool._hands) >= count or begun:
                begun.append(time.monotonic())
                hand_out(pool, hand)

        monkeypatch.setattr(on_ray._Pool, "_hand_out", hand_out_when_all_have_begun)
        out = tmp_path / f"{count}-{len(seconds[count])}"
        run_quickly({**study, "run": {"engine": "ray", "workers": count}}, out, 2)
        seconds[count].append(stamps[-1] - begun[0])
    ratio = min(seconds[1]) / min(seconds[2])
    told = f"one worker: {min(seconds[1]):.1f} s, two: {min(seconds[2]):.1f} s, {ratio:.2f} times"
    with capsys.disabled():
        print(f"\n{told}")  # noqa: T201
    assert ratio >= 1.5


@pytest.fixture
def trained_study(quick_study):
    """Two networks that are trained whole."""
    models = [
        {**quick_study["models"][0], "name": name, "train": "all", "learning_rate": rate}
        for name, rate in (("one", 0.001), ("two", 0.002))
    ]
    how = {"epochs": 4, "batch_size": 8}
    return {**quick_study, "models": models, "training": how, "transfer_from": []}


@pytest.mark.program
def test_a_training_whose_worker_is_lost_goes_on_elsewhere_from_its_last_state(
    trained_study, cluster, run_quickly, tmp_path, monkeypatch, capsys
):
    there = run_quickly(trained_study, tmp_path / "local", 64)
    lost, begun = tmp_path / "lost", tmp_path / "begun"

    class Dies(trainings_on_ray._Trainer):
        def train(self, job, saved):
            training.KEEP_EVERY, training.KEEP_SHARE = 0.0, 0
            if job.spec.name == "one":
                with begun.open("a") as file:
                    file.write(f"{saved is not None}\n")
            return super().train(job, saved)

        def _advance(self, epochs):
            super()._advance(epochs)
            while self._states and not lost.exists():  # until its first state was fetched
                time.sleep(0.01)
                if self.fetched:
                    lost.touch()
                    os._exit(1)

        fetched = False

        def standing(self, known):
            self.fetched = known > 0
            return super().standing(known)

    monkeypatch.setattr(trainings_on_ray, "_ACTOR", ray.remote(max_restarts=0)(Dies))
    monkeypatch.setattr(trainings_on_ray, "LOOK", 0.1)
    result = run_quickly(study_on(trained_study, cluster), tmp_path / "ray", 64, progress=True)
    assert "the training of " in capsys.readouterr().err
    assert lost.exists()
    assert set(begun.read_text().split()) <= {"True", "False"}
    for name in ("one", "two"):
        assert result.store.trained()[name] == there.store.trained()[name]
    assert result.rows().equals(there.rows())
    assert not (tmp_path / "ray" / "training").exists()


@pytest.mark.slow
def test_two_trainings_at_once_are_one_and_a_half_times_as_fast_as_one_after_the_other(
    run_quickly, tmp_path, monkeypatch, capsys
):
    """From the moment that all workers have begun; the best of three, on two free processors."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two processors")
    net = {"timm": "test_resnet", "pretrained": False, "train": "all", "input_size": 96}
    study = {
        "data": {"folder": "sample:lfw_subset", "image_size": 96},
        "models": [{"name": name, **net} for name in ("one", "two")],
        "training": {"epochs": 12, "precision": "float32"},
        "measure": {"grid": 32},
        "controls": {"shifted": 0},
    }
    begin, keep = trainings_on_ray._Trainings._begin, trainings_on_ray.keep_learnt
    stamps = {}

    def begins(trainings, reference):
        begin(trainings, reference)
        if len(trainings._running) == trainings._session.study.run.workers:
            stamps.setdefault("begun", time.monotonic())

    def kept(*given):
        keep(*given)
        stamps["kept"] = time.monotonic()

    monkeypatch.setattr(trainings_on_ray._Trainings, "_begin", begins)
    monkeypatch.setattr(trainings_on_ray, "keep_learnt", kept)
    seconds = {1: [], 2: []}
    for count in (1, 2) * 3:
        stamps.clear()
        out = tmp_path / f"{count}-{len(seconds[count])}"
        run_quickly({**study, "run": {"engine": "ray", "workers": count}}, out)
        seconds[count].append(stamps["kept"] - stamps["begun"])
    ratio = min(seconds[1]) / min(seconds[2])
    told = f"one worker: {min(seconds[1]):.1f} s, two: {min(seconds[2]):.1f} s, {ratio:.2f} times"
    with capsys.disabled():
        print(f"\n{told}")  # noqa: T201
    assert ratio >= 1.5

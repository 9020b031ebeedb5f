"""Cells on Ray's workers: the rows of one machine, also when workers and machines are lost."""

import os
import shutil
import signal
import time

import pytest

from lookaway.errors import DataError, EngineError
from lookaway.study import prepare

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")

from lookaway.study import on_ray  # noqa: E402  needs ray

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def cluster():
    """Two machines with a processor each."""
    found = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    found.add_node(num_cpus=1)
    yield found
    found.shutdown()


@pytest.fixture
def watched(monkeypatch):
    """Call ``then`` with their number after each cell that is stored."""

    def watch(then):
        real, done = on_ray.keep, []

        def keep(*given):
            real(*given)
            done.append(given[3].cell.key.stem)
            then(len(done))

        monkeypatch.setattr(on_ray, "keep", keep)
        return done

    return watch


def once(act):
    """Act at the first time that there is something to act on."""
    acted = []

    def then(_count):
        if not acted:
            acted.extend(act())

    return then


@pytest.fixture
def together(monkeypatch):
    """Give no work before so many workers are there: on its own the first may do it all."""

    def wait_for(count):
        real = on_ray._Pool._hand_out
        begun = []

        def hand_out(pool, hand):
            begun.extend(pool._hands[len(begun) :])
            if len(begun) >= count:
                real(pool, hand)

        monkeypatch.setattr(on_ray._Pool, "_hand_out", hand_out)
        return begun

    return wait_for


def study_on(quick_study, cluster, **run):
    return {**quick_study, "run": {"engine": "ray", "address": cluster.address, **run}}


def test_rows_are_those_of_the_local_engine_and_every_machine_works(
    quick_study, cluster, looked, run_quickly, together, tmp_path, monkeypatch
):
    class Tells(on_ray._Remote):
        def about(self):
            return {**super().about(), "spins": os.environ.get("GOMP_SPINCOUNT")}

    monkeypatch.setattr(on_ray, "_ACTOR", ray.remote(Tells))
    monkeypatch.setenv("GOMP_SPINCOUNT", "1234")
    hands = together(2)
    result = run_quickly(study_on(quick_study, cluster), tmp_path / "out")
    # Their threads wait for each other as this process's do.
    assert [hand.about["spins"] for hand in hands] == ["1234", "1234"]
    assert result.rows().equals(looked.rows())
    assert result.shuffled().equals(looked.shuffled())


def test_two_sources_get_each_other_s_signs_first(quick_study, cluster, run_quickly, tmp_path):
    both = {**quick_study, "transfer_from": ["one", "two"]}
    there = run_quickly(both, tmp_path / "local")
    assert run_quickly(study_on(both, cluster), tmp_path / "ray").rows().equals(there.rows())


def test_trained_weights_reach_the_workers(quick_study, cluster, run_quickly, tmp_path):
    heads = [{**spec, "train": "head"} for spec in quick_study["models"]]
    trained = {**quick_study, "models": heads, "training": {"epochs": 2}}
    there = run_quickly(trained, tmp_path / "local")
    assert run_quickly(study_on(trained, cluster), tmp_path / "ray").rows().equals(there.rows())


def test_a_killed_worker_costs_time_and_nothing_else(
    quick_study, cluster, run_quickly, watched, together, tmp_path, capsys
):
    there = run_quickly(quick_study, tmp_path / "local", 1)
    hands = together(2)

    def kill():
        busy = [hand.about["pid"] for hand in hands if len(hand.jobs) > 1][:1]
        for pid in busy:
            os.kill(pid, signal.SIGKILL)
        return busy

    done = watched(once(kill))
    result = run_quickly(study_on(quick_study, cluster), tmp_path / "ray", 1, progress=True)
    assert result.rows().equals(there.rows())
    assert capsys.readouterr().err.count("was lost") == 1
    assert len(done) == len(set(done)) == 12  # each was stored once


def test_a_killed_machine_costs_time_and_nothing_else(
    quick_study, cluster, run_quickly, watched, together, tmp_path, capsys
):
    there = run_quickly(quick_study, tmp_path / "local", 1)
    hands = together(3)
    machine = cluster.add_node(num_cpus=1)

    def kill():
        busy = [hand for hand in hands if hand.about["node"] == machine.node_id and hand.jobs]
        if busy:
            cluster.remove_node(machine, allow_graceful=False)
        return busy

    watched(once(kill))
    result = run_quickly(study_on(quick_study, cluster), tmp_path / "ray", 1, progress=True)
    assert result.rows().equals(there.rows())
    assert capsys.readouterr().err.count("was lost") == 1


def test_a_machine_that_joins_later_gets_work(
    quick_study, cluster, run_quickly, watched, monkeypatch, tmp_path
):
    hand_out, workers = on_ray._Pool._hand_out, []

    def hand_out_to_all(pool, hand):
        """Give out one cell; the rest once a third worker is there."""
        workers[:] = pool._hands
        if len(workers) > 2 or (not done and not any(each.jobs for each in workers)):
            hand_out(pool, hand)

    monkeypatch.setattr(on_ray._Pool, "_hand_out", hand_out_to_all)
    machines = []
    done = watched(once(lambda: machines.append(cluster.add_node(num_cpus=1)) or machines))
    try:
        result = run_quickly(study_on(quick_study, cluster), tmp_path / "ray", 1)
    finally:
        cluster.remove_node(machines[0])
    assert machines[0].node_id in {hand.about["node"] for hand in workers}
    assert result.rows().equals(run_quickly(quick_study, tmp_path / "local", 1).rows())


def test_an_interrupted_run_goes_on_with_either_engine(
    quick_study, cluster, looked, run_quickly, watched, tmp_path, monkeypatch
):
    def stop(count):
        if count == 2:
            raise KeyboardInterrupt

    watched(stop)
    with pytest.raises(KeyboardInterrupt):
        run_quickly(study_on(quick_study, cluster), tmp_path / "out")
    assert len(list((tmp_path / "out" / "rows").iterdir())) == 2
    monkeypatch.undo()
    assert run_quickly(quick_study, tmp_path / "out").rows().equals(looked.rows())


def test_an_error_of_the_study_comes_as_it_is(
    quick_study, cluster, run_quickly, tmp_path, monkeypatch, faces_for_all
):
    faces = tmp_path / "faces"
    shutil.copytree(faces_for_all, faces)
    real = on_ray.open_jobs

    def change_an_image(study, prepared, store):
        record = prepared.images.parts["test"][-1]
        (faces / record.image).write_bytes(b"changed")
        return real(study, prepared, store)

    monkeypatch.setattr(on_ray, "open_jobs", change_an_image)
    given = {**quick_study, "data": {**quick_study["data"], "folder": str(faces)}}
    with pytest.raises(DataError, match="changed while the study ran"):
        run_quickly(study_on(given, cluster), tmp_path / "out")


def test_a_cell_that_ends_every_worker_is_given_up_and_named(
    quick_study, cluster, run_quickly, tmp_path, monkeypatch
):
    class Dies(on_ray._Remote):
        def do(self, *_):
            os._exit(1)

    monkeypatch.setattr(on_ray, "_ACTOR", ray.remote(Dies))
    monkeypatch.setattr(on_ray, "_DEATHS", 2)
    with pytest.raises(EngineError, match=r"2 workers died at cell none-000-one-0000\d.*memory"):
        run_quickly(study_on(quick_study, cluster, workers=1), tmp_path / "out")


def test_other_versions_on_a_machine_are_refused(
    quick_study, cluster, run_quickly, tmp_path, monkeypatch
):
    mine = {**prepare.versions(), "torch": "1.0"}
    monkeypatch.setattr(prepare, "versions", lambda: mine)
    with pytest.raises(EngineError, match=r"other versions.*: torch .* there, 1\.0 here"):
        run_quickly(study_on(quick_study, cluster), tmp_path / "out")


def test_a_cluster_whose_machines_are_too_small_is_told_at_once(
    quick_study, cluster, run_quickly, tmp_path
):
    with pytest.raises(EngineError, match="a machine with 2 CPUs; the cluster's have 1 CPUs and 0"):
        run_quickly(study_on(quick_study, cluster, cpus_per_worker=2), tmp_path / "out")


def test_a_cluster_that_is_not_there_is_told(quick_study, run_quickly, tmp_path):
    given = {**quick_study, "run": {"engine": "ray", "address": "127.0.0.1:1"}}
    began = time.monotonic()
    with pytest.raises(EngineError, match=r"no Ray cluster at '127\.0\.0\.1:1'.*ray start --head"):
        run_quickly(given, tmp_path / "out")
    assert time.monotonic() - began < 30
    assert not (tmp_path / "out" / "heads").exists()  # it is told before any work


def test_with_no_address_a_cluster_of_this_machine_is_used(
    quick_study, looked, run_quickly, tmp_path
):
    result = run_quickly(quick_study | {"run": {"engine": "ray", "workers": 1}}, tmp_path / "out")
    assert result.rows().equals(looked.rows())
    assert not ray.is_initialized()


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

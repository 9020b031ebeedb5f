"""A study that dies by SIGKILL, again and again, ends with the files of an undisturbed one."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from killable import Killable, Moment, stage_of
from widened import widened

STAGES = ["reading", "finding", "write", "training", "signs", "cell", "batch", "report"]
_LAST = 20  # events of a study
WORK = ("cell", "signs", "training")


@pytest.fixture(scope="module")
def killable():
    with Killable() as server:
        yield server


@pytest.fixture(scope="module")
def study(small_study, tmp_path_factory):
    """Aligned faces, and two sources that need each other's perturbations: signs come first."""
    folder = Path(small_study["data"]["folder"])
    boxes = tmp_path_factory.mktemp("boxes") / "boxes.csv"
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.png"))]
    boxes.write_text("image,x,y,w,h\n" + "".join(f"{name},4,6,28,20\n" for name in names))
    one, two = small_study["models"]
    data = {**small_study["data"], "variants": ["landmarks"], "landmarks": str(boxes)}
    study = {
        **small_study,
        "data": data,
        "models": [one, {**two, "train": "none"}],
        "training": {"epochs": 2},
        "transfer_from": ["one", "two"],
    }
    return widened(study)


def results(folder):
    """Every file of a run but the log, which tells of times."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "log"
    }


def work(events):
    """How often each cell, each source's signs and each epoch was begun."""
    return Counter(event for event in events if stage_of(event) in WORK)


def moments(order, count, seed):
    """Random moments, as many of each stage, in order; half of them hit somewhat later."""
    random = np.random.default_rng(seed)
    stages = [stage for stage in STAGES if any(stage_of(event) == stage for event in order)]
    places = sorted(
        order.index(random.choice([event for event in order if stage_of(event) == stage]))
        for stage in (stages * count)[:count]
    )
    delays = np.where(random.random(count) < 0.5, 0.0, random.uniform(0.001, 0.03, count))
    delays[np.array(places) > len(order) - _LAST] = 0.0  # or the study would end first
    return [Moment(order, *found) for found in zip(places, delays.tolist(), strict=True)]


def survive(killable, study, folder, kills, page):
    """Kill a study at each moment in turn, then let it end; the events of every attempt."""
    attempts, killed = [], 0
    for moment in kills:
        died, events = killable.run(study, folder, moment, page)
        attempts.append(events)
        killed += died
    died, events = killable.run(study, folder, None, page)
    assert not died
    return [*attempts, events], killed


def check(whole, order, folder, attempts, killed):
    assert results(folder) == results(whole)
    assert not list(folder.rglob(".*"))
    once, all_work = work(order), sum(map(work, attempts), Counter())
    assert set(once.values()) == {1}
    assert set(all_work) == set(once)
    # What was in work, and what was being written meanwhile.
    assert all_work.total() <= once.total() + 2 * killed
    assert not any(event.startswith("warned") and "made again" in event for event in attempts[-1])


@pytest.mark.program
def test_a_study_that_is_killed_while_it_trains_attacks_and_writes_ends_as_if_it_had_not_been(
    killable, study, tmp_path
):
    _, order = killable.run(study, tmp_path / "whole")
    chosen = [
        next(event for event in order if stage_of(event) == "training"),
        [event for event in order if stage_of(event) == "batch"][1],
        [event for event in order if event.startswith("write rows") and "aside" in event][2],
    ]
    kills = [Moment(order, order.index(event), 0.0) for event in chosen]
    attempts, killed = survive(killable, study, tmp_path / "out", kills, page=False)
    assert killed == len(kills)
    for attempt, event in zip(attempts, chosen, strict=False):  # files are written meanwhile
        assert any(order.index(each) >= order.index(event) for each in attempt if each in order)
    check(tmp_path / "whole", order, tmp_path / "out", attempts, killed)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_thirty_kills_at_random_moments_of_all_stages_cost_no_row_and_two_cells_each_at_most(
    killable, study, tmp_path, capsys
):
    _, order = killable.run(study, tmp_path / "whole", page=True)
    assert {stage_of(event) for event in order} == set(STAGES)
    kills = moments(order, 30, seed=6)
    attempts, killed = survive(killable, study, tmp_path / "out", kills, page=True)
    check(tmp_path / "whole", order, tmp_path / "out", attempts, killed)
    assert killed >= 30
    again = sum(map(work, attempts), Counter()).total() - work(order).total()
    hit = Counter(stage_of(attempt[-1]) for attempt in attempts[:-1])
    with capsys.disabled():
        print(  # noqa: T201
            f"\nkills survived: {killed} ({', '.join(f'{n} {s}' for s, n in hit.items())}); "
            f"cells, signs and epochs begun again: {again} of {work(order).total()}"
        )
    shutil.rmtree(tmp_path)

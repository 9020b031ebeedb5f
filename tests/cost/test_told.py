"""What is printed says what dominates, what does not fit, and what is not in it."""

import dataclasses

import pytest

from lookaway.cost.estimate import Estimate, ModelCost, WorkersCost
from lookaway.cost.told import sentences, tables

DAY = 86400.0


@pytest.fixture
def told():
    """Two models; cells take longest alone, training with many workers."""
    small = ModelCost(
        model="small",
        cells=10,
        images=640,
        seconds=2 * DAY,
        trained="none",
        training_seconds=0.0,
        bytes={"rows": 1_000_000, "maps": 7_000_000},
        training_memory=0,
    )
    large = dataclasses.replace(
        small,
        model="large",
        seconds=6 * DAY,
        trained="fully_connected",
        training_seconds=3 * DAY,
        training_memory=10**12,
    )
    return Estimate(
        imagined=True,
        read=6400,
        classes=20,
        parts={"train": 5120, "val": 640, "test": 640},
        variants=("none",),
        models=(small, large),
        reading_seconds=60.0,
        faces_seconds=0.0,
        memory=16 * 10**9,
        workers=(
            WorkersCost(1, 11 * DAY, 3 * DAY, 8 * DAY, 1e3),
            WorkersCost(8, 4 * DAY, 3 * DAY, DAY, 8e3),
        ),
        trial_images=16,
        trial_seconds=100.0,
        machine="a machine",
    )


def test_what_dominates_is_told_for_one_worker_and_for_most(told):
    said = sentences(told)
    cells = "measuring (cells)"
    assert said[0] == f"With one worker, {cells} takes 73 % of the time, large 75 % of that."
    assert said[1] == "With 8 workers, training takes 75 % of the time, large 100 % of that."
    assert said[2].startswith("Of what is stored, 88 % are maps")


def test_what_does_not_fit_into_memory_is_told(told):
    text = " ".join(sentences(told))
    assert "large 1 TB, of 16 GB on this machine" in text
    enough = dataclasses.replace(told, memory=10**13)
    assert "in memory" not in " ".join(sentences(enough))


def test_the_tables_hold_models_kinds_and_stages(told):
    training, cells, stored, time = tables(told)
    assert "5,120" in training.title
    assert training.rows[1] == ["large", "fully connected", "3 days", "1 TB"]
    assert cells.rows[0] == ["small", "10", "640", "2 days", "8 MB"]
    assert cells.rows[-1][1:4] == ["20", "1,280", "8 days"]
    assert [row[2] for row in stored.rows] == ["2 MB", "14 MB", "16 MB"]
    assert time.heads == ["what", "done by", "1 worker", "8 workers"]
    assert time.rows[-2][2:] == ["11 days", "4 days"]
    assert time.rows[-1][2:] == ["1 kB/s", "8 kB/s"]
    assert all(len(row) == len(table.heads) for table in tables(told) for row in table.rows)


def test_a_study_that_trains_nothing_has_no_table_of_training(told):
    assert len(tables(dataclasses.replace(told, models=told.models[:1]))) == 3

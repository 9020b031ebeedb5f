"""What is printed says what everything takes, what does not fit, and what is not in it."""

import dataclasses

import pytest

from lookaway.cost.estimate import Estimate, ModelCost
from lookaway.cost.tables import sentences, tables
from lookaway.cost.trial import KINDS

DAY = 86400.0


@pytest.fixture
def told():
    """Two models, one of them trained."""
    small = ModelCost(
        model="small",
        cells=10,
        images=640,
        seconds=2 * DAY,
        trained="none",
        training_seconds=0.0,
        bytes={**dict.fromkeys(KINDS, 0), "rows": 1_000_000, "maps": 7_000_000, "heads": 0},
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
        stages={
            1: {"reading": 60.0, "faces": 0.0, "training": 3 * DAY, "cells": 8 * DAY},
            8: {"reading": 60.0, "faces": 0.0, "training": 3 * DAY, "cells": DAY},
        },
        memory=16 * 10**9,
        trial_images=16,
        trial_seconds=100.0,
        machine="a machine",
    )


def test_what_does_not_fit_into_memory_is_told(told):
    text = " ".join(sentences(told))
    assert "large 1.0 TB, of 16.0 GB on this machine" in text
    enough = dataclasses.replace(told, memory=10**13)
    assert "in memory" not in " ".join(sentences(enough))


def test_the_tables_hold_models_kinds_and_stages(told):
    training, cells, stored, time = tables(told)
    assert "5,120" in training.title
    assert training.rows[1] == ["large", "fully connected", "3 days", "1.0 TB"]
    assert cells.rows[0] == ["small", "10", "640", "2 days", "8.0 MB"]
    assert cells.rows[-1][1:4] == ["20", "1,280", "8 days"]
    assert [row[2] for row in stored.rows] == ["2.0 MB", "14.0 MB", "16.0 MB"]
    assert time.heads == ["what", "done by", "1 worker", "8 workers"]
    assert time.rows[-1][2:] == ["11 days", "4 days"]
    assert all(len(row) == len(table.heads) for table in tables(told) for row in table.rows)


def test_a_study_that_trains_nothing_has_no_table_of_training(told):
    stages = {1: {**told.stages[1], "training": 0.0}}
    assert len(tables(dataclasses.replace(told, models=told.models[:1], stages=stages))) == 3

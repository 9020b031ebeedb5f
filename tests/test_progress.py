"""Long work says how far it is: with a bar, or in plain lines."""

import io

import pytest
from rich.console import Console

from lookaway import progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def lines_of(work):
    out = io.StringIO()
    work(progress.Terminal(Console(file=out, width=200)))
    return out.getvalue().splitlines()


def test_without_a_terminal_a_stage_is_a_line_at_its_start_and_one_at_its_end(clock):
    def work(reporter):
        with reporter.stage("one: attacking", 40, "images") as advance:
            for _ in range(4):
                clock[0] += 2
                advance(10)

    assert lines_of(work) == ["one: attacking", "one: attacking: 40 images in 8.0 s, 5.0 images/s"]


def test_long_stages_tell_the_time_left_every_half_minute(clock):
    def work(reporter):
        with reporter.stage("long", 100, "images") as advance:
            for _ in range(10):
                clock[0] += 10
                advance(10)

    told = lines_of(work)
    assert told[1:-1] == [
        "long: 30 of 100 images, 70 s left",
        "long: 60 of 100 images, 40 s left",
        "long: 90 of 100 images, 10 s left",
    ]


def test_a_terminal_shows_stage_speed_and_time_left():
    out = io.StringIO()
    console = Console(file=out, width=160, force_terminal=True)
    with progress.Terminal(console).stage("[b]one[/b]: training", 4, "images") as advance:
        for _ in range(4):
            advance(1)
    told = out.getvalue()
    assert "[b]one[/b]: training" in told
    assert "images/s" in told
    assert "left" in told
    assert "4/4" in told

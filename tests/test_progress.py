"""Long work says how far it is: with a bar, or in plain lines."""

import io
import re
from types import SimpleNamespace

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


@pytest.mark.parametrize("width", [160, 80, 50])
def test_a_terminal_shows_stage_speed_and_time_left_in_one_line_of_its_width(width):
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True)
    with progress.Terminal(console).stage("[b]one[/b]: training", 4, "images") as advance:
        for _ in range(4):
            advance(1)
    told = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue()).replace("\n", "\r").split("\r")
    assert max(map(len, told)) <= width
    last = [line.rstrip() for line in told if line.strip()][-1]
    assert last.startswith("[b]one")
    assert re.search(r"training .*4/4 images, \d+/s, in 0:00$", last)


@pytest.mark.parametrize(
    ("elapsed", "total", "completed", "shown"),
    [
        (12, 2, 0, "0/2 models, 0:12 so far"),
        (12, None, 0, "0:12 so far"),
        (20, None, 80, "80 models, 4.0/s, 0:20 so far"),
        (190, 30, 2, "2/30 models, 95.0 s each, 44:20 left"),
        (36000, 2000, 1000, "1000/2000 models, 36.0 s each, 10:00:00 left"),
        (10, 2000, 1000, "1000/2000 models, 100/s, 0:10 left"),
    ],
)
def test_slow_steps_and_unknown_totals_are_told_in_what_is_known(elapsed, total, completed, shown):
    task = SimpleNamespace(
        total=total, completed=completed, elapsed=elapsed, finished=False, finished_time=None
    )
    assert progress._far(task, "models") == shown

"""A bar with speed and time left, or plain lines where there is no terminal."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

Advance = Callable[[int], None]
_EVERY = 30.0  # seconds between lines where there is no terminal
_BAR = 8, 40  # letters: a shorter bar says nothing, a longer one no more


class Reporter(Protocol):
    """Told of the stages of long work."""

    def stage(
        self, title: str, total: int | None, unit: str = "steps"
    ) -> AbstractContextManager[Advance]:
        """Begin a stage; the context gives a function to call with the steps done."""

    def warn(self, line: str) -> None:
        """Say something that the user should know, though the work goes on."""


class Silent:
    """Says nothing."""

    @contextmanager
    def stage(self, title: str, total: int | None, unit: str = "steps") -> Iterator[Advance]:
        """Begin a stage and say nothing."""
        yield lambda _count: None

    def warn(self, line: str) -> None:
        """Say nothing."""


class Terminal:
    """A bar for each stage on stderr; without a terminal, plain lines.

    Plain lines come when a stage begins and when it is done, and every 30 seconds in between.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(file=sys.stderr)

    @contextmanager
    def stage(self, title: str, total: int | None, unit: str = "steps") -> Iterator[Advance]:
        """Begin a stage with a bar of its own."""
        if not self._console.is_terminal:
            with self._lines(title, total, unit) as advance:
                yield advance
            return
        with Progress(_Line(unit, self._console), console=self._console) as progress:
            task = progress.add_task(title, total=total)
            yield lambda count: progress.advance(task, count)

    def warn(self, line: str) -> None:
        """Say it in a line of its own."""
        self._say(f"lookaway: {line}")

    @contextmanager
    def _lines(self, title: str, total: int | None, unit: str) -> Iterator[Advance]:
        began = told = time.monotonic()
        done = 0
        self._say(title)

        def advance(count: int) -> None:
            nonlocal done, told
            done += count
            now = time.monotonic()
            if now - told >= _EVERY and total:
                told = now
                left = (now - began) * (total - done) / max(done, 1)
                self._say(f"{title}: {done} of {total} {unit}, {left:.0f} s left")

        yield advance
        seconds = time.monotonic() - began
        if done:
            speed = f", {done / seconds:.1f} {unit}/s" if seconds > 0 else ""
            self._say(f"{title}: {done} {unit} in {seconds:.1f} s{speed}")

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class _Line(ProgressColumn):
    """The stage, a bar, how far, how fast, and the time left, in one line of the console's width.

    Where it is narrow the bar goes first, then the middle of the stage's title.
    """

    def __init__(self, unit: str, console: Console) -> None:
        super().__init__()
        self._unit = unit
        self._console = console

    def render(self, task: Task) -> Table:
        far = _far(task, self._unit)
        room = self._console.width - len(far) - 2
        title = _shortened(task.description, room)
        bar = min(room - len(title), _BAR[1])
        line = Table.grid(padding=(0, 1))
        cells: list[Text | ProgressBar] = [Text(title, no_wrap=True)]
        if bar >= _BAR[0]:
            pulse = not task.completed
            cells.append(ProgressBar(task.total, task.completed, width=bar, pulse=pulse))
        line.add_row(*cells, Text(far, no_wrap=True))
        return line


def _far(task: Task, unit: str) -> str:
    """Steps done, of how many, how fast, and the time left; else for how long already."""
    done = f"{task.completed:.0f}" + ("" if task.total is None else f"/{task.total:.0f}")
    parts = [f"{done} {unit}"] if task.completed or task.total is not None else []
    elapsed = task.finished_time if task.finished else task.elapsed
    elapsed = elapsed or 0.0
    if task.completed and elapsed:  # of the whole stage: a step may take longer than any window
        speed = task.completed / elapsed
        parts.append(f"{speed:.0f}/s" if speed >= 10 else _slowly(speed))
    if task.finished:
        parts.append(f"in {_clock(elapsed)}")
    elif task.completed and task.total is not None:
        parts.append(f"{_clock(elapsed * task.total / task.completed - elapsed)} left")
    else:
        parts.append(f"{_clock(elapsed)} so far")
    return ", ".join(parts)


def _slowly(speed: float) -> str:
    return f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each"


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds; minutes and seconds under an hour.

    >>> _clock(62), _clock(3675)
    ('1:02', '1:01:15')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _shortened(title: str, most: int) -> str:
    """A title of at most so many letters: its ends, which name the model and the stage.

    >>> _shortened("tf_efficientnet_lite0: training", 21)
    'tf_effici…0: training'
    """
    if len(title) <= most:
        return title
    kept = max(most - 1, 2)
    behind = (kept + 2) // 2
    return f"{title[: kept - behind]}…{title[-behind:]}"

"""A bar with speed and time left, or plain lines where there is no terminal."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

Advance = Callable[[int], None]
_EVERY = 30.0  # seconds between lines where there is no terminal


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
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _Speed(unit),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console) as progress:
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


class _Speed(ProgressColumn):
    """Steps a second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} {self._unit}/s")

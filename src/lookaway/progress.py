"""A bar with the time left, or plain lines where there is no terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Advance = Callable[[int], None]


class Reporter(Protocol):
    """Told of the stages of long work."""

    def stage(self, title: str, total: int | None) -> AbstractContextManager[Advance]:
        """Begin a stage; the context gives a function to call with the steps done."""


class Silent:
    """Says nothing."""

    @contextmanager
    def stage(self, title: str, total: int | None) -> Iterator[Advance]:
        """Begin a stage and say nothing."""
        yield lambda _count: None


class Terminal:
    """A bar for each stage on stderr; without a terminal, a line when a stage begins."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stderr)

    @contextmanager
    def stage(self, title: str, total: int | None) -> Iterator[Advance]:
        """Begin a stage with a bar of its own."""
        if not self._console.is_terminal:
            self._console.print(title, markup=False, highlight=False)
            yield lambda _count: None
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console) as progress:
            task = progress.add_task(title, total=total)
            yield lambda count: progress.advance(task, count)

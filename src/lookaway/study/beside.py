"""Work beside other work: images are read ahead of a cell, and files are written behind it."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

_MOST_READERS = 8  # threads that decode images beside a GPU

Each = Callable[..., Iterable[Any]]  # as ``map``, perhaps several at a time

Given = TypeVar("Given")
Made = TypeVar("Made")


class Ahead(Generic[Given, Made]):
    """Makes the next thing while the last one is used: one at a time, so memory is that of two.

    Args:
        make: makes one; it is also given how to read its images, one after the other beside a
            processor's own work, several at a time beside a GPU's.
        device: where the work is done meanwhile.
    """

    def __init__(self, make: Callable[[Given, Each], Made], device: str) -> None:
        self._make = make
        readers = min(_MOST_READERS, os.cpu_count() or 1) if device.startswith("cuda") else 0
        self._pool = ThreadPoolExecutor(1 + readers, "lookaway-ahead")
        self._each: Each = self._pool.map if readers else map
        self._next: tuple[Given, Future[Made]] | None = None

    def begin(self, given: Given) -> None:
        """Begin to make a thing, beside what the caller does next."""
        if self._next is None:
            self._next = given, self._pool.submit(self._make, given, self._each)

    def take(self, given: Given) -> Made:
        """A thing, made now unless it was begun; what goes wrong in making it is raised here."""
        begun, self._next = self._next, None
        if begun is not None and begun[0] == given:
            return begun[1].result()
        return self._make(given, self._each)

    def close(self) -> None:
        """Wait until nothing is made any more."""
        self._pool.shutdown(cancel_futures=True)


class Behind:
    """Does what is left of one thing beside the next: one at a time, in order.

    What goes wrong is raised when the next is given, or at the end. However the context ends, what
    was begun is done to its end: a file is whole.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "lookaway-behind")
        self._last: Future[object] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            self._pool.shutdown()

    def do(self, work: Callable[[], object]) -> None:
        """Do it, once what was given before is done."""
        self.wait()
        self._last = self._pool.submit(work)

    def wait(self) -> None:
        """Wait until all is done."""
        last, self._last = self._last, None
        if last is not None:
            last.result()

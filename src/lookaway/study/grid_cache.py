"""Prepared images of a run on disk, so that each is decoded once, however often it is asked for."""

import shutil
import tempfile
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

import numpy as np

from lookaway.places import AnyPath

LARGEST = 4 * 2**30  # bytes
_SHARE = 10  # of the free disk, at most one part in so many: the run's own files come first


class GridCache:
    """Keeps 8-bit grids in one file, for several threads; a copy in another process keeps none.

    Args:
        file: where, unbuffered; None: nowhere.
        limit: bytes; grids beyond it are made anew each time.
    """

    def __init__(self, file: IO[bytes] | None = None, limit: int = 0) -> None:
        self._file, self._limit, self._end = file, limit, 0
        self._places: dict[Hashable, tuple[int, tuple[int, ...]]] = {}
        self._lock = threading.Lock()  # for the place in the file

    def __reduce__(self) -> tuple[type["GridCache"], tuple[()]]:
        return GridCache, ()

    def get(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The grid of a key, uint8, made where it is not kept, or the file fails."""
        with self._lock:
            kept = self._read(key)
        if kept is not None:
            return kept
        grid = make()
        with self._lock:
            self._write(key, grid)
        return grid

    def _read(self, key: Hashable) -> np.ndarray | None:
        if self._file is not None and key in self._places:
            start, shape = self._places[key]
            with suppress(OSError):
                self._file.seek(start)
                raw = self._file.read(int(np.prod(shape)))
                if len(raw) == np.prod(shape):
                    return np.frombuffer(raw, dtype=np.uint8).reshape(shape)
        return None

    def _write(self, key: Hashable, grid: np.ndarray) -> None:
        if self._file is None or key in self._places or self._end + grid.nbytes > self._limit:
            return
        with suppress(OSError):
            self._file.seek(self._end)
            if self._file.write(grid.tobytes()) == grid.nbytes:
                self._places[key] = self._end, grid.shape
                self._end += grid.nbytes


@contextmanager
def grid_cache(folder: AnyPath) -> Iterator[GridCache]:
    """A cache in a nameless file, which goes with the process however that ends.

    It is in the run's folder; for one in an object store, with other temporary files.
    """
    place = str(folder) if isinstance(folder, Path) else tempfile.gettempdir()
    with ExitStack() as stack:
        cache = GridCache()
        with suppress(OSError):
            limit = min(LARGEST, shutil.disk_usage(place).free // _SHARE)
            file = stack.enter_context(tempfile.TemporaryFile(dir=place, buffering=0))
            cache = GridCache(file, limit)
        yield cache

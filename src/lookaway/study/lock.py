"""One process at a time writes to a run's folder.

The kernel's lock on ``.lock`` goes with its process, however that ends, and counts on most network
file systems too. What is written in the file says who holds it. Where a file system knows no such
locks, or another machine's process left the file behind, the file itself counts. In an object store
it is an object, written where there is none.
"""

import contextlib
import errno
import json
import os
import platform
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from lookaway.errors import RemoteError, StoreError
from lookaway.places import AnyPath, RemotePath, to_path

if sys.platform != "win32":
    import fcntl

NAME = ".lock"
_HELD = (errno.EAGAIN, errno.EACCES)
_LONGEST = 10_000  # bytes of a lock's file that are read
_SETTLED = 2.0  # s: after which of several that wrote at once the last has written


@dataclass(frozen=True)
class Holder:
    """A process that writes to a run's folder.

    Attributes:
        host: the machine's name.
        pid: the process's number there.
        since: when it began to hold the folder, UTC.
        born: when the process itself began, as the machine counts it: numbers are used again.
    """

    host: str
    pid: int
    since: str
    born: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host!r}, which holds it since {self.since}"

    @property
    def is_gone(self) -> bool:
        """Whether it is known to have ended; of another machine's process nothing is known."""
        return self.host == platform.node() and _born(self.pid) != self.born


@contextmanager
def locked(
    folder: AnyPath | str, tell: Callable[[str], object] = lambda _line: None
) -> Iterator[None]:
    """Hold a run's folder, which is made if need be; one that stays empty is removed again.

    Args:
        folder: of the run, or its URL.
        tell: given a line when a lock is taken over from a process that ended without releasing it.

    Raises:
        StoreError: another process holds it, or it cannot be written.
    """
    folder = to_path(folder)
    if isinstance(folder, RemotePath):
        with _locked_object(folder / NAME, tell):
            yield
        return
    path = folder / NAME
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = _open(path, tell)
    except OSError as error:
        _remove_empty(made)
        raise StoreError(
            f"{str(folder)!r} cannot be written: {error.strerror or error}; make room or give "
            "another --out"
        ) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(handle)  # and with it the kernel's lock
        _remove_empty(made)


def _open(path: Path, tell: Callable[[str], object]) -> int:
    """The lock's file, held and signed."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            by_kernel = _lock(handle, path)
            if not _is(handle, path):  # its holder removed it meanwhile
                os.close(handle)
                continue
            old = _holder(handle)
            if old is not None and (old.host != platform.node() or not (by_kernel or old.is_gone)):
                raise _refusal(path, old)
            if old is not None:
                tell(f"{str(path.parent)!r} was left by {old} and has ended; going on")
            _sign(handle)
        except BaseException:
            os.close(handle)
            raise
        return handle


def _lock(handle: int, path: Path) -> bool:
    """Take the kernel's lock; False where there is none to take."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            raise _refusal(path, _holder(handle)) from error
        return False
    return True


@contextmanager
def _locked_object(path: RemotePath, tell: Callable[[str], object]) -> Iterator[None]:
    """Hold an object store's lock; a token says whether it is still this one."""
    mine = json.dumps({**asdict(_this_process()), "token": secrets.token_hex(8)}).encode()
    while not _claimed(path, mine, tell):
        pass
    try:
        yield
    finally:
        with contextlib.suppress(RemoteError):
            if _content(path) == mine:
                path.unlink()


def _claimed(path: RemotePath, mine: bytes, tell: Callable[[str], object]) -> bool:
    """Sign a lock's object where no living process has; False where another came first."""
    found = _content(path)
    old = None if found is None else _parsed(found)
    if old is not None and not old.is_gone:
        raise _refusal(path, old)
    if not (path.create(mine) if found is None else path.replace_as(found, mine)):
        return False
    if found is not None or path.create(mine):  # the store may not have heeded the condition
        time.sleep(_SETTLED)
    if _content(path) != mine:
        return False
    if old is not None:
        tell(f"{str(path.parent)!r} was left by {old} and has ended; going on")
    return True


def _content(path: RemotePath) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _refusal(path: AnyPath, holder: Holder | None) -> StoreError:
    who = str(holder) if holder is not None else "another process"
    elsewhere = holder is not None and holder.host != platform.node()
    return StoreError(
        f"{str(path.parent)!r} is in use by {who}; two processes would spoil a run. Wait until "
        "it is done, or give another --out"
        + (f". If that process is gone, delete {str(path)!r}" if elsewhere else "")
    )


def _is(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _holder(handle: int) -> Holder | None:
    """Who signed; None where nobody has yet, or nothing can be read from it."""
    os.lseek(handle, 0, os.SEEK_SET)
    return _parsed(os.read(handle, _LONGEST))


def _parsed(raw: bytes) -> Holder | None:
    try:
        found = json.loads(raw)
        return Holder(
            str(found["host"]), int(found["pid"]), str(found["since"]), str(found["born"])
        )
    except (ValueError, LookupError, TypeError, RecursionError):
        return None


def _sign(handle: int) -> None:
    os.ftruncate(handle, 0)
    os.lseek(handle, 0, os.SEEK_SET)
    os.write(handle, json.dumps(asdict(_this_process())).encode())
    os.fsync(handle)


def _this_process() -> Holder:
    now = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    return Holder(platform.node(), os.getpid(), now, _born(os.getpid()))


def _born(pid: int) -> str:
    """When a process of this machine began: its boot and the tick since; empty if it is gone."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        # The second field, the program's name, may hold spaces and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        state, ticks = (fields.rpartition(")")[2].split()[place] for place in (0, 19))
        return "" if state in "ZX" else f"{boot}/{ticks}"
    except (OSError, IndexError):
        return _born_elsewhere(pid)


def _born_elsewhere(pid: int) -> str:
    """The same where there is no /proc: only whether it is there, if that can be asked."""
    if Path("/proc/self/stat").exists() or pid <= 0:
        return ""
    try:
        if sys.platform != "win32":  # where 0 would end it
            os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except OSError:
        return "there"
    return "there"


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()

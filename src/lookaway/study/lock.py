"""One process at a time writes to a run's folder.

In a folder ``.lock`` is a file of ``filelock``: it says which process made it, on which host and
when that process began, and is taken over where that process has ended. In an object store it is an
object with the same content, written where there is none.
"""

import contextlib
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import MarkerSoftFileLock, OwnerRecord, Timeout

from lookaway.errors import RemoteError, StoreError
from lookaway.places import AnyPath, RemotePath, to_path

NAME = ".lock"
_UNREADABLE = 3.0  # s: filelock takes over what names no process and has not changed for two
_SETTLED = 2.0  # s: after which of several that wrote at once the last has written


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
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _acquired(folder / NAME, tell)
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
            lock.release()
        _remove_empty(made)


def _acquired(path: Path, tell: Callable[[str], object]) -> MarkerSoftFileLock:
    """The lock's file, held."""
    lock = MarkerSoftFileLock(path)
    owner, since = lock.owner, _since(path)
    try:
        lock.acquire(timeout=_UNREADABLE if owner is None else 0)
    except Timeout:
        raise _refusal(path, _told(lock.owner, _since(path))) from None
    if owner is not None:
        tell(_taken_over(path, _told(owner, since)))
    return lock


@contextmanager
def _locked_object(path: RemotePath, tell: Callable[[str], object]) -> Iterator[None]:
    """Hold an object store's lock; a token says whether it is still this one."""
    mine = _signature()
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
    holder, has_ended = ("", True) if found is None else _holder(found)
    if not has_ended:
        raise _refusal(path, holder)
    if not (path.create(mine) if found is None else path.replace_as(found, mine)):
        return False
    if found is not None or path.create(mine):  # the store may not have heeded the condition
        time.sleep(_SETTLED)
    if _content(path) != mine:
        return False
    if holder:
        tell(_taken_over(path, holder))
    return True


def _content(path: RemotePath) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _signature() -> bytes:
    """What filelock writes of this process, the time, and a token for this very lock."""
    with tempfile.TemporaryDirectory() as folder, MarkerSoftFileLock(Path(folder) / NAME) as lock:
        path = Path(lock.lock_file)
        signed = f"since={_since(path)}\nclaim={secrets.token_hex(8)}\n"
        return path.read_bytes() + signed.encode()


def _holder(content: bytes) -> tuple[str, bool]:
    """Who signed an object, empty where nobody did, and whether filelock would take it over."""
    since = re.search(rb"^since=(.*)$", content, re.MULTILINE)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / NAME
        path.write_bytes(content)
        lock = MarkerSoftFileLock(path, timeout=0)
        owner = lock.owner
        if owner is None:
            return "", True
        told = _told(owner, since[1].decode(errors="replace") if since else "an unknown time")
        try:
            with lock:
                return told, True
        except Timeout:
            return told, False


def _refusal(path: AnyPath, holder: str) -> StoreError:
    return StoreError(
        f"{str(path.parent)!r} is in use by {holder}; two processes would spoil a run. Wait until "
        f"it is done, or give another --out. If that process is gone, delete {str(path)!r}"
    )


def _taken_over(path: AnyPath, holder: str) -> str:
    return f"{str(path.parent)!r} was left by {holder} and has ended; going on"


def _told(owner: OwnerRecord | None, since: str) -> str:
    if owner is None:
        return "another process, which does not say who it is"
    host = owner.hostname.split("?")[0]  # filelock adds of which container
    return f"process {owner.pid} on {host!r}, which holds it since {since}"


def _since(path: Path) -> str:
    """When a lock's file was made, UTC; empty where it is gone."""
    with contextlib.suppress(OSError):
        return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(path.stat().st_mtime))
    return ""


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()

"""Checks that many passes make, read together at the end: each reading lets a device wait."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import torch
from torch import Tensor

from lookaway.errors import LookawayError

Found = TypeVar("Found")

_CHECKS: ContextVar[list[tuple[Tensor, Callable[[], LookawayError]]] | None] = ContextVar(
    "checks", default=None
)
_DOUBTS: ContextVar[list[Tensor] | None] = ContextVar("doubts", default=None)


def must_hold(flag: Tensor, error: Callable[[], LookawayError]) -> None:
    """Refuse what does not hold: at once, or where checks are postponed, when they are read."""
    checks = _CHECKS.get()
    if checks is not None:
        checks.append((flag.detach(), error))
    elif not bool(flag):
        raise error()


@contextmanager
def postponed() -> Iterator[None]:
    """Read the checks that are made inside at its end, together; the outermost one does.

    An exception inside gives way to the first check that fails: it may follow from what is wrong.
    """
    if _CHECKS.get() is not None:
        yield
        return
    checks: list[tuple[Tensor, Callable[[], LookawayError]]] = []
    token = _CHECKS.set(checks)
    try:
        yield
    except Exception as error:
        _raise_first(checks, error)
        raise
    finally:
        _CHECKS.reset(token)
    _raise_first(checks, None)


def in_doubt(flag: Tensor) -> bool:
    """Whether what is cheap does not settle a question, so that it has to be settled exactly.

    Args:
        flag: a bool. Inside ``settled`` it is not read yet, and the answer is no.
    """
    doubts = _DOUBTS.get()
    if doubts is None:
        return bool(flag)
    doubts.append(flag.detach())
    return False


def settled(looks: Sequence[Callable[[], Found]]) -> list[Found]:
    """What each of several looks gives, by one reading of all doubts; see ``in_doubt``.

    Those that met a doubt are taken again, and settle it exactly.
    """
    found, flags = [], []
    for look in looks:
        doubts: list[Tensor] = []
        token = _DOUBTS.set(doubts)
        try:
            found.append(look())
        finally:
            _DOUBTS.reset(token)
        flags.append(torch.stack(doubts).any() if doubts else torch.tensor(False, device="cpu"))
    for place, again in enumerate(_read(flags)):
        if again:
            found[place] = looks[place]()
    return found


def _raise_first(
    checks: Sequence[tuple[Tensor, Callable[[], LookawayError]]], error: Exception | None
) -> None:
    for holds, (_, wrong) in zip(_read([flag for flag, _ in checks]), checks, strict=True):
        if not holds:
            raise wrong() from error


def _read(flags: Sequence[Tensor]) -> list[bool]:
    """Flags of any devices, by one copy from each."""
    found: dict[int, bool] = {}
    for device in dict.fromkeys(flag.device for flag in flags):
        here = [place for place, flag in enumerate(flags) if flag.device == device]
        found |= zip(here, torch.stack([flags[place] for place in here]).tolist(), strict=True)
    return [found[place] for place in range(len(flags))]

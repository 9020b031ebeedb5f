"""Freed memory is kept for the next array inside, and given back behind; then all is as before."""

import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lookaway import memory
from lookaway.memory import kept_memory

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone does this")

MIB = 2**20


def page_faults(mib, rounds=20):
    """How many pages the kernel cleared for so many arrays, one after the other."""
    torch.ones(mib * MIB // 4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        torch.ones(mib * MIB // 4)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize("mib", [4, 64])
def test_the_next_array_takes_the_memory_of_the_last_one(mib):
    with kept_memory():  # holes that earlier work left may have to fill first
        assert min(page_faults(mib) for _ in range(6)) < mib * MIB / resource.getpagesize()


def test_an_inner_context_does_not_end_the_outer_one():
    with kept_memory():
        with kept_memory():
            pass
        assert min(page_faults(64) for _ in range(6)) < 64 * MIB / resource.getpagesize()


_BEHIND = """
import test_memory, torch
test_memory.page_faults(4)
before = test_memory.page_faults(4)
with test_memory.kept_memory():
    torch.ones(256 * 2**20 // 4)
held = [torch.empty(2**20) for _ in range(100)]  # no hole is left to fill
print(before, min(test_memory.page_faults(4) for _ in range(3)))
"""


def test_behind_it_small_arrays_cost_what_they_cost_before():
    """glibc's rule keeps arrays of 4 MiB once some were freed; so must the process afterwards."""
    path = [str(Path(__file__).parent), *sys.path]
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{_BEHIND}"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    before, after = map(int, printed.split())
    assert before < 1024  # one array's pages
    assert after < 1024


def fail_after_much_work():
    with kept_memory():
        page_faults(16)
        torch.ones(256 * MIB // 4)
        raise ZeroDivisionError


def test_memory_is_given_back_also_after_an_error():
    before = resident()
    with pytest.raises(ZeroDivisionError):
        fail_after_much_work()
    assert resident() < before + 64 * MIB


class OldGlibc:
    """Refuses a threshold of more than 32 MiB, as glibc did for long."""

    def __init__(self):
        self.set = {}

    def mallopt(self, parameter, value):
        if parameter == -3 and value > 32 * MIB:
            return 0
        self.set[parameter] = value
        return 1

    def malloc_trim(self, _pad):
        pass


def test_an_old_glibc_keeps_the_most_that_it_accepts(monkeypatch):
    old = OldGlibc()
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: old)
    with kept_memory():
        assert old.set == {-3: 32 * MIB, -1: 2**31 - 1}
    assert old.set == {-3: 32 * MIB, -1: 64 * MIB}


@pytest.mark.parametrize(
    ("name", "value"),
    [("MALLOC_TRIM_THRESHOLD_", "1"), ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=131072")],
)
def test_thresholds_that_the_user_set_stay(monkeypatch, name, value):
    old = OldGlibc()
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: old)
    monkeypatch.setenv(name, value)
    with kept_memory():
        pass
    assert not old.set

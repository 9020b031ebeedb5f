"""Freed memory is kept for the next array inside, and given back behind."""

import platform
import resource
from pathlib import Path

import pytest
import torch

from lookaway.memory import kept_memory

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone does this")


def page_faults(rounds=20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        torch.ones(16 * 2**20 // 4)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_the_next_array_takes_the_memory_of_the_last_one():
    outside = page_faults()
    with kept_memory():  # holes that earlier work left may have to fill first
        assert min(page_faults() for _ in range(6)) < outside / 10


def fail_after_much_work():
    with kept_memory():
        page_faults()
        torch.ones(256 * 2**20 // 4)
        raise ZeroDivisionError


def test_memory_is_given_back_also_after_an_error():
    before = resident()
    with pytest.raises(ZeroDivisionError):
        fail_after_much_work()
    assert resident() < before + 64 * 2**20

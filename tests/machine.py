"""What a test asks of the machine: a disk of its own, a user without rights."""

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65534


def missing(what):
    """Skip a test; where nothing may be missing, fail it."""
    if os.environ.get("LOOKAWAY_NOTHING_MISSING"):
        pytest.fail(f"this machine lacks {what}, and LOOKAWAY_NOTHING_MISSING is set")
    pytest.skip(f"needs {what}")


@contextmanager
def small_disk(place: Path, kilobytes: int):
    """A disk of its own that holds so much; gives a function to mount it anew otherwise."""
    place.mkdir()

    def mount(options):
        command = ["mount", "-t", "tmpfs", "-o", options, "lookaway-test", str(place)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    if os.geteuid() != 0 or not mount(f"size={kilobytes}k"):
        missing("root's right to mount a small tmpfs")

    def again(options):
        assert mount(f"remount,{options}")

    try:
        yield again
    finally:
        subprocess.run(["umount", str(place)], check=True)


@contextmanager
def without_rights(*open_to_all: Path):
    """Act as a user who owns nothing, for whom these folders and those above them are open."""
    if os.geteuid() != 0:
        yield
        return
    for folder in open_to_all:
        for place in (folder, *folder.parents):
            if place != Path("/") and not place.stat().st_mode & 0o001:
                place.chmod(place.stat().st_mode | 0o055)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)

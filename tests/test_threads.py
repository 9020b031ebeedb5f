"""OpenMP's threads sleep while they wait for each other, unless the user wants otherwise."""

import os
import platform
import subprocess
import sys

import pytest

from commands import lookaway
from lookaway.threads import passive_wait

_NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_COMMAND = """
import contextlib, os, sys
from lookaway.cli import main
sys.argv = ["lookaway", "--version"]
with contextlib.suppress(SystemExit):
    main()
assert "torch" not in sys.modules
os.environ["OMP_DISPLAY_ENV"] = "VERBOSE"
import torch
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="GCC's OpenMP tells its settings")
def test_a_command_sets_it_before_pytorch_is_loaded():
    env = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    done = subprocess.run([sys.executable, "-c", _COMMAND], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "GOMP_SPINCOUNT = '0'" in done.stderr


@pytest.mark.parametrize("name", _NAMES)
def test_the_user_s_own_setting_stays_and_is_handed_on_alone(monkeypatch, name):
    for other in _NAMES:
        monkeypatch.delenv(other, raising=False)
    assert passive_wait() == {"OMP_WAIT_POLICY": "PASSIVE"}
    monkeypatch.setenv(name, "200")
    assert passive_wait() == {name: "200"}
    assert lookaway("--version")[0] == 0
    assert {other: os.environ[other] for other in _NAMES if other in os.environ} == {name: "200"}

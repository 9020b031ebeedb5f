"""OpenMP's threads sleep while they wait for each other where other work keeps processors busy."""

import os
import platform
import subprocess
import sys

import pytest

from lookaway import threads
from lookaway.threads import choose_wait, processors_in_use, wait_settings

_NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_COMMAND = """
import contextlib, os, sys, types
from lookaway import threads
sys.modules["lookaway.run"] = types.SimpleNamespace(run_study=lambda *_, **__: sys.exit())
threads.processors_in_use = lambda: {used}
from lookaway.cli import main
sys.argv = ["lookaway", "{command}", *{arguments}, "--out", "nowhere"]
with contextlib.suppress(SystemExit):
    main()
assert "torch" not in sys.modules
if {used}:
    os.environ["OMP_DISPLAY_ENV"] = "VERBOSE"
    import torch
else:
    assert "OMP_WAIT_POLICY" not in os.environ
"""


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    for name in _NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="GCC's OpenMP tells its settings")
@pytest.mark.parametrize(
    ("used", "command", "arguments"), [(0.0, "run", ["study.yaml"]), (1.6, "demo", [])]
)
def test_a_command_decides_before_pytorch_is_loaded_and_says_so(used, command, arguments):
    env = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    code = _COMMAND.format(used=used, command=command, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ("GOMP_SPINCOUNT = '0'" in done.stderr) == (used > 0)
    told = f"1.6 of {os.cpu_count()} processors busy, so threads sleep"
    assert (told in done.stderr) == (used > 0)


@pytest.mark.parametrize("name", _NAMES)
def test_the_user_s_own_setting_stays(monkeypatch, name):
    monkeypatch.setattr(threads, "processors_in_use", lambda: 2.0)
    monkeypatch.setenv(name, "200")
    assert choose_wait() == ""
    assert wait_settings() == {name: "200"}


def test_processors_are_in_use_where_others_compute(monkeypatch):
    loop = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"
    others = [subprocess.Popen([sys.executable, "-c", loop]) for _ in range(2)]
    try:
        assert any(processors_in_use() > 0.5 for _ in range(50))
    finally:
        for other in others:
            other.kill()
            other.wait()
    # A system that does not tell the moment tells the last minute.
    monkeypatch.setattr(threads, "_busy_seconds", lambda: int("nothing"))
    monkeypatch.setattr(os, "getloadavg", lambda: (7.0, 0.0, 0.0))
    assert processors_in_use() == 7.0

"""How OpenMP's threads wait for each other in PyTorch's loops.

By default they wait busily. Beside other work they so hold a core that the one they wait for would
need, and small loops become up to ten times slower; asleep they cost a third more where nothing
else runs (``benchmarks/wait_policy.py``). So it follows from what the machine does at the start.
"""

import os
import time
from pathlib import Path

# OpenMP's own setting, GCC's and LLVM's; the last two are set by those who tune them.
_SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_MOMENT = 0.1  # seconds in which the processors are watched
_BUSY = 0.5  # processors in use by others


def choose_wait() -> str:
    """Let this process's threads sleep while they wait, where other work keeps processors busy.

    Only before PyTorch is loaded. What the user has set stays.

    Returns:
        A sentence to be said, or nothing.
    """
    if wait_settings():
        return ""
    used = processors_in_use()
    if used < _BUSY:
        return ""
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    return (
        f"other work keeps {used:.1f} of {os.cpu_count()} processors busy, so threads sleep while "
        "they wait for each other (OMP_WAIT_POLICY=PASSIVE); set OMP_WAIT_POLICY to decide it"
    )


def wait_settings() -> dict[str, str]:
    """What is set in the environment of how threads wait, for other processes to be given."""
    return {name: os.environ[name] for name in _SETTINGS if name in os.environ}


def processors_in_use() -> float:
    """How many processors work at the moment, this process's asleep; of a minute where unknown."""
    try:
        before = _busy_seconds()
        time.sleep(_MOMENT)
        return (_busy_seconds() - before) / _MOMENT
    except (OSError, ValueError, AttributeError):
        return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def _busy_seconds() -> float:
    """Of all processors, since the system began; Linux tells them."""
    found = Path("/proc/stat").read_text(encoding="ascii").split(maxsplit=8)[1:8]
    user, nice, system, _idle, _wait, irq, soft_irq = map(int, found)
    return (user + nice + system + irq + soft_irq) / os.sysconf("SC_CLK_TCK")

"""How OpenMP's threads wait for each other in PyTorch's loops.

By default they wait busily. Beside other work they so hold a core that the one they wait for would
need, and small loops become up to ten times slower.
"""

import os

# OpenMP's own setting, GCC's and LLVM's; the last two are set by those who tune them.
_SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def passive_wait() -> dict[str, str]:
    """The settings of the environment for threads that sleep while they wait, or the user's own."""
    own = {name: os.environ[name] for name in _SETTINGS if name in os.environ}
    return own or {"OMP_WAIT_POLICY": "PASSIVE"}


def wait_passively() -> None:
    """Let this process's threads sleep while they wait; only before PyTorch is loaded."""
    os.environ.update(passive_wait())

"""What it costs on a quiet machine, and gains on a busy one, that OpenMP's threads wait asleep.

    python benchmarks/wait_policy.py [--rounds 5] [--busy 2]

Each measurement is a process of its own, for OpenMP reads its settings once. The two policies take
turns, alone and then beside so many busy processes; medians over the rounds.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

POLICIES: dict[str, dict[str, str]] = {"default": {}, "passive": {"OMP_WAIT_POLICY": "PASSIVE"}}
REPETITIONS = 3


def child() -> dict[str, float]:
    """Milliseconds of each kind of work with this process's settings: medians."""
    import timm
    import torch

    torch.manual_seed(0)
    layer = torch.nn.Sequential(torch.nn.Conv2d(32, 32, 3, padding=1), torch.nn.ReLU())
    small = torch.rand(8, 32, 56, 56)
    images = torch.rand(4, 3, 224, 224)

    def convolution() -> None:
        with torch.no_grad():
            layer(small)

    def passes(network: torch.nn.Module) -> Callable[[], None]:
        def work() -> None:
            pixels = images.clone().requires_grad_()
            network(pixels).sum().backward()

        return work

    works = {"a convolution and ReLU": convolution}
    for name in ("tf_efficientnet_lite0", "resnet50"):
        network = timm.create_model(name, pretrained=False).eval().requires_grad_(False)
        works[f"{name}, forward and backward"] = passes(network)
    found = {}
    for title, work in works.items():
        work()
        seconds = []
        for _ in range(REPETITIONS * (10 if work is convolution else 1)):
            began = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - began)
        found[title] = statistics.median(seconds) * 1e3
    return found


def measured(settings: dict[str, str]) -> dict[str, float]:
    """The same in a process of its own."""
    names = ("OMP_", "GOMP_", "KMP_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    command = [sys.executable, __file__, "--child"]
    done = subprocess.run(command, env={**env, **settings}, capture_output=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that compute all the time."""
    loop = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"
    loops = [subprocess.Popen([sys.executable, "-c", loop]) for _ in range(count)]
    try:
        yield
    finally:
        for process in loops:
            process.kill()
            process.wait()


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--busy", type=int, default=2, help="busy processes")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(child()))
        return
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; ms, medians of {given.rounds}")
    print(f"{'work':44} {'beside':>6} " + " ".join(f"{name:>8}" for name in POLICIES) + "  passive")
    for beside in (0, given.busy):
        found: dict[str, dict[str, list[float]]] = {}
        with busy(beside):
            for _ in range(given.rounds):
                for policy, settings in POLICIES.items():
                    for title, value in measured(settings).items():
                        found.setdefault(title, {}).setdefault(policy, []).append(value)
        for title, by_policy in found.items():
            medians = {name: statistics.median(values) for name, values in by_policy.items()}
            change = medians["passive"] / medians["default"]
            told = f"{change - 1:+.1%}" if beside == 0 else f"{1 / change:.2f} times as fast"
            columns = " ".join(f"{medians[name]:8.2f}" for name in POLICIES)
            print(f"{title:44} {beside:6} {columns}  {told}", flush=True)


if __name__ == "__main__":
    main()

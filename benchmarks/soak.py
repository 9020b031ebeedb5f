"""A whole study of 100,000 generated images beside one of 10,000: memory, time, size of the page.

Each runs in a process of its own, through ``run_study``, and is measured from outside: at the end
of every stage what the process holds once glibc gave back what is free, and in between its peak.
"""

import argparse
import ctypes
import gc
import json
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

SIDE, CLASSES = 32, 20
MEMORY = PAGE = 1.05  # of the larger run, to the smaller
TIME = 1.1
_CELLS = "attacking"  # in the title of the stage that takes the time
_STATUS, _PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Measured:
    """A run.

    Attributes:
        images: how many.
        stages: of each its title, seconds, and MB at most and at its end.
        first: ms an image in the first tenth of the cells, without the first hundredth.
        last: in the last tenth.
        whole: over all.
        end: MB when the run is done and its result open.
        page: MB of the page.
        store: MB of the run's folder.
    """

    images: int
    stages: list[tuple[str, float, float, float]] = field(default_factory=list)
    first: float = 0.0
    last: float = 0.0
    whole: float = 0.0
    end: float = 0.0
    page: float = 0.0
    store: float = 0.0

    @property
    def peak(self) -> float:
        """The most that the process held, MB."""
        return max(peak for _, _, peak, _ in self.stages)


class Meter:
    """A reporter that measures memory at each stage, and the pace of the cells."""

    def __init__(self, found: Measured) -> None:
        self._found = found

    @contextmanager
    def stage(
        self, title: str, total: int | None, unit: str = "steps"
    ) -> Iterator[Callable[[int], None]]:
        """Measure a stage."""
        _PEAK.write_text("5")  # the peak begins anew
        paces = [(0, time.perf_counter())]

        def advance(count: int) -> None:
            paces.append((paces[-1][0] + count, time.perf_counter()))

        yield advance if _CELLS in title else lambda _count: None
        seconds = time.perf_counter() - paces[0][1]
        peak = _held("VmHWM")
        self._found.stages.append((title, seconds, peak, _trimmed()))
        if _CELLS in title:
            done = np.array(paces)
            self._found.first = _pace(done, 0.01, 0.1)
            self._found.last = _pace(done, 0.9, 1.0)
            self._found.whole = _pace(done, 0.0, 1.0)

    def warn(self, line: str) -> None:
        """Tell it."""
        print(line, file=sys.stderr)


def _pace(done: np.ndarray, start: float, stop: float) -> float:
    """Milliseconds an image, between two shares of all images."""
    times = np.interp(np.array([start, stop]) * done[-1, 0], done[:, 0], done[:, 1])
    return float(1000 * np.diff(times)[0] / ((stop - start) * done[-1, 0]))


def _held(name: str) -> float:
    found = re.search(rf"{name}:\s+(\d+) kB", _STATUS.read_text())
    return int(found[1]) / 1024 if found else float("nan")


def _trimmed() -> float:
    """MB that the process holds, without what is free."""
    gc.collect()
    time.sleep(1)  # polars gives memory back by and by
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
    return _held("VmRSS")


def draw(root: Path, count: int) -> None:
    """So many small PNGs in classes that differ in colour."""
    random = np.random.default_rng(0)
    for label in range(CLASSES):
        (root / f"class-{label:02d}").mkdir(parents=True)
    for index in range(count):
        label = index % CLASSES
        pixels = random.integers(0, 128, (SIDE // 4, SIDE // 4, 3), dtype=np.uint8)
        pixels[..., label % 3] += 6 * label
        image = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.NEAREST)
        image.save(root / f"class-{label:02d}" / f"{index:06d}.png", compress_level=1)


def measure(folder: Path, count: int) -> Measured:
    """Run the study in this process."""
    import lookaway as la

    study = {
        "data": {
            "folder": str(folder / "images"),
            "image_size": SIDE,
            "split": {"train": 0, "val": 0, "test": 1},
        },
        "models": [
            {
                "name": "tiny",
                "timm": "test_resnet",
                "pretrained": False,
                "train": "none",
                "input_size": 64,
            }
        ],
        "epsilons": [0.05, 0.1],
        "explain": {"explained_class": ["clean"]},
        "measure": {"grid": SIDE},
    }
    found = Measured(count)
    with mock.patch("lookaway.run.Silent", return_value=Meter(found)):
        result = la.run_study(study, folder / "run", progress=False)
    found.end = _trimmed()
    found.page = result.report.stat().st_size / 1e6
    found.store = sum(path.stat().st_size for path in (folder / "run").rglob("*.*")) / 1e6
    return found


def alone(count: int) -> Measured:
    """Draw the images here, and run the study in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="lookaway-soak-") as name:
        draw(Path(name) / "images", count)
        command = [sys.executable, __file__, "--alone", name, "--images", str(count)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def told(found: Measured) -> str:
    """A run's measurements, to read."""
    lines = [f"{found.images:,} images", f"  {'s':>8} {'peak MB':>9} {'end MB':>9}"]
    lines += [
        f"  {seconds:8.1f} {peak:9.0f} {end:9.0f}  {title}"
        for title, seconds, peak, end in found.stages
    ]
    lines.append(
        f"  at the end {found.end:.0f} MB; cells {found.whole:.2f} ms an image, "
        f"{found.first:.2f} in the first tenth, {found.last:.2f} in the last; "
        f"page {found.page:.2f} MB, folder {found.store:.0f} MB"
    )
    return "\n".join(lines)


def main() -> int:
    """Run both and compare; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--alone", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.alone:
        print(json.dumps(asdict(measure(chosen.alone, chosen.images[0]))))
        return 0
    few, many = sorted(chosen.images)
    runs: list[Measured] = []
    for count in (few, many):
        runs.append(alone(count))
        print(told(runs[-1]), flush=True)
    first, second = runs
    targets: list[tuple[str, float, float]] = [
        ("memory at the end", second.end / first.end, MEMORY),
        ("memory at its peak", second.peak / first.peak, MEMORY),
        ("time an image, to the smaller run", second.whole / first.whole, TIME),
        ("time an image, last tenth to first", second.last / second.first, TIME),
        ("size of the page", second.page / first.page, PAGE),
    ]
    print(f"{many:,} images beside {few:,}")
    for name, ratio, most in targets:
        print(f"  {ratio:6.3f} ≤ {most}  {'reached' if ratio <= most else 'MISSED'}: {name}")
    return int(any(ratio > most for _, ratio, most in targets))


if __name__ == "__main__":
    sys.exit(main())

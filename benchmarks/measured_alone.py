"""Measurements that want a process of their own; each prints JSON on its last line."""

import json
import re
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

from lookaway.memory import kept_memory
from lookaway.progress import Silent
from lookaway.study import worker
from lookaway.study.plan import parse_study
from lookaway.study.prepare import prepare
from lookaway.study.schedule import open_jobs, run_here
from lookaway.study.session import Session
from lookaway.study.store import Store
from lookaway.study.trainings import train_models


def peak() -> float:
    """The most memory that this process held, GB.

    Not ``ru_maxrss``: on Linux that begins with what the parent held.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def memory(name: str, count: int) -> dict[str, Any]:
    """Every convolution of a network over so many images of 224 px, in the study's batches."""
    study = {
        "data": {"folder": "", "split": {"train": 0, "val": 0, "test": 1}},
        "models": [{"name": name, "timm": name, "pretrained": False, "train": "none"}],
        "explain": {"layers": "convs", "pictured": 0},
    }
    with tempfile.TemporaryDirectory() as folder:
        study["data"]["folder"] = str(photographs(Path(folder) / "images", count, 224))
        _cells(study, Path(folder) / "run")
    return {"gigabytes": peak()}


def growth(count: int) -> dict[str, Any]:
    """A tiny network over so many images of 64 px, rows and maps stored."""
    study = {
        "data": {"folder": "", "image_size": 64, "split": {"train": 0, "val": 0, "test": 1}},
        "models": [{"name": "t", "timm": "test_resnet", "pretrained": False, "train": "none"}],
        "epsilons": [0.05],
        "measure": {"grid": 56},
        "explain": {"pictured": 0},
    }
    with tempfile.TemporaryDirectory() as folder:
        study["data"]["folder"] = str(photographs(Path(folder) / "images", count, 64))
        seconds, _ = _cells(study, Path(folder) / "run")
    return {"ms": 1000 * seconds / count, "gigabytes": peak()}


def around(count: int) -> dict[str, Any]:
    """ResNet50 over files of LFW's size: a study's cells as a whole, and the engine alone."""
    study = {
        "data": {"folder": "", "split": {"train": 0, "val": 0, "test": 1}},
        "models": [{"name": "r", "timm": "resnet50", "pretrained": False, "train": "none"}],
        "explain": {"pictured": 0},
    }
    with tempfile.TemporaryDirectory() as folder:
        study["data"]["folder"] = str(photographs(Path(folder) / "images", count, 250))
        whole, engine = _cells(study, Path(folder) / "run")
    return {"whole": whole, "around": whole - engine}


def photographs(root: Path, count: int, side: int) -> Path:
    """JPEG files of two classes that compress like photographs."""
    random = np.random.default_rng(0)
    down, right = np.mgrid[0:side, 0:side] / side
    noise = random.normal(0, 8, (side, side, 3))
    for index in range(count):
        folder = root / "ab"[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        waves = np.sin(6 * (down * random.uniform(0.5, 3) + right * random.uniform(0.5, 3)))
        pixels = 128 + 70 * waves[..., None] + np.roll(noise, 7 * index, axis=(0, 1))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{index}.jpg")
    return root


def begun(study: dict[str, Any], out: Path) -> Session:
    """A study that is prepared, its models trained; its cells are to be done."""
    checked = parse_study(study)
    store = Store(out)
    store.check_usable()
    prepared = prepare(checked, None, None, Silent(), "the benchmark")
    store.begin(prepared.plan, prepared.images.samples())
    session = Session(prepared, store, Silent())
    train_models(session)
    return session


def _cells(study: dict[str, Any], out: Path) -> tuple[float, float]:
    """Seconds of a study's cells, files and store included; and of the engine within."""
    session = begun(study, out)
    engine = 0.0
    do_cell = worker.do_cell

    def timed(*args: Any) -> Any:
        nonlocal engine
        began = time.perf_counter()
        output = do_cell(*args)
        engine += time.perf_counter() - began
        return output

    with kept_memory(), mock.patch.object(worker, "do_cell", timed):
        left = open_jobs(session)
        began = time.perf_counter()
        run_here(session, left)
        whole = time.perf_counter() - began
    return whole, engine


if __name__ == "__main__":
    what, *args = sys.argv[1:]
    kinds = {"memory": memory, "growth": growth, "around": around}
    numbers = [int(value) if value.isdigit() else value for value in args]
    print(json.dumps(kinds[what](*numbers)))  # type: ignore[operator]

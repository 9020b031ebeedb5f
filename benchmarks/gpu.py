"""Time lookaway on a GPU beside the limit of its passes and what a user assembles from peers.

``make bench-gpu`` needs one card and some minutes; prints a table with the targets, the share of
the time in which the GPU is busy and the ten heaviest entries of a profile, and writes JSON.
``--device cpu --small`` runs all of it on tiny networks: its times mean nothing.
"""

import argparse
import copy
import functools
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import measured_alone
import numpy as np
import pipelines
import torch
from bench import EPSILONS, MODELS, Ours, Table, about
from pipelines import MEAN, STD, Given, batch
from torch.profiler import ProfilerActivity, profile

from lookaway.memory import kept_memory
from lookaway.models.classifier import Classifier
from lookaway.models.precision import computing
from lookaway.study.machine import Machine
from lookaway.study.schedule import open_jobs, run_here

_PROFILED = 4  # cells
PRECISIONS = ("float32", "tf32", "bfloat16")


@functools.cache
def _made(name: str) -> torch.nn.Module:
    return pipelines.network(name)


def network(name: str) -> torch.nn.Module:
    """A network on the processor, made once."""
    return copy.deepcopy(_made(name))


class Bench:
    """Everything that is timed on one device.

    Args:
        device: ``cuda``, or ``cpu``.
        small: tiny networks and few images, so that all of it runs anywhere.
        keep: given the rows after each.
    """

    def __init__(self, device: str, small: bool, keep: Callable[[list[dict[str, Any]]], None]):
        self.machine = Machine.found(device)
        self.models = ["test_resnet"] if small else MODELS
        self.images, self.repetitions = (2, 1) if small else (128, 2)
        self.every, self.files, self.side = (1, 4, 80) if small else (64, 2000, 500)
        on_cuda = device.startswith("cuda")
        self.precisions = [each for each in PRECISIONS if on_cuda or each != "tf32"]
        self.table = Table([], keep)

    def at_once(self, net: torch.nn.Module) -> int:
        """The batch size that a study takes for a network."""
        clf = Classifier(copy.deepcopy(net), mean=MEAN, std=STD)
        return self.machine.batch_size(clf.trace((pipelines.GRID,) * 2).activation_bytes, 64)

    def timed(self, runs: dict[str, Callable[[], Any]], images: int) -> dict[str, float]:
        """Median ms an image of each, in turn, the device's queue empty before and after."""

        def finished(run: Callable[[], Any]) -> None:
            run()
            if self.machine.device.startswith("cuda"):
                torch.cuda.synchronize()

        times: dict[str, list[float]] = {name: [] for name in runs}
        for repetition in range(self.repetitions + 1):
            for name, run in runs.items():
                began = time.perf_counter()
                finished(run)
                if repetition:  # the first warms up
                    times[name].append(1000 * (time.perf_counter() - began) / images)
        return {name: float(np.median(found)) for name, found in times.items()}

    def given(self, name: str, count: int, precision: str, layers: list[str]) -> Given:
        """A network for the limit: in the precision, and in the faster of two memory formats."""
        net = network(name)
        at_once = self.at_once(net)
        net = net.to(self.machine.device)
        if precision == "bfloat16":
            net = net.bfloat16().to(memory_format=torch.channels_last)
        images, labels = (each.to(self.machine.device) for each in batch(count))
        return Given(name, net, images, labels, EPSILONS, layers, at_once)

    def layers(self, layers: str, target: float, count: int, precisions: list[str]) -> None:
        """Some layers of each network, beside the limit: eager passes in the same precision."""
        self.table.section = layers
        for name in self.models:
            for precision in precisions:
                net = network(name)
                images, labels = (each.to(self.machine.device) for each in batch(count))
                ours = Ours(net, images, labels, layers, precision, self.at_once(net))
                given = self.given(name, count, precision, list(ours.settings.layers))
                limit = pipelines.floor_last if layers == "last" else pipelines.floor_every
                runs = {"ours": ours, "limit": functools.partial(_in, precision, limit, given)}
                if layers == "last" and precision != "bfloat16":
                    last = copy.copy(given)
                    last.net = copy.deepcopy(given.net).to(memory_format=torch.channels_last)
                    runs["limit, channels last"] = functools.partial(_in, precision, limit, last)
                found = self.timed(runs, count)
                fastest = min(value for key, value in found.items() if key != "ours")
                what = f"{_called(layers)}, {precision}, {name}, batch {given.at_once}"
                self.table.share(
                    f"{what}: of the limit", found["ours"], fastest, "ms/image", target
                )

    def peers(self) -> None:
        """The last layer beside torchattacks, pytorch-grad-cam and torchmetrics' SSIM."""
        self.table.section, name = "peers", self.models[0]
        net = network(name)
        images, labels = (each.to(self.machine.device) for each in batch(self.images))
        ours = Ours(net, images, labels, "last", at_once=self.at_once(net))
        given = self.given(name, self.images, "float32", [ours.settings.last])
        theirs = functools.partial(pipelines.torchattacks_gradcam, given, freeze="last", ssim=_ssim)
        found = self.timed({"ours": ours, "theirs": theirs}, self.images)
        what = f"last layer, float32, {name}: torchattacks, pytorch-grad-cam, torchmetrics"
        self.table.ratio(what, found["ours"], found["theirs"], "ms/image", 6)

    def study(self) -> dict[str, Any]:
        """A whole study of JPEG files beside the limit of its passes, and its profile."""
        self.table.section, name = "study", self.models[0]
        study = {
            "data": {"folder": "", "split": {"train": 0, "val": 0, "test": 1}},
            "models": [{"name": name, "timm": name, "pretrained": False, "train": "none"}],
            "controls": {"shifted": 0},
            "explain": {"pictured": 0},
            "run": {"device": self.machine.device},
        }
        with tempfile.TemporaryDirectory() as folder:
            root = measured_alone.photographs(Path(folder) / "images", self.files, self.side)
            study["data"]["folder"] = str(root)
            activities = [ProfilerActivity.CPU]
            if self.machine.device.startswith("cuda"):
                activities.append(ProfilerActivity.CUDA)
            for turn in ("timed", "profiled"):
                session = measured_alone.begun(study, Path(folder) / turn)
                left = open_jobs(session)
                began = time.perf_counter()
                if turn == "timed":
                    run_here(session, left)
                    seconds = time.perf_counter() - began
                    continue
                some = replace(left, jobs=left.jobs[:_PROFILED])
                with profile(activities=activities) as profiled:
                    run_here(session, some)
                    spent = time.perf_counter() - began
                about_profile = self.busy(profiled, spent)
        given = self.given(name, self.images, "float32", [])
        given.epsilons = (*EPSILONS, *EPSILONS)  # of the attack and of noise
        limit = functools.partial(_in, "float32", pipelines.floor_last, given)
        found = self.timed({"limit": limit}, self.images)
        what = f"{self.files} JPEG files of {self.side} px, {name}: cells and files, of the limit"
        ours = 1000 * seconds / self.files
        self.table.share(what, ours, found["limit"], "ms/image", 2)
        return about_profile

    def busy(self, profiled: profile, seconds: float) -> dict[str, Any]:
        """The share of the time in which the GPU works, and what takes longest."""
        on_cuda = self.machine.device.startswith("cuda")
        kernels = [
            (event.time_range.start, event.time_range.end)
            for event in profiled.events() or ()
            if event.device_type == torch.autograd.DeviceType.CUDA
        ]
        share = covered(kernels) / 1e6 / seconds if on_cuda else None
        by = "self_cuda_time_total" if on_cuda else "self_cpu_time_total"
        heaviest = profiled.key_averages().table(sort_by=by, row_limit=10)
        return {"busy": share, "reason": None if on_cuda else "no GPU", "heaviest": heaviest}


def covered(spans: list[tuple[float, float]]) -> float:
    """The length of the union of spans.

    >>> covered([(0, 2), (5, 6), (1, 3)])
    4.0
    """
    whole, end = 0.0, float("-inf")
    for start, stop in sorted(spans):
        whole += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return whole


def _called(layers: str) -> str:
    return "last layer" if layers == "last" else "every convolution"


def _in(precision: str, run: Callable[[Given], object], given: Given) -> None:
    with computing(precision):
        run(given)


def _ssim(clean: np.ndarray, attacked: np.ndarray) -> list[float]:
    """(1 − SSIM) / 2 of each pair, where PyTorch works fastest."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    device = "cuda" if torch.cuda.is_available() else "cpu"
    pair = (torch.from_numpy(each)[:, None].to(device) for each in (clean, attacked))
    found = structural_similarity_index_measure(*pair, data_range=1.0, reduction="none")
    return ((1 - found) / 2).tolist()


def _installed() -> bool:
    try:
        import pytorch_grad_cam  # noqa: F401
        import torchattacks  # noqa: F401
        import torchmetrics  # noqa: F401
    except ImportError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", help="cuda, or cpu with --small")
    parser.add_argument("--small", action="store_true", help="tiny, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "gpu.json")
    chosen = parser.parse_args()
    device = Machine.found(chosen.device).device
    known = {**about(), "device": device, "small": chosen.small}
    if device.startswith("cuda"):
        card = torch.cuda.get_device_properties(device)
        known |= {"card": card.name, "memory GiB": round(card.total_memory / 2**30)}
    found: dict[str, Any] = {"about": known}

    def keep(rows: list[dict[str, Any]]) -> None:
        found["rows"] = rows
        chosen.out.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")

    print(json.dumps(known), flush=True)
    bench = Bench(device, chosen.small, keep)
    began = time.perf_counter()
    with kept_memory():
        bench.layers("last", 1.5, bench.images, bench.precisions)
        fast = [each for each in bench.precisions if each != "float32"]
        bench.layers("convs", 2.5, bench.every, fast)
        if _installed():
            bench.peers()
        else:
            print("the peers are not installed: pip install -r benchmarks/requirements.txt")
        found["profile"] = bench.study()
    found["seconds"] = round(time.perf_counter() - began, 1)
    keep(bench.table.rows)
    print(f"\n{bench.table.markdown()}\n\n{found['profile']['heaviest']}")
    share = found["profile"]["busy"]
    told = found["profile"]["reason"] if share is None else f"{100 * share:.0f} % of the time"
    print(f"GPU busy in the cells' stage: {told}; {found['seconds']} s in all")


if __name__ == "__main__":
    main()

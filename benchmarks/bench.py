"""Time lookaway beside what a skilled user assembles from its peers, in one run.

``make bench`` runs everything, ``make bench-quick`` ResNet50 and SSIM in under three minutes.
Prints a table with the targets and writes JSON. Ratios are medians of alternating repetitions.
"""

import argparse
import copy
import datetime
import functools
import importlib.metadata
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pipelines
import torch
from pipelines import GRID, MEAN, STD, Given, batch, network

import lookaway as la
from lookaway.kernel import MeasureSettings, measure_images
from lookaway.memory import kept_memory
from lookaway.models.folding import compute_in, fold_batch_norm
from lookaway.models.stages import LabelledImages
from lookaway.models.training import Recipe, train

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
MODELS = ["resnet50", "vgg16", "resnet101", "inception_v3", "xception"]
EPSILONS = (0.01, 0.05, 0.075, 0.1)
FREEZES = {
    "nothing": "every parameter asks for a gradient, as the READMEs have it",
    "input": "no parameter does, the images do",
    "last": "only the explained layer's parameters do",
}


class Table:
    """The rows that are printed and written: what, ours, theirs, ratio, target, reached."""

    def __init__(
        self, rows: Sequence[dict[str, Any]], keep: Callable[[list[dict[str, Any]]], None]
    ) -> None:
        self.rows: list[dict[str, Any]] = list(rows)
        self.section = ""
        self._keep = keep

    def ratio(self, what: str, ours: float, other: float, unit: str, target: float | None) -> None:
        """Theirs ÷ ours, which should be at least the target."""
        self._add(what, ours, other, other / ours, unit, target, least=True)

    def share(self, what: str, ours: float, other: float, unit: str, target: float | None) -> None:
        """Ours ÷ theirs, which should be at most the target."""
        self._add(what, ours, other, ours / other, unit, target, least=False)

    def _add(
        self,
        what: str,
        ours: float,
        other: float,
        value: float,
        unit: str,
        target: float | None,
        *,
        least: bool,
    ) -> None:
        reached = None if target is None else (value >= target if least else value <= target)
        self.rows.append(
            {
                "section": self.section,
                "what": what,
                "ours": ours,
                "other": other,
                "unit": unit,
                "value": value,
                "target": None if target is None else f"{'≥' if least else '≤'} {target:g}",
                "reached": reached,
            }
        )
        print(self._line(self.rows[-1]), flush=True)
        self._keep(self.rows)

    @staticmethod
    def _line(row: dict[str, Any]) -> str:
        told = {None: "", True: "reached", False: "MISSED"}[row["reached"]]
        return (
            f"| {row['what']} | {row['ours']:.4g} | {row['other']:.4g} | {row['unit']} "
            f"| {row['value']:.3g} | {row['target'] or ''} | {told} |"
        )

    def markdown(self) -> str:
        head = (
            "| what | lookaway | other | unit | ratio | target | |\n|---|--:|--:|---|--:|---|---|"
        )
        return "\n".join([head, *(self._line(row) for row in self.rows)])


def alternate(
    runs: dict[str, Callable[[], Any]], repetitions: int, images: int
) -> dict[str, float]:
    """Median ms an image of each, one after the other in every repetition, after one to warm up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repetition in range(repetitions + 1):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            if repetition:
                times[name].append(1000 * (time.perf_counter() - began) / images)
    return {name: statistics.median(found) for name, found in times.items()}


class Ours:
    """What a study does to a batch, without the noise control that the peers do not have."""

    def __init__(
        self,
        net: Any,
        images: Any,
        labels: Any,
        layers: str,
        precision: str = "float32",
        at_once: int = 8,
    ) -> None:
        clf = la.Classifier(copy.deepcopy(net), mean=MEAN, std=STD)
        self.clf = clf.to(images.device).to(memory_format=torch.channels_last)
        names, (last,) = clf.layer_names(layers), clf.layer_names("last")
        fold_batch_norm(clf, shift=[*names, last])  # as a study does with the networks it loads
        compute_in(clf, precision)
        self.images, self.labels = images, labels
        self.settings = MeasureSettings(
            epsilons=EPSILONS,
            layers=tuple(dict.fromkeys([*names, last])),
            last=last,
            statistics=False,
            policies=("clean",),
            grid=GRID,
            batch_size=at_once,
            noise_seed=None,
        )

    def __call__(self) -> np.ndarray:
        found = measure_images(
            self.clf, self.images, self.labels, self.settings, [la.FGSM()], [la.GradCAM()]
        )
        scores = [each[:, 0] for key, each in found.arrays.items() if key.name == "nissim"]
        return np.stack(scores).swapaxes(1, 2)  # (L, E, N)


def agreement(table: Table) -> None:
    """That ours and the peers' measure the same: NISSIM of every convolution of ResNet50."""
    net = network("resnet50")
    images, labels = batch(8)
    ours = Ours(net, images, labels, "convs")
    layers = ours.clf.layer_names("convs")
    given = Given("resnet50", net, images, labels, EPSILONS, layers)
    apart = np.abs(ours()[: len(layers)] - pipelines.torchattacks_torchcam(given))
    what = "every convolution (53), float32, resnet50: NISSIM apart from torch-cam's pipeline"
    table.share(f"{what}, mean", float(apart.mean()), 1.0, "NISSIM", 0.001)


def last_layer(table: Table, models: list[str], count: int, repetitions: int) -> None:
    """The last layer, float32, against baseline 1 and the floor."""
    for name in models:
        net = network(name)
        images, labels = batch(count)
        ours = Ours(net, images, labels, "last")
        given = Given(name, net, images, labels, EPSILONS, [ours.settings.last])
        main = name == "resnet50"
        theirs = {
            freeze: functools.partial(pipelines.torchattacks_gradcam, given, freeze=freeze)
            for freeze in FREEZES
        }
        once = {freeze: _once(run, count) for freeze, run in theirs.items()}
        fastest = min(once, key=lambda freeze: once[freeze])
        runs = {
            "ours": ours,
            "theirs": theirs[fastest],
            "floor": functools.partial(pipelines.floor_last, given),
            "floor, channels last": functools.partial(_floor_channels_last, given),
        }
        found = alternate(runs, repetitions, count)
        what = f"last layer, float32, {name}"
        table.ratio(
            f"{what}: baseline 1 at its best ({FREEZES[fastest]})",
            found["ours"],
            found["theirs"],
            "ms/image",
            6 if main else 4.5,
        )
        for freeze in FREEZES:
            if freeze != fastest:
                label = f"{what}: baseline 1 where {FREEZES[freeze]} (once)"
                table.ratio(label, found["ours"], once[freeze], "ms/image", None)
        limit = 0.8 if main else 1.0
        table.share(f"{what}: of the floor", found["ours"], found["floor"], "ms/image", limit)
        table.share(
            f"{what}: of the floor in channels-last",
            found["ours"],
            found["floor, channels last"],
            "ms/image",
            None,
        )


def _once(run: Callable[[], Any], count: int) -> float:
    began = time.perf_counter()
    run()
    return 1000 * (time.perf_counter() - began) / count


def _floor_channels_last(given: Given) -> None:
    if not hasattr(given, "_last_format"):
        given._last_format = replace(  # type: ignore[attr-defined]
            given, net=copy.deepcopy(given.net).to(memory_format=torch.channels_last)
        )
    pipelines.floor_last(given._last_format)  # type: ignore[attr-defined]


def every_convolution(table: Table, models: list[str], count: int, repetitions: int) -> None:
    """Every convolution, float32, against baseline 2, pytorch-grad-cam and the floor."""
    for name in models:
        net = network(name)
        images, labels = batch(count)
        ours = Ours(net, images, labels, "convs")
        layers = ours.clf.layer_names("convs")
        given = Given(name, net, images, labels, EPSILONS, layers)
        runs = {
            "ours": ours,
            "theirs": functools.partial(pipelines.torchattacks_torchcam, given),
            "floor": functools.partial(pipelines.floor_every, given),
        }
        found = alternate(runs, repetitions, count)
        what = f"every convolution ({len(layers)}), float32, {name}"
        table.ratio(
            f"{what}: torch-cam's pipeline", found["ours"], found["theirs"], "ms/image", 2.5
        )
        few = [layers[0], layers[len(layers) // 2], layers[-1]]
        small = replace(given, images=images[:8], labels=labels[:8], layers=few)
        each = _once(functools.partial(pipelines.gradcam_layer_by_layer, small), 8) / len(few)
        table.ratio(
            f"{what}: pytorch-grad-cam's, {len(few)} layers measured and scaled",
            found["ours"],
            each * len(layers),
            "ms/image",
            50,
        )
        table.share(f"{what}: of the floor", found["ours"], found["floor"], "ms/image", 1.15)


def bfloat16(table: Table, count: int, repetitions: int) -> None:
    """ResNet50 in bfloat16, against the float32 baselines and the floor."""
    net = network("resnet50")
    images, labels = batch(count)
    single = Ours(net, images, labels, "last")
    half = Ours(net, images, labels, "last", "bfloat16")
    given = Given("resnet50", net, images, labels, EPSILONS, [half.settings.last])
    theirs = functools.partial(pipelines.torchattacks_gradcam, given, freeze="last")
    floor = functools.partial(pipelines.floor_last, given)
    found = alternate({"ours": half, "theirs": theirs, "floor": floor}, repetitions, count)
    what = "last layer, bfloat16, resnet50"
    table.ratio(f"{what}: baseline 1", found["ours"], found["theirs"], "ms/image", 20)
    table.share(f"{what}: of the floor", found["ours"], found["floor"], "ms/image", 0.25)
    drift = abs(float(half().mean()) - float(single().mean()))
    table.share(f"{what}: drift of MOD", drift, 1.0, "MOD", 0.01)
    every = Ours(net, images, labels, "convs", "bfloat16")
    given = replace(given, layers=every.clf.layer_names("convs"))
    theirs = functools.partial(pipelines.torchattacks_torchcam, given)
    found = alternate({"ours": every, "theirs": theirs}, 1, count)
    what = "every convolution, bfloat16, resnet50"
    table.ratio(f"{what}: torch-cam's pipeline", found["ours"], found["theirs"], "ms/image", 5)


def ssim(table: Table, repetitions: int) -> None:
    """SSIM alone, 64 pairs of 224 px, Gaussian window."""
    import frame_analytics
    import pytorch_msssim
    from torchmetrics.functional.image import structural_similarity_index_measure

    random = torch.Generator().manual_seed(0)
    a, b = (la.heatmap(torch.rand(64, 7, 7, generator=random))[:, None] for _ in range(2))
    pairs = a[:, 0].numpy(), b[:, 0].numpy()
    small_a, small_b = (torch.rand(64, 7, 7, generator=random) for _ in range(2))
    runs: dict[str, Callable[[], Any]] = {
        "ours": lambda: la.ssim(a, b),
        "scikit-image": lambda: pipelines.skimage_nissim(*pairs),
        "torchmetrics": lambda: structural_similarity_index_measure(
            a, b, data_range=1.0, reduction="none"
        ),
        "pytorch-msssim": lambda: pytorch_msssim.ssim(a, b, data_range=1.0, size_average=False),
        "frame-analytics": lambda: frame_analytics.ssim(a, b, data_range=1.0, reduction="none"),
        "ours, from native maps": lambda: _from_maps(small_a, small_b),
    }
    found = alternate(runs, repetitions, 64)
    targets = {"scikit-image": 3.0, "torchmetrics": 10.0, "pytorch-msssim": None}
    for name, target in targets.items():
        table.ratio(f"SSIM, 224², Gaussian: {name}", found["ours"], found[name], "ms/pair", target)
    table.share(
        "SSIM, 224², Gaussian: of frame-analytics",
        found["ours"],
        found["frame-analytics"],
        "ms/pair",
        2,
    )
    table.share(
        "NISSIM from 7×7 maps, as a study does it: of frame-analytics's SSIM alone",
        found["ours, from native maps"],
        found["frame-analytics"],
        "ms/pair",
        None,
    )


def _from_maps(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    from lookaway.metrics.map_nissim import nissim_of_maps

    return nissim_of_maps(a, b, GRID)


def alone(what: str, *args: object) -> dict[str, Any]:
    """A measurement in a process of its own, so that its memory is its own."""
    command = [sys.executable, str(HERE / "measured_alone.py"), what, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def memory(table: Table) -> None:
    """Peak memory of every convolution of VGG16, whatever the number of images."""
    for count in (8, 24):
        peak = alone("memory", "vgg16", count)["gigabytes"]
        what = f"peak memory, every convolution of vgg16 at 224 px, {count} images"
        table.share(what, peak, 1.0, "GB", 4)


def growth(table: Table) -> None:
    """A tiny model over 2,000 and 20,000 images: time per image, and memory at the end."""
    few, many = alone("growth", 2_000), alone("growth", 20_000)
    label = "growth, tiny model: time per image at 20,000 of that at 2,000"
    table.share(label, many["ms"], few["ms"], "ms/image", 1.05)
    label = "growth, tiny model: memory at 20,000 of that at 2,000"
    table.share(label, many["gigabytes"], few["gigabytes"], "GB", 1.05)


def around(table: Table) -> None:
    """The study around the engine: decoding, rows, store; ResNet50, last layer."""
    found = alone("around", 64)
    label = "the study around the engine, resnet50, last layer: of the whole"
    table.share(label, found["around"], found["whole"], "s", 0.1)


class Pictures(LabelledImages):
    """Random images of 224 px, as a study would load them."""

    def __init__(self, count: int) -> None:
        self.pixels, labels = batch(count)
        self.labels = labels % 40

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return (255 * self.pixels[index]).byte(), int(self.labels[index])


def training(table: Table) -> None:
    """Sixty epochs of a linear head beside one pass of the trunk over the same images."""
    clf = la.load_classifier("resnet50", num_classes=40, pretrained=False)
    clf = clf.to(memory_format=torch.channels_last)
    fold_batch_norm(clf)
    images, validation = Pictures(180), Pictures(20)
    recipe = Recipe(epochs=60, batch_size=32, learning_rate=0.001, seed=0)

    def trunk() -> None:
        with torch.no_grad():
            for data in (images, validation):
                for part in data.pixels.split(8):
                    clf.module.forward_features(clf.prepare(part))

    runs = {"head": lambda: train(clf, "head", images, validation, recipe), "trunk": trunk}
    found = alternate(runs, 3, 200)
    what = "60 epochs of a linear head, resnet50, 200 images: of one pass of the trunk"
    table.share(what, found["head"], found["trunk"], "ms/image", 1.3)


def about() -> dict[str, Any]:
    """Hardware, versions, threads and date."""
    names = (
        "lookaway torch timm torchattacks grad-cam torchcam scikit-image torchmetrics "
        "pytorch-msssim frame-analytics numpy"
    )
    processor = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if _linux() else []:
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
    flags = Path("/proc/cpuinfo").read_text() if _linux() else ""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": processor,
        "cores": torch.get_num_threads(),
        "bfloat16 units": [name for name in ("avx512_bf16", "amx_bf16") if name in flags],
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: found for name in names.split() if (found := _version(name))},
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _linux() -> bool:
    return Path("/proc/cpuinfo").is_file()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ResNet50 and SSIM alone")
    parser.add_argument("--only", nargs="*", help="sections")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    # Sections that are not run again keep their rows.
    old = json.loads(chosen.out.read_text())["rows"] if chosen.only and chosen.out.exists() else []
    known = about()

    def keep(rows: list[dict[str, Any]]) -> None:
        found = {"about": known, "rows": rows}
        chosen.out.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")

    table = Table(old, keep)
    print(json.dumps(known), flush=True)
    sections: dict[str, Callable[[], None]] = {
        "agreement": lambda: agreement(table),
        "ssim": lambda: ssim(table, 7),
        "training": lambda: training(table),
        "around": lambda: around(table),
        "memory": lambda: memory(table),
        "bfloat16": lambda: bfloat16(table, 16, 2),
        "last": lambda: last_layer(table, MODELS, 16, 3),
        "every": lambda: every_convolution(table, MODELS, 16, 2),
        "growth": lambda: growth(table),
    }
    if chosen.quick:
        sections = {
            "ssim": lambda: ssim(table, 5),
            "last": lambda: last_layer(table, MODELS[:1], 8, 2),
            "every": lambda: every_convolution(table, MODELS[:1], 8, 1),
        }
    for name, run in sections.items():
        if not chosen.only or name in chosen.only:
            table.section = name
            table.rows = [row for row in table.rows if row["section"] != name]
            # As in a study, and the peers gain by it too; SSIM is called outside one.
            with nullcontext() if name == "ssim" else kept_memory():
                run()
    print(f"\n{table.markdown()}")
    if chosen.out == RESULTS:
        write_readme(table, known)


def write_readme(table: Table, known: dict[str, Any]) -> None:
    """Put the latest results into the README beside this file."""
    path = HERE / "README.md"
    head, _, rest = path.read_text().partition("<!-- results -->\n")
    _, _, tail = rest.partition("<!-- end of results -->\n")
    versions = ", ".join(f"{name} {version}" for name, version in known["versions"].items())
    units = ", ".join(known["bfloat16 units"]) or "none"
    told = (
        f"{known['date']}, {known['processor']}, {known['cores']} cores, bfloat16 units: {units}; "
        f"{known['system']}, Python {known['python']}; {versions}."
    )
    path.write_text(
        f"{head}<!-- results -->\n{told}\n\n{table.markdown()}\n<!-- end of results -->\n{tail}"
    )


if __name__ == "__main__":
    main()

"""What it costs to watch a training: seconds of a step and of a reading, and the share of the time.

    python benchmarks/watching.py

ResNet18, 112 px, batches of 32, readings of 32 images. Medians of
what is measured in turn, without the first; the share is that of readings every 100 steps.
"""

import statistics
import time

import timm
import torch
import torch.nn.functional as F

import lookaway as la

SIDE, BATCH, IMAGES, EVERY, ROUNDS = 112, 32, 32, 100, 2
MEAN, STD = 0.45, 0.22


def seconds(work):
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main():
    torch.manual_seed(0)
    net = timm.create_model("resnet18", num_classes=10).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    images, labels = torch.rand(IMAGES, 3, SIDE, SIDE), torch.randint(10, (IMAGES,))
    batch, truth = (images[:BATCH] - MEAN) / STD, labels[:BATCH]

    def step():
        optimizer.zero_grad()
        F.cross_entropy(net(batch), truth).backward()
        optimizer.step()

    attacks = {"FGSM": la.FGSM(), "PGD, 10 steps": la.PGD(steps=10)}
    monitors = {
        name: la.ShiftMonitor((images, labels), attack, 8 / 255, mean=MEAN, std=STD)
        for name, attack in attacks.items()
    }
    found = {name: [] for name in ("a step", *attacks)}
    for _ in range(ROUNDS + 1):  # in turn, so that other work on the machine slows down all
        found["a step"] += [seconds(step) for _ in range(5)]
        for name, monitor in monitors.items():
            found[name].append(seconds(lambda monitor=monitor: monitor.measure(net)))
    once, *readings = (
        statistics.median(times[len(times) // (ROUNDS + 1) :]) for times in found.values()
    )
    print(f"a step: {once:.2f} s on {torch.get_num_threads()} threads")
    for name, reading in zip(attacks, readings, strict=True):
        share = reading / (reading + EVERY * once)
        print(
            f"{name}: a reading {reading:.2f} s, {reading / once:.1f} steps; "
            f"every {EVERY} steps {share:.1%} of the time"
        )


if __name__ == "__main__":
    main()

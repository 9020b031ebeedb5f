"""What it costs to watch a training: seconds of a step and of a reading, and the share of the time.

    python benchmarks/watching.py

ResNet18, 112 px, batches of 32, readings of 64 images. Medians; the share is that of readings every
100 steps.
"""

import statistics
import time

import timm
import torch
import torch.nn.functional as F

import lookaway as la

SIDE, BATCH, IMAGES, EVERY = 112, 32, 64, 100
MEAN, STD = 0.45, 0.22


def seconds(work, times):
    found = []
    for _ in range(times + 1):  # the first one is not counted
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return statistics.median(found[1:])


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

    once = seconds(step, 8)
    print(f"a step: {once:.2f} s on {torch.get_num_threads()} threads")
    for name, attack in (("FGSM", la.FGSM()), ("PGD, 10 steps", la.PGD(steps=10))):
        monitor = la.ShiftMonitor((images, labels), attack, 8 / 255, mean=MEAN, std=STD)
        reading = seconds(lambda monitor=monitor: monitor.measure(net), 3)
        share = reading / (reading + EVERY * once)
        print(
            f"{name}: a reading {reading:.2f} s, {reading / once:.1f} steps; "
            f"every {EVERY} steps {share:.1%} of the time"
        )


if __name__ == "__main__":
    main()

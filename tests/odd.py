"""Networks that are not as one wishes."""

import torch
import torch.nn.functional as F
from torch import nn

from networks import TinyNet
from oracles import enliven


class Odd(nn.Module):
    """A tiny network whose logits, or whose trunk's maps, go through something odd."""

    def __init__(self, after=lambda logits: logits, between=lambda maps: maps, classes=4):
        super().__init__()
        self.net = enliven(TinyNet(classes))
        self.after, self.between = after, between
        self.register_buffer("calls", torch.zeros(()))
        self.count = 0

    def forward(self, x):
        maps = self.between(self.net.trunk(x))
        return self.after(self.net.fc(maps.mean(dim=(2, 3))))


class CountsInABuffer(Odd):
    def forward(self, x):
        self.calls += 1
        return super().forward(x) * (1 + self.calls)


class CountsAside(Odd):
    def forward(self, x):
        self.count += 1
        return super().forward(x) * (1 + self.count)


class GathersStatistics(Odd):
    """Its norm layer goes on learning in eval mode; the logits of this call are not changed."""

    def forward(self, x):
        self.calls = 0.9 * self.calls + 0.1 * x.mean()
        return super().forward(x)


class ChangesMode(Odd):
    def forward(self, x):
        self.train()
        return super().forward(x)


class ChangesModeOfAPart(Odd):
    def forward(self, x):
        self.net.drop.train()
        return self.net.fc(self.net.drop(self.net.trunk(x).mean(dim=(2, 3))))


class AlwaysDrops(Odd):
    def forward(self, x):
        self.count += 1
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.count)  # so that a test does the same every time
            return F.dropout(super().forward(x), 0.5, training=True)


class NormsTheBatch(Odd):
    """Its norm layer has no running statistics, so it takes those of the batch."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.net.trunk[1] = nn.BatchNorm2d(6, track_running_stats=False)


class NoConvolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3 * 16 * 16, 8), nn.Linear(8, 4)

    def forward(self, x):
        return self.second(self.first(x.flatten(1)).relu())

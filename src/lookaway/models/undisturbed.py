"""A network in the middle of its training, measured without a trace on it or on the process."""

import random
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from lookaway.models.randomness import seeded


def beneath(model: nn.Module) -> nn.Module:
    """The network itself, beneath ``torch.compile`` and what spreads it over devices.

    >>> network = nn.Linear(2, 2)
    >>> beneath(DataParallel(network)) is network
    True
    """
    while True:
        if isinstance(model, DataParallel | DistributedDataParallel):
            model = model.module
        elif isinstance(found := getattr(model, "_orig_mod", None), nn.Module):
            model = found
        else:
            return model


@contextmanager
def undisturbed(device: torch.device, generators: Iterable[torch.Generator] = ()) -> Iterator[None]:
    """Work apart from what surrounds a call, then leave the random numbers as they were.

    Inside, autocast and inference mode are off, gradients are only where they are turned on, and
    what was compiled runs as it is written: hooks would otherwise make it compile again.

    Args:
        device: where the network is.
        generators: others than the process's own, such as that of a loader.
    """
    held = {generator: generator.get_state() for generator in generators}
    python, numpy = random.getstate(), np.random.get_state()
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        for kind in {"cpu", device.type}:
            stack.enter_context(torch.autocast(kind, enabled=False))
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(seeded())
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
            for generator, state in held.items():
                generator.set_state(state)

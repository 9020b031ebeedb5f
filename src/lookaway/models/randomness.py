"""Random numbers from a seed that leave the caller's own as they were."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int | None = None) -> Iterator[None]:
    """Draw from a seed on every device that is in use, then put the generators back.

    ``torch.manual_seed`` would also reseed CUDA, where a forked CPU generator does not put it back,
    and would overrule the caller's seed for a CUDA that is not in use yet.

    Args:
        seed: None: go on with the caller's random numbers.
    """
    generators = [torch.default_generator]
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        generators += torch.cuda.default_generators
    if torch.backends.mps.is_available():
        generators.append(torch.mps._get_default_mps_generator())
    states = [generator.get_state() for generator in generators]
    try:
        if seed is not None:
            for generator in generators:
                generator.manual_seed(seed)
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)

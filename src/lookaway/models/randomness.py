"""Random numbers from a seed that leave the caller's own as they were."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def generators() -> list[torch.Generator]:
    """The default generator of every device that is in use, the CPU's first."""
    found = [torch.default_generator]
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        found += torch.cuda.default_generators
    if torch.backends.mps.is_available():
        found.append(torch.mps._get_default_mps_generator())
    return found


@contextmanager
def seeded(seed: int | None = None) -> Iterator[None]:
    """Draw from a seed on every device that is in use, then put the generators back.

    Without a seed go on with the caller's random numbers.

    ``torch.manual_seed`` would also reseed CUDA, where a forked CPU generator does not put it back,
    and would overrule the caller's seed for a CUDA that is not in use yet.
    """
    found = generators()
    states = [generator.get_state() for generator in found]
    try:
        if seed is not None:
            for generator in found:
                generator.manual_seed(seed)
        yield
    finally:
        for generator, state in zip(found, states, strict=True):
            generator.set_state(state)

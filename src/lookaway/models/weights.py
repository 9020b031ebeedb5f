"""Weights into networks, every misfit named, and what weights are."""

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lookaway.errors import WeightsError, listed, shown
from lookaway.hashing import digest


@contextmanager
def tensors_only() -> Iterator[None]:
    """Keep torch from running what a pickle holds, also where a library would let it."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def prefixes(names: Collection[str]) -> list[str]:
    """What could be taken off the names of all weights: nothing, then more and more.

    >>> prefixes(["module.net.fc.weight", "module.net.fc.bias"])
    ['', 'module.', 'module.net.', 'module.net.fc.']
    """
    found = [""]
    parts = [name.split(".")[:-1] for name in names]
    for same in zip(*parts, strict=False):
        if len(set(same)) > 1:
            break
        found.append(f"{found[-1]}{same[0]}.")
    return found


def fit_weights(
    module: nn.Module, weights: Mapping[str, Tensor], source: str, new: Collection[str] = ()
) -> str:
    """Load weights that must fit exactly.

    A prefix that the names of all weights share, such as ``module.`` or ``model.``, is taken off
    where the network knows more of the names without it.

    Args:
        module: the network.
        weights: its whole state dict; counters that a norm layer keeps may be missing.
        source: the file's name, for the error.
        new: names of weights that may all be missing, and then stay as they are.

    Returns:
        The prefix that was taken off; mostly empty.

    Raises:
        WeightsError: names are missing or extra, or shapes differ; each is told.
    """
    own = module.state_dict()
    prefix = max(
        prefixes(weights),
        key=lambda prefix: sum(name.removeprefix(prefix) in own for name in weights),
    )
    given = {name.removeprefix(prefix): value for name, value in weights.items()}
    optional = set(new) if given.keys().isdisjoint(new) else set()
    missing = [
        name
        for name in own
        if name not in given and name not in optional and not name.endswith("num_batches_tracked")
    ]
    extra = [name for name in given if name not in own]
    shapes = [
        f"{shown(name, 80)} {tuple(given[name].shape)} for {tuple(own[name].shape)}"
        for name in own
        if name in given and given[name].shape != own[name].shape
    ]
    if missing or extra or shapes:
        faults = [("missing", missing), ("extra", extra), ("of another shape", shapes)]
        told = "; ".join(f"{what}: {_few(names)}" for what, names in faults if names)
        off = f" (without {shown(prefix, 80)!r} before all names)" if prefix else ""
        hint = _part_that_fits(own, weights)
        raise WeightsError(f"{source!r} does not fit {type(module).__name__}{off}: {told}{hint}")
    module.load_state_dict(given, strict=False)
    return prefix


def _part_that_fits(own: Collection[str], weights: Collection[str]) -> str:
    """What to do where a part of the weights has all the names, behind a prefix of its own."""
    for prefix in dict.fromkeys(f"{name.partition('.')[0]}." for name in weights):
        others = [name for name in weights if not name.startswith(prefix)]
        if others and all(f"{prefix}{name}" in weights for name in own):
            return (
                f". What stands behind {shown(prefix, 80)!r} has all its names; save that alone, "
                f"without {_few(others, 2)}"
            )
    return ""


def weights_hash(module: nn.Module) -> str:
    """SHA-256 over a network's parameters and buffers: names, types, shapes and values."""
    parts: list[bytes | str] = []
    for name, tensor in module.state_dict().items():
        plain = tensor.detach().cpu().contiguous()
        parts += [name, f"{plain.dtype}{tuple(plain.shape)}"]
        parts.append(digest(plain.flatten().view(torch.uint8).numpy().data.tobytes()))
    return digest(*parts)


def _few(names: list[str], count: int = 4) -> str:
    return listed((shown(name, 120) for name in names), count)

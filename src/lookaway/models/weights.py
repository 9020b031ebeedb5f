"""Weights in and out of networks: safe files only, and every misfit named."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lookaway.errors import WeightsError
from lookaway.hashing import digest

ENDINGS = (".safetensors", ".pt", ".pth")
_WRAPPERS = ("state_dict", "model", "model_state_dict")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint without running anything that is in it.

    Args:
        path: ``.safetensors``, or ``.pt`` / ``.pth`` holding a state dict (also inside
            ``state_dict``, ``model`` or ``model_state_dict``; a ``module.`` before every name
            is dropped).

    Raises:
        WeightsError: there is no such file, or no tensors that can be read safely.
    """
    check_path(path)
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{path.name!r} is no valid safetensors file: {error}") from error
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a broken or unsafe file
        first = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise WeightsError(
            f"{path.name!r} cannot be read with weights_only=True ({first}); save the state dict: "
            "torch.save(model.state_dict(), path), or as .safetensors"
        ) from error
    return _state_dict(loaded, path)


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


def check_path(path: Path) -> None:
    """Refuse a checkpoint that is not there or has an unknown ending.

    Raises:
        WeightsError: with the path.
    """
    try:
        there = path.is_file()
    except (OSError, ValueError) as error:
        raise WeightsError(f"the checkpoint {str(path)!r} cannot be read: {error}") from error
    if not there:
        raise WeightsError(f"the checkpoint {str(path)!r} does not exist")
    if path.suffix not in ENDINGS:
        raise WeightsError(
            f"the checkpoint {path.name!r} has an unknown ending; possible: {', '.join(ENDINGS)}"
        )


def _state_dict(loaded: Any, path: Path) -> dict[str, Tensor]:
    for wrapper in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
            break
    if not isinstance(loaded, Mapping) or not loaded:
        raise WeightsError(f"{path.name!r} holds {type(loaded).__name__}, not a state dict")
    weights = {str(key): value for key, value in loaded.items()}
    if not all(isinstance(value, Tensor) for value in weights.values()):
        odd = next(key for key, value in weights.items() if not isinstance(value, Tensor))
        raise WeightsError(f"{path.name!r} is no state dict: {odd!r} is not a tensor")
    if all(key.startswith("module.") for key in weights):
        weights = {key.removeprefix("module."): value for key, value in weights.items()}
    return weights


def fit_weights(module: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Load weights that must fit exactly.

    Args:
        module: the network.
        weights: its whole state dict; counters that a norm layer keeps may be missing.
        source: the file's name, for the error.

    Raises:
        WeightsError: names are missing or extra, or shapes differ; each is told.
    """
    own = module.state_dict()
    missing = [
        name for name in own if name not in weights and not name.endswith("num_batches_tracked")
    ]
    extra = [name for name in weights if name not in own]
    shapes = [
        f"{name} {tuple(weights[name].shape)} for {tuple(own[name].shape)}"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    if missing or extra or shapes:
        faults = [("missing", missing), ("extra", extra), ("of another shape", shapes)]
        told = "; ".join(f"{what}: {_few(names)}" for what, names in faults if names)
        raise WeightsError(f"{source!r} does not fit {type(module).__name__}: {told}")
    module.load_state_dict(dict(weights), strict=False)


def weights_hash(module: nn.Module) -> str:
    """SHA-256 over a network's parameters and buffers: names, types, shapes and values."""
    parts: list[bytes | str] = []
    for name, tensor in module.state_dict().items():
        plain = tensor.detach().cpu().contiguous()
        parts += [name, f"{plain.dtype}{tuple(plain.shape)}"]
        parts.append(digest(plain.flatten().view(torch.uint8).numpy().data.tobytes()))
    return digest(*parts)


def _few(names: list[str], count: int = 4) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more

"""Where a training stands after an epoch, as bytes, so that it can go on to the same end."""

import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from lookaway.hashing import digest

_SUM = 64  # characters of a SHA-256


def pack(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    order: torch.Generator,
    about: Mapping[str, Any],
    best: Mapping[str, Tensor],
) -> bytes:
    """Everything that the next epoch follows from, with a checksum.

    Args:
        module: the network that learns.
        optimizer: its optimiser.
        order: what draws the order of images.
        about: what JSON can hold, such as the epochs so far.
        best: the best epoch's weights.
    """
    tensors = {f"module.{name}": value for name, value in module.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
    tensors["random.order"], tensors["random.cpu"] = order.get_state(), torch.get_rng_state()
    device = next(module.parameters()).device
    if device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(device)
    whole = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }
    text = torch.tensor(list(json.dumps(about).encode()), dtype=torch.uint8)
    raw: bytes = save({**whole, "about": text})
    return digest(raw).encode() + raw


def unpack(raw: bytes | None) -> dict[str, Tensor] | None:
    """What ``pack`` made; None where there is nothing, or what is there is damaged."""
    if raw is None or digest(raw[_SUM:]).encode() != raw[:_SUM]:
        return None
    try:
        found: dict[str, Tensor] = load(raw[_SUM:])
    except SafetensorError:
        return None
    return found


def restore(
    saved: Mapping[str, Tensor],
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    order: torch.Generator,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Put a training back where it stood.

    Args:
        saved: from ``unpack``.
        module: the network, as it was before training.
        optimizer: a new one over the same parameters.
        order: what draws the order of images.

    Returns:
        What was told about it, and the best epoch's weights.
    """
    module.load_state_dict(_under("module", saved))
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    states: dict[int, dict[str, Tensor]] = {}
    for name, value in _under("optimizer", saved).items():
        index, _, key = name.partition(".")
        like = parameters[int(index)]
        if value.shape == like.shape:  # in the parameter's own memory format
            value = torch.empty_like(like, device="cpu").copy_(value)
        states.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    random = _under("random", saved)
    order.set_state(random["order"])
    torch.set_rng_state(random["cpu"])
    if "cuda" in random:
        torch.cuda.set_rng_state(random["cuda"], next(module.parameters()).device)
    about: dict[str, Any] = json.loads(bytes(saved["about"].tolist()))
    return about, _under("best", saved)


def _under(group: str, saved: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{group}."
    return {
        name.removeprefix(start): value for name, value in saved.items() if name.startswith(start)
    }

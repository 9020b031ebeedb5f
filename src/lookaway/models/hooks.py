"""Contexts that watch or hold a network, and leave no trace on it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lookaway.errors import ModelError


@contextmanager
def hooked(
    module: nn.Module, names: Sequence[str], hook: Callable[[str, nn.Module, Any], Any]
) -> Iterator[None]:
    """Call ``hook(name, layer, output)`` after each run of the named layers, then leave no trace.

    Args:
        module: the network.
        names: layer names as in ``module.named_modules()``.
        hook: what it returns, unless None, takes the place of the layer's output.
    """
    with ExitStack() as stack:
        for name in names:
            handle = module.get_submodule(name).register_forward_hook(
                lambda layer, _inputs, output, name=name: hook(name, layer, output)
            )
            stack.callback(handle.remove)
        yield


@contextmanager
def evaluating(module: nn.Module, name: str | None = None) -> Iterator[None]:
    """Hold a network in eval mode, then give every part its own mode back.

    Args:
        module: the network.
        name: for the error; the class of the network by default.

    Raises:
        ModelError: the network turned on training mode by itself meanwhile.
    """
    parts = list(module.modules())
    in_training = [part for part in parts if part.training]
    try:
        for part in in_training:
            part.training = False
        yield
        if any(part.training for part in parts):
            raise ModelError(
                f"{name or type(module).__name__} turns on training mode in its own forward pass, "
                "so its logits are random or depend on the batch; leave the mode to the caller"
            )
    finally:
        for part in parts:
            if part.training:
                part.training = False
        for part in in_training:
            part.training = True


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Hold a network in eval mode without parameter gradients, then put both back.

    Gradients that the parameters hold already are not touched. Autograd is on inside, also where
    the caller had turned it off, and for a network that was made in inference mode.
    """
    with (
        evaluating(module),
        torch.inference_mode(False),
        torch.enable_grad(),
        _fit_for_autograd(module),
    ):
        asking = [parameter for parameter in module.parameters() if parameter.requires_grad]
        try:
            for parameter in asking:
                parameter.requires_grad_(False)
            yield
        finally:
            for parameter in asking:
                parameter.requires_grad_(True)


@contextmanager
def _fit_for_autograd(module: nn.Module) -> Iterator[None]:
    """Put copies in the place of tensors that were made in inference mode, for a while."""
    taken: list[tuple[dict[str, Any], str, Tensor]] = [
        (holder, name, tensor)
        for part in module.modules()
        for holder in (part._parameters, part._buffers)
        for name, tensor in holder.items()
        if tensor is not None and tensor.is_inference()
    ]
    copies = {id(tensor): tensor.clone() for _, _, tensor in taken}  # shared ones stay shared
    try:
        for holder, name, tensor in taken:
            copy = copies[id(tensor)]
            kind = isinstance(tensor, nn.Parameter)
            holder[name] = nn.Parameter(copy, requires_grad=False) if kind else copy
        yield
    finally:
        for holder, name, tensor in taken:
            holder[name] = tensor


def first_tensor(output: Any) -> Tensor | None:
    """The tensor that a layer gives: itself, or the first of a tuple or list."""
    if isinstance(output, tuple | list) and output:
        output = output[0]
    return output if isinstance(output, Tensor) else None


def in_place_of(output: Any, tensor: Tensor) -> Any:
    """A layer's output with another tensor where ``first_tensor`` found it."""
    if isinstance(output, Tensor):
        return tensor
    parts = [tensor, *output[1:]]
    return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)

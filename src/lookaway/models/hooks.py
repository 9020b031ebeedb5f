"""Contexts that watch or hold a network, and leave no trace on it."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lookaway.errors import ModelError

Hook = Callable[[str, nn.Module, Any], Any]


@contextmanager
def hooked(module: nn.Module, names: Sequence[str], hook: Hook) -> Iterator[None]:
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


class Held:
    """A network that is held for many passes: frozen, and watched by hooks that stay."""

    def __init__(self, module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        self._module, self.device, self.dtype = module, device, dtype
        self._hooks: dict[str, RemovableHandle] = {}
        self._asked: dict[str, Hook] = {}

    @contextmanager
    def hooked(self, names: Sequence[str], hook: Hook) -> Iterator[None]:
        """As ``hooked`` of the network, in place of one that is there already."""
        for name in names:
            if name not in self._hooks:
                self._hooks[name] = self._module.get_submodule(name).register_forward_hook(
                    partial(self._call, name)
                )
        before, self._asked = self._asked, dict.fromkeys(names, hook)
        try:
            yield
        finally:
            self._asked = before

    def release(self) -> None:
        """Take the hooks away."""
        for handle in self._hooks.values():
            handle.remove()

    def _call(self, name: str, layer: nn.Module, _inputs: Any, output: Any) -> Any:
        hook = self._asked.get(name)
        return None if hook is None else hook(name, layer, output)


@contextmanager
def differentiable() -> Iterator[None]:
    """Turn autograd on, also where the caller turned it off."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


@contextmanager
def frozen(module: nn.Module, name: str | None = None) -> Iterator[None]:
    """Hold a network in eval mode without parameter gradients, then put both back.

    Gradients that the parameters hold already are not touched. Autograd is on inside, also where
    the caller had turned it off, and for a network that was made in inference mode. Nothing is
    computed again in the backward pass (gradient checkpointing), where no hook is any more.
    """
    with (
        evaluating(module, name),
        _without_checkpoints(module),
        differentiable(),
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
def _without_checkpoints(module: nn.Module) -> Iterator[None]:
    """Switch off the gradient checkpointing of timm's and transformers' networks, for a while."""
    names = ("grad_checkpointing", "gradient_checkpointing")
    held = [
        (part, name) for part in module.modules() for name in names if vars(part).get(name) is True
    ]
    try:
        for part, name in held:
            setattr(part, name, False)
        yield
    finally:
        for part, name in held:
            setattr(part, name, True)


@contextmanager
def drawn(module: nn.Module) -> Iterator[None]:
    """Draw at random those parameters that are all zeros, as heads often begin, for a while.

    So the network shows which of its outputs depend on which, also where it is not trained.
    """
    random = torch.Generator().manual_seed(0)

    def draw(tensor: Tensor) -> Tensor:
        numbers = torch.randn(tensor.shape, generator=random)
        numbers *= 0.5 if tensor.ndim < 2 else tensor[0].numel() ** -0.5
        return nn.Parameter(numbers.to(tensor), requires_grad=False)

    zeros = [
        (part._parameters, name, tensor)
        for part in module.modules()
        for name, tensor in part._parameters.items()
        if tensor is not None and tensor.is_floating_point() and not bool(tensor.detach().any())
    ]
    with _replaced(zeros, draw):
        yield


@contextmanager
def _fit_for_autograd(module: nn.Module) -> Iterator[None]:
    """Put copies in the place of tensors that were made in inference mode, for a while."""

    def copied(tensor: Tensor) -> Tensor:
        kind = isinstance(tensor, nn.Parameter)
        return nn.Parameter(tensor.clone(), requires_grad=False) if kind else tensor.clone()

    taken = [
        (holder, name, tensor)
        for part in module.modules()
        for holder in (part._parameters, part._buffers)
        for name, tensor in holder.items()
        if tensor is not None and tensor.is_inference()
    ]
    with _replaced(taken, copied):
        yield


@contextmanager
def _replaced(
    taken: Sequence[tuple[dict[str, Any], str, Tensor]], make: Callable[[Tensor], Tensor]
) -> Iterator[None]:
    """Put others in the place of tensors, shared ones shared again, for a while."""
    others = {id(tensor): make(tensor) for _, _, tensor in taken}
    try:
        for holder, name, tensor in taken:
            holder[name] = others[id(tensor)]
        yield
    finally:
        for holder, name, tensor in taken:
            holder[name] = tensor


def first_tensor(output: Any) -> Tensor | None:
    """The tensor that a layer gives: itself, or the first of a tuple or list."""
    if isinstance(output, tuple | list) and output:
        output = output[0]
    return output if isinstance(output, Tensor) else None


def parts_of(output: Any) -> Iterator[tuple[int | str | None, Tensor]]:
    """The tensors that a layer gives, each with its place: in a tuple, list or mapping, or None."""
    if isinstance(output, Tensor):
        yield None, output
    elif isinstance(output, tuple | list | Mapping):
        places = output.items() if isinstance(output, Mapping) else enumerate(output)
        yield from ((place, each) for place, each in places if isinstance(each, Tensor))


def in_place_of(output: Any, tensor: Tensor, part: int | str | None = 0) -> Any:
    """A layer's output with another tensor in place of one of its parts, the first by default."""
    if isinstance(output, Tensor):
        return tensor
    if isinstance(output, Mapping):
        twin = copy.copy(output)
        twin[part] = tensor  # type: ignore[index]
        return twin
    parts = [tensor if place == part else each for place, each in enumerate(output)]
    return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)

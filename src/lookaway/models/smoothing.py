"""Activations without a second derivative get one, for a while; their values stay what they are."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

WIDTH = 0.1  # of the smoothed step, as a part of the root mean square of what enters


class Smoothed(TorchFunctionMode):
    """Smooths the derivatives of ReLU, leaky ReLU and clipped ReLU (ReLU6) inside a ``with``.

    ReLU is a map's weak place: a gradient by it jumps, so its own derivative is 0 almost
    everywhere. Inside, the derivative is a sigmoid, that of a softplus (A.-K. Dombrowski et al.,
    Explanations can be manipulated and geometry is to blame, 2019), as wide as a tenth of the root
    mean square of what enters, image by image. The values are exactly those of the activation.

    >>> x = torch.tensor([[-1.0, 2.0]], requires_grad=True)
    >>> with Smoothed():
    ...     y = F.relu(x)
    >>> y.tolist()
    [[0.0, 2.0]]
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call a function of PyTorch, or what stands in for it."""
        options = kwargs or {}
        smooth = _SMOOTH.get(func)
        given = args[0] if args else options.get("input")
        if smooth is None or not isinstance(given, Tensor) or not given.requires_grad:
            return func(*args, **options)
        inplace = func in _IN_PLACE or bool(options.pop("inplace", False))
        soft = smooth(given, *args[1:], **{k: v for k, v in options.items() if k != "input"})
        return given.copy_(soft) if inplace else soft


def _relu(x: Tensor) -> Tensor:
    return _kept(x.relu(), _ramp(x, 0.0))


def _leaky(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    soft = negative_slope * x + (1 - negative_slope) * _ramp(x, 0.0)
    return _kept(F.leaky_relu(x, negative_slope), soft)


def _clipped(x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    soft = min_val + _ramp(x, min_val) - _ramp(x, max_val)
    return _kept(x.clamp(min_val, max_val), soft)


def _relu6(x: Tensor) -> Tensor:
    return _clipped(x, 0.0, 6.0)


def _ramp(x: Tensor, start: float) -> Tensor:
    """A softplus that begins at a place."""
    over = tuple(range(1, x.ndim))
    width = WIDTH * x.detach().square().mean(dim=over, keepdim=True).sqrt().clamp_min(1e-12)
    return width * F.softplus((x - start) / width)


def _kept(value: Tensor, soft: Tensor) -> Tensor:
    """A value with the derivatives of another."""
    return value.detach() + (soft - soft.detach())


_IN_PLACE = {torch.relu_, Tensor.relu_}
_SMOOTH: Mapping[Any, Callable[..., Tensor]] = {
    **dict.fromkeys([torch.relu, Tensor.relu, F.relu, *_IN_PLACE], _relu),
    F.leaky_relu: _leaky,
    F.hardtanh: _clipped,
    F.relu6: _relu6,
}

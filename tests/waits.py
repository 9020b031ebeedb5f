"""Counts what makes a device wait for the host, or the host for a device, on any device."""

from collections import Counter
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

_READ = {
    *(Tensor.cpu, Tensor.numpy, Tensor.tolist, Tensor.item, Tensor.__bool__, Tensor.__float__),
    *(Tensor.__int__, Tensor.__index__, torch.equal, Tensor.equal, torch.tensor),
}
# Results whose size depends on numbers, and numbers that leave the device.
_WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "unique_dim"}


class _Functions(TorchFunctionMode):
    def __init__(self, waits):
        self.waits = waits

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in _READ:
            self.waits[func.__name__] += 1
        with torch._C.DisableTorchFunction():
            return func(*args, **(kwargs or {}))


class _Operations(TorchDispatchMode):
    def __init__(self, waits):
        super().__init__()
        self.waits = waits

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put_") and any(
            place is not None and place.dtype in (torch.bool, torch.uint8) for place in args[1]
        )
        if name in _WAITING or by_mask:
            self.waits[name] += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def waits():
    """How often numbers leave a device, by what takes them."""
    found = Counter()
    with _Functions(found), _Operations(found):
        yield found

"""Which tensors of a forward pass have their channels first, by the operations that they meet."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# What takes and gives (N, C, H, W).
_CHANNELS_FIRST = ("conv", "batch_norm", "group_norm", "pool2d", "upsample", "pixel_", "_pad2d")
# What gives its input's axes in their order, beside the operations that work place by place.
_SAME_AXES = {
    *("alias", "cat", "clone", "constant_pad_nd", "copy_", "detach", "expand", "flip", "roll"),
    *("mean", "native_dropout", "native_layer_norm", "slice", "split", "split_with_sizes", "sum"),
    *("_softmax", "_to_copy", "amax", "fill_", "contiguous"),
}
_VIEWS = {"view", "_unsafe_view", "reshape"}
_PRODUCTS = {"mm": 0, "addmm": 1}  # where the matrix stands that is multiplied by weights


class Layouts(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the 4-D tensors of a pass.

    Tensors that meet place by place have the same axes; a convolution, a pool or a mean over the
    last two axes says that the channels come first; a layer norm or a product over the last axis,
    that they come last; a permutation of one gives the other. What nothing is known of, or what is
    contradicted, is not known.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._kept: list[Tensor] = []  # so that no id is used twice
        self._parents: dict[int, int] = {}
        self._first: set[int] = set()
        self._last: set[int] = set()
        self._rows: dict[int, Tensor] = {}  # matrices (N · H · W, C) by what they are views of
        self._multiplied: set[int] = set()
        self._permuted: list[tuple[int, int]] = []  # with channels first, and last

    def channels_first(self) -> Callable[[Tensor], bool]:
        """Whether a tensor of the pass, which is over, is known to be (N, C, H, W)."""
        first, last = ({self._group(each) for each in ids} for ids in (self._first, self._last))
        known = -1
        while known != len(first) + len(last):
            known = len(first) + len(last)
            for before, after in self._permuted:
                groups = self._group(before), self._group(after)
                if groups[0] in first:
                    last.add(groups[1])
                elif groups[1] in last:
                    first.add(groups[0])
        return lambda tensor: self._group(id(tensor)) in first - last

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__ if hasattr(func, "overloadpacket") else ""
        tensors = list(_tensors(args))
        outputs = list(_tensors((given,)))
        self._kept += [*tensors, *outputs]
        maps = [tensor for tensor in (*tensors, *outputs) if tensor.ndim == 4]
        if any(part in name for part in _CHANNELS_FIRST):
            self._first |= {id(tensor) for tensor in (*tensors[:1], *outputs) if tensor.ndim == 4}
        elif name in _SAME_AXES or torch.Tag.pointwise in func.tags:
            for tensor in maps[1:]:
                self._join(maps[0], tensor)
            if name == "native_layer_norm" and maps and len(args[1]) == 1:
                self._last.add(id(maps[0]))
            elif name in ("mean", "sum", "amax") and maps and len(args) > 1:
                self._reduced(maps[0], args[1])
        elif name == "permute" and maps and len(maps) == 2:
            axes = [axis % 4 for axis in args[1]]
            if axes == [0, 2, 3, 1]:
                self._permuted.append((id(maps[0]), id(maps[1])))
            elif axes == [0, 3, 1, 2]:
                self._permuted.append((id(maps[1]), id(maps[0])))
        else:
            self._matrices(name, args, outputs)
        return given

    def _reduced(self, maps: Tensor, axes: Any) -> None:
        """The axes that are averaged away together are those of space."""
        if isinstance(axes, list | tuple):
            places = {axis % 4 for axis in axes}
            if places == {2, 3}:
                self._first.add(id(maps))
            elif places == {1, 2}:
                self._last.add(id(maps))

    def _matrices(self, name: str, args: Any, outputs: list[Tensor]) -> None:
        """A product over the last axis of maps goes through a matrix with all else as rows."""
        if not outputs:
            return
        if name in _VIEWS and isinstance(args[0], Tensor):
            before, after = args[0], outputs[0]
            if before.ndim == 4 and after.ndim == 2 and before.shape[3] == after.shape[1]:
                self._rows[id(after)] = before
            elif before.ndim == 2 and after.ndim == 4 and id(before) in self._multiplied:
                self._last.add(id(after))
            elif before.shape == after.shape and before.ndim == 4:
                self._join(before, after)
        elif name in _PRODUCTS:
            matrix = args[_PRODUCTS[name]]
            if id(matrix) in self._rows:
                self._last.add(id(self._rows[id(matrix)]))
                self._multiplied.add(id(outputs[0]))

    def _join(self, first: Tensor, second: Tensor) -> None:
        self._parents[self._group(id(first))] = self._group(id(second))

    def _group(self, key: int) -> int:
        while (parent := self._parents.get(key, key)) != key:
            key = parent
        return key


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)

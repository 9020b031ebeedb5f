"""Which tensors of a forward pass hold the same places of an image in the same order."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lookaway.models.map_layout import End, MapLayout

# What gives each number in its place, beside the operations that work place by place.
_IN_PLACE = {"native_dropout", "clone", "copy_", "detach", "alias", "_to_copy", "contiguous"}
_ENDS: tuple[End, End] = ("first", "last")
_VIEWS = {"view", "_unsafe_view", "reshape", "squeeze", "unsqueeze", "expand"}
_PIECES = {"slice", "split", "split_with_sizes", "cat"}
_PRODUCTS = {"mm": 0, "addmm": 1}  # where the matrix stands that is multiplied by weights


@dataclass(frozen=True)
class _Step:
    """From one tensor's layout to another's.

    Attributes:
        channels: where they must be in the first one; None: anywhere.
        turns: whether they move to the other end.
        shift: how many tokens come before the others.
    """

    channels: End | None = None
    turns: bool = False
    shift: int = 0

    def of(self, layout: MapLayout) -> MapLayout | None:
        if self.channels not in (None, layout.channels) or layout.prefix + self.shift < 0:
            return None
        moved = replace(layout, prefix=layout.prefix + self.shift)
        return moved.turned if self.turns else moved

    @property
    def back(self) -> "_Step":
        channels = self.channels
        if self.turns:
            channels = "first" if channels == "last" else "last"
        return replace(self, channels=channels, shift=-self.shift)


class TokenOrder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the order of tokens and map places through a pass of one image.

    Operations that work place by place keep it, and so do norms, products with weights over the
    channels, and views of one shape as another; a transposition turns it; what is joined to tokens
    or cut off shifts it. Nothing is followed through what reorders or mixes places (windows,
    attention); a residual sum joins what comes out of it to what went in.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._tensors: dict[int, Tensor] = {}  # kept, so that no id is used twice
        self._steps: dict[int, list[tuple[int, _Step]]] = defaultdict(list)

    def layouts(self, known: Mapping[int, MapLayout]) -> dict[int, MapLayout]:
        """The layouts of all tensors that follow from those known, by id.

        Where two ways to a tensor contradict each other, none but the known ones are told.
        """
        found = dict(known)
        ahead = list(known)
        while ahead:
            here = ahead.pop()
            for other, step in self._steps[here]:
                layout = step.of(found[here])
                if layout is None or not _holds(self._tensors[other], layout):
                    continue
                if found.setdefault(other, layout) != layout:
                    return dict(known)
                if other not in known and found[other] is layout:
                    ahead.append(other)
        return found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__ if hasattr(func, "overloadpacket") else ""
        out = given[0] if isinstance(given, tuple | list) and given else given
        if not isinstance(out, Tensor):
            return given
        if name in _PIECES:
            self._pieces(name, args, given)
        elif name in _IN_PLACE or "_norm" in name or torch.Tag.pointwise in func.tags:
            for tensor in args:
                if isinstance(tensor, Tensor) and tensor.shape == out.shape and out.ndim > 1:
                    self._join(tensor, out, _Step())
        elif name in ("transpose", "permute", "t"):
            self._turned(args[0], out)
        elif name in _VIEWS:
            self._viewed(args[0], out)
        elif name in _PRODUCTS and out.ndim == 2:
            self._join(args[_PRODUCTS[name]], out, _Step("last"))
        return given

    def _pieces(self, name: str, args: Any, given: Any) -> None:
        """Tensors joined or cut along one axis: of the channels, or of the tokens."""
        whole, parts = (given, args[0]) if name == "cat" else (args[0], given)
        place = {"slice": 1, "cat": 1}.get(name, 2)
        axis = (args[place] if len(args) > place else 0) % whole.ndim
        parts = [parts] if isinstance(parts, Tensor) else parts
        start = 0
        if name == "slice":
            start = (args[2] if len(args) > 2 else 0) or 0
            start = start + whole.shape[axis] if start < 0 else start
            if len(args) > 4 and args[4] != 1:
                return
        for part in parts:
            for channels in _ENDS:
                of_channels = whole.ndim - 1 if channels == "last" else int(whole.ndim > 2)
                if axis == of_channels:
                    self._join(part, whole, _Step(channels))
                elif whole.ndim == 2 or (whole.ndim == 3 and axis):
                    self._join(part, whole, _Step(channels, shift=start))
            start += part.shape[axis]

    def _turned(self, before: Tensor, after: Tensor) -> None:
        """A permutation that brings the channels from one end to the other, and nothing else."""
        if not 2 <= before.ndim <= 4:
            return
        for channels, (one, other) in zip(_ENDS, [(after, before), (before, after)], strict=True):
            moved = one.movedim(-1, int(one.ndim > 2))
            if (moved.shape, moved.stride()) == (other.shape, other.stride()):
                self._join(before, after, _Step(channels, turns=True))

    def _viewed(self, before: Tensor, after: Tensor) -> None:
        if before.numel() != after.numel() or not (before.ndim and after.ndim):
            return
        if before.shape == after.shape:
            self._join(before, after, _Step())
            return
        if before.shape[-1] == after.shape[-1]:
            self._join(before, after, _Step("last"))
        if _after_images(before)[0] == _after_images(after)[0]:
            self._join(before, after, _Step("first"))

    def _join(self, before: Tensor, after: Tensor, step: _Step) -> None:
        for tensor in (before, after):
            self._tensors[id(tensor)] = tensor
        self._steps[id(before)].append((id(after), step))
        self._steps[id(after)].append((id(before), step.back))


def _after_images(tensor: Tensor) -> tuple[int, ...]:
    """The axes of a tensor of one image, without that of the images."""
    return tuple(tensor.shape[1:] if tensor.ndim > 2 and tensor.shape[0] == 1 else tensor.shape)


def _holds(tensor: Tensor, layout: MapLayout) -> bool:
    """Whether a tensor, also one without the axis of the images, can have a layout."""
    if tensor.ndim == 2:
        tensor = tensor[None]
    return tensor.shape[0] == 1 and layout.fits(tensor)

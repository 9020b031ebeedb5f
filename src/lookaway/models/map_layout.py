"""How maps (N, C, h, w) lie in what a layer gives: channels first or last, or as tokens."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from lookaway.errors import InputError
from lookaway.hashing import digest
from lookaway.models.hooks import in_place_of, parts_of

MOST_PREFIX = 8  # tokens before those of the grid

End = Literal["first", "last"]
ToMaps = Callable[[Tensor], Tensor | None]
Tokens = tuple[int, int, int] | ToMaps


@dataclass(frozen=True)
class MapLayout:
    """Where the maps are in a layer's output.

    Attributes:
        channels: whether the axis of the channels comes first, (N, C, h, w) or (N, C, T), or last,
            (N, h, w, C) or (N, T, C).
        grid: (h, w).
        prefix: tokens before those of the grid, such as a class token and registers.
        part: place in a tuple or list, or key of a mapping; None: the output itself.
        function: what makes maps of the output, in place of all this.
        code: SHA-256 of what the function does.
    """

    channels: End
    grid: tuple[int, int]
    prefix: int = 0
    part: int | str | None = None
    function: ToMaps | None = None
    code: str = ""

    def __str__(self) -> str:
        how = f"function {self.code[:16]}" if self.function else f"channels {self.channels}"
        before = f", {self.prefix} tokens before" if self.prefix else ""
        return f"{how}, {self.grid[0]}x{self.grid[1]}{before}"

    @property
    def turned(self) -> "MapLayout":
        """With the channels at the other end."""
        return replace(self, channels="first" if self.channels == "last" else "last")

    def fits(self, tensor: Tensor) -> bool:
        """Whether a tensor, of any number of images, can have this layout."""
        if self.function is not None:
            return tensor.ndim in (3, 4)
        places = tensor.shape[2:] if self.channels == "first" else tensor.shape[1:-1]
        if tensor.ndim == 4:
            return self.prefix == 0 and tuple(places) == self.grid
        return tensor.ndim == 3 and places[0] == self.prefix + self.grid[0] * self.grid[1]

    def maps(self, tensor: Tensor) -> Tensor:
        """Maps (N, C, h, w) of a tensor that fits."""
        if self.function is not None:
            made = self.function(tensor)
            if not isinstance(made, Tensor):
                raise InputError("the function given as tokens makes no maps in this pass")
            return made
        maps = tensor if self.channels == "first" else tensor.movedim(-1, 1)
        return (
            maps
            if maps.ndim == 4
            else maps[:, :, self.prefix :].reshape(*maps.shape[:2], *self.grid)
        )

    def tensor(self, output: Any) -> Tensor | None:
        """The tensor in a layer's output, where it fits."""
        tensor = dict(parts_of(output)).get(self.part)
        return tensor if tensor is not None and self.fits(tensor) else None

    def in_place(self, output: Any, tensor: Tensor) -> Any:
        """A layer's output with another tensor in the place of ``tensor(output)``."""
        return in_place_of(output, tensor, self.part)


def said_layout(tokens: Tokens, tensor: Tensor) -> MapLayout | None:
    """How a layer's tensor of one image lies by what a user said; None: it holds no such maps.

    Raises:
        InputError: the function does more than move numbers.
    """
    if not callable(tokens):
        layout = MapLayout("last", (tokens[0], tokens[1]), tokens[2])
        return layout if layout.fits(tensor) else None
    count = tensor.numel()
    places = torch.arange(2 * count, dtype=torch.float64, device=tensor.device)
    places = places.view(2, *tensor.shape[1:])
    try:
        made = tokens(places)
    except (RuntimeError, IndexError, ValueError, TypeError, AssertionError):
        return None  # written for other layers
    if made is None:
        return None
    shape = tuple(made.shape) if isinstance(made, Tensor) else (type(made).__name__,)
    if len(shape) != 4 or shape[0] != 2:
        raise InputError(
            "the function given as tokens must make maps (N, C, h, w), or None; of "
            f"{tuple(places.shape)} it makes {shape}"
        )
    moved = made[0].flatten()
    if len(torch.unique(moved)) < len(moved) or not torch.equal(made[1].flatten(), moved + count):
        raise InputError(
            "the function given as tokens must only move numbers, each image by itself; it mixes, "
            "scales or repeats them"
        )
    code = digest(moved.long().numpy(force=True).tobytes() + repr(shape).encode())
    return MapLayout("last", (shape[2], shape[3]), function=tokens, code=code)


def equal_layouts(tensor: Tensor, maps: Tensor) -> Iterator[MapLayout]:
    """The layouts in which a tensor of one image equals given maps, number for number.

    Args:
        tensor: (1, …).
        maps: (1, C, h, w), different from place to place.
    """
    grid = (maps.shape[2], maps.shape[3])
    ends: tuple[End, End] = ("first", "last")
    for channels in ends:
        layout = MapLayout(channels, grid)
        if tensor.ndim == 3:
            length = tensor.shape[2 if channels == "first" else 1]
            prefix = length - grid[0] * grid[1]
            if not 0 <= prefix <= MOST_PREFIX:
                continue
            layout = replace(layout, prefix=prefix)
        if tensor.shape[0] == 1 and layout.fits(tensor) and torch.equal(layout.maps(tensor), maps):
            yield layout


def tells_places(maps: Tensor) -> bool:
    """Whether maps (1, C, h, w) differ at most places, so that no other order equals them."""
    columns = maps[0].flatten(1).T
    different = len(torch.unique(columns, dim=0))
    return different > 1 and 2 * different > len(columns) and bool(columns.isfinite().all())

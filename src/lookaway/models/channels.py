"""What a network takes: its channels and their normalisation, and its size."""

from collections.abc import Iterable, Sequence, Sized
from typing import TYPE_CHECKING

from lookaway.errors import InputError, shown

if TYPE_CHECKING:  # a report is made without torch
    from torch import nn


def check_channels(
    what: str, given: float | Iterable[float], channels: int | None = None
) -> tuple[float, ...]:
    """A ``mean`` or ``std`` as one number for each channel.

    Args:
        what: mean or std.
        given: the numbers, or one for all channels.
        channels: how many there are; None: not known, and one number stays one.

    Raises:
        InputError: they are not of pixels in [0, 1], or of another number of channels.
    """
    try:
        each = list(given) if isinstance(given, Iterable) else [given]
        numbers = tuple(map(float, each))
    except (TypeError, ValueError, OverflowError):
        numbers = ()
    if channels is not None and len(numbers) == 1:
        numbers *= channels
    if len(numbers) not in ((1, 3) if channels is None else (channels,)):
        raise InputError(
            f"{what} must be {channels or 3} numbers, one for each channel, or one for all; got "
            f"{shown(repr(given), 80)}"
        )
    least, most = (0.0, 1.0) if what == "mean" else (1e-6, 2.0)  # dlib divides by 256
    if not all(least <= number <= most for number in numbers):
        raise InputError(
            f"{what} must be of pixels in [0, 1]{', above 0' if what == 'std' else ''}; got "
            f"{shown(repr(given), 80)}. Numbers for pixels up to 255 are to be divided by 255"
        )
    return numbers


def sides_of(input_size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """A side, or height and width, as both.

    Raises:
        InputError: they are no sides.
    """
    sides = (input_size, input_size) if isinstance(input_size, int) else input_size
    if sides is not None and (len(sides) != 2 or min(sides) < 1):
        raise InputError(f"input_size must be a side or (height, width); got {input_size}")
    return sides


def normalisation(
    module: "nn.Module",
    channels: int | None,
    mean: float | Sequence[float],
    std: float | Sequence[float],
) -> tuple[int, tuple[float, ...], tuple[float, ...]]:
    """The number of channels, and mean and std of each.

    Raises:
        InputError: they contradict each other, or the network.
    """
    lengths = {len(each) for each in (mean, std) if isinstance(each, Sized)} - {0}
    from torch.nn import Conv2d

    takes = next((part.in_channels for part in module.modules() if isinstance(part, Conv2d)), 3)
    known = takes if takes in (1, 3) else 3
    count = channels if channels is not None else next(iter(lengths), known)
    if count not in (1, 3) or not lengths <= {count}:
        raise InputError(
            f"mean and std need a number for each channel, 1 (grey) or 3 (RGB), or one for all; "
            f"got mean={mean}, std={std}, channels={channels}"
        )
    if takes in (1, 3) and takes != count:
        raise InputError(
            f"the network's first convolution takes {takes} channel{'s' * (takes > 1)}; "
            f"got mean={mean}, std={std}, channels={channels}, which are for {count}"
        )
    return count, check_channels("mean", mean, count), check_channels("std", std, count)

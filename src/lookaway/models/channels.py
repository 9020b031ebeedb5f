"""Normalisation: one number for each channel of pixels in [0, 1]."""

from collections.abc import Iterable

from lookaway.errors import InputError, shown


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

"""What a user says of where a network's tokens lie; read without PyTorch."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lookaway.errors import InputError, shown

if TYPE_CHECKING:
    from lookaway.models.map_layout import Tokens


def check_tokens(tokens: Any) -> "Tokens | None":
    """What a user said of a network's tokens: (h, w, prefix), a function, or nothing.

    Raises:
        InputError: it is neither.
    """
    if tokens is None or callable(tokens):
        said: Tokens | None = tokens
        return said
    numbers = tuple(tokens) if isinstance(tokens, Sequence) and not isinstance(tokens, str) else ()
    whole = all(isinstance(number, int) and not isinstance(number, bool) for number in numbers)
    if len(numbers) != 3 or not whole or min(numbers[:2]) < 1 or numbers[2] < 0:
        raise InputError(
            "tokens must be (h, w, prefix), the grid and how many tokens stand before it, such as "
            "(14, 14, 1), or a function from a layer's output to maps (N, C, h, w); got "
            f"{shown(repr(tokens), 80)}"
        )
    return numbers

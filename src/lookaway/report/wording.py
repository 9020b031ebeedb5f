"""Names, numbers and what is shown, as sentences have them."""

import unicodedata
from collections.abc import Sequence

from lookaway.analysis.frames import Frames
from lookaway.report.table import Cell


def signed(value: float) -> str:
    """A number with its sign, as it is read."""
    return f"{value:+.3f}".replace("-", "−")


def with_interval(cell: Cell, *, sign: bool = False) -> str:
    """A number and, where it has one, its 95 % interval."""
    numbers = [cell.value, cell.low, cell.high]
    value, low, high = ["" if x is None else signed(x) if sign else f"{x:.3f}" for x in numbers]
    return f"{value} (95 % interval {low} to {high})" if low else value


def listed(names: Sequence[str]) -> str:
    """Names as in a sentence."""
    alone = [isolated(name) for name in names]
    return alone[0] if len(alone) == 1 else f"{', '.join(alone[:-1])} and {alone[-1]}"


def isolated(name: str) -> str:
    """A name that turns no letters around it: isolated where it holds any that run leftwards."""
    turning = {"R", "AL", "AN", "RLE", "RLO", "LRE", "LRO", "RLI", "LRI", "FSI", "PDF", "PDI"}
    if any(unicodedata.bidirectional(letter) in turning for letter in name):
        return f"\N{FIRST STRONG ISOLATE}{name}\N{POP DIRECTIONAL ISOLATE}"
    return name


def first_attack(frames: Frames) -> str:
    """That only the study's first attack is shown; empty where it has no other."""
    first, *others = (name.upper() for name in frames.attacks)
    if not others:
        return ""
    attack = "attack" if len(others) == 1 else "attacks"
    return f"Shown: {first}; the study's other {attack}, {listed(others)}, in the tables."


def first_images(frames: Frames) -> str:
    """That only images of the study's first variant are shown; empty where it has no other."""
    first, *others = frames.variants
    return f"Images: {first}; those of {listed(others)} in the tables." if others else ""

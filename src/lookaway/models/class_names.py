"""Which class each output of a network stands for, in the forms in which people keep it."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lookaway.errors import ModelError, shown

# The names of each output by its place: one, or several that mean the same.
Names = dict[int, tuple[str, ...]]
# Where a checkpoint has them, the most exact first.
_KEYS = (
    "class_to_idx",
    "idx_to_class",
    "label2id",
    "id2label",
    "class_names",
    "classes",
    "CLASSES",
)


def output_names(given: Any) -> Names:
    """The names of a network's outputs, by place.

    Args:
        given: names in order; or a mapping of names to places, or of places to names. In place of
            a name there may be several that mean the same, as in Keras' ImageNet index,
            ``{"0": ["n01440764", "tench"], …}``.

    Raises:
        ModelError: it is none of these, or a name or a place is given twice.

    >>> output_names({"cat": 1, "dog": 0})
    {0: ('dog',), 1: ('cat',)}
    """
    if isinstance(given, Mapping):
        pairs = [_pair(key, value) for key, value in given.items()]
    elif isinstance(given, Sequence) and not isinstance(given, str):
        pairs = [(place, _several(names)) for place, names in enumerate(given)]
    else:
        raise ModelError(f"classes must be names in order, or a mapping; got {_of(given)}")
    if not pairs:
        raise ModelError("no class is named")
    names = dict(sorted(pairs, key=lambda pair: pair[0]))
    if len(names) < len(pairs):
        places = [place for place, _ in pairs]
        twice = next(place for place in places if places.count(place) > 1)
        raise ModelError(f"two names are given for the output {twice}")
    firsts: dict[str, int] = {}
    for place, (first, *_) in names.items():
        if first in firsts:
            raise ModelError(
                f"the name {shown(first, 80)!r} is given twice, for the outputs {firsts[first]} "
                f"and {place}"
            )
        firsts[first] = place
    return names


def read_names(path: Path) -> Names:
    """The names of a network's outputs from a file.

    Args:
        path: one name a line in the network's order, or JSON; see ``output_names``.

    Raises:
        ModelError: it cannot be read, or is none of these.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".json" or text.lstrip()[:1] in ("[", "{"):
            return output_names(json.loads(text, object_pairs_hook=_once))
        lines = [line.strip() for line in text.rstrip().splitlines()]
        if "" in lines:
            raise ModelError(f"line {lines.index('') + 1} is empty")
        return output_names(lines)
    except ModelError as error:
        raise ModelError(f"the classes in {path.name!r} cannot be used: {error}") from error
    except (OSError, ValueError, RecursionError) as error:
        told = getattr(error, "strerror", None) or shown(str(error))
        raise ModelError(f"the classes {str(path)!r} cannot be read: {told}") from error


def names_in(checkpoint: Mapping[Any, Any]) -> tuple[str, Names] | None:
    """The names of a network's outputs in a checkpoint, and where they stand in it.

    They are looked for at its top, and one deeper, such as in ``hyper_parameters``.
    """
    places: list[tuple[str, Mapping[Any, Any]]] = [("", checkpoint)]
    places += [
        (f"{shown(str(key), 40)}.", value)
        for key, value in checkpoint.items()
        if isinstance(value, Mapping)
    ]
    for place, found in places:
        for key in _KEYS:
            try:
                if key in found:
                    return f"{place}{key}", output_names(found[key])
            except ModelError:
                continue  # a number of classes, say
    return None


def natural_order(names: Sequence[str]) -> list[str]:
    """Names in the order of timm's training script: 2 before 10, upper case as lower.

    >>> natural_order(["10", "2", "b", "A"])
    ['2', '10', 'A', 'b']
    """

    def key(name: str) -> list[int | str]:
        parts = re.split(r"(\d+)", name.lower())
        return [int(part) if place % 2 else part for place, part in enumerate(parts)]

    return sorted(names, key=key)


def _pair(key: Any, value: Any) -> tuple[int, tuple[str, ...]]:
    """A place and its names, from an entry of a mapping."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _place(value), _several(key)
    return _place(key), _several(value)


def _place(value: Any) -> int:
    try:
        place = int(value)
    except (TypeError, ValueError):
        place = -1
    if place < 0 or isinstance(value, bool | float):
        raise ModelError(f"{_of(value)} is no place of an output (0, 1, …)")
    return place


def _several(value: Any) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, tuple | list) or not names:
        raise ModelError(f"{_of(value)} is no name")
    for name in names:
        if not isinstance(name, str) or not name:
            raise ModelError(f"{_of(name)} is no name; put names of digits in quotes")
    return tuple(names)


def _of(value: Any) -> str:
    return shown(f"{type(value).__name__} {value!r}" if value is not None else "nothing", 80)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object in which no name stands twice: the last one would win in silence."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ModelError(f"{shown(name, 80)!r} is given twice")
        found[name] = value
    return found

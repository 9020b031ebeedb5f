"""What differs between two runs, named one by one."""

import json
from collections.abc import Iterator
from typing import Any

import polars as pl


def differences(old: Any, new: Any, place: str = "") -> Iterator[str]:
    """What changed in plain data, setting by setting; ``place`` is where it stands.

    Yields:
        A line for each change, such as ``measure.grid: 224 → 112``.

    >>> list(differences({"a": [1, 2]}, {"a": [1, 3], "b": 0}))
    ['a[1]: 2 → 3', 'b: new, 0']
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(name for name in new if name not in old)]:
            inner = f"{place}.{name}" if place else str(name)
            if name not in new:
                yield f"{inner}: was {_short(old[name])}, now gone"
            elif name not in old:
                yield f"{inner}: new, {_short(new[name])}"
            else:
                yield from differences(old[name], new[name], inner)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from differences(before, after, f"{place}[{index}]")
    elif old != new:
        yield f"{place}: {_short(old)} → {_short(new)}"


def changed_images(old: pl.DataFrame, new: pl.DataFrame) -> list[str]:
    """Which images of samples came, went or have another content."""
    before, after = (dict(frame.select("image", "sha256").iter_rows()) for frame in (old, new))
    faults = {
        "added": [name for name in after if name not in before],
        "gone": [name for name in before if name not in after],
        "of other content": [
            name for name in before if name in after and before[name] != after[name]
        ],
    }
    return [
        f"images {what}: {', '.join(names[:3])}{', …' if len(names) > 3 else ''} ({len(names)})"
        for what, names in faults.items()
        if names
    ]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"

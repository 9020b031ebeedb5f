"""A chart's numbers in a sentence, for those who do not see it."""

from collections.abc import Mapping, Sequence
from typing import Any

from lookaway.written import decimal, percent

_MOST = 12  # numbers in a sentence
_NAMES = ("panel", "model", "source", "scope", "perturbation", "layer", "measure", "level", "ε")


def described(spec: Mapping[str, Any]) -> str:
    """A sentence with the numbers of a chart: of its largest ε, or as many as one can hear.

    Returns:
        Empty where the chart has no numbers.
    """
    rows = spec.get("datasets", {}).get("rows", [])
    told = _told(spec) if rows else None
    if told is None:
        return ""
    field, title, form = told
    rows = [row for row in rows if row.get(field) is not None]
    levels = [row["epsilon"] for row in rows if row.get("epsilon") is not None]
    top = max(levels, default=None)
    here = [row for row in rows if top is None or row.get("epsilon") == top]
    shown = dict.fromkeys((_name(row), _number(row[field], form)) for row in here)
    first = list(shown)[:_MOST]
    numbers = "; ".join(f"{name} {number}" for name, number in first)
    where = "" if top is None else f" at ε = {top:g}"
    rest = f"; and {len(shown) - _MOST} more in the numbers below" if len(shown) > _MOST else ""
    return f"{title[:1].upper()}{title[1:]}{where}: {numbers}{rest}."


def _told(spec: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """The field that a chart is about, what it is called, and how it is written."""
    for layer in spec["spec"]["layer"]:
        tooltips: Sequence[Mapping[str, Any]] = layer.get("encoding", {}).get("tooltip", [])
        mean = [one for one in tooltips if one["field"] == "mean"]
        for one in [*mean, *tooltips]:
            if one.get("format") or one["field"] == "mean":
                field = str(one["field"])
                return field, str(one.get("title", field)), str(one.get("format", ".3f"))
    return None


def _name(row: Mapping[str, Any]) -> str:
    return ", ".join(str(row[name]) for name in _NAMES if row.get(name) is not None)


def _number(value: float, form: str) -> str:
    if form.endswith("%"):
        return percent(value)
    return decimal(value, 3 if abs(value) < 10 else 1)

"""Kinds of settings that the sections of a study share."""

import math
import re
from collections.abc import Callable
from fractions import Fraction as Rational
from functools import partial
from pathlib import PurePath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from lookaway.errors import LookawayError
from lookaway.places import RemotePath

Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
MOST = 10**9  # of anything that is counted
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
STORED = {"stored": True}  # context of validation: what a run stored, whose settings were checked
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_FRACTION = re.compile(r"(\d+) ?/ ?(\d+)", re.ASCII)


class Settings(BaseModel):
    """A section of a study: no unknown settings, nothing converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def number(value: Any) -> Any:
    """A number in any of YAML's forms: ``1`` and ``1e-3`` (text, to YAML 1.1) are floats too."""
    if isinstance(value, str):
        return float(value) if _DECIMAL.fullmatch(value) else value
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value) if abs(value) < 2**1023 else math.inf if value > 0 else -math.inf
    return value


def level(value: Any) -> Any:
    """A number, or a fraction such as ``8/255``, exactly."""
    found = _FRACTION.fullmatch(value) if isinstance(value, str) else None
    try:
        return float(Rational(*map(int, found.groups()))) if found else number(value)
    except (ValueError, ArithmeticError):  # thousands of digits, or a share of nothing
        return value


def text(value: Any) -> Any:
    """A path as text."""
    return str(value) if isinstance(value, PurePath | RemotePath) else value


def looked_up(check: Callable[[str], object]) -> AfterValidator:
    """What a setting names must be there: a check raises LookawayError; see ``mended``."""
    return AfterValidator(lambda value, info: mended(value, partial(check, value), info))


Number = Annotated[float, BeforeValidator(number)]
LearningRate = Annotated[Number, Field(gt=0.0, allow_inf_nan=False)]
PathText = Annotated[str, BeforeValidator(text), Field(min_length=1)]


def is_stored(info: ValidationInfo) -> bool:
    """Whether a stored study is read: nothing that it names is looked up again."""
    return bool((info.context or {}).get("stored"))


def mended(value: str, check: Callable[[], object], info: ValidationInfo | None = None) -> str:
    """A value that passes a check, whose error becomes one of the study file's problems.

    Args:
        value: a setting.
        check: raises LookawayError where it is not possible.
        info: of the validation, where the check looks something up: a stored study's is not
            checked again. None: the check needs nothing but the value.
    """
    if info is not None and is_stored(info):
        return value
    try:
        check()
    except LookawayError as error:
        raise ValueError(str(error)) from error
    return value


def unique(values: list[Any]) -> list[Any]:
    """Values of which none stands twice."""
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        raise ValueError(f"given twice: {', '.join(str(value) for value in twice)}")
    return values

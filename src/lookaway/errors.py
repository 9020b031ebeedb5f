"""Errors that a user can mend: each says what was given, what is possible and what to do.

The command line prints them bare, with exit code 2. A traceback means a bug in lookaway.
"""

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


class LookawayError(Exception):
    """The base of every error that lookaway raises on purpose."""


class InputError(LookawayError, ValueError):
    """An argument of a call has a wrong shape, type or value."""


class DataError(LookawayError):
    """The images cannot be used as they are."""


class ModelError(LookawayError):
    """A model cannot be used as it is."""


class LayerError(ModelError, ValueError):
    """A named layer does not exist, has no spatial maps, or plays no part in the logits."""


class WeightsError(ModelError):
    """Weights are missing, do not fit, or cannot be read safely."""


class AttackError(LookawayError):
    """An attack fails, or broke its promise: pixels outside [0, 1] or outside the ε-ball."""


class StoreError(LookawayError):
    """A run's folder cannot be read, or was made with other settings."""


class EngineError(LookawayError):
    """The machines that were asked for cannot do the work."""


class OutOfMemoryError(EngineError):
    """A device has too little memory for a pass of a model."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.model = model

    def __str__(self) -> str:
        return (
            f"the device's memory is too small for {self.model!r}, even one image at a time; use "
            "another device, run: {precision: bfloat16}, or a smaller data.image_size"
        )


class RemoteError(LookawayError):
    """An object store cannot be reached, or refuses; nothing is known of what lies there."""


class PackageError(LookawayError, ImportError):
    """Something needs a package that is not installed; it says which, and how it is installed."""


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong in a study: where it stands and what would be right.

    Attributes:
        line: line of the study file, from 1; 0 where no line is to blame.
        where: the setting, such as ``models[1].train``.
        message: what was given, what is possible, what to do.
    """

    line: int
    where: str
    message: str

    def __str__(self) -> str:
        place = f"line {self.line}, {self.where}" if self.line else self.where
        return f"{place}: {self.message}"


class StudyError(LookawayError):
    """A study cannot run; it holds every problem that was found."""

    def __init__(self, problems: Sequence[Problem], source: str = "the study") -> None:
        self.problems = tuple(sorted(problems))
        self.source = source
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"{source} has {count}:\n{lines}")

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception is otherwise made again from its message alone.
        return type(self), (self.problems, self.source), vars(self)


def nearest(name: str, choices: Iterable[str], count: int = 3) -> str:
    """Name the nearest choices, for the end of an error message.

    Args:
        name: what was given.
        choices: what is possible.
        count: how many to name at most.

    Returns:
        ``" Nearest: a, b."`` with a leading space, or an empty string.

    >>> nearest("resnet5O", ["resnet50", "vgg16"])
    ' Nearest: resnet50.'
    """
    found = difflib.get_close_matches(name, list(choices), n=count, cutoff=0.5)
    return f" Nearest: {', '.join(found)}." if found else ""


def listed(names: Iterable[str], count: int = 5) -> str:
    """The first names, and how many there are beside them.

    >>> listed(["a", "b", "c", "d"], 2)
    'a, b and 2 more'
    """
    every = list(names)
    more = f" and {len(every) - count} more" if len(every) > count else ""
    return ", ".join(every[:count]) + more


def shown(text: str, limit: int = 200) -> str:
    r"""Text from elsewhere as it may stand in an error: one line, printable, of bounded length.

    Args:
        text: such as another library's message, or a name in a file.
        limit: of characters.

    >>> shown("\x1b[1mone\x1b[0m\n  two")
    'one two'
    """
    plain = re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]", "", text)
    words = "".join(letter if letter.isprintable() else " " for letter in plain).split()
    line = " ".join(words)
    return line if len(line) <= limit else f"{line[: limit - 1]}…"

"""YAML as plain data, with the line on which each setting stands."""

from collections.abc import Hashable
from typing import Any

import yaml

from lookaway.errors import Problem, StudyError

Place = tuple[str | int, ...]


class Lines:
    """The line of each setting in a file, from 1."""

    def __init__(self, root: yaml.Node | None) -> None:
        self._lines: dict[Place, int] = {}
        if root is not None:
            self._note(root, ())

    def of(self, place: Place) -> int:
        """The line of a setting, or of the nearest one around it; 0 if nothing is known."""
        while place not in self._lines and place:
            place = place[:-1]
        return self._lines.get(place, 0)

    def _note(self, node: yaml.Node, place: Place) -> None:
        self._lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                inner = (*place, str(key.value))
                self._lines[inner] = key.start_mark.line + 1
                self._note(value, inner)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                self._note(value, (*place, index))


class _Loader(yaml.SafeLoader):
    """Plain data only; a key given twice and an alias (which may loop or explode) are errors."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not used here", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a setting's name must be plain text", key.start_mark
                )
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value!r} is given twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


# What PyYAML raises, also where a tag such as !!int or !!timestamp stands before what is none.
_FAILURES = (
    yaml.YAMLError,
    RecursionError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    OverflowError,
)


def _told(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, LookupError | AttributeError | TypeError):
        return "a tag (!!…) before a value that is not of its kind"
    return str(error)


def read_yaml(text: str, source: str) -> tuple[Any, Lines]:
    """Parse YAML without constructing any object.

    Raises:
        StudyError: it is no YAML, or holds tags, or a key twice.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        data = None if node is None else loader.construct_document(node)
        return data, Lines(node)
    except _FAILURES as error:
        mark = getattr(error, "problem_mark", None)
        message = getattr(error, "problem", None) or _told(error)
        line = mark.line + 1 if mark is not None else 0
        raise StudyError([Problem(line, "YAML", message)], source) from error

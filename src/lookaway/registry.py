"""Names to attacks and explainers: of this package, or of a module of the user's own."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from lookaway.errors import InputError, LookawayError, nearest

ATTACKS = {"fgsm": "lookaway.attacks.fgsm:FGSM"}
EXPLAINERS = {"gradcam": "lookaway.explainers.gradcam:GradCAM"}


def is_own_code(name: str) -> bool:
    """Whether a name is that of a user's own code, ``package.module:Name``."""
    return ":" in name


def known(name: str, table: Mapping[str, str], what: str) -> str:
    """A name that can be resolved; the code of a user's own is not looked at.

    Args:
        name: a key of the table, or ``package.module:Name``.
        table: of names.
        what: attack or explainer, for the error.

    Raises:
        InputError: there is no such name.
    """
    if is_own_code(name) or name in table:
        return name
    raise InputError(
        f"there is no {what} {name!r};{nearest(name, table)} possible: {', '.join(table)}, or "
        "package.module:Name"
    )


def resolve(
    name: str, table: Mapping[str, str], what: str, options: Mapping[str, Any] | None = None
) -> Any:
    """Make the attack or explainer of a name.

    Args:
        name: a key of the table, or ``package.module:Name``, whose module is imported.
        table: of names.
        what: attack or explainer, for errors.
        options: arguments of its class.

    Raises:
        InputError: there is no such name, module or class, or an option does not fit.

    >>> resolve("fgsm", ATTACKS, "attack").name
    'fgsm'
    """
    home, _, kind = table.get(known(name, table, what), name).partition(":")
    try:
        made = getattr(import_module(home), kind)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"the {what} {name!r} cannot be imported: {error}") from error
    try:
        return made(**(options or {}))
    except LookawayError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"the {what} {name!r} does not take {dict(options or {})}: {error}") from (
            error
        )


def attack_of(name: str) -> Any:
    """The attack of a name; see ``resolve``."""
    return resolve(name, ATTACKS, "attack")


def explainer_of(name: str) -> Any:
    """The explainer of a name; see ``resolve``."""
    return resolve(name, EXPLAINERS, "explainer")

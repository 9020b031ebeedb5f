"""Names to attacks and explainers: of this package, or of a module of the user's own."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from operator import attrgetter
from typing import Any

from lookaway.errors import InputError, LookawayError, nearest

ATTACKS = {
    "fgsm": "lookaway.attacks.fgsm:FGSM",
    "pgd": "lookaway.attacks.pgd:PGD",
    "mifgsm": "lookaway.attacks.mifgsm:MIFGSM",
    "explanation": "lookaway.explanation_attack:ExplanationAttack",
}
LIBRARIES = ("torchattacks", "foolbox")  # of attacks; see ``attacks.libraries``
EXPLAINERS = {
    "gradcam": "lookaway.explainers.gradcam:GradCAM",
    "gradcam++": "lookaway.explainers.gradcam_plus_plus:GradCAMPlusPlus",
    "hirescam": "lookaway.explainers.hirescam:HiResCAM",
    "xgradcam": "lookaway.explainers.xgradcam:XGradCAM",
    "layercam": "lookaway.explainers.layercam:LayerCAM",
    "eigencam": "lookaway.explainers.eigencam:EigenCAM",
}
# Networks that give embeddings, beside timm's: a study enrols people for them.
EMBEDDERS = ("dlib_face_resnet",)


def is_own_code(name: str) -> bool:
    """Whether a name is that of a user's own code, ``package.module:Name``."""
    return ":" in name


def short_name(name: str) -> str:
    """What an attack is called where a study gives it no name of its own.

    >>> short_name("nets.attacks:Mine")
    'mine'
    """
    return name.rpartition(":")[2].lower() if is_own_code(name) else name


def check_names(what: str, names: Sequence[str]) -> None:
    """Refuse names of which one would stand for two things.

    Raises:
        InputError: with those that are there twice.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"{what} have a name twice, so one would stand for the other: {', '.join(twice)}; give "
            "each its own, such as attack.name = 'second'"
        )


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
    name: str,
    table: Mapping[str, str],
    what: str,
    kind: type[Any],
    options: Mapping[str, Any] | None = None,
) -> Any:
    """Make the attack or explainer of a name.

    Args:
        name: a key of the table, or ``package.module:Name``, whose module is imported.
        table: of names.
        what: attack or explainer, for errors.
        kind: the class that it must be of.
        options: arguments of its own class.

    Raises:
        InputError: there is no such name, module or class, or an option does not fit.
    """
    make = imported(table.get(known(name, table, what), name), what)
    try:
        made = make(**(options or {}))
    except LookawayError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the {what} {name!r} does not take {dict(options or {})}: {error}"
        ) from error
    if not isinstance(made, kind):
        raise InputError(
            f"{name!r} makes a {type(made).__name__}, which is no {kind.__module__}.{kind.__name__}"
        )
    made.name = short_name(name)
    return made


def imported(name: str, what: str) -> Any:
    """What ``package.module:Name`` stands for; its module is imported.

    Args:
        name: such; behind the colon also ``Class.method``.
        what: it is, for the error.

    Raises:
        InputError: there is no such module, or nothing of that name in it.
    """
    home, _, inside = name.partition(":")
    try:
        return attrgetter(inside)(import_module(home))
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"the {what} {name!r} cannot be imported: {error}; its module must be installed, on "
            "PYTHONPATH, or lie where `lookaway` is called"
        ) from error

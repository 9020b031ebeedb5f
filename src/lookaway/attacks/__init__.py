"""Attacks: pixels in, perturbed pixels for each ε out."""

from importlib import import_module
from typing import TYPE_CHECKING

from lookaway.errors import AttackError

if TYPE_CHECKING:
    from lookaway.attacks.base import SignAttack

ATTACKS = {"fgsm": "lookaway.attacks.fgsm:FGSM"}


def load_attack(name: str) -> "SignAttack":
    """Make the attack of a name.

    Args:
        name: a key of ``ATTACKS``.

    Raises:
        AttackError: it gives no signs, which a study needs.
    """
    from lookaway.attacks.base import SignAttack

    home, _, kind = ATTACKS[name].partition(":")
    attack = getattr(import_module(home), kind)()
    if not isinstance(attack, SignAttack):
        raise AttackError(
            f"the attack {name!r} ({kind}) is no SignAttack: a study stores one direction for all "
            "epsilons; write `signs` in place of `perturb`, or call the attack in Python"
        )
    return attack

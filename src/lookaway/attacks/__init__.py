"""Attacks: pixels in, perturbed pixels for each ε out."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lookaway.attacks.base import SignAttack

ATTACKS = {"fgsm": "lookaway.attacks.fgsm:FGSM"}


def load_attack(name: str) -> "SignAttack":
    """Make the attack of a name.

    Args:
        name: a key of ``ATTACKS``.
    """
    home, _, kind = ATTACKS[name].partition(":")
    attack: SignAttack = getattr(import_module(home), kind)()
    return attack

"""Attacks: pixels in, perturbed pixels for each ε out."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lookaway.attacks.base import Attack

ATTACKS = {"fgsm": "lookaway.attacks.fgsm:FGSM"}


def load_attack(name: str) -> "Attack":
    """Make the attack of a name.

    Args:
        name: a key of ``ATTACKS``.
    """
    from importlib import import_module

    home, _, kind = ATTACKS[name].partition(":")
    attack: Attack = getattr(import_module(home), kind)()
    return attack

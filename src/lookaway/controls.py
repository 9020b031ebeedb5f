"""Controls with an attack's own shape: their kinds, how many, and what rows call them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lookaway.perturbation import made_by

SHIFTED = "shifted"
SAME_CLASS = "same-class transplant"
OTHER_CLASS = "other-class transplant"
SPECTRUM = "spectrum noise"
RESEEDED = "reseeded noise"
KINDS = (SHIFTED, SAME_CLASS, OTHER_CLASS, SPECTRUM, RESEEDED)
_NAME = re.compile(rf"({'|'.join(KINDS)}) (\d+) of (.+)", re.DOTALL)


class Control(NamedTuple):
    """A control that is made of an attack's own perturbation.

    Attributes:
        kind: one of ``KINDS``.
        number: of the replicate, from 1.
        of: whose, as ``perturbation.made_by`` calls it.
    """

    kind: str
    number: int
    of: str

    @property
    def name(self) -> str:
        """In rows.

        >>> Control(SHIFTED, 2, "fgsm from resnet50").name
        'shifted 2 of fgsm from resnet50'
        """
        return f"{self.kind} {self.number} of {self.of}"

    @property
    def together(self) -> str:
        """What all its replicates together are called.

        >>> Control(SHIFTED, 2, "fgsm").together, Control(SPECTRUM, 1, "fgsm").together
        ('shifted of fgsm', 'spectrum noise of fgsm')
        """
        return f"{self.kind} of {self.of}"


def read(name: str) -> Control | None:
    """The control of a name; None where it is none of these.

    >>> read("shifted 1 of fgsm"), read("noise")
    (Control(kind='shifted', number=1, of='fgsm'), None)
    """
    found = _NAME.fullmatch(name)
    return None if found is None else Control(found[1], int(found[2]), found[3])


def compared_otherwise(names: Iterable[str]) -> list[str]:
    """Those whose maps are compared in other ways than NISSIM's too: verdicts rest on them.

    >>> compared_otherwise(["shifted 1 of fgsm", "spectrum noise 1 of fgsm"])
    ['shifted 1 of fgsm']
    """
    return [name for name in names if name.startswith(f"{SHIFTED} ")]


def shaped(names: Iterable[str | None]) -> dict[str, Control]:
    """Those of some names that are of such controls."""
    found = {name: read(name) for name in names if name is not None}
    return {name: control for name, control in found.items() if control is not None}


def is_taken(name: str) -> bool:
    """Whether an attack of this name would read as a control."""
    return any(name.startswith(f"{kind} ") for kind in KINDS)


@dataclass(frozen=True)
class Counts:
    """How many of each kind every image is measured under.

    Attributes:
        shifted: the attack's own perturbation, moved at random.
        transplanted: that of another image of the class; and as many of another class.
        spectrum: the attack's amplitudes at random phases.
        noise: the attack's size in random directions, of another seed than the noise control.
    """

    shifted: int = 2
    transplanted: int = 0
    spectrum: int = 0
    noise: int = 0

    def of(self, attack: str, source: str | None = None) -> list[Control]:
        """The controls of one perturbation.

        Args:
            attack: its name.
            source: the other model that made it; None: the attacked one.
        """
        many = (self.shifted, self.transplanted, self.transplanted, self.spectrum, self.noise)
        return [
            Control(kind, number, made_by(attack, source))
            for kind, count in zip(KINDS, many, strict=True)
            for number in range(1, count + 1)
        ]

    def names(self, attacks: Sequence[str], sources: Sequence[str]) -> list[str]:
        """The names of all controls of white-box attacks and those that sources give."""
        made = [(attack, source) for attack in attacks for source in (None, *sources)]
        return [control.name for each in made for control in self.of(*each)]

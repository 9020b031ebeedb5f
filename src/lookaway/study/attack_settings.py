"""The attacks of a study: names, classes of the user's own, parameters."""

from typing import Any

from pydantic import field_validator

from lookaway.errors import InputError
from lookaway.registry import ATTACKS
from lookaway.study.named_settings import NamedSpec


class AttackSpec(NamedSpec):
    """An attack of a study."""

    what = "attack"
    table = ATTACKS

    @field_validator("name", "kind")
    @classmethod
    def _no_control(cls, value: str) -> str:
        if value == "noise":
            raise ValueError("noise is the control and always runs; leave it out")
        return value

    def make(self, seed: int = 0) -> Any:
        """The attack; ``seed`` is that of what is random in it, where its arguments give none."""
        from lookaway.attacks.base import attack_of

        made = attack_of(self.kind, self.options)
        made.name = self.name
        if "seed" not in self.options:
            made.seed = seed
        if getattr(made, "norm", "linf") != "linf":
            raise InputError(
                f"{self.name} measures ε in {made.norm}, and a study's ε is the largest change of "
                "a pixel; la.measure(…) takes attacks of the other norm"
            )
        return made

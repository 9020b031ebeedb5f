"""The attacks of a study: names, classes of the user's own or of a library, parameters."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationInfo, field_validator, model_serializer, model_validator

from lookaway.controls import is_taken
from lookaway.perturbation import NOISE, OWN_SIZE
from lookaway.registry import ATTACKS, LIBRARIES
from lookaway.study.named_settings import NamedSpec


class AttackSpec(NamedSpec):
    """An attack of a study.

    That of a library is ``{name: di, torchattacks: DIFGSM, with: {steps: 10}}``.
    """

    what = "attack"
    table = ATTACKS

    library: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_library(cls, value: Any) -> Any:
        found = [one for one in LIBRARIES if isinstance(value, Mapping) and one in value]
        if not found:
            return value
        its_class, options = value[found[0]], value.get("with")
        odd = [key for key in value if key not in ("name", "with", found[0])]
        if odd or not isinstance(its_class, str) or not isinstance(options, Mapping | None):
            raise ValueError(
                f"an attack of {found[0]} is the name of its class, with arguments, such as "
                f"{{name: mine, {found[0]}: PGD, with: {{steps: 10}}}}; got {value!r}"
            )
        name = value.get("name", its_class.lower())
        return {
            "name": name,
            "kind": its_class,
            "library": found[0],
            "options": {**(options or {})},
        }

    def check_kind(self, info: ValidationInfo) -> None:
        """A library has what ``make`` finds there."""
        if self.library is None:
            super().check_kind(info)

    @model_serializer
    def _plain(self) -> Any:
        if self.library is None:
            return self.as_given()
        its_options = {"with": self.options} if self.options else {}
        return {"name": self.name, self.library: self.kind, **its_options}

    @field_validator("name", "kind")
    @classmethod
    def _no_control(cls, value: str) -> str:
        if value == NOISE or value.startswith(OWN_SIZE.format("")):
            raise ValueError("noise is the control and always runs; leave it out")
        if is_taken(value):
            raise ValueError(f"{value!r} reads as a control of an attack; give another name")
        return value

    def make(self, seed: int = 0) -> Any:
        """The attack; ``seed`` is that of what is random in it, where its arguments give none."""
        from lookaway.attacks.base import attack_of
        from lookaway.attacks.libraries import library_attack

        if self.library is None:
            made = attack_of(self.kind, self.options)
        else:
            made = library_attack(self.library, self.kind, self.options)
        made.name = self.name
        if "seed" not in self.options:
            made.seed = seed
        return made

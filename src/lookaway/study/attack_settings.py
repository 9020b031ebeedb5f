"""The attacks of a study: names, classes of the user's own, parameters."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from pydantic import ValidationInfo, model_serializer, model_validator

from lookaway.errors import InputError
from lookaway.registry import ATTACKS, is_own_code, known, short_name
from lookaway.study.fields import Settings, is_stored, mended


class AttackSpec(Settings):
    """An attack: its name in rows, what makes it, and the arguments of its class.

    In a study file a name such as ``fgsm``, or a mapping of a name to arguments, such as
    ``{name: fast, fgsm: {}}``.
    """

    name: str
    kind: str
    options: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _forms(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": short_name(value), "kind": value}
        if isinstance(value, AttackSpec) or (isinstance(value, Mapping) and "kind" in value):
            return value
        kinds = [key for key in value if key != "name"] if isinstance(value, Mapping) else []
        if len(kinds) != 1 or not isinstance(value[kinds[0]], Mapping | None):
            raise ValueError(
                "an attack is a name, or a mapping of one name to its arguments, such as "
                f"{{name: mine, {next(iter(ATTACKS))}: {{}}}}; got {value!r}"
            )
        (kind,) = kinds
        return {
            "name": value.get("name", short_name(str(kind))),
            "kind": kind,
            "options": dict(value[kind] or {}),
        }

    @model_validator(mode="after")
    def _possible(self, info: ValidationInfo) -> "AttackSpec":
        if self.name == "noise" or self.kind == "noise":
            raise ValueError("noise is the control and always runs; leave it out")
        mended(self.kind, partial(known, self.kind, ATTACKS, "attack"), info)
        check_trusted(self.kind, info)
        mended(self.kind, self._check_norm, info)
        return self

    @model_serializer
    def _plain(self) -> Any:
        """As short as a study file says it."""
        if not self.options and self.name == short_name(self.kind):
            return self.kind
        return {"name": self.name, self.kind: self.options}

    def _check_norm(self) -> None:
        norm = getattr(self.make(), "norm", "linf")
        if norm != "linf":
            raise InputError(
                f"{self.name} measures ε in {norm}, and a study's ε is the largest change of a "
                "pixel; la.measure(…) takes attacks of the other norm"
            )

    def make(self, seed: int = 0) -> Any:
        """The attack; ``seed`` is that of what is random in it, where its arguments give none."""
        from lookaway.attacks.base import attack_of

        made = attack_of(self.kind, self.options)
        made.name = self.name
        if "seed" not in self.options:
            made.seed = seed
        return made


def check_trusted(name: str, info: ValidationInfo) -> None:
    """Refuse a user's own code, unless the user said that it may run.

    Raises:
        ValueError: with what to do.
    """
    trusted = is_stored(info) or (info.context or {}).get("trust_code")
    if is_own_code(name) and not trusted:
        raise ValueError(
            f"{name!r} is code that this study would run; where you trust it, say so: "
            "lookaway run --trust-code, or run_study(…, trust_code=True)"
        )

"""What a study takes by name: of this package, or a class of the user's own, with arguments."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, ValidationInfo, model_serializer, model_validator

from lookaway.registry import EXPLAINERS, is_own_code, known, short_name
from lookaway.study.fields import Settings, is_stored, mended


class NamedSpec(Settings):
    """Its name in rows, what makes it, and the arguments of its class.

    In a study file a name such as ``fgsm``, or a mapping of a name to arguments, such as
    ``{name: fast, fgsm: {}}``.
    """

    what: ClassVar[str]
    table: ClassVar[Mapping[str, str]]

    name: Annotated[str, Field(min_length=1)]
    kind: str
    options: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _forms(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": short_name(value), "kind": value}
        if isinstance(value, NamedSpec) or (isinstance(value, Mapping) and "kind" in value):
            return value
        kinds = [key for key in value if key != "name"] if isinstance(value, Mapping) else []
        if len(kinds) != 1 or not isinstance(value[kinds[0]], Mapping | None):
            raise ValueError(
                f"an {cls.what} is a name, or a mapping of one name to its arguments, such as "
                f"{{name: mine, {next(iter(cls.table))}: {{}}}}; got {value!r}"
            )
        (kind,) = kinds
        return {
            "name": value.get("name", short_name(str(kind))),
            "kind": kind,
            "options": dict(value[kind] or {}),
        }

    @model_validator(mode="after")
    def _possible(self, info: ValidationInfo) -> Self:
        self.check_kind(info)
        mended(self.kind, self.make, info)
        return self

    def check_kind(self, info: ValidationInfo) -> None:
        """Refuse what there is not, and a user's own code that is not trusted."""
        mended(self.kind, partial(known, self.kind, self.table, self.what), info)
        check_trusted(self.kind, info)

    @model_serializer
    def _plain(self) -> Any:
        return self.as_given()

    def as_given(self) -> Any:
        """As short as a study file says it."""
        if not self.options and self.name == short_name(self.kind):
            return self.kind
        return {"name": self.name, self.kind: self.options}

    def make(self) -> Any:
        """The object of its class."""
        raise NotImplementedError


class ExplainerSpec(NamedSpec):
    """An explainer of a study."""

    what = "explainer"
    table = EXPLAINERS

    def make(self) -> Any:
        """The explainer."""
        from lookaway.explainers.base import explainer_of

        made = explainer_of(self.kind, self.options)
        made.name = self.name
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

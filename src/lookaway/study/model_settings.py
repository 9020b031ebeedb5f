"""The models of a study: where their weights come from, and what is trained."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    JsonValue,
    ValidationInfo,
    field_validator,
    model_validator,
)

from lookaway.places import local_path
from lookaway.registry import EMBEDDERS, imported, is_own_code, short_name
from lookaway.study.fields import (
    MOST,
    LearningRate,
    PathText,
    Seed,
    Settings,
    looked_up,
    mended,
    number,
    text,
)
from lookaway.study.named_settings import check_trusted
from lookaway.study.training_settings import Adversarial


def _channels(what: str) -> Callable[[Any], Any]:
    """Numbers of the channels from a list, or from one number for all."""

    def check(value: Any) -> Any:
        from lookaway.models.channels import check_channels

        if value is None:
            return value
        numbers = [number(each) for each in value] if isinstance(value, list) else number(value)
        found: list[float] = []
        mended("", lambda: found.extend(check_channels(what, numbers)))
        return found

    return check


def _tokens(value: Any) -> Any:
    from lookaway.models.token_grid import check_tokens

    return mended(value, partial(check_tokens, value))


def _names(value: Any) -> Any:
    """Class names as text: YAML reads ``10`` as a number."""
    if isinstance(value, list):
        return [str(name) if type(name) is int else name for name in value]
    return text(value)


def _check_name(value: str) -> None:
    from lookaway.models.zoo import check_name

    if value not in EMBEDDERS:
        check_name(value)


def _check_checkpoint(value: str) -> None:
    from lookaway.models.checkpoint import check_path

    check_path(local_path(value, "a checkpoint"))


# In place of a file with the names of a network's outputs; see ``study/class_order.py``.
CLASS_ORDERS = ("imagenet", "natural")
GIVEN = "given"  # in place of a module: a classifier that the caller gives in Python
OF_A_NETWORK = (  # what such a classifier has inside
    *("timm", "module", "arguments", "checkpoint", "averaged", "pretrained"),
    *("mean", "std", "input_size", "outputs", "tokens"),
)


class ModelSpec(Settings):
    """One network: where its weights come from and what is trained.

    ``timm``: its name there; else ``module``: what builds it, code of the user's own. What is the
    user's own is only loaded (``train: none``) unless the study says otherwise.
    ``classes``: which class each of its outputs is; None: what its checkpoint says, else the
    images' classes in sorted order. ``other_classes``: those that the images do not have: cut from
    its logits, or kept among them.
    ``train: enrol``: it gives embeddings, and the train images are enrolled: ``enrol`` of each
    person, all where it is None.
    ``adversarial``: None: as ``training`` says; False: on the images as they are.
    ``seed``: of its training; None: as ``training`` says. ``network``: what it is one of several
    trainings of, which are summed up together; None: its name.
    """

    name: Annotated[str, Field(min_length=1, max_length=300)]
    timm: Annotated[str, Field(min_length=1), looked_up(_check_name)] | None = None
    module: Annotated[str, Field(min_length=1)] | None = None
    arguments: dict[str, JsonValue] = {}
    checkpoint: Annotated[PathText, looked_up(_check_checkpoint)] | None = None
    averaged: bool | None = None
    pretrained: bool = True
    train: Literal["head", "fully_connected", "all", "none", "enrol"] = "head"
    enrol: Annotated[int, Field(ge=1, le=MOST)] | None = None
    classes: Annotated[
        Annotated[list[str], Field(min_length=1)] | PathText | None, BeforeValidator(_names)
    ] = None
    other_classes: Literal["cut", "keep"] = "cut"
    outputs: Literal["auto", "logits", "binary", "probabilities", "multilabel"] = "auto"
    mean: Annotated[list[float] | None, BeforeValidator(_channels("mean"))] = None
    std: Annotated[list[float] | None, BeforeValidator(_channels("std"))] = None
    input_size: Annotated[int, Field(ge=16, le=2048)] | None = None
    tokens: Annotated[list[int] | None, BeforeValidator(_tokens)] = None
    epochs: Annotated[int, Field(ge=1, le=MOST)] | None = None
    learning_rate: LearningRate | None = None
    adversarial: Adversarial | Literal[False] | None = None
    seed: Seed | None = None
    network: Annotated[str, Field(min_length=1, max_length=300)] | None = None

    @property
    def is_trained(self) -> bool:
        """Whether it learns."""
        return self.train in ("head", "fully_connected", "all")

    @property
    def of_network(self) -> str:
        """The network that it is one training of."""
        return self.network or self.name

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, given: Any) -> Any:
        if isinstance(given, str):
            given = {"name": given}
        if isinstance(given, Mapping):
            given = dict(given)
            names = (given.get("timm"), given.get("name"))
            named = next((name for name in names if isinstance(name, str)), None)
            if given.get("enrol") is not None or named in EMBEDDERS:
                given.setdefault("train", "enrol")
            if given.get("module") is not None:
                given.setdefault("train", "none")
                if isinstance(given["module"], str) and is_own_code(given["module"]):
                    given.setdefault("name", short_name(given["module"]))
            elif "timm" not in given and "name" in given:
                given["timm"] = given["name"]
            elif "name" not in given and "timm" in given:
                given["name"] = given["timm"]
        return given

    @field_validator("module")
    @classmethod
    def _builds(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None or value == GIVEN:
            return value
        if not is_own_code(value):
            raise ValueError(f"got {value!r}; possible: package.module:build, or {GIVEN}")
        check_trusted(value, info)
        return mended(value, partial(imported, value, "network"), info)

    @field_validator("classes")
    @classmethod
    def _readable(
        cls, value: list[str] | str | None, info: ValidationInfo
    ) -> list[str] | str | None:
        from lookaway.models.class_names import output_names, read_names

        if isinstance(value, list):
            mended("", lambda: output_names(value), info)
        elif value is not None and value not in CLASS_ORDERS:
            mended("", lambda: read_names(local_path(value, "a file of classes")), info)
        return value

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.timm is None) == (self.module is None):
            raise ValueError("a model has timm or module: which of them builds it")
        twice = ["arguments"] if self.timm is not None else ["pretrained"]
        twice = [*OF_A_NETWORK[2:]] if self.module == GIVEN else twice
        defaults = {name: type(self).model_fields[name].default for name in twice}
        odd = [name for name in twice if getattr(self, name) != defaults[name]]
        if odd:
            what = (
                "a timm name"
                if self.timm
                else "a classifier that is given"
                if (self.module == GIVEN)
                else "module"
            )
            raise ValueError(f"{', '.join(odd)}: cannot stand beside {what}")
        return self

    @model_validator(mode="after")
    def _trainable(self) -> Self:
        if self.train != "none" and self.outputs == "probabilities":
            raise ValueError(
                "outputs: probabilities is only for train: none; what is trained gives logits"
            )
        of_training = [name for name in ("adversarial", "seed") if getattr(self, name) is not None]
        if of_training and not self.is_trained:
            raise ValueError(
                f"{' and '.join(of_training)}: of how a model is trained; this one has train: "
                f"{self.train}"
            )
        return self

    @model_validator(mode="after")
    def _for_enrolling(self) -> Self:
        if self.train != "enrol":
            if self.timm in EMBEDDERS:
                raise ValueError(f"{self.timm} gives embeddings, not classes; use train: enrol")
            if self.enrol is not None:
                raise ValueError("enrol is for train: enrol: how many images of a person it takes")
            return self
        fields = type(self).model_fields
        without = ["outputs", "epochs", "learning_rate"]
        without += ["checkpoint", "tokens"] if self.timm in EMBEDDERS else []
        odd = [name for name in without if getattr(self, name) != fields[name].default]
        if odd:
            raise ValueError(f"{', '.join(odd)}: cannot stand beside train: enrol of this network")
        return self

    @model_validator(mode="after")
    def _for_checkpoints(self) -> Self:
        if self.averaged is not None and self.checkpoint is None:
            raise ValueError("averaged says which weights of a checkpoint to take; give checkpoint")
        given = [name for name in ("classes", "other_classes") if name in self.model_fields_set]
        if self.train != "none" and (self.classes is not None or self.other_classes != "cut"):
            raise ValueError(
                f"{' and '.join(given)}: only for train: none; what is trained learns the images' "
                "classes in their own order"
            )
        return self

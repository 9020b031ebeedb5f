"""Every setting of a study: its default, and what it may be."""

import importlib.util
import math
import re
from collections.abc import Callable, Mapping
from fractions import Fraction as Rational
from functools import partial
from pathlib import PurePath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from lookaway.attacks import ATTACKS, load_attack
from lookaway.data.samples import open_source
from lookaway.errors import LookawayError, nearest
from lookaway.explainers import EXPLAINERS
from lookaway.places import RemotePath, local_path

Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
_MOST = 10**9  # of anything that is counted
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_FRACTION = re.compile(r"(\d+) ?/ ?(\d+)", re.ASCII)


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Split(_Settings):
    """How images are divided; the fractions add up to 1."""

    train: Fraction = 0.8
    val: Fraction = 0.1
    test: Fraction = 0.1
    seed: Seed = 0

    @model_validator(mode="after")
    def _whole(self) -> Self:
        total = self.train + self.val + self.test
        if not math.isclose(total, 1.0, abs_tol=1e-6):
            raise ValueError(f"train, val and test add up to {total:g}; they must add up to 1")
        if self.test == 0:
            raise ValueError("test is 0; the study measures on test images, so give them a share")
        return self


class FolderSplit(_Settings):
    """The parts that the image folder has are kept; the seed is of what else is drawn."""

    by: Literal["folders"]
    seed: Seed = 0


def _split(value: Any) -> Any:
    if isinstance(value, str):
        if value != "folders":
            raise ValueError(
                f"got {value!r}; possible: folders, or {{train: 0.8, val: 0.1, test: 0.1, seed: 0}}"
            )
        return {"by": "folders"}
    if isinstance(value, Mapping) and "by" in value:
        odd = [str(name) for name in value if name not in FolderSplit.model_fields]
        if odd:
            raise ValueError(f"{', '.join(odd)}: cannot stand beside `by: folders`; seed alone can")
    return value


def _kind_of_split(value: Any) -> str:
    by_folders = isinstance(value, FolderSplit) or (isinstance(value, Mapping) and "by" in value)
    return "folders" if by_folders else "fractions"


def _number(value: Any) -> Any:
    """A number in any of YAML's forms: ``1`` and ``1e-3`` (text, to YAML 1.1) are floats too."""
    if isinstance(value, str):
        return float(value) if _DECIMAL.fullmatch(value) else value
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value) if abs(value) < 2**1023 else math.inf if value > 0 else -math.inf
    return value


def _level(value: Any) -> Any:
    """A number, or a fraction such as ``8/255``, exactly."""
    found = _FRACTION.fullmatch(value) if isinstance(value, str) else None
    try:
        return float(Rational(*map(int, found.groups()))) if found else _number(value)
    except (ValueError, ArithmeticError):  # thousands of digits, or a share of nothing
        return value


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, PurePath | RemotePath) else value


def _channels(what: str) -> Callable[[Any], Any]:
    """Numbers of the channels from a list, or from one number for all."""

    def check(value: Any) -> Any:
        from lookaway.models.channels import check_channels

        if value is None:
            return value
        numbers = [_number(each) for each in value] if isinstance(value, list) else _number(value)
        found: list[float] = []
        _mended("", lambda: found.extend(check_channels(what, numbers)))
        return found

    return check


def _names(value: Any) -> Any:
    """Class names as text: YAML reads ``10`` as a number."""
    if isinstance(value, list):
        return [str(name) if type(name) is int else name for name in value]
    return _text(value)


Number = Annotated[float, BeforeValidator(_number)]
LearningRate = Annotated[Number, Field(gt=0.0, allow_inf_nan=False)]
PathText = Annotated[str, BeforeValidator(_text), Field(min_length=1)]


class Data(_Settings):
    """Which images, and how they are prepared."""

    folder: PathText
    classes: Annotated[int, Field(ge=2, le=_MOST)] | None = None
    image_size: Annotated[int, Field(ge=16, le=2048)] = 224
    channels: Literal[1, 3] = 3
    range: Annotated[list[Number], Field(min_length=2, max_length=2)] | None = None
    variants: Annotated[list[Literal["none", "cascade", "landmarks"]], Field(min_length=1)] = [
        "none"
    ]
    landmarks: PathText | None = None
    without_face: Literal["crop", "drop"] = "crop"
    split: Annotated[
        Annotated[Split, Tag("fractions")] | Annotated[FolderSplit, Tag("folders")],
        Discriminator(_kind_of_split),
        BeforeValidator(_split),
    ] = Split()

    @field_validator("folder")
    @classmethod
    def _there(cls, value: str) -> str:
        return _mended(value, lambda: open_source(value))

    @field_validator("landmarks")
    @classmethod
    def _here(cls, value: str | None) -> str | None:
        return value if value is None else _mended(value, lambda: local_path(value, "landmarks"))

    @field_validator("range")
    @classmethod
    def _rising(cls, value: list[float] | None) -> list[float] | None:
        if value is not None and not -math.inf < value[0] < value[1] < math.inf:
            raise ValueError(f"got {value}; give the number that is black, then a larger for white")
        return value

    @field_validator("variants")
    @classmethod
    def _once(cls, value: list[str]) -> list[str]:
        return _unique(value)

    @model_validator(mode="after")
    def _points(self) -> Self:
        if "landmarks" in self.variants and self.landmarks is None:
            raise ValueError(
                "the variant landmarks needs landmarks: a CSV of boxes and points, or a folder of "
                "such files"
            )
        if self.landmarks is not None and "landmarks" not in self.variants:
            raise ValueError(
                "landmarks is given, but no variant uses it; add landmarks to variants"
            )
        return self


# In place of a file with the names of a network's outputs; see ``study/class_order.py``.
CLASS_ORDERS = ("imagenet", "natural")


class ModelSpec(_Settings):
    """One network: where its weights come from and what is trained.

    ``classes``: which class each of its outputs is; None: what its checkpoint says, else the
    images' classes in sorted order. ``other_classes``: those that the images do not have: cut from
    its logits, or kept among them.
    """

    name: Annotated[str, Field(min_length=1, max_length=300)]
    timm: Annotated[str, Field(min_length=1)]
    checkpoint: PathText | None = None
    averaged: bool | None = None
    pretrained: bool = True
    train: Literal["head", "fully_connected", "all", "none"] = "head"
    classes: Annotated[
        Annotated[list[str], Field(min_length=1)] | PathText | None, BeforeValidator(_names)
    ] = None
    other_classes: Literal["cut", "keep"] = "cut"
    outputs: Literal["auto", "logits", "binary", "probabilities", "multilabel"] = "auto"
    mean: Annotated[list[float] | None, BeforeValidator(_channels("mean"))] = None
    std: Annotated[list[float] | None, BeforeValidator(_channels("std"))] = None
    input_size: Annotated[int, Field(ge=16, le=2048)] | None = None
    epochs: Annotated[int, Field(ge=1, le=_MOST)] | None = None
    learning_rate: LearningRate | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, given: Any) -> Any:
        if isinstance(given, str):
            return {"name": given, "timm": given}
        if isinstance(given, Mapping):
            given = dict(given)
            if "timm" not in given and "name" in given:
                given["timm"] = given["name"]
            elif "name" not in given and "timm" in given:
                given["name"] = given["timm"]
        return given

    @field_validator("timm")
    @classmethod
    def _known(cls, value: str) -> str:
        from lookaway.models.zoo import check_name

        return _mended(value, lambda: check_name(value))

    @field_validator("checkpoint")
    @classmethod
    def _there(cls, value: str | None) -> str | None:
        from lookaway.models.weights import check_path

        return (
            value
            if value is None
            else _mended(value, lambda: check_path(local_path(value, "a checkpoint")))
        )

    @field_validator("classes")
    @classmethod
    def _readable(cls, value: list[str] | str | None) -> list[str] | str | None:
        from lookaway.models.class_names import output_names, read_names

        if isinstance(value, list):
            _mended("", lambda: output_names(value))
        elif value is not None and value not in CLASS_ORDERS:
            _mended("", lambda: read_names(local_path(value, "a file of classes")))
        return value

    @model_validator(mode="after")
    def _trainable(self) -> Self:
        if self.train != "none" and self.outputs == "probabilities":
            raise ValueError(
                "outputs: probabilities is only for train: none; what is trained gives logits"
            )
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


class Training(_Settings):
    """How heads and networks are trained; a model may have epochs and a rate of its own.

    ``precision`` is that of networks trained whole: auto is bfloat16 where the processor has it.
    Heads are always trained in float32.
    """

    epochs: Annotated[int, Field(ge=1, le=_MOST)] = 60
    batch_size: Annotated[int, Field(ge=1, le=_MOST)] = 32
    learning_rate: LearningRate = 0.001
    precision: Literal["auto", "float32", "bfloat16"] = "auto"


class Explain(_Settings):
    """What is explained."""

    method: str = "gradcam"
    layers: Literal["last", "convs", "stages"] | Annotated[list[str], Field(min_length=1)] = "last"
    layers_of: Literal["all", "pictured"] = "all"
    explained_class: Annotated[
        list[Literal["own", "clean", "label"]], Field(min_length=1, max_length=3)
    ] = ["own", "clean"]
    pictured: Annotated[int, Field(ge=0, le=_MOST)] = 24

    @field_validator("method")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in EXPLAINERS:
            raise ValueError(f"there is no explainer {value!r}; possible: {', '.join(EXPLAINERS)}")
        return value

    @field_validator("explained_class")
    @classmethod
    def _once(cls, value: list[str]) -> list[str]:
        return _unique(value)


class Measure(_Settings):
    """How heatmaps are compared."""

    ssim: Literal["gaussian11", "uniform7"] = "gaussian11"
    grid: Annotated[int, Field(ge=11, le=2048)] = 224


class Run(_Settings):
    """Where and how the work is done; the last three are of the engine ray.

    ``address``: of a cluster; None: this machine. ``workers``: None: as many as there is room for.
    """

    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1, le=_MOST)] = "auto"
    engine: Literal["local", "ray"] = "local"
    address: Annotated[str, Field(min_length=1)] | None = None
    workers: Annotated[int, Field(ge=1, le=_MOST)] | None = None
    cpus_per_worker: Annotated[int, Field(ge=1, le=_MOST)] = 1

    @field_validator("engine")
    @classmethod
    def _installed(cls, value: str) -> str:
        if value == "ray" and importlib.util.find_spec("ray") is None:
            raise ValueError("ray is not installed; pip install 'lookaway[ray]'")
        return value

    @model_validator(mode="after")
    def _for_ray(self) -> Self:
        theirs = ("address", "workers", "cpus_per_worker")
        fields = type(self).model_fields
        given = [name for name in theirs if getattr(self, name) != fields[name].default]
        if self.engine == "local" and given:
            raise ValueError(f"{', '.join(given)}: only for `engine: ray`")
        return self


def _mended(value: str, check: Callable[[], object]) -> str:
    """A value that passes a check, whose error becomes one of the study file's problems."""
    try:
        check()
    except LookawayError as error:
        raise ValueError(str(error)) from error
    return value


def _unique(values: list[Any]) -> list[Any]:
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        raise ValueError(f"given twice: {', '.join(str(value) for value in twice)}")
    return values


class Study(_Settings):
    """A study, whole and valid. See the README for the file's form."""

    data: Data
    models: Annotated[list[ModelSpec], Field(min_length=1)]
    training: Training = Training()
    attacks: Annotated[list[str], Field(min_length=1)] = ["fgsm"]
    transfer_from: list[str] = []
    epsilons: Annotated[list[Annotated[float, BeforeValidator(_level)]], Field(min_length=1)] = [
        0.01,
        0.05,
        0.075,
        0.1,
    ]
    quantize: bool = False
    explain: Explain = Explain()
    measure: Measure = Measure()
    run: Run = Run()

    @field_validator("models")
    @classmethod
    def _names(cls, value: list[ModelSpec]) -> list[ModelSpec]:
        _unique([spec.name for spec in value])
        return value

    @field_validator("attacks")
    @classmethod
    def _attacks(cls, value: list[str]) -> list[str]:
        for name in value:
            if name == "noise":
                raise ValueError("noise is the control and always runs; leave it out")
            if name not in ATTACKS:
                known = ", ".join(ATTACKS)
                raise ValueError(
                    f"there is no attack {name!r};{nearest(name, ATTACKS)} possible: {known}"
                )
            _mended(name, partial(load_attack, name))
        return _unique(value)

    @field_validator("transfer_from")
    @classmethod
    def _sources(cls, value: list[str]) -> list[str]:
        return _unique(value)

    @field_validator("epsilons")
    @classmethod
    def _levels(cls, value: list[float]) -> list[float]:
        outside = [level for level in value if not 0.0 < level <= 1.0]
        if outside:
            raise ValueError(
                f"outside (0, 1]: {', '.join(f'{level:g}' for level in outside)}; pixels lie in "
                "[0, 1], so 8/255 is 0.0314, and the clean image is always there"
            )
        return sorted(_unique(value))


# Every setting either changes the rows, or only where and how the work is done. What a path
# points to is known by its content's hash, so the path itself changes nothing; so are the weights
# that are taken. The plan holds the classes as they were found (``class_order``).
RUNTIME_SETTINGS = frozenset(
    {
        "data.folder",
        "data.landmarks",
        "models.checkpoint",
        "models.averaged",
        "models.classes",
        "run.engine",
        "run.address",
        "run.workers",
        "run.cpus_per_worker",
    }
)


def settings_that_change_results(study: Study) -> dict[str, Any]:
    """The settings of a study without those that only say where and how to run."""
    kept = study.model_dump(mode="json")
    for path in RUNTIME_SETTINGS:
        section, _, key = path.partition(".")
        for part in kept[section] if isinstance(kept[section], list) else [kept[section]]:
            del part[key]
    return kept

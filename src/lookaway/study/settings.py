"""Every setting of a study: its default, and what it may be."""

import importlib.util
from functools import partial
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from lookaway.registry import EXPLAINERS, is_own_code, known
from lookaway.study.attack_settings import AttackSpec, check_trusted
from lookaway.study.data_settings import Data as Data
from lookaway.study.data_settings import FolderSplit as FolderSplit
from lookaway.study.data_settings import Split as Split
from lookaway.study.fields import MOST, LearningRate, Settings, is_stored, level, mended, unique
from lookaway.study.model_settings import CLASS_ORDERS as CLASS_ORDERS
from lookaway.study.model_settings import GIVEN as GIVEN
from lookaway.study.model_settings import OF_A_NETWORK as OF_A_NETWORK
from lookaway.study.model_settings import ModelSpec as ModelSpec


class Training(Settings):
    """How heads and networks are trained; a model may have epochs and a rate of its own.

    ``precision`` is that of networks trained whole: auto is bfloat16 where the processor has it.
    Heads are always trained in float32.
    """

    epochs: Annotated[int, Field(ge=1, le=MOST)] = 60
    batch_size: Annotated[int, Field(ge=1, le=MOST)] = 32
    learning_rate: LearningRate = 0.001
    precision: Literal["auto", "float32", "bfloat16"] = "auto"


def _make_explainer(name: str) -> None:
    from lookaway.explainers.base import explainer_of

    explainer_of(name)


class Explain(Settings):
    """What is explained."""

    method: str = "gradcam"
    layers: Literal["last", "convs", "stages"] | Annotated[list[str], Field(min_length=1)] = "last"
    layers_of: Literal["all", "pictured"] = "all"
    explained_class: Annotated[
        list[Literal["own", "clean", "label"]], Field(min_length=1, max_length=3)
    ] = ["own", "clean"]
    pictured: Annotated[int, Field(ge=0, le=MOST)] = 24

    @field_validator("method")
    @classmethod
    def _possible(cls, value: str, info: ValidationInfo) -> str:
        mended(value, partial(known, value, EXPLAINERS, "explainer"), info)
        check_trusted(value, info)
        return mended(value, partial(_make_explainer, value), info) if is_own_code(value) else value

    @field_validator("explained_class")
    @classmethod
    def _once(cls, value: list[str]) -> list[str]:
        return unique(value)


class Measure(Settings):
    """How heatmaps are compared."""

    ssim: Literal["gaussian11", "uniform7"] = "gaussian11"
    grid: Annotated[int, Field(ge=11, le=2048)] = 224


class Run(Settings):
    """Where and how the work is done; the last three are of the engine ray.

    ``address``: of a cluster; None: this machine. ``workers``: None: as many as there is room for.
    """

    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1, le=MOST)] = "auto"
    engine: Literal["local", "ray"] = "local"
    address: Annotated[str, Field(min_length=1)] | None = None
    workers: Annotated[int, Field(ge=1, le=MOST)] | None = None
    cpus_per_worker: Annotated[int, Field(ge=1, le=MOST)] = 1

    @field_validator("engine")
    @classmethod
    def _installed(cls, value: str, info: ValidationInfo) -> str:
        if value == "ray" and not is_stored(info) and importlib.util.find_spec("ray") is None:
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


class Report(Settings):
    """What the page shows: ``paper``, the tables and figures of the paper in its own form too."""

    paper: bool = False


class Study(Settings):
    """A study, whole and valid. See ``docs/settings.md`` for the file's form."""

    data: Data
    models: Annotated[list[ModelSpec], Field(min_length=1)]
    training: Training = Training()
    attacks: Annotated[list[AttackSpec], Field(min_length=1)] = [
        AttackSpec.model_construct(name="fgsm", kind="fgsm")  # not made here: that needs PyTorch
    ]
    transfer_from: list[str] = []
    epsilons: Annotated[list[Annotated[float, BeforeValidator(level)]], Field(min_length=1)] = [
        0.01,
        0.05,
        0.075,
        0.1,
    ]
    quantize: bool = False
    explain: Explain = Explain()
    measure: Measure = Measure()
    run: Run = Run()
    report: Report = Report()

    @field_validator("models")
    @classmethod
    def _names(cls, value: list[ModelSpec]) -> list[ModelSpec]:
        unique([spec.name for spec in value])
        return value

    @field_validator("attacks")
    @classmethod
    def _attacks(cls, value: list[AttackSpec]) -> list[AttackSpec]:
        unique([attack.name for attack in value])
        return value

    @field_validator("transfer_from")
    @classmethod
    def _sources(cls, value: list[str]) -> list[str]:
        return unique(value)

    @field_validator("epsilons")
    @classmethod
    def _levels(cls, value: list[float]) -> list[float]:
        outside = [level for level in value if not 0.0 < level <= 1.0]
        if outside:
            raise ValueError(
                f"outside (0, 1]: {', '.join(f'{level:g}' for level in outside)}; pixels lie in "
                "[0, 1], so 8/255 is 0.0314, and the clean image is always there"
            )
        return sorted(unique(value))


# Every setting either changes the rows, or only where and how the work is done. What a path
# points to is known by its content's hash, so the path itself changes nothing; so are the weights
# that are taken. The plan holds the classes as they were found (``class_order``).
RUNTIME_SETTINGS = frozenset(
    {
        "data.folder",
        "data.table",
        "data.landmarks",
        "models.checkpoint",
        "models.averaged",
        "models.classes",
        "report.paper",
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

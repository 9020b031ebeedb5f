"""Every setting of a study: its default, and what it may be."""

import importlib.util
import math
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from lookaway.controls import Counts
from lookaway.hashing import seed_from
from lookaway.study.attack_settings import AttackSpec
from lookaway.study.data_settings import Data as Data
from lookaway.study.data_settings import FolderSplit as FolderSplit
from lookaway.study.data_settings import Split as Split
from lookaway.study.fields import MOST, Settings, is_stored, level, mended, unique
from lookaway.study.model_settings import CLASS_ORDERS as CLASS_ORDERS
from lookaway.study.model_settings import GIVEN as GIVEN
from lookaway.study.model_settings import OF_A_NETWORK as OF_A_NETWORK
from lookaway.study.model_settings import ModelSpec as ModelSpec
from lookaway.study.named_settings import ExplainerSpec
from lookaway.study.training_settings import Adversarial as Adversarial
from lookaway.study.training_settings import Training as Training


def _once_each(value: list[Any]) -> list[Any]:
    unique([spec.name for spec in value])
    return value


_Once = AfterValidator(_once_each)


class Explain(Settings):
    """What is explained, and how; ``method: gradcam`` is ``methods: [gradcam]``."""

    methods: Annotated[list[ExplainerSpec], Field(min_length=1), _Once] = [
        ExplainerSpec.model_construct(name="gradcam", kind="gradcam")  # making it needs PyTorch
    ]
    layers: Literal["last", "convs", "stages"] | Annotated[list[str], Field(min_length=1)] = "last"
    layers_of: Literal["all", "pictured"] = "all"
    explained_class: Annotated[
        list[Literal["own", "clean", "label"]],
        Field(min_length=1, max_length=3),
        AfterValidator(unique),
    ] = ["own", "clean"]
    pictured: Annotated[int, Field(ge=0, le=MOST)] = 24

    @model_validator(mode="before")
    @classmethod
    def _one_method(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or "method" not in value:
            return value
        if "methods" in value:
            raise ValueError("method and methods are given; leave method out")
        return {"methods": [value["method"]], **{k: v for k, v in value.items() if k != "method"}}


class Measure(Settings):
    """How heatmaps are compared."""

    ssim: Literal["gaussian11", "uniform7"] = "gaussian11"
    grid: Annotated[int, Field(ge=11, le=2048)] = 224


_Few = Annotated[int, Field(ge=0, le=100)]


class Controls(Settings):
    """How many controls with an attack's own shape every image is measured under.

    Noise always is one beside them; see ``controls.Counts``. ``sanity``: each model is measured
    again with its weights drawn anew.
    """

    shifted: _Few = 2
    transplanted: _Few = 0
    spectrum: _Few = 0
    noise: _Few = 0
    sanity: bool = False

    @property
    def counts(self) -> Counts:
        """The same, as those who make them have it."""
        return Counts(self.shifted, self.transplanted, self.spectrum, self.noise)


class Run(Settings):
    """Where and how the work is done; the last three are of the engine ray.

    ``address``: of a cluster; None: this machine. ``workers``: None: as many as there is room for.
    """

    device: Annotated[str, Field(pattern=r"^(auto|all|cpu|cuda(:\d+)?)$")] = "auto"
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


def several(spec: ModelSpec) -> bool:
    """Whether a model is trained once with each seed of a study."""
    return spec.is_trained and spec.seed is None


def _norm(attacks: list[AttackSpec]) -> str:
    from lookaway.attacks.base import norm_of

    return norm_of(attack.make() for attack in attacks)


class Study(Settings):
    """A study, whole and valid. See ``docs/settings.md`` for the file's form."""

    data: Data
    models: Annotated[list[ModelSpec], Field(min_length=1), _Once]
    training: Training = Training()
    attacks: Annotated[list[AttackSpec], Field(min_length=1), _Once] = [
        AttackSpec.model_construct(name="fgsm", kind="fgsm")
    ]
    transfer_from: Annotated[list[str], AfterValidator(unique)] = []
    epsilons: Annotated[list[Annotated[float, BeforeValidator(level)]], Field(min_length=1)] = [
        0.01,
        0.05,
        0.075,
        0.1,
    ]
    quantize: bool = False
    controls: Controls = Controls()
    explain: Explain = Explain()
    measure: Measure = Measure()
    run: Run = Run()
    report: Report = Report()

    @model_validator(mode="after")
    def _expanded(self) -> Self:
        """A model for each training of a network, where there are several seeds.

        Each is named after its network and seed. A network that makes perturbations for all others
        does so as its first training.
        """
        seeds = self.training.seeds
        if len(seeds) > 1:
            models = [
                spec.model_copy(update={"name": name, "seed": seed, "network": spec.of_network})
                if several(spec)
                else spec
                for spec in self.models
                for seed in (seeds if several(spec) else [None])
                for name in [f"{spec.name} (seed {seed})"]
            ]
            first = {
                spec.name: f"{spec.name} (seed {seeds[0]})" for spec in self.models if several(spec)
            }
            self.__dict__["models"] = _once_each(models)
            self.__dict__["transfer_from"] = [first.get(name, name) for name in self.transfer_from]
        return self

    def place_in_file(self, index: int) -> int:
        """Where a study file has the model of a place: trainings of one network stand once."""
        names = [spec.of_network for spec in self.models[: index + 1]]
        return len(dict.fromkeys(names)) - 1

    def seed_of(self, spec: ModelSpec) -> int | None:
        """The seed of a model's training; None: it is not trained."""
        if not spec.is_trained:
            return None
        return self.training.seeds[0] if spec.seed is None else spec.seed

    def random(self, purpose: str, spec: ModelSpec) -> int:
        """The seed of what is random in a model, for a purpose."""
        seed = self.seed_of(spec)
        return seed_from(self.data.split.seed, purpose, spec.of_network, *([seed] if seed else []))

    def training_of(self, spec: ModelSpec) -> dict[str, Any]:
        """All settings that a model's training follows from, as plain data.

        Other models, and other seeds, change nothing of it. Empty where it learns nothing.
        """
        if not spec.is_trained:
            return {}
        adversarial = self.adversarial(spec)
        return {
            "network": spec.of_network,
            "seed": self.seed_of(spec),
            "epochs": spec.epochs or self.training.epochs,
            "batch_size": self.training.batch_size,
            "learning_rate": spec.learning_rate or self.training.learning_rate,
            "precision": self.training.precision if spec.train == "all" else None,
            "adversarial": adversarial and adversarial.model_dump(mode="json"),
        }

    def adversarial(self, spec: ModelSpec) -> Adversarial | None:
        """Whose attacked images a model learns from; None: from the images as they are."""
        if not spec.is_trained:
            return None
        own = spec.adversarial
        return self.training.adversarial if own is None else own or None

    @field_validator("attacks")
    @classmethod
    def _one_norm(cls, value: list[AttackSpec], info: ValidationInfo) -> list[AttackSpec]:
        mended("attacks", partial(_norm, value), info)
        return value

    @field_validator("epsilons")
    @classmethod
    def _levels(cls, value: list[float], info: ValidationInfo) -> list[float]:
        stored = is_stored(info)  # its levels were checked, and its attacks may not be there
        lengths = stored or _norm(info.data.get("attacks", [])) == "l2"
        most = math.inf if lengths else 1.0
        outside = [level for level in value if not 0.0 < level <= most or math.isinf(level)]
        if outside and lengths:
            raise ValueError(
                f"no lengths of a change: {', '.join(f'{level:g}' for level in outside)}; an "
                "attack in L2 needs finite numbers above 0, and the clean image is always there"
            )
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
        "controls.sanity",
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

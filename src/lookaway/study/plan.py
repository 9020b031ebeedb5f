"""The study file: every setting, its default, and what it may be."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from lookaway.attacks import ATTACKS
from lookaway.data.samples import PREFIX, open_source
from lookaway.errors import LookawayError, Problem, StudyError, nearest
from lookaway.study.yaml_lines import Lines, Place, read_yaml

Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


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


class Data(_Settings):
    """Which images, and how they are prepared."""

    folder: Annotated[str, Field(min_length=1)]
    classes: Annotated[int, Field(ge=2)] | None = None
    image_size: Annotated[int, Field(ge=16, le=2048)] = 224
    variants: Annotated[list[Literal["none"]], Field(min_length=1)] = ["none"]
    landmarks: None = None
    without_face: Literal["crop", "drop"] = "crop"
    split: Split = Split()

    @field_validator("folder")
    @classmethod
    def _there(cls, value: str) -> str:
        return _mended(value, lambda: open_source(value))


class ModelSpec(_Settings):
    """One network: where its weights come from and what is trained."""

    name: Annotated[str, Field(min_length=1, max_length=300)]
    timm: Annotated[str, Field(min_length=1)]
    checkpoint: str | None = None
    pretrained: bool = True
    train: Literal["head", "fully_connected", "all", "none"] = "head"
    input_size: Annotated[int, Field(ge=16, le=2048)] | None = None

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

        return value if value is None else _mended(value, lambda: check_path(Path(value)))


class Training(_Settings):
    """How heads and networks are trained."""

    epochs: Annotated[int, Field(ge=1)] = 60
    batch_size: Annotated[int, Field(ge=1)] = 32
    learning_rate: Annotated[float, Field(gt=0.0)] = 0.001


class Explain(_Settings):
    """What is explained."""

    method: Literal["gradcam"] = "gradcam"
    layers: Literal["last", "convs", "stages"] | Annotated[list[str], Field(min_length=1)] = "last"
    explained_class: Annotated[
        list[Literal["own", "clean", "label"]], Field(min_length=1, max_length=3)
    ] = ["own", "clean"]
    pictured: Annotated[int, Field(ge=0)] = 24

    @field_validator("explained_class")
    @classmethod
    def _once(cls, value: list[str]) -> list[str]:
        return _unique(value)


class Measure(_Settings):
    """How heatmaps are compared."""

    ssim: Literal["gaussian11", "uniform7"] = "gaussian11"
    grid: Annotated[int, Field(ge=11, le=2048)] = 224


class Run(_Settings):
    """Where and how the work is done."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto"
    precision: Literal["float32"] = "float32"
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    engine: Literal["local"] = "local"


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


def _number(value: Any) -> Any:
    """Whole numbers stand for floats, as in YAML ``1``; true and false do not."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


class Study(_Settings):
    """A study, whole and valid. See the README for the file's form."""

    data: Data
    models: Annotated[list[ModelSpec], Field(min_length=1)]
    training: Training = Training()
    attacks: Annotated[list[str], Field(min_length=1)] = ["fgsm"]
    transfer_from: list[str] = []
    epsilons: Annotated[list[Annotated[float, BeforeValidator(_number)]], Field(min_length=1)] = [
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
# points to is known by its content's hash, so the path itself changes nothing.
RUNTIME_SETTINGS = frozenset({"data.folder", "models.checkpoint", "run.engine"})


def settings_that_change_results(study: Study) -> dict[str, Any]:
    """The settings of a study without those that only say where and how to run."""
    kept = study.model_dump(mode="json")
    for path in RUNTIME_SETTINGS:
        section, _, key = path.partition(".")
        for part in kept[section] if isinstance(kept[section], list) else [kept[section]]:
            del part[key]
    return kept


def parse_study(given: Any, problems_at: Lines | None = None, source: str = "the study") -> Study:
    """Check a study as plain data, all of it at once.

    Args:
        given: what the file holds.
        problems_at: ``Lines`` of the file, if there is one.
        source: the file's name, for the error.

    Raises:
        StudyError: with every problem.
    """
    line = problems_at.of if problems_at is not None else (lambda _place: 0)
    if not isinstance(given, Mapping):
        raise StudyError(
            [Problem(0, "file", "a study needs at least `data: {folder: …}` and `models: […]`")],
            source,
        )
    problems: list[Problem] = []
    study: Study | None = None
    try:
        study = Study.model_validate(dict(given))
    except ValidationError as error:
        problems = [
            Problem(line(place), _dotted(place), message) for place, message in _told(error, given)
        ]
    for index, message in _unknown_sources(given):
        place: Place = ("transfer_from", index)
        problems.append(Problem(line(place), _dotted(place), message))
    for index, message in _untrainable(study):
        place = ("models", index, "train")
        problems.append(Problem(line(place), _dotted(place), message))
    if study is None or problems:
        raise StudyError(problems, source)
    return study


def read_study(path: Path | str, data: str | Path | None = None) -> tuple[Study, Lines]:
    """Read and check a study file.

    Relative paths in it are taken from its own folder.

    Args:
        path: the file.
        data: in place of ``data.folder``, taken from the working folder.

    Returns:
        The study and the lines of its settings.

    Raises:
        StudyError: with every problem, each with its line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StudyError([Problem(0, "file", f"cannot be read: {reason}")], str(path)) from error
    given, lines = read_yaml(text, str(path))
    if isinstance(given, dict):
        if data is not None and isinstance(given.setdefault("data", {}), dict):
            sample = str(data).startswith(PREFIX)
            given["data"]["folder"] = str(data) if sample else str(Path(data).resolve())
        _anchor(given, path.parent)
    return parse_study(given, lines, str(path)), lines


def write_study(study: Study) -> str:
    """The resolved study as YAML: every setting, defaults too."""
    return yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _anchor(given: dict[str, Any], folder: Path) -> None:
    """Take relative paths from the study file's folder."""
    data = given.get("data")
    root = data.get("folder") if isinstance(data, dict) else None
    if isinstance(data, dict) and isinstance(root, str) and not root.startswith(PREFIX):
        data["folder"] = str((folder / Path(root).expanduser()).resolve())
    models = given.get("models")
    for spec in models if isinstance(models, list) else []:
        if isinstance(spec, dict) and isinstance(spec.get("checkpoint"), str):
            spec["checkpoint"] = str((folder / Path(spec["checkpoint"]).expanduser()).resolve())


def _unknown_sources(given: Mapping[Any, Any]) -> list[tuple[int, str]]:
    models, sources = given.get("models"), given.get("transfer_from")
    if not isinstance(models, list) or not isinstance(sources, list):
        return []
    names = [
        str(spec if isinstance(spec, str) else spec.get("name", spec.get("timm", "")))
        for spec in models
        if isinstance(spec, str | dict)
    ]
    return [
        (
            index,
            f"{source!r} is not among the models;{nearest(str(source), names)} possible: "
            f"{', '.join(names)}",
        )
        for index, source in enumerate(sources)
        if str(source) not in names
    ]


def _untrainable(study: Study | None) -> list[tuple[int, str]]:
    if study is None:
        return []
    empty = [part for part in ("train", "val") if getattr(study.data.split, part) == 0]
    return [
        (
            index,
            f"{spec.train} needs images to train on, but split gives none to {' and '.join(empty)}",
        )
        for index, spec in enumerate(study.models)
        if empty and spec.train != "none"
    ]


def _told(error: ValidationError, given: Any) -> list[tuple[Place, str]]:
    """Each of pydantic's complaints as what was given and what is possible."""
    told: dict[Place, str] = {}
    for fault in error.errors(include_url=False):
        place = _place(fault["loc"], given)
        message = _message(fault["type"], fault, place)
        if place in told and message not in told[place]:
            told[place] += f"; or {message}"
        else:
            told.setdefault(place, message)
    return list(told.items())


def _place(location: tuple[str | int, ...], given: Any) -> Place:
    """The part of pydantic's location that stands in the file (unions add names of their own)."""
    place: list[str | int] = []
    at = given
    for step in location:
        if isinstance(at, Mapping) and isinstance(step, str):
            place.append(step)
            at = at.get(step)
        elif isinstance(at, list) and isinstance(step, int) and step < len(at):
            place.append(step)
            at = at[step]
        else:
            break
    return tuple(place)


def _message(kind: str, fault: Any, place: Place) -> str:
    value = fault["input"]
    shown = f"got {value!r}" if len(repr(value)) < 80 else f"got {repr(value)[:77]}…"
    context = fault.get("ctx", {})
    if kind == "missing":
        return "is required"
    if kind == "extra_forbidden":
        section = _fields(place)
        return f"is no setting;{nearest(str(place[-1]), section)} possible: {', '.join(section)}"
    if kind == "literal_error":
        return f"{shown}; possible: {context['expected'].replace(chr(39), '')}"
    if kind == "value_error":
        return str(context["error"])
    return f"{shown}; {fault['msg'][0].lower()}{fault['msg'][1:]}"


def _fields(place: Place) -> list[str]:
    """The settings that stand beside a place."""
    model: type[BaseModel] = Study
    for step in place[:-1]:
        if step == "models":
            model = ModelSpec
        elif isinstance(step, str):
            inner = model.model_fields[step].annotation
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                model = inner
    return list(model.model_fields)


def _dotted(place: Place) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return text.removeprefix(".") or "file"

"""The study file, read and checked whole: every problem at once, with its line."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from lookaway.data.dataset import GIVEN as GIVEN_DATA
from lookaway.data.samples import PREFIX
from lookaway.data.table import is_table
from lookaway.errors import Problem, StudyError, nearest
from lookaway.places import AnyPath, is_remote, local_path
from lookaway.study.settings import CLASS_ORDERS, GIVEN, OF_A_NETWORK, Split, Study
from lookaway.study.yaml_lines import Lines, Place, read_yaml


def parse_study(
    given: Any,
    problems_at: Lines | None = None,
    source: str = "the study",
    trust_code: bool = False,
) -> Study:
    """Check a study as plain data, all of it at once; code of the user's own only where trusted.

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
        study = Study.model_validate(dict(given), context={"trust_code": trust_code})
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


def open_study(
    study: str | Path | Mapping[str, Any],
    data: str | AnyPath | None = None,
    engine: str | None = None,
    address: str | None = None,
    trust_code: bool = False,
    given: Collection[str] = (),
) -> tuple[Study, Lines | None, str]:
    """Check a study, given as a file or as what one holds.

    Args:
        study: the file, from whose folder its relative paths are taken; or a dictionary, whose
            relative paths are taken from the working folder.
        data: in place of ``data.folder``, taken from the working folder.
        engine: in place of ``run.engine``.
        address: in place of ``run.address``.
        trust_code: whether code of the user's own that it names may run.
        given: names of models in whose place the caller has classifiers.

    Returns:
        The study, the lines of its settings where it is a file, and its name for errors.

    Raises:
        StudyError: with every problem, those of a file with their lines.
    """
    if isinstance(study, Mapping):
        read: Any = dict(study)
        lines, source, folder = None, "the study", Path.cwd()
    else:
        path = local_path(study, "a study file")
        source, folder = str(path), path.parent
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise StudyError([Problem(0, "file", f"cannot be read: {reason}")], source) from error
        read, lines = read_yaml(text, source)
    if isinstance(read, dict):
        read = with_engine(with_data(with_models(read, given), data), engine, address)
        read = anchored(read, folder)
    return parse_study(read, lines, source, trust_code), lines, source


def write_study(study: Study) -> str:
    """The resolved study as YAML: every setting, defaults too."""
    return yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def with_data(given: dict[str, Any], data: str | AnyPath | None) -> dict[str, Any]:
    """A study with another image folder or table, taken from the working folder."""
    section = given.get("data") or {}
    if data is None or not isinstance(section, Mapping):
        return given
    kept = {name: section[name] for name in section if name not in ("folder", "table")}
    place = "table" if is_table(str(data)) else "folder"
    return {**given, "data": {**kept, place: _absolute(str(data), Path.cwd())}}


def with_models(given: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """A study in which classifiers of the caller's stand in for the models of these names.

    What a model is trained for stays; what it is built of and takes in is the classifier's. A study
    without models has these.

    Raises:
        StudyError: it has none of such a name.
    """
    specs = given.get("models", list(names))
    if not names or not isinstance(specs, list):
        return given
    found = [_model_name(spec) for spec in specs]
    for name in names:
        if name not in found:
            told = f"{name!r} is given in Python and is none of: {', '.join(map(str, found))}"
            raise StudyError([Problem(0, "models", told)])
    models = []
    for name, spec in zip(found, specs, strict=True):
        about = dict(spec) if isinstance(spec, Mapping) else {}
        kept = {key: about[key] for key in about if key not in OF_A_NETWORK}
        models.append({**kept, "name": name, "module": GIVEN} if name in names else spec)
    return {**given, "models": models}


def _model_name(spec: Any) -> Any:
    return spec.get("name", spec.get("timm")) if isinstance(spec, Mapping) else spec


def with_engine(given: dict[str, Any], engine: str | None, address: str | None) -> dict[str, Any]:
    """A study that another engine runs, on another cluster."""
    section = given.get("run") or {}
    if not isinstance(section, Mapping):
        return given
    asked = {"engine": engine, "address": address}
    return {**given, "run": {**section, **{key: value for key, value in asked.items() if value}}}


def anchored(given: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A study whose relative paths are taken from a folder.

    Landmarks that are not there are sought in the image folder, where VGGFace2 has them.
    """
    data, models = given.get("data"), given.get("models")
    if isinstance(data, Mapping):
        paths = {
            name: _absolute(str(data[name]), folder)
            for name in ("folder", "table", "landmarks")
            if isinstance(data.get(name), str | Path)
        }
        images = paths.get("folder", "")
        if "landmarks" in paths and not is_remote(images) and not _exists(paths["landmarks"]):
            beside = _absolute(str(data["landmarks"]), Path(images or folder))
            if _exists(beside):
                paths["landmarks"] = beside
        given = {**given, "data": {**data, **paths}}
    if isinstance(models, list):
        given = {**given, "models": [_anchored_model(spec, folder) for spec in models]}
    return given


def _anchored_model(spec: Any, folder: Path) -> Any:
    if not isinstance(spec, Mapping):
        return spec
    paths = {
        name: _absolute(str(spec[name]), folder)
        for name in ("checkpoint", "classes")
        if isinstance(spec.get(name), str | Path) and spec[name] not in CLASS_ORDERS
    }
    return {**spec, **paths}


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def _absolute(path: str, folder: Path) -> str:
    if path.startswith(PREFIX) or path in ("", GIVEN_DATA) or is_remote(path):
        return path
    try:
        return str((folder / Path(path).expanduser()).resolve())
    except (RuntimeError, ValueError, OSError):
        return path  # no such home, or no such name: what reads it says so


def _unknown_sources(given: Mapping[Any, Any]) -> list[tuple[int, str]]:
    models, sources = given.get("models"), given.get("transfer_from")
    if not isinstance(models, list) or not isinstance(sources, list):
        return []
    names = [name for name in map(_model_name, models) if isinstance(name, str)]
    return [
        (
            index,
            f"{source!r} is not among the models;{nearest(source, names)} possible: "
            f"{', '.join(names)}",
        )
        for index, source in enumerate(sources)
        if isinstance(source, str) and source not in names
    ]


def _untrainable(study: Study | None) -> list[tuple[int, str]]:
    if study is None or not isinstance(study.data.split, Split):
        return []
    split, found = study.data.split, []
    for index, spec in enumerate(study.models):
        needed = {"none": (), "enrol": ("train",)}.get(spec.train, ("train", "val"))
        if empty := [part for part in needed if getattr(split, part) == 0]:
            what = "to enrol" if spec.train == "enrol" else "to train on"
            told = f"{spec.train} needs images {what}, but split gives none to"
            found.append((study.place_in_file(index), f"{told} {' and '.join(empty)}"))
    return found


def _told(error: ValidationError, given: Any) -> list[tuple[Place, str]]:
    """Each of pydantic's complaints as what was given and what is possible."""
    told: dict[Place, str] = {}
    for fault in error.errors(include_url=False):
        place = _place(fault["loc"], given, fault["type"] == "missing")
        message = _message(fault["type"], fault, place)
        if place in told and message not in told[place]:
            told[place] += f"; or {message}"
        else:
            told.setdefault(place, message)
    return list(told.items())


def _place(location: tuple[str | int, ...], given: Any, missing: bool) -> Place:
    """The part of pydantic's location that stands in the file (unions add names of their own)."""
    place: list[str | int] = []
    at = given
    for number, step in enumerate(location, start=1):
        if isinstance(at, Mapping) and isinstance(step, str):
            if step in at or (missing and number == len(location)):
                place.append(step)
                at = at.get(step)
        elif isinstance(at, list) and isinstance(step, int) and step < len(at):
            place.append(step)
            at = at[step]
        else:
            break
    return tuple(place)


def _message(kind: str, fault: Any, place: Place) -> str:
    shown = f"got {_shown(fault['input'])}"
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


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits, or endless lists
        return f"{type(value).__name__} that is too large to show"
    return text if len(text) < 80 else f"{text[:77]}…"


def _fields(place: Place) -> list[str]:
    """The settings that stand beside a place."""
    models: list[type[BaseModel]] = [Study]
    for step in place[:-1]:
        if isinstance(step, str):
            inner = [m.model_fields[step].annotation for m in models if step in m.model_fields]
            models = [found for annotation in inner for found in _models_in(annotation)]
    return list(dict.fromkeys(name for model in models for name in model.model_fields))


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The sections that an annotation allows."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in get_args(annotation) for found in _models_in(inner)]


def _dotted(place: Place) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return text.removeprefix(".") or "file"

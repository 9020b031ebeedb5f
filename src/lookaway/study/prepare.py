"""Before a study runs: its images, its models and its plan, with every problem found at once."""

import importlib.metadata
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import torch

from lookaway.attacks.base import norm_of
from lookaway.data.folder import ImageSource
from lookaway.errors import (
    AttackError,
    DataError,
    LookawayError,
    ModelError,
    Problem,
    StudyError,
    shown,
)
from lookaway.models.classifier import Classifier
from lookaway.models.folding import before_norms, compute_in
from lookaway.models.gallery import Embedder
from lookaway.models.own import identity
from lookaway.models.precision import computing, fast_bfloat16
from lookaway.models.stages import check_trainable
from lookaway.models.steady import check_steady
from lookaway.models.weights import weights_hash
from lookaway.own_code import own_code
from lookaway.progress import Reporter
from lookaway.registry import ATTACKS
from lookaway.study.enrolled import check_enrolment
from lookaway.study.images import Images, find_images
from lookaway.study.json_files import LAYOUT, Loading, OutputOrder, Plan
from lookaway.study.load import load_model
from lookaway.study.machine import Machine
from lookaway.study.settings import ModelSpec, Study
from lookaway.study.store import Store
from lookaway.study.yaml_lines import Lines

SHARD = 64  # test images in a cell
_PACKAGES = ("lookaway", "torch", "timm", "pillow", "numpy", "scikit-image")


@dataclass(frozen=True)
class Prepared:
    """A study that can run.

    Attributes:
        study: the settings.
        images: its images.
        device: where its models work here.
        devices: those of the machine that it may use, each by a process of its own.
        plan: everything that changes its results.
        given: classifiers and embedders of the caller's that stand in for models, by name; they
            stay as they are.
    """

    study: Study
    images: Images
    device: str
    devices: tuple[str, ...]
    plan: Plan
    given: Mapping[str, Classifier | Embedder] = field(default_factory=dict)


def prepare(
    study: Study,
    lines: Lines | None,
    store: Store | None,
    progress: Reporter,
    source: str,
    given: Mapping[str, Classifier | Embedder] | None = None,
    data: ImageSource | None = None,
    old: Plan | None = None,
) -> Prepared:
    """Scan and split the images, load every model once, and say what the study is.

    Args:
        study: checked settings.
        lines: of the study file, for errors.
        store: of the run; where it goes on, what was chosen automatically is used again.
        progress: told of the stages.
        source: the study file's name, for errors.
        given: classifiers of the caller's that stand in for models, by name.
        data: the images, where the caller gives them.
        old: the plan of the run that goes on, where there is no store.

    Raises:
        StudyError: with every problem of images and models.
    """
    problems: list[Problem] = []
    old_plan = store.known_plan() if store is not None else old

    def note(place: tuple[str | int, ...], where: str, error: LookawayError) -> None:
        line = lines.of(place) if lines is not None else 0
        problems.append(Problem(line, where, str(error)))

    machine = Machine("cpu", ("cpu",), 1)
    try:
        machine = Machine.found(study.run.device)
        if study.run.precision == "tf32" and not machine.device.startswith("cuda"):
            wrong = ModelError(
                f"tf32 is TensorFloat-32, which is CUDA's; the device is {machine.device!r}: "
                "float32 or bfloat16"
            )
            note(("run", "precision"), "run.precision", wrong)
    except ModelError as error:
        note(("run", "device"), "run.device", error)
    images: Images | None = None
    try:
        images = find_images(study, store, progress, data)
    except DataError as error:
        note(("data",), "data", error)
    if images is not None and study.run.device == "auto" and not (given or data):
        tested = sum(len(each.parts["test"]) for each in images.variants.values())
        machine = machine.in_processes(tested * len(study.models))
    weights: dict[str, str] = {}
    orders: dict[str, OutputOrder] = {}
    loaded: dict[str, Loading] = {}
    sizes: dict[str, int] = {}
    layers: dict[str, list[str]] = {}
    last: dict[str, str] = {}
    last_sizes: dict[str, list[int]] = {}
    layouts: dict[str, dict[str, str]] = {}
    unfolded: dict[str, list[str]] = {}
    with progress.stage("models: checking", len(study.models), "models") as advance, computing():
        for index, spec in enumerate(study.models):
            place = study.place_in_file(index)
            try:
                classes, counted = (images.classes, images.order) if images else (None, None)
                clf, order = load_model(study, spec, classes, given=given, counted=counted)
                orders |= {spec.name: order.outputs} if order is not None else {}
                said = order.source if order is not None else None
                loaded[spec.name] = Loading(checkpoint=clf.origin, classes=said)
                layers[spec.name] = clf.layer_names(study.explain.layers)
                last[spec.name] = clf.layer_names("last")[0]
                size = study.data.image_size
                traced = clf.trace((size, size)).layers
                last_sizes[spec.name] = list(traced[last[spec.name]].size)
                wanted = {*layers[spec.name], last[spec.name]}
                if lie := {each: str(at) for each in sorted(wanted) if (at := traced[each].layout)}:
                    layouts[spec.name] = lie
                if images is not None and spec.train == "enrol":
                    check_enrolment(images, spec, study.data.split.seed)
                _try(study, spec, clf, wanted)
                if index == 0:
                    _try_attacks(study, clf, note)
                weights[spec.name] = weights_hash(clf.module) if spec.timm else identity(clf)
                sizes[spec.name] = _batch_size(study, clf, old_plan, weights[spec.name], machine)
                if apart := kept_apart(study, clf, layers[spec.name]):
                    unfolded[spec.name] = apart
                if study.run.precision != "float32":
                    compute_in(clf, study.run.precision)
                    _try(study, spec, clf, wanted)
            except LookawayError as error:
                note(("models", place), f"models[{place}] ({spec.name})", error)
            except Exception as error:  # noqa: BLE001  a network of its own fails in its own way
                told = type(error).__name__ + (f": {shown(str(error), 500)}" if str(error) else "")
                failed = ModelError(
                    f"{spec.name!r} fails on one image ({told}); is input_size right for it?"
                )
                note(("models", place), f"models[{place}] ({spec.name})", failed)
            advance(1)
    if problems or images is None:
        raise StudyError(problems, source)
    for line in _order_warnings(study, images.classes):
        progress.warn(line)
    attacks = [attack.make() for attack in study.attacks]
    plan = Plan(
        layout=LAYOUT,
        settings=study,
        norm=norm_of(attacks),
        own_size=[attack.name for attack in attacks if not attack.by_signs],
        one_direction=[attack.name for attack in attacks if attack.one_direction],
        gradient_free=[attack.name for attack in attacks if attack.gradient_free],
        device=machine.device,
        shard=SHARD,
        versions=versions(packages(study)),
        own_code=own_code(named_code(study)),
        batch_sizes=sizes,
        weights=weights,
        class_order=orders,
        loaded=loaded,
        layers=layers,
        last_layers=last,
        last_sizes=last_sizes,
        layouts=layouts,
        unfolded=unfolded,
        aims={attack.name: attack.aim for attack in attacks},
        training_precision=training_precision(study, old_plan, machine.device),
        **images.plan(),
    )
    return Prepared(study, images, machine.device, machine.devices, plan, given or {})


def _order_warnings(study: Study, classes: list[str]) -> Iterator[str]:
    """Networks that are only loaded, and may count class folders that are numbers otherwise."""
    if not all(re.fullmatch(r"\d+", name) for name in classes):
        return
    if classes == sorted(classes, key=int):
        return
    order = ", ".join(classes[:4])
    for spec in study.models:
        if spec.train == "none" and (spec.checkpoint is not None or spec.pretrained):
            yield (
                f"{spec.name!r} is only loaded, and the class folders are numbers: its outputs are "
                f"taken in the order of sorted names ({order}, …), not by number; where it was "
                "trained in another order, say so with classes of the model"
            )


def named_code(study: Study) -> list[str]:
    """What a study names that may be code of the user's own."""
    models = [spec.module for spec in study.models if spec.module is not None]
    named = [each.kind for each in [*study.attacks, *study.explain.methods]]
    return [*named, *models]


def packages(study: Study) -> list[str]:
    """What makes a study's numbers."""
    return [*_PACKAGES, *sorted({attack.library for attack in study.attacks if attack.library})]


def versions(names: Iterable[str]) -> dict[str, str]:
    """The versions of packages, as far as they are installed here."""
    found = {}
    for name in names:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _try(study: Study, spec: ModelSpec, clf: Classifier, layers: set[str]) -> None:
    """Explain one blank image, and find what is to be trained: late errors come early."""
    check_trainable(clf, spec.train)
    size = study.data.image_size
    blank = torch.full((1, study.data.channels, size, size), 0.5)
    check_steady(clf, blank)
    for method in study.explain.methods:
        method.make().explain(clf, blank, [None], sorted(layers))


def _try_attacks(study: Study, clf: Classifier, note: Callable[..., None]) -> None:
    """Attack an image of noise with what is not ours; not where a search would take minutes."""
    shape = (1, study.data.channels, study.data.image_size, study.data.image_size)
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    for index, spec in enumerate(study.attacks):
        attack = spec.make()
        if attack.gradient_free or (spec.library is None and spec.kind in ATTACKS):
            continue
        try:
            attack(clf, noise, torch.zeros(1, dtype=torch.long), [study.epsilons[-1]])
        except Exception as error:  # noqa: BLE001  code of others fails in its own way
            told = f"fails on one image ({type(error).__name__}: {shown(str(error), 500)})"
            where = f"attacks[{index}] ({spec.name})"
            note(("attacks", index), where, AttackError(f"{told}; are its options right?"))


def kept_apart(study: Study, clf: Classifier, layers: Sequence[str]) -> list[str]:
    """The explained layers before a batch norm that stays apart, for a method needs it so."""
    if all(method.make().undoes_scale for method in study.explain.methods):
        return []
    return before_norms(clf, layers)


def _batch_size(
    study: Study, clf: Classifier, old: Plan | None, weights: str, machine: Machine
) -> int:
    """The batch size asked for, or the machine's rule.

    A run that goes on keeps what it has, which is less where memory was short.
    """
    asked, size = study.run.batch_size, study.data.image_size
    known = old is not None and old.weights.get(clf.name) == weights
    if old is not None and known and old.settings.run.batch_size == asked:
        return old.batch_sizes[clf.name]
    if asked != "auto":
        return asked
    return machine.batch_size(clf.trace((size, size)).activation_bytes, SHARD)


def training_precision(study: Study, old_plan: Plan | None, device: str) -> str:
    """What networks are trained in, whole ones: decided once for a run."""
    if study.training.precision != "auto":
        return study.training.precision
    if old_plan is not None and any(spec.train == "all" for spec in old_plan.settings.models):
        return old_plan.training_precision
    whole = any(spec.train == "all" for spec in study.models)
    return "bfloat16" if whole and fast_bfloat16(device) else "float32"

"""The trained weights of a study's models: made once, stored, loaded again."""

import io
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from lookaway.errors import ModelError, StoreError
from lookaway.hashing import digest, seed_from
from lookaway.models.classifier import Classifier
from lookaway.models.folding import compute_in, fold_batch_norm
from lookaway.models.gallery import Embedder, Gallery
from lookaway.models.own import identity
from lookaway.models.randomise import Part, randomise
from lookaway.models.training import Recipe, Training, train
from lookaway.study.checksum import placeholder
from lookaway.study.enrolled import enrol, enrolled
from lookaway.study.images import Grids
from lookaway.study.json_files import EpochLog, TrainedModel
from lookaway.study.keys import ModelKey, trained_name
from lookaway.study.load import load_model
from lookaway.study.prepare import Prepared
from lookaway.study.session import Session
from lookaway.study.settings import ModelSpec
from lookaway.study.store import Store

TEMPLATES = "templates"  # of a gallery, in place of weights


def train_models(session: Session) -> None:
    """Train, or enrol, what the study asks for and is not stored yet: each model, each variant."""
    for variant in session.prepared.images.variants.values():
        for index, spec in enumerate(session.study.models):
            key = ModelKey(variant.name, index, spec.name)
            if spec.train != "none" and _stored(session.store, key) is None:
                (_enrol if spec.train == "enrol" else _train)(session, key, spec)


def _enrol(session: Session, key: ModelKey, spec: ModelSpec) -> None:
    """Make and keep the templates of a gallery; nothing is trained."""
    prepared, data = session.prepared, session.study.data
    clf = placed(_loaded(prepared, spec), prepared)
    fold_batch_norm(clf)
    records = enrolled(prepared.images.variants[key.variant], spec.enrol, data.split.seed)
    what = f"{trained_name(key.name, key.variant)}: enrolling"
    with session.progress.stage(what, len(records), "images") as advance:
        templates = enrol(
            Embedder.of(clf), prepared.images, key.variant, records, data.image_size, advance
        )
    _keep(session.store, key, spec, {TEMPLATES: templates.cpu()}, Training({}, [], 0))


def _train(session: Session, key: ModelKey, spec: ModelSpec) -> None:
    study, prepared, store = session.study, session.prepared, session.store
    images, size = prepared.images, study.data.image_size
    parts = images.variants[key.variant].parts
    clf = placed(_loaded(prepared, spec), prepared)
    if spec.train != "all":
        fold_batch_norm(clf)  # of the frozen trunk; what is trained lies behind it
    recipe = Recipe(
        epochs=spec.epochs or study.training.epochs,
        batch_size=study.training.batch_size,
        learning_rate=spec.learning_rate or study.training.learning_rate,
        seed=seed_from(study.data.split.seed, "training", spec.name),
        precision=prepared.plan.training_precision,
    )
    unfinished = f"training/{key.stem}.state"
    with session.progress.stage(
        f"{trained_name(key.name, key.variant)}: training", recipe.epochs, "epochs"
    ) as advance:
        result = train(
            clf,
            spec.train,
            Grids(images, key.variant, parts["train"], size),
            Grids(images, key.variant, parts["val"], size),
            recipe,
            advance,
            read_state(store, unfinished),
            partial(write_state, store, unfinished),
        )
    _keep(store, key, spec, result.weights, result)
    store.remove(unfinished)


def _keep(
    store: Store, key: ModelKey, spec: ModelSpec, weights: dict[str, Tensor], result: Training
) -> None:
    """Store what was trained, then how."""
    raw = save_tensors({name: value.contiguous() for name, value in weights.items()})
    store.write_bytes(f"heads/{key.stem}.safetensors", raw)
    store.write_model(
        f"heads/{key.stem}.json",
        TrainedModel(
            model=spec.name,
            variant=key.variant,
            trained=spec.train,
            best_epoch=result.best,
            sha256=digest(raw),
            history=[EpochLog(**asdict(epoch)) for epoch in result.history],
        ),
    )


def write_state(store: Store, name: str, state: dict[str, Any]) -> None:
    """Store where a training stands, behind a checksum."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    store.write_checked(name, lambda place: place.encode() + buffer.getvalue())


def read_state(store: Store, name: str) -> dict[str, Any] | None:
    """Where a training stands; None where it is not there, or damaged, which is told."""
    raw = store.read_bytes(name)
    if raw is None:
        return None
    if not store.is_whole(name):
        store.note_damage(name)
        return None
    content = io.BytesIO(raw[len(placeholder()) :])
    state: dict[str, Any] = torch.load(content, map_location="cpu", weights_only=True)
    return state


def drawn_model(
    prepared: Prepared, spec: ModelSpec, trained: bytes | None, part: Part, images: Tensor
) -> Classifier:
    """A model of the study with weights drawn anew, as ``ready_model`` makes it.

    Args:
        prepared: the study, its images and plan.
        spec: the model, no gallery.
        trained: its trained weights as they are stored; None for one that is not trained.
        part: what is drawn; see ``randomise``.
        images: (N, C, H, W) float pixels in [0, 1], for the statistics of batch norms.

    Raises:
        ModelError: its head is to be drawn, and it does not end in one linear layer.
    """
    clf = placed(_with_weights(prepared, spec, trained), prepared)
    randomise(clf, part, images, prepared.study.data.split.seed)
    return quick(clf, prepared, spec)


def ready_model(
    prepared: Prepared,
    spec: ModelSpec,
    trained: bytes | None,
    precision: str | None = None,
) -> Classifier:
    """A model of the study with its trained weights, where and as it works fastest.

    Args:
        prepared: the study, its images and plan.
        spec: the model.
        trained: its trained weights as they are stored; None for one that is not trained.
        precision: what it computes in; None: what the study says.
    """
    clf = _with_weights(prepared, spec, trained)
    return quick(placed(clf, prepared), prepared, spec, precision)


def _with_weights(prepared: Prepared, spec: ModelSpec, trained: bytes | None) -> Classifier:
    clf = _loaded(prepared, spec)
    if trained is not None and isinstance(clf, Gallery):
        clf = clf.with_templates(load_tensors(trained)[TEMPLATES], prepared.images.classes)
    elif trained is not None:
        clf.module.load_state_dict(load_tensors(trained), strict=False)
    return clf


def _loaded(prepared: Prepared, spec: ModelSpec) -> Classifier:
    """A model before training, the very one that was prepared.

    Raises:
        ModelError: code of the user's own builds another one now, or on this machine.
    """
    plan = prepared.plan
    clf, _ = load_model(
        prepared.study, spec, prepared.images.classes, plan.class_order, prepared.given
    )
    if spec.timm is None and identity(clf) != plan.weights[spec.name]:
        raise ModelError(
            f"{spec.module!r} builds another network than when the study was prepared: its weights "
            "must follow from its arguments, its checkpoint and torch's own random numbers"
        )
    return clf


def quick(
    clf: Classifier,
    prepared: Prepared,
    spec: ModelSpec,
    precision: str | None = None,
) -> Classifier:
    """A study's own model as it works fastest, in place: batch norm folded, and its precision.

    Args:
        clf: the model.
        prepared: the study and its plan.
        spec: of the model.
        precision: what it computes in; None: what the study says.
    """
    wanted = {*prepared.plan.explained_layers(spec.name)}
    if all(method.make().undoes_scale for method in prepared.study.explain.methods):
        fold_batch_norm(clf, shift=wanted)
    else:
        fold_batch_norm(clf, keep=wanted)
    compute_in(clf, precision or prepared.study.run.precision)
    return clf


def placed(clf: Classifier, prepared: Prepared) -> Classifier:
    """A study's own model where it works: on its device, channels last, as convolutions like it."""
    return clf.to(prepared.device).to(memory_format=torch.channels_last)


def weights_made(store: Store, key: ModelKey, spec: ModelSpec) -> str:
    """The hash of a model's trained weights; empty for one that is not trained."""
    if spec.train == "none":
        return ""
    about = store.sound_model(f"heads/{key.stem}.json", TrainedModel)
    return about.sha256 if about else ""


def trained_bytes(store: Store, key: ModelKey, spec: ModelSpec) -> bytes | None:
    """A model's trained weights as they are stored; None for one that is not trained.

    Args:
        store: the run's files.
        key: of the model.
        spec: its settings.

    Raises:
        StoreError: they are missing or damaged.
    """
    if spec.train == "none":
        return None
    raw = _stored(store, key)
    if raw is None:
        raise StoreError(f"the trained weights of {spec.name!r} are missing from the run")
    return raw


def _stored(store: Store, key: ModelKey) -> bytes | None:
    """Trained weights as they were stored; None where they are missing, or damaged and told."""
    about = store.sound_model(f"heads/{key.stem}.json", TrainedModel)
    if about is None:
        return None
    name = f"heads/{key.stem}.safetensors"
    raw = store.read_bytes(name) or b""
    try:
        if digest(raw) == about.sha256:
            load_tensors(raw)
            return raw
    except SafetensorError:
        pass
    store.note_damage(name)
    return None

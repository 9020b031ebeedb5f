"""The trainings of a study: independent jobs, each made once and resumable from its last epoch."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from safetensors.torch import save as save_tensors
from torch import Tensor

from lookaway.hashing import digest
from lookaway.models.folding import fold_batch_norm
from lookaway.models.gallery import Embedder
from lookaway.models.training import Recipe, Training, train
from lookaway.study.checksum import placeholder
from lookaway.study.enrolled import enrol, enrolled
from lookaway.study.images import Grids
from lookaway.study.json_files import TrainedModel
from lookaway.study.keys import ModelKey, trained_name
from lookaway.study.overfitting import doubts
from lookaway.study.prepare import Prepared
from lookaway.study.session import Session
from lookaway.study.settings import ModelSpec, Study
from lookaway.study.store import Store
from lookaway.study.trained import TEMPLATES, placed, stored_weights, untrained


@dataclass(frozen=True)
class TrainingJob:
    """A model that learns, or whose people are enrolled, from a variant of the images."""

    key: ModelKey
    spec: ModelSpec

    @property
    def name(self) -> str:
        """What it is called on the terminal."""
        return trained_name(self.key.name, self.key.variant)

    def epochs(self, study: Study) -> int:
        """How many it takes."""
        return int(study.training_of(self.spec)["epochs"])


@dataclass(frozen=True)
class Learnt:
    """What a training gives: the file of its weights, and how they were trained."""

    weights: bytes
    about: TrainedModel


def open_trainings(session: Session) -> list[TrainingJob]:
    """What is not stored yet: each model that learns, on each variant of the images, in order."""
    return [
        TrainingJob(key, spec)
        for variant in session.prepared.images.variants.values()
        for spec in session.study.models
        if spec.train != "none"
        for key in [session.store.identity.model(variant.name, spec.name)]
        if stored_weights(session.store, key) is None
    ]


def train_models(session: Session) -> bool:
    """Train, or enrol, what is not stored yet, in this process; whether that was anything."""
    left = open_trainings(session)
    for job in left:
        if job.spec.train == "enrol":
            enrol_people(session, job)
            continue
        epochs = job.epochs(session.study)
        with session.progress.stage(f"{job.name}: training", epochs, "epochs") as advance:
            keep = partial(keep_state, session.store, job)
            learnt = learn(session.prepared, job, saved_state(session.store, job), keep, advance)
        keep_learnt(session, job, learnt)
    return bool(left)


def enrol_people(session: Session, job: TrainingJob) -> None:
    """Make and keep the templates of a gallery; nothing is trained."""
    prepared, data, spec = session.prepared, session.study.data, job.spec
    clf = placed(untrained(prepared, spec), prepared)
    fold_batch_norm(clf)
    records = enrolled(prepared.images.variants[job.key.variant], spec.enrol, data.split.seed)
    with session.progress.stage(f"{job.name}: enrolling", len(records), "images") as advance:
        templates = enrol(
            Embedder.of(clf), prepared.images, job.key.variant, records, data.image_size, advance
        )
    keep_learnt(session, job, _learnt(job, {TEMPLATES: templates.cpu()}, Training({}, [], 0)))


def learn(
    prepared: Prepared,
    job: TrainingJob,
    saved: bytes | None,
    keep: Callable[[bytes], None],
    advance: Callable[[int], None],
) -> Learnt:
    """Train a model.

    Args:
        prepared: the study, its images and plan.
        job: which.
        saved: the state of the same training when it was interrupted.
        keep: given such a state, every few seconds.
        advance: told of epochs done, of those in ``saved`` too.
    """
    study, images = prepared.study, prepared.images
    size, variant = study.data.image_size, job.key.variant
    parts = images.variants[variant].parts
    clf = placed(untrained(prepared, job.spec), prepared)
    if job.spec.train != "all":
        fold_batch_norm(clf)  # of the frozen trunk; what is trained lies behind it
    how, adversarial = study.training_of(job.spec), study.adversarial(job.spec)
    recipe = Recipe(
        epochs=how["epochs"],
        batch_size=how["batch_size"],
        learning_rate=how["learning_rate"],
        seed=study.random("training", job.spec),
        precision=prepared.plan.training_precision,
    )
    state: dict[str, Any] | None = None
    if saved is not None:
        state = torch.load(io.BytesIO(saved), map_location="cpu", weights_only=True)
    del saved  # several times as large as the network

    def keep_packed(state: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        keep(buffer.getvalue())

    found = train(
        clf,
        job.spec.train,
        Grids(images, variant, parts["train"], size),
        Grids(images, variant, parts["val"], size),
        recipe,
        advance,
        state,
        keep_packed,
        adversarial.make() if adversarial is not None else None,
    )
    return _learnt(job, found.weights, found)


def keep_learnt(session: Session, job: TrainingJob, learnt: Learnt) -> None:
    """Store what was trained, then how; what is doubtful about it is told."""
    store, stem = session.store, job.key.head
    store.write_bytes(f"heads/{stem}.safetensors", learnt.weights)
    store.write_model(f"heads/{stem}.json", learnt.about)
    for line in doubts(learnt.about, len(session.prepared.images.classes)):
        session.progress.warn(line)
    store.remove(_unfinished(job))


def keep_state(store: Store, job: TrainingJob, raw: bytes) -> None:
    """Store where a training stands, behind a checksum."""
    store.write_checked(_unfinished(job), lambda place: place.encode() + raw)


def saved_state(store: Store, job: TrainingJob) -> bytes | None:
    """Where a training stands; None where it is not there, or damaged, which is told."""
    name = _unfinished(job)
    raw = store.read_bytes(name)
    if raw is None:
        return None
    if not store.is_whole(name):
        store.note_damage(name)
        return None
    return raw[len(placeholder()) :]


def _unfinished(job: TrainingJob) -> str:
    return f"training/{job.key.head}.state"


def _learnt(job: TrainingJob, weights: dict[str, Tensor], found: Training) -> Learnt:
    raw = save_tensors({name: value.contiguous() for name, value in weights.items()})
    about = TrainedModel(
        model=job.spec.name,
        variant=job.key.variant,
        trained=job.spec.train,
        best_epoch=found.best,
        sha256=digest(raw),
        history=found.history,
    )
    return Learnt(raw, about)

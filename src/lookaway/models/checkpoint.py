"""Checkpoints as people save them: the weights in a file, and which of them were taken."""

import argparse
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lookaway.errors import WeightsError, listed, shown
from lookaway.models.class_names import Names, names_in
from lookaway.models.provenance import Origin
from lookaway.models.refused import what_it_is, why_refused

ENDINGS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".tar", ".th")
# Names under which the weights of a network lie in a file.
_RAW = (
    *("state_dict", "model", "model_state_dict", "model_state", "current_model_state"),
    *("net", "net_state_dict", "network", "module", "weights", "params"),
)
# A name with one of these words in it, such as ``state_dict_ema``, is of averaged weights.
_AVERAGED = {"ema", "swa", "average", "averaged", "avg"}
# What else has tensors by name, and is no network.
_OTHERS = ("optim", "sched", "scaler", "criterion", "loss", "rng")
_DEEPEST = 3  # callbacks.StochasticWeightAveraging.average_model_state
_COUNTER = "n_averaged"  # of torch.optim.swa_utils.AveragedModel
Place = tuple[str, ...]  # of a mapping in others


@dataclass(frozen=True)
class Checkpoint:
    """What was read of a file.

    Attributes:
        weights: tensors by name.
        origin: where they lay in it.
        names: of the network's outputs, where the file has them, and under which name.
    """

    weights: dict[str, Tensor]
    origin: Origin
    names: tuple[str, Names] | None = None


def check_path(path: Path) -> None:
    """Refuse a checkpoint that is not there or has an unknown ending.

    A file without an ending will do: the Hugging Face cache has such.

    Raises:
        WeightsError: with the path.
    """
    try:
        there, folder = path.is_file(), path.is_dir()
        index = what_it_is(path) if there and path.name.endswith(".index.json") else None
    except (OSError, ValueError) as error:
        raise WeightsError(f"the checkpoint {str(path)!r} cannot be read: {error}") from error
    if folder:
        raise WeightsError(f"the checkpoint {str(path)!r} is a folder; give the file in it")
    if not there:
        raise WeightsError(f"the checkpoint {str(path)!r} does not exist")
    if index is not None:
        raise WeightsError(f"{path.name!r} {index}")
    if path.suffix and path.suffix.lower() not in ENDINGS:
        raise WeightsError(
            f"the checkpoint {path.name!r} has an unknown ending; possible: {', '.join(ENDINGS)}"
        )


def read_checkpoint(path: Path, averaged: bool | None = None) -> Checkpoint:
    """Read a checkpoint without running anything that is in it.

    Its content says whether it is in safetensors' format or PyTorch's, whatever its ending.

    Args:
        path: the file; ``ENDINGS``, or none.
        averaged: whether to take weights averaged over the training (EMA, SWA) or the raw ones;
            None: the averaged ones where there are some, as timm does.

    Raises:
        WeightsError: there is no such file, no tensors in it that can be read safely, or none of
            the asked kind.
    """
    check_path(path)
    try:
        return _chosen(_read(path), path, averaged)
    except OSError as error:
        raise WeightsError(f"{path.name!r} cannot be read: {error}") from error


def _read(path: Path) -> Any:
    """What a file holds: plain data and tensors."""
    if _is_safetensors(path):
        try:
            return load_file(path)
        except SafetensorError as error:
            raise WeightsError(
                f"{path.name!r} is no valid safetensors file: {shown(str(error))}"
            ) from error
    told = what_it_is(path)
    if told is None and (path.suffix.lower() != ".safetensors" or _is_pickled(path)):
        try:
            with _plain_data(), path.open("rb") as file:  # a path's ending would choose the format
                return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for a broken or unsafe file
            raise WeightsError(f"{path.name!r} {why_refused(path, error)}") from error
    raise WeightsError(f"{path.name!r} {told or 'is no valid safetensors file; is it whole?'}")


def _is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: the length of a header, and its first brace."""
    with path.open("rb") as file:
        head = file.read(9)
    length = int.from_bytes(head[:8], "little")
    return head[8:] == b"{" and length + 8 <= path.stat().st_size


def _is_pickled(path: Path) -> bool:
    """Whether a file begins as torch.save's do."""
    with path.open("rb") as file:
        return file.read(4).startswith((b"PK\x03\x04", b"\x80"))


def _plain_data() -> AbstractContextManager[object]:
    """Let torch read ``argparse.Namespace``, in which timm and others keep their options.

    It runs nothing: it holds plain data alone, as a dictionary does.
    """
    if argparse.Namespace in torch.serialization.get_safe_globals():
        return nullcontext()  # leaving the context would take it from the user
    return torch.serialization.safe_globals([argparse.Namespace])


def _chosen(loaded: Any, path: Path, averaged: bool | None) -> Checkpoint:
    """The weights that are taken, of all that are in a file."""
    if not isinstance(loaded, Mapping) or not loaded:
        what = "nothing" if isinstance(loaded, Mapping) else type(loaded).__name__
        raise WeightsError(f"{path.name!r} holds {what}, not a state dict")
    found = dict(_state_dicts(loaded, ()))
    kinds = {place: kind for place in found if (kind := _kind(place, found))}
    if not found and _is_state_dict(loaded):
        found = {(): loaded}
        kinds = {(): "averaged" if _COUNTER in loaded else "raw"}
    kinds = kinds or dict.fromkeys(found, "raw")
    raw = max((len(found[place]) for place, kind in kinds.items() if kind == "raw"), default=0)
    kinds = {  # a few tensors, such as averages of metrics, are no network
        place: kind for place, kind in kinds.items() if kind == "raw" or 2 * len(found[place]) > raw
    }
    if averaged is None and "raw" in kinds.values():  # an average of nothing is no average
        kinds = {place: kind for place, kind in kinds.items() if not _is_unused(place, loaded)}
    taken = _one_of(kinds, averaged, path)
    return Checkpoint(
        weights=_tensors(found[taken], path),
        origin=Origin(
            taken=_told(taken),
            averaged=kinds[taken] == "averaged",
            left=tuple(_told(place) for place in found if place != taken),
        ),
        names=names_in(loaded),
    )


def _state_dicts(value: Mapping[Any, Any], place: Place) -> Iterator[tuple[Place, Any]]:
    """Every mapping with tensors by name below a mapping, and its place."""
    for key, inner in value.items():
        if not isinstance(key, str) or not isinstance(inner, Mapping):
            continue
        if not place and any(word in key.lower() for word in _OTHERS):
            continue
        here = (*place, key)
        if _is_state_dict(inner):
            yield here, inner
        elif len(here) < _DEEPEST:
            yield from _state_dicts(inner, here)


def _is_state_dict(value: Mapping[Any, Any]) -> bool:
    return any(
        isinstance(key, str) and isinstance(inner, Tensor) and key != _COUNTER
        for key, inner in value.items()
    )


def _kind(place: Place, found: Mapping[Place, Any]) -> str | None:
    """Whether a place names averaged or raw weights; None: neither."""
    if place == ("state_dict",) and ("current_model_state",) in found:
        return "averaged"  # as Lightning's WeightAveraging leaves them
    if _COUNTER in found[place] or any(_AVERAGED & set(_words(key)) for key in place):
        return "averaged"
    return "raw" if place[-1].lower() in _RAW else None


def _words(key: str) -> list[str]:
    return key.lower().replace("-", "_").replace(".", "_").split("_")


def _is_unused(place: Place, loaded: Mapping[Any, Any]) -> bool:
    """Whether weights were set up to be averaged, and none has been taken into them yet."""
    beside = loaded.get("averaging_state") if place == ("state_dict",) else None
    weights = loaded
    for key in place:
        weights = weights[key]
    count = (beside if isinstance(beside, Mapping) else weights).get(_COUNTER)
    return isinstance(count, Tensor | int) and bool((torch.as_tensor(count) == 0).all())


def _one_of(found: Mapping[Place, str], averaged: bool | None, path: Path) -> Place:
    """The one place of the asked kind."""
    kinds = [kind for kind in ("averaged", "raw") if kind in found.values()]
    if averaged is not None:
        kinds = [kind for kind in kinds if kind == ("averaged" if averaged else "raw")]
    there = _places(found) or "none"
    if not kinds:
        wanted = {True: "averaged weights", False: "raw weights", None: "weights"}[averaged]
        raise WeightsError(f"{path.name!r} holds no {wanted} of a network; weights in it: {there}")
    places = [place for place, kind in found.items() if kind == kinds[0]]
    if len(places) > 1:
        raise WeightsError(
            f"{path.name!r} holds several state dicts ({_places(places)}), and which is the "
            "network's is not known; save that one alone, as .safetensors or with torch.save"
        )
    return places[0]


def _places(places: Iterable[Place]) -> str:
    return listed((_told(place) or "at the top" for place in places), 6)


def _told(place: Place) -> str:
    return shown(".".join(place), 100)


def _tensors(weights: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    """A state dict without the counter of an average, if all in it are tensors."""
    odd = next((key for key, value in weights.items() if not isinstance(value, Tensor)), None)
    if odd is not None:
        raise WeightsError(
            f"{path.name!r} is no state dict: {shown(str(odd), 80)!r} is not a tensor"
        )
    return {str(key): value for key, value in weights.items() if key != _COUNTER}

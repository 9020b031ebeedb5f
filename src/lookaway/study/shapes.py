"""What a stored file must hold for the rest of lookaway to read it."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from lookaway.errors import StoreError
from lookaway.places import AnyPath

PLAN = {
    "settings": {
        "data": {"variants": [str], "image_size": int, "channels": int, "split": {"seed": int}},
        "models": [{"name": str}],
        "attacks": [(str, {"name": str})],
        "transfer_from": [str],
        "epsilons": [float],
        "explain": {"explained_class": [str]},
        "measure": {"ssim": str, "grid": int},
    },
    "report": {"paper": bool},
    "shard": int,
    "classes": [str],
    "images": {str: {"count": int, "sha256": str}},
    "variants": {str: {"without_face": int, "images": {str: {"count": int}}}},
    "set_aside": {str: str},
    "versions": {str: str},
    "last_layers": {str: str},
}
MANIFEST = {"files": {str: str}}
TRAINED = {
    "model": str,
    "variant": str,
    "trained": str,
    "best_epoch": int,
    "sha256": str,
    "history": [{"epoch": int, "val_accuracy": float}],
}


def check_shape(value: Mapping[str, Any], shape: Mapping[Any, Any], name: str) -> None:
    """Refuse plain data that lacks what a shape has; there may be more.

    Args:
        value: what a file holds.
        shape: types; a mapping with the key ``str`` holds one type for every name, a list one for
            every entry, a tuple several that are possible.
        name: of the file, for the error.

    Raises:
        StoreError: with the place that does not fit.

    >>> check_shape({"layers": [1]}, {"layers": [str]}, "plan.json")
    Traceback (most recent call last):
    lookaway.errors.StoreError: plan.json is not what lookaway writes: at layers[0]
    """
    place = _misfit(value, shape, "")
    if place is not None:
        raise StoreError(f"{name} is not what lookaway writes: at {place or 'the top'}")


def check_columns(
    frame: pl.DataFrame, schema: Mapping[str, pl.DataType | type[pl.DataType]], path: AnyPath
) -> None:
    """Refuse a frame that lacks a column, or has it of another type.

    Raises:
        StoreError: with the columns.
    """
    odd = [name for name, kind in schema.items() if frame.schema.get(name) != kind]
    if odd:
        raise StoreError(f"{str(path)!r} is not what lookaway writes: at {', '.join(odd[:3])}")


def _misfit(value: Any, shape: Any, place: str) -> str | None:
    """Where a value does not fit; None where it does."""
    if isinstance(shape, tuple):
        found = (_misfit(value, each, place) for each in shape)
        return place if all(at is not None for at in found) else None
    if isinstance(shape, Mapping):
        if not isinstance(value, Mapping):
            return place
        names = value if str in shape else shape
        inner = [
            (value.get(name), shape[str] if str in shape else shape[name], f"{place}.{name}")
            for name in names
        ]
    elif isinstance(shape, list):
        if not isinstance(value, list) or (not value and shape != [str]):
            return place
        inner = [(each, shape[0], f"{place}[{index}]") for index, each in enumerate(value)]
    else:
        wanted = (int, float) if shape is float else shape
        fits = isinstance(value, wanted) and (shape is bool or not isinstance(value, bool))
        return None if fits else place
    found = (_misfit(each, kind, at.removeprefix(".")) for each, kind, at in inner)
    return next((at for at in found if at is not None), None)

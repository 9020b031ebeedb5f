"""Names of what a run's folder holds: cells, their files, and the arrays in them."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class CellKey:
    """Which cell: a variant, a model (by its place in the study) and a shard of the test images."""

    variant: str
    model_index: int
    model: str
    shard: int

    @property
    def stem(self) -> str:
        """The cell's file name: safe on every system, and in order."""
        return f"{self.variant}-{self.model_index:03d}-{plain(self.model)}-{self.shard:05d}"


def plain(name: str) -> str:
    """A name as a part of a file's name, on every system."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name)[:40].strip(".-")


def trained_name(model: str, variant: str) -> str:
    """A model as it learnt from a variant of the images."""
    return model if variant == "none" else f"{model} / {variant}"


def other_classes(plan: Mapping[str, Any], model: str) -> list[str]:
    """Names of a model's logits behind those of the study's classes; mostly none."""
    return list(plan.get("class_order", {}).get(model, {}).get("others", []))


def predicted_classes(plan: Mapping[str, Any]) -> list[str]:
    """The names that predictions may have: the study's classes, then those that networks keep."""
    others = [name for model in plan.get("class_order", {}) for name in other_classes(plan, model)]
    return list(dict.fromkeys([*plan["classes"], *others]))


def picture_name(variant: str, sha256: str) -> str:
    """The file of a pictured image, as a variant has it."""
    return f"images/{variant}-{sha256}.png"


def shards(count: int, size: int) -> list[range]:
    """Split the places of test images into shards of nearly equal size, at most ``size``.

    Each takes every so many-th image, so that images of one class, which stand together, are
    spread over the shards.
    """
    steps = -(-count // size)
    return [range(start, count, steps) for start in range(steps)]


def map_key(
    what: str,
    method: str | None,
    policy: str | None,
    layer: str | None,
    attack: str | None = "",
    source: str | None = None,
) -> str:
    """The name of an array of maps; any text is safe in it.

    Args:
        what: ``clean``, ``attacked``, or either with `` peak``.
        method: of the explainer.
        policy: which class is explained.
        layer: whose maps.
        attack: of attacked images.
        source: the model that made their perturbations; None: noise.
    """
    return json.dumps([what, method, policy, layer, attack, source], ensure_ascii=True)

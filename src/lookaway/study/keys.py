"""Names of what a run's folder holds: cells, their files, and the arrays in them."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

CLEAN = "clean"  # of a gallery's scores


@dataclass(frozen=True)
class ModelKey:
    """Which model: its name, the variant that it learns from, and the hashes of what made it.

    Attributes:
        variant: of the images.
        name: in the study.
        id: of the network that measures, with its training; the name of its files.
        head: of its training, or enrolling; the name of those files. Empty where it has none.
    """

    variant: str
    name: str
    id: str
    head: str = ""


@dataclass(frozen=True)
class CellKey:
    """Which cell: a variant, a model and a shard of the test images.

    Attributes:
        variant: of the images.
        model: its name in the study.
        shard: its number.
        id: the hash of what made it, whatever it is called: the name of its files.
        of_model: its model.
    """

    variant: str
    model: str
    shard: int
    id: str
    of_model: ModelKey

    @property
    def name(self) -> str:
        """What it is called when people are told of it."""
        return f"{trained_name(self.model, self.variant)}-{self.shard:05d}"


def plain(name: str) -> str:
    """A name as a part of a file's name, on every system."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name)[:40].strip(".-")


def stems(names: Sequence[str]) -> dict[str, str]:
    """Names as parts of files' names, no two of them alike."""
    found = {name: plain(name.replace("+", "plus")).lower() for name in names}
    alike = [stem for stem in found.values() if list(found.values()).count(stem) > 1]
    return {
        name: f"{stem}-{place}" if stem in alike or not stem else stem
        for place, (name, stem) in enumerate(found.items(), start=1)
    }


def trained_name(model: str, variant: str) -> str:
    """A model as it learnt from a variant of the images."""
    return model if variant == "none" else f"{model} / {variant}"


def picture_name(prepared: str, sha256: str) -> str:
    """The file of a pictured image, as it was prepared (``Identity.preparation``)."""
    return f"images/{prepared}-{sha256}.png"


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


def score_key(what: str, *of: str | None) -> str:
    """The name of an array; any text is safe in it.

    Args:
        what: ``clean``, (N, K) float32; ``attacked`` by attack and source, (N, E, K), the source
            None of a control; or ``target`` by attack, (N,) int64.
        of: what it is of.
    """
    return json.dumps([what, *of])

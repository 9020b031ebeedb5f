"""A few of a gallery's comparisons that are looked at, as a run keeps them."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np
import polars as pl

from lookaway.study.files import check_columns
from lookaway.study.keys import ModelKey
from lookaway.study.store import Store

STATES = ("clean", "noise", "attacked")
SIDES = ("probe", "reference")
KINDS = ("for", "against")


@dataclass(frozen=True)
class Pair:
    """A comparison that is shown.

    Attributes:
        variant: of the images.
        model: a gallery.
        attack: one of its own.
        epsilon: its size.
        image: the probe, a pictured test image.
        label: who is on it.
        person: whose template it is compared with.
        outcome: see ``analysis.comparisons``; None where no threshold can be fixed.
        rate: the clean false match rate at which the threshold is fixed.
        threshold: of the cosine.
        clean: the cosine of the clean image with the template.
        noise: that under the attack's noise control.
        attacked: that under attack.
    """

    variant: str
    model: str
    attack: str
    epsilon: float
    image: str
    label: str
    person: str
    outcome: str | None
    rate: float | None
    threshold: float | None
    clean: float
    noise: float
    attacked: float


_FLOATS = ("epsilon", "rate", "threshold", "clean", "noise", "attacked")
CHOSEN: dict[str, type[pl.DataType]] = {
    name: pl.Float64 if name in _FLOATS else pl.String for name in Pair.__dataclass_fields__
}
SCHEMA = CHOSEN | dict.fromkeys(("sha256", "reference", "reference_sha256", "layer"), pl.String)


def frame_of(pairs: Iterable[Pair]) -> pl.DataFrame:
    """Pairs as rows."""
    return pl.DataFrame([asdict(pair) for pair in pairs], schema=CHOSEN)


def read_pairs(store: Store, key: ModelKey) -> tuple[pl.DataFrame, np.ndarray] | None:
    """A gallery's pairs, and their maps; see ``pair_maps``. None where it has none.

    Raises:
        StoreError: a file is missing or damaged.
    """
    path, maps = (store.folder / name for name in store.identity.pairs(key))
    if not path.is_file():
        return None
    frame = store.read_frame(path)
    check_columns(frame, SCHEMA, path)
    return frame, store.read_arrays(maps)["maps"]

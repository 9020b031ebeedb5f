"""The cosines of a gallery's images with every template, as a cell keeps them."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lookaway.kernel import Measured

CLEAN = "clean"


def score_key(what: str, *of: str | None) -> str:
    """The name of an array; any text is safe in it.

    Args:
        what: ``clean``, (N, K) float32; ``attacked`` by attack and source, (N, E, K), the source
            None of a control; or ``target`` by attack, (N,) int64.
        of: what it is of.
    """
    return json.dumps([what, *of])


def cell_scores(
    found: Sequence[tuple[np.ndarray, "Measured"]], attacks: Sequence[str]
) -> dict[str, np.ndarray]:
    """A cell's scores by ``score_key``; empty where none were asked for.

    The first group of ``found`` is of all images; ``attacks`` are the model's own, in order.
    """
    names = ("clean_scores", "scores", "targets")
    whole = {key.name: each for key, each in found[0][1].arrays.items() if key.name in names}
    if not whole:
        return {}
    scores = {score_key(CLEAN): whole["clean_scores"].astype(np.float32)}
    for place, source in enumerate(found[0][1].sources):
        scores[score_key("attacked", *source)] = whole["scores"][:, place].astype(np.float32)
    for place, attack in enumerate(attacks):
        if (whole["targets"][:, place] >= 0).all():
            scores[score_key("target", attack)] = whole["targets"][:, place]
    return scores

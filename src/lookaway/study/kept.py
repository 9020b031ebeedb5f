"""What the kernel found in a cell, as it is kept."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from lookaway.baseline import Compared
from lookaway.measured import CleanMaps, Found, Key, MeasureSettings, clean_maps
from lookaway.perturbation import Perturbation
from lookaway.rows import (
    ROW_SCHEMA,
    STATISTIC_KEYS,
    Subject,
    measurement_rows,
    shuffled_rows,
    statistic_rows,
)
from lookaway.study.cell_result import CellResult
from lookaway.study.keys import CLEAN, map_key, score_key


def cell_result(
    found: Found,
    shaped: Found,
    subject: Subject,
    settings: MeasureSettings,
    pictured: np.ndarray,
    compared: Sequence[Compared],
    perturbations: dict[str, Perturbation],
) -> CellResult:
    """What of a cell is kept.

    Args:
        found: what the kernel found in groups of its images.
        shaped: what it found under controls with the attacks' own shape, one after another.
        subject: what it is about.
        settings: how the images were measured.
        pictured: (N,) bool: of which images maps of layers before the last are kept.
        compared: its clean heatmaps against those of other images.
        perturbations: of the model's own attacks.
    """
    clean = clean_maps(found)
    met = [each for each in found if each[1].sources]
    frames = [measurement_rows(each, subject) for each in (met, *([one] for one in shaped)) if each]
    return CellResult(
        rows=pl.concat(frames) if frames else pl.DataFrame(schema=ROW_SCHEMA),
        statistics=_statistics(met, shaped, subject, settings.last),
        shuffled=shuffled_rows(compared, subject),
        maps=_stored_maps(found, clean, pictured, settings.last),
        perturbations=perturbations,
        scores=_scores(found, list(found[0][1].perturbations)),
    )


def _statistics(found: Found, shaped: Found, subject: Subject, last: str) -> pl.DataFrame:
    """The statistics of attacks and noise, and of controls that have some."""
    frames = [statistic_rows(each, subject, last) for each in (found, *([one] for one in shaped))]
    having = [each for each in frames if each.width > len(STATISTIC_KEYS)]
    return pl.concat(having or frames[:1], how="diagonal")


def _stored_maps(
    found: Found, clean: CleanMaps, pictured: np.ndarray, last: str
) -> dict[str, np.ndarray]:
    """Maps ÷ their maxima and the maxima: the last layer's of all images, others' of pictured."""
    stored: dict[str, np.ndarray] = {}
    for view, (places, maps, _) in clean.items():
        kept = maps if view[2] == last else maps[pictured[places]]
        if not len(kept):
            continue
        _store(stored, kept, "clean", *view)
        having = [each for each in found if Key("attacked_maps", *view) in each[1].arrays]
        if not having:
            continue
        attacked = np.concatenate([each.arrays[Key("attacked_maps", *view)] for _, each in having])
        if view[2] == last:
            attacked = attacked[np.argsort(np.concatenate([each for each, _ in having]))]
        for place, source in enumerate(having[0][1].sources):
            _store(stored, attacked[:, place], "attacked", *view, *source)
    return stored


def _store(stored: dict[str, np.ndarray], maps: np.ndarray, what: str, *of: str | None) -> None:
    peaks = maps.max(axis=(-2, -1))
    scaled = maps / np.where(peaks > 0, peaks, 1.0)[..., None, None]
    stored[map_key(what, *of)] = scaled.astype(np.float16)
    stored[map_key(f"{what} peak", *of)] = peaks.astype(np.float32)


def _scores(found: Found, attacks: Sequence[str]) -> dict[str, np.ndarray]:
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

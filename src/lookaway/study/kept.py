"""What the kernel found in a cell, as it is kept."""

from typing import Any

import numpy as np
import polars as pl
import torch

from lookaway.measured import Key, MeasureSettings
from lookaway.metrics.shuffled import partners, shuffled_nissim
from lookaway.perturbation import Perturbation
from lookaway.rows import (
    ROW_SCHEMA,
    SHUFFLED_SCHEMA,
    Subject,
    measurement_rows,
    shuffled_rows,
    statistic_rows,
)
from lookaway.shaped import Found
from lookaway.study.cell_result import CellResult
from lookaway.study.keys import map_key
from lookaway.study.scores import cell_scores


def cell_result(
    found: Found,
    shaped: Found,
    subject: Subject,
    settings: MeasureSettings,
    pictured: np.ndarray,
    device: torch.device,
    perturbations: dict[str, Perturbation],
) -> CellResult:
    """What of a cell is kept.

    Args:
        found: what the kernel found in groups of its images.
        shaped: what it found under controls with the attacks' own shape, one after another.
        subject: what it is about.
        settings: how the images were measured.
        pictured: (N,) bool: of which images maps of layers before the last are kept.
        device: where the shuffled baseline is computed.
        perturbations: of the model's own attacks.
    """
    clean = _clean_maps(found)
    met = [each for each in found if each[1].sources]
    frames = [measurement_rows(each, subject) for each in (met, *([one] for one in shaped)) if each]
    return CellResult(
        rows=pl.concat(frames) if frames else pl.DataFrame(schema=ROW_SCHEMA),
        statistics=statistic_rows(met, subject, settings.last),
        shuffled=_shuffled(clean, subject, settings, device),
        maps=_stored_maps(found, clean, pictured, settings.last),
        perturbations=perturbations,
        scores=cell_scores(found, list(found[0][1].perturbations)),
    )


_CleanMaps = dict[tuple[str, str, str], tuple[np.ndarray, np.ndarray, np.ndarray]]


def _clean_maps(found: Found) -> _CleanMaps:
    """Places, maps (n, h, w) and dead flags (n,) of each explainer, policy and layer."""
    views = dict.fromkeys(
        key[1:] for _, measured in found for key in measured.arrays if key.name == "clean_maps"
    )
    clean = {}
    for view in views:
        having = [each for each in found if Key("clean_maps", *view) in each[1].arrays]
        places = np.concatenate([each for each, _ in having])
        order = np.argsort(places)
        maps, dead = (
            np.concatenate([measured.arrays[Key(name, *view)] for _, measured in having])[order]
            for name in ("clean_maps", "clean_dead")
        )
        clean[view] = places[order], maps, dead
    return clean


def _shuffled(
    clean: _CleanMaps, subject: Subject, settings: MeasureSettings, device: torch.device
) -> pl.DataFrame:
    """Each clean heatmap against that of another image of the cell; empty where it has one."""
    frames = []
    done: dict[tuple[str, str], tuple[np.ndarray, Any]] = {}  # policies often explain the same
    for view, (places, maps, dead) in clean.items():
        if len(places) < 2:
            continue
        others = partners([subject.images[place] for place in places], settings.noise_seed or 0)
        once = view[0], view[2]
        if once not in done or not np.array_equal(done[once][0], maps):
            done[once] = (
                maps,
                shuffled_nissim(
                    torch.from_numpy(maps).to(device),
                    others,
                    settings.grid,
                    settings.ssim,
                    settings.batch_size,
                ).tolist(),
            )
        columns = {"nissim": done[once][1], "dead": dead | dead[others]}
        frames.append(shuffled_rows(subject, view, places, others, columns))
    return pl.concat(frames) if frames else pl.DataFrame(schema=SHUFFLED_SCHEMA)


def _stored_maps(
    found: Found, clean: _CleanMaps, pictured: np.ndarray, last: str
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

"""How far a study in bfloat16 is from float32, measured on a few of its own images."""

import json
from typing import Any

import numpy as np
import polars as pl
import torch

from lookaway.explainers.base import heatmap
from lookaway.models.classifier import Classifier
from lookaway.progress import Reporter
from lookaway.study.cell import CellOutput, run_cell
from lookaway.study.cells import Cell, cell_settings, cells, load_shard
from lookaway.study.prepare import Prepared
from lookaway.study.settings import Study
from lookaway.study.store import Store
from lookaway.study.trained import ready_model, trained_bytes, weights_made

IMAGES = 16


def measure_drift(study: Study, prepared: Prepared, store: Store, progress: Reporter) -> None:
    """Measure each model that is not measured yet; a study in float32 has no drift.

    Args:
        study: the settings.
        prepared: its images and plan.
        store: the run's files.
        progress: told of the models done.
    """
    if study.run.precision == "float32":
        return
    found = cells(study, prepared)
    with progress.stage(f"drift of {study.run.precision}", len(found), "models") as advance:
        for spec, its_cells in found:
            key = its_cells[0].key
            weights = weights_made(store, key, spec)
            known = store.sound_json(f"drift/{key.stem}.json")
            if known is None or known.get("weights") != weights:
                cell = Cell(key, its_cells[0].images[:IMAGES])
                shard = load_shard(study, prepared, cell)
                trained = trained_bytes(store, key, spec)
                settings = cell_settings(study, prepared, spec)

                def run(clf: Classifier) -> CellOutput:
                    return run_cell(clf, spec.name, shard, settings)  # noqa: B023  called at once

                exact, coarse = (
                    run(ready_model(study, prepared, spec, trained, precision))
                    for precision in ("float32", None)
                )
                about = {
                    "model": spec.name,
                    "variant": key.variant,
                    "weights": weights,
                    "images": len(shard.images),
                }
                store.write_json(f"drift/{key.stem}.json", {**about, **drift(exact, coarse)})
            advance(1)


def drift(exact: CellOutput, coarse: CellOutput) -> dict[str, Any]:
    """How far two outputs of the same cell are apart.

    Args:
        exact: in float32.
        coarse: in the study's precision.

    Returns:
        ``mod`` and ``largest``: the mean and the largest absolute difference of MOD over attacks,
        ε, layers and policies. ``classes``: the share of predictions, of clean and attacked
        images, that are the same. ``heatmaps``: the mean difference of a position of the clean
        images' heatmaps, over layers and policies.
    """
    keys = ["attack", "source", "epsilon", "layer", "explained_class"]
    mods = [
        pl.DataFrame(output.rows)
        .group_by(keys, maintain_order=True)
        .agg(pl.col("nissim").mean())["nissim"]
        for output in (exact, coarse)
    ]
    same = [
        np.array(exact.rows[name]) == np.array(coarse.rows[name])
        for name in ("clean_class", "attacked_class")
    ]
    apart = [
        float((heatmap(_float(maps)) - heatmap(_float(coarse.maps[key]))).abs().mean())
        for key, maps in exact.maps.items()
        if json.loads(key)[0] == "clean"
    ]
    changes = (mods[0] - mods[1]).abs().to_numpy()
    return {
        "mod": float(changes.mean()),
        "largest": float(changes.max()),
        "classes": float(np.mean(same)),
        "heatmaps": float(np.mean(apart)),
    }


def _float(maps: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(maps.astype(np.float32))

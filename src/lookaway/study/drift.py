"""How far a study in a coarser precision is from float32, measured on a few of its own images."""

from dataclasses import replace
from itertools import groupby

import numpy as np
import torch

from lookaway.explainers.base import heatmap
from lookaway.kernel import Key, Measured
from lookaway.study.cell import Shard
from lookaway.study.json_files import Drift
from lookaway.study.schedule import cells
from lookaway.study.session import Session
from lookaway.study.trained import ready_model, trained_bytes, weights_made

IMAGES = 16


def measure_drift(session: Session) -> None:
    """Measure each model that is not measured yet; a study in float32 has no drift."""
    precision, store = session.study.run.precision, session.store
    if precision == "float32":
        return
    jobs = [next(same) for _, same in groupby(cells(session), key=lambda job: job.model)]
    with session.progress.stage(f"drift of {precision}", len(jobs), "models") as advance:
        for job in jobs:
            weights = weights_made(store, job.model, job.spec)
            name = store.identity.drift(job.model)
            known = store.sound_model(name, Drift)
            if known is None or known.weights != weights:
                few = replace(job, images=job.images[:IMAGES])
                shard = Shard.load(session.prepared, few)
                trained = trained_bytes(store, job.model, job.spec)
                found = []
                for one in ("float32", None):
                    clf = ready_model(session.prepared, job.spec, trained, one)
                    found.append([part for _, part in shard.measure(clf, {})])
                about = Drift(
                    model=job.spec.name,
                    variant=job.key.variant,
                    weights=weights,
                    images=len(shard.names),
                    **drift(*found),
                )
                store.write_model(name, about)
            advance(1)


def drift(exact: list[Measured], coarse: list[Measured]) -> dict[str, float]:
    """How far the same images, measured twice, are apart.

    Args:
        exact: groups of images in float32.
        coarse: the same in the study's precision.

    Returns:
        ``mod`` and ``largest``: the mean and the largest absolute difference of MOD over attacks,
        ε, explainers, layers and policies. ``classes``: the share of predictions, of clean and
        attacked images, that are the same. ``heatmaps``: the mean difference of a position of the
        clean images' heatmaps, over explainers, layers and policies.
    """
    keys = dict.fromkeys(key for part in exact for key in part.arrays)

    def whole(parts: list[Measured], key: Key) -> np.ndarray:
        return np.concatenate([part.arrays[key] for part in parts if key in part.arrays])

    pairs = {key: (whole(exact, key), whole(coarse, key)) for key in keys}
    mods = np.stack(
        [
            one.mean(axis=0) - two.mean(axis=0)
            for key, (one, two) in pairs.items()
            if key.name == "nissim"
        ]
    )
    same = [
        (one == two).ravel()
        for key, (one, two) in pairs.items()
        if key.name in ("clean_class", "attacked_class")
    ]
    apart = [
        float((heatmap(torch.from_numpy(one)) - heatmap(torch.from_numpy(two))).abs().mean())
        for key, (one, two) in pairs.items()
        if key.name == "clean_maps"
    ]
    changes = np.abs(mods)
    return {
        "mod": float(changes.mean()),
        "largest": float(changes.max()),
        "classes": float(np.mean([each.mean() for each in same])),
        "heatmaps": float(np.mean(apart)),
    }

"""What the stored maps of the last layers say, without running any model again.

For each pair of a clean and an attacked map: where participation went, and how dissimilar the two
are under other conventions than the study's own. One file a cell, beside its rows.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from lookaway.explainers.base import MIN_GRID, heatmap
from lookaway.hashing import digest, digest_json
from lookaway.metrics import direction
from lookaway.metrics.map_nissim import nissim_of_maps
from lookaway.metrics.ssim import PRESETS
from lookaway.progress import Reporter
from lookaway.study.cells import cells
from lookaway.study.prepare import Prepared
from lookaway.study.settings import Study
from lookaway.study.store import Store, map_key

GRID = 56  # px: what places and areas are measured on
KEYS = ["image", "label", "variant", "model", "attack", "source", "epsilon", "explained_class"]
DIRECTION = [
    "lost",
    "gained",
    "right",
    "down",
    "clean_area",
    "attacked_area",
    "rank_correlation",
    "strength",
]
_PAIRS_AT_ONCE = 16
_VERSION = 1  # of what is measured here


def conventions(ssim: str, grid: int) -> list[str]:
    """The other ways to compare two maps, each ``similarity@resolution``.

    Args:
        ssim: the study's preset.
        grid: the study's grid.

    Returns:
        Both SSIM presets on the study's grid, on half of it and, from maps brought to a resolution
        common to all architectures, on the study's grid; Spearman and top-10 % on native and
        common maps; without the study's own, which the rows hold.
    """
    half = max(MIN_GRID, grid // 2)
    found = [
        f"{preset}@{place}" for preset in PRESETS for place in (f"{grid}", f"{half}", "common")
    ]
    found += [f"{name}@{place}" for name in ("spearman", "top10") for place in ("native", "common")]
    return [name for name in dict.fromkeys(found) if name != f"{ssim}@{grid}"]


def measure_looks(study: Study, prepared: Prepared, store: Store, progress: Reporter) -> None:
    """Measure every cell's stored maps that are not measured yet."""
    plan, common = prepared.plan, common_size(prepared)
    settings = digest_json([_VERSION, study.measure.ssim, study.measure.grid, common])
    keys = [cell.key for _, found in cells(study, prepared) for cell in found]
    with progress.stage("where participation went", len(keys), "shards") as advance:
        for key in keys:
            raw = (store.folder / "maps" / f"{key.stem}.safetensors").read_bytes()
            made_of = digest(raw, settings)
            if not store.has_looks(key, made_of):
                layer = plan["last_layers"][key.model]
                frame = cell_looks(
                    store.cell_rows(key).filter(pl.col("layer") == layer),
                    store.read_maps(key),
                    layer,
                    (study.measure.ssim, study.measure.grid),
                    common,
                )
                store.write_looks(key, frame, made_of)
            advance(1)


def common_size(prepared: Prepared) -> tuple[int, int]:
    """Height and width of the smallest last map among a study's models."""
    sizes = prepared.plan["last_sizes"].values()
    return min(size[0] for size in sizes), min(size[1] for size in sizes)


def cell_looks(
    rows: pl.DataFrame,
    maps: Mapping[str, np.ndarray],
    layer: str,
    measure: tuple[str, int],
    common: tuple[int, int],
) -> pl.DataFrame:
    """One cell's pairs of maps, measured.

    Args:
        rows: of the cell, of its last layer, as stored.
        maps: of the cell, as stored.
        layer: the last one's name.
        measure: the study's SSIM preset and grid.
        common: height and width of the smallest map among the study's models.

    Returns:
        ``KEYS``, clean_dead, attacked_dead, ``DIRECTION`` and a column for each convention; null
        where a dead or constant map has no such number.
    """
    parts = []
    for _, setting in rows.group_by(["attack", "source"], maintain_order=True):
        done: list[tuple[pl.DataFrame, dict[str, np.ndarray]]] = []
        for found in setting.partition_by("explained_class", maintain_order=True):
            found = found.with_columns(**_explained(found["explained_class"][0]))
            columns = _measured(found, done, maps, layer, measure, common)
            done.append((found, columns))
            parts.append(
                found.select(*KEYS, "clean_dead", "attacked_dead").with_columns(
                    pl.Series(name, values, dtype=pl.Float64, nan_to_null=True)
                    for name, values in columns.items()
                )
            )
    return pl.concat(parts)


def _explained(policy: str) -> dict[str, pl.Expr]:
    """The classes that a policy's two maps explain."""
    clean, attacked = {
        "own": ("clean_class", "attacked_class"),
        "clean": ("clean_class", "clean_class"),
        "label": ("label", "label"),
    }[policy]
    return {"_clean": pl.col(clean), "_attacked": pl.col(attacked)}


def _measured(
    found: pl.DataFrame,
    done: Sequence[tuple[pl.DataFrame, dict[str, np.ndarray]]],
    maps: Mapping[str, np.ndarray],
    layer: str,
    measure: tuple[str, int],
    common: tuple[int, int],
) -> dict[str, np.ndarray]:
    """The numbers of one policy's pairs, NaN where there is none; once where policies agree."""
    names = [*DIRECTION, *conventions(*measure)]
    columns = {name: np.full(found.height, np.nan) for name in names}
    waiting = np.ones(found.height, dtype=bool)
    for other, known in done:
        same = waiting & np.array(
            (found["_clean"] == other["_clean"]) & (found["_attacked"] == other["_attacked"])
        )
        for name in names:
            columns[name][same] = known[name][same]
        waiting &= ~same
    policy, attack, source = found.select("explained_class", "attack", "source").row(0)
    clean, clean_peak = (
        maps[map_key(what, layer, policy)].astype(np.float32) for what in ("clean", "clean peak")
    )
    attacked, attacked_peak = (
        maps[map_key(what, layer, policy, attack, source)].astype(np.float32).swapaxes(0, 1)
        for what in ("attacked", "attacked peak")
    )
    levels = attacked.shape[0]  # rows stand by epsilon, then by image
    pairs = (
        torch.from_numpy(np.tile(clean, (levels, 1, 1))),
        torch.from_numpy(attacked.reshape(-1, *clean.shape[1:])),
    )
    peaks = np.tile(clean_peak, levels).astype(float), attacked_peak.reshape(-1).astype(float)
    alive = peaks[0] > 0, peaks[1] > 0
    either = waiting & (alive[0] | alive[1])
    total = peaks[0][either] + peaks[1][either]
    columns["strength"][either] = (peaks[1][either] - peaks[0][either]) / total
    for batch in np.array_split(
        np.flatnonzero(waiting), -(-max(1, int(waiting.sum())) // _PAIRS_AT_ONCE)
    ):
        for name, places, values in _batch(pairs, alive, batch, measure, common):
            columns[name][places] = values.numpy()
    return columns


def _batch(
    pairs: tuple[Tensor, Tensor],
    alive: tuple[np.ndarray, np.ndarray],
    batch: np.ndarray,
    measure: tuple[str, int],
    common: tuple[int, int],
) -> Iterator[tuple[str, np.ndarray, Tensor]]:
    """Each number's name, the pairs that have it, and its values."""
    native = [maps[batch] for maps in pairs]
    same_size = tuple(native[0].shape[1:]) == common
    shared = {
        "native": native,
        "common": native if same_size else [_resized(maps, common) for maps in native],
    }
    for name in conventions(*measure):
        similarity, place = name.split("@")
        if similarity in PRESETS:
            first, second = shared["common" if place == "common" else "native"]
            grid = measure[1] if place == "common" else int(place)
            yield name, batch, nissim_of_maps(first, second, grid, similarity)
            continue
        first, second = shared[place]
        ordered = _varies(first) & _varies(second)
        values = _DISSIMILARITIES[similarity](first[ordered], second[ordered])
        yield name, batch[ordered.numpy()], values
    ordered = _varies(native[0]) & _varies(native[1])
    correlation = direction.rank_correlation(native[0][ordered], native[1][ordered])
    yield "rank_correlation", batch[ordered.numpy()], correlation
    seen = alive[0][batch]
    heat = [heatmap(maps[seen], GRID) for maps in native]
    lost, gained = direction.lost_and_gained(heat[0], heat[1])
    yield "lost", batch[seen], lost
    yield "gained", batch[seen], gained
    yield "clean_area", batch[seen], direction.area(heat[0])
    both = alive[1][batch][seen]
    places = batch[seen][both]
    moved = direction.centre(heat[1][both]) - direction.centre(heat[0][both])
    yield "right", places, moved[:, 0]
    yield "down", places, moved[:, 1]
    yield "attacked_area", places, direction.area(heat[1][both])


_DISSIMILARITIES = {
    "spearman": lambda a, b: (1.0 - direction.rank_correlation(a, b)) / 2.0,
    "top10": lambda a, b: 1.0 - direction.top_overlap(a, b),
}


def _varies(maps: Tensor) -> Tensor:
    """Whether the cells of a map differ by more than what resizing rounds."""
    high, low = maps.amax(dim=(1, 2)), maps.amin(dim=(1, 2))
    return high - low > 1e-5 * high


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    resized = F.interpolate(
        maps[:, None], size=size, mode="bilinear", align_corners=False, antialias=True
    )
    return resized[:, 0].clamp(min=0.0)

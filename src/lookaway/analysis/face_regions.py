"""Where on a face explanations look: shares of participation in parts of the aligned square."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl

from lookaway.analysis.grouped import SETTING, measure_frames
from lookaway.analysis.regions import GRID, enlarged
from lookaway.analysis.scale import beside_control
from lookaway.data.pose import TEMPLATE, TEMPLATE_SIZE, Pose
from lookaway.study.faces import read_poses
from lookaway.study.json_files import Plan
from lookaway.study.keys import CellKey, map_key, shards
from lookaway.study.store import Store

REGIONS = ("eyes", "nose", "mouth", "forehead", "cheeks and chin", "background")
_FINER = 4  # points a side in which a cell of the grid is divided
# Of the square that the cascade finds, without a margin: between the eyes, from eye to eye, from
# the eyes to the mouth. Measured on the mean of ORL's aligned faces.
_CASCADE = ((0.5, 0.38), 0.36, 0.375)
_KEYS = [*SETTING, "method", "layer", "depth", "explained_class", "epsilon"]
SCHEMA = {
    **dict.fromkeys(_KEYS, pl.String),
    **dict.fromkeys(("depth", "epsilon"), pl.Float64),
    **dict.fromkeys(("region", "measure"), pl.String),
    "n": pl.Int64,
    **dict.fromkeys(("value", "low", "high"), pl.Float64),
    "interval": pl.String,
}


def layout(aligner: Mapping[str, Any]) -> np.ndarray | None:
    """How much of each cell of an aligned square belongs to each region.

    With x from between the eyes, in distances of the eyes, and y downwards, in distances of eyes
    and mouth: the face is the ellipse around (0, 0.3) with the axes 1.05 and 1.3. In it lie eyes
    and brows (0.1 ≤ |x| ≤ 0.9, -0.5 ≤ y ≤ 0.22); nose (|x| ≤ 0.3 down to y = 0.8, and the bridge
    between the eyes); mouth (|x| ≤ 0.55, 0.8 ≤ y ≤ 1.25); forehead (above the brows); cheeks and
    chin (the rest).

    Args:
        aligner: what a plan says of it.

    Returns:
        (6, GRID, GRID) in [0, 1], in the order of ``REGIONS``; they add up to 1 in every cell. None
        for images that are not aligned.
    """
    if aligner.get("aligner") == "cascade":
        (x, y), across, down = _CASCADE
        margin = float(aligner["margin"])
        scale = 1 + 2 * margin
        x, y = (x + margin) / scale, (y + margin) / scale
        across, down = across / scale, down / scale
    elif aligner.get("aligner") == "landmarks":
        points = np.array(TEMPLATE) / TEMPLATE_SIZE
        eyes, mouth = points[:2], points[3:].mean(axis=0)
        x, y = eyes.mean(axis=0)
        across, down = eyes[1, 0] - eyes[0, 0], mouth[1] - y
    else:
        return None
    places = (np.arange(GRID * _FINER) + 0.5) / (GRID * _FINER)
    right, below = (places[None, :] - x) / across, (places[:, None] - y) / down
    aside = np.abs(right)
    face = (right / 1.05) ** 2 + ((below - 0.3) / 1.3) ** 2 <= 1
    high = (below >= -0.5) & (below <= 0.22)
    parts = {
        "eyes": high & (aside >= 0.1) & (aside <= 0.9),
        "nose": ((below > 0.22) & (below < 0.8) & (aside <= 0.3)) | (high & (aside < 0.1)),
        "mouth": (below >= 0.8) & (below <= 1.25) & (aside <= 0.55),
        "forehead": (below < -0.5) & np.ones_like(aside, dtype=bool),
    }
    parts = {name: part & face for name, part in parts.items()}
    parts["cheeks and chin"] = face & ~np.logical_or.reduce(list(parts.values()))
    parts["background"] = ~face
    fine = np.stack([parts[name] for name in REGIONS]).astype(float)
    cells = fine.reshape(len(REGIONS), GRID, _FINER, GRID, _FINER)
    found: np.ndarray = cells.mean(axis=(2, 4))
    return found


def shares(maps: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """The share of each heatmap's mass in each region.

    Args:
        maps: (n, h, w) at least 0, brought bilinearly to the grid.
        covered: (R, GRID, GRID) from ``layout``.

    Returns:
        (n, R), adding up to 1; NaN where a map is all zeros.
    """
    heat = enlarged(maps)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: np.ndarray = np.einsum("nij,rij->nr", heat, covered) / heat.sum(axis=(1, 2))[:, None]
    return found


def face_regions(store: Store, plan: Plan) -> pl.DataFrame:
    """Where on the face each layer looks, clean and attacked, and what moved.

    Of the last layer all test images in which a face was found, of others those whose maps are
    kept: the pictured ones.

    Returns:
        variant, model, attack, source, method, layer, depth, explained_class, epsilon, region,
        measure, n, value, low, high, interval. Measures: ``clean`` and ``attacked``, mean shares;
        ``moved``, their difference; and of attacks ``beyond_noise``, what moved less what noise of
        the same size moved. Pairs in which a map is dead are left out.
    """
    frames = [pl.DataFrame(schema=SCHEMA)]
    for variant in plan.variants:
        covered = layout(plan.variants[variant].aligner)
        if covered is None:
            continue
        poses = read_poses(store, variant)
        boxed = plan.variants[variant].aligner.get("aligner") == "landmarks"
        aligned = {image for image, pose in poses.items() if _is_known(pose, boxed=boxed)}
        for model in plan.models:
            cells = list(_cells(store, plan, variant, model, covered, aligned))
            if cells and (rows := pl.concat(cells)).height:
                frames += [
                    _summed(part) for part in rows.partition_by("layer", maintain_order=True)
                ]
    return pl.concat(frames)


def _is_known(pose: Pose | None, *, boxed: bool) -> bool:
    """Whether a face lies as the layout says: a box in a file of landmarks is anyone's."""
    return pose is not None and not (boxed and pose.down == 0.0)


def _cells(
    store: Store, plan: Plan, variant: str, model: str, covered: np.ndarray, aligned: set[str]
) -> Iterator[pl.DataFrame]:
    """A row for each pair of maps, with the shares of both in each region."""
    samples = store.samples_of("test", variant)
    pictured = set(samples.filter("pictured")["image"])
    last = plan.last_layers[model]
    keys = ["method", "layer", "explained_class", "attack", "source"]
    for shard, _ in enumerate(shards(samples.height, plan.shard)):
        key = CellKey(variant, plan.models.index(model), model, shard)
        maps = store.read_maps(key)
        path = store.folder / "rows" / f"{key.stem}.parquet"
        for found in store.read_frame(path).partition_by(keys, maintain_order=True):
            method, layer, policy, attack, source = found.select(keys).row(0)
            name = map_key("clean", method, policy, layer)
            if name not in maps:
                continue
            images = found["image"].unique(maintain_order=True).to_list()
            kept = [image for image in images if layer == last or image in pictured]
            attacked = maps[map_key("attacked", method, policy, layer, attack, source)]
            clean = shares(maps[name], covered)
            place = {image: at for at, image in enumerate(kept)}
            rows = found.filter(pl.col("image").is_in([*aligned & {*kept}]))
            at = rows["image"].replace_strict(place, return_dtype=pl.Int64).to_numpy()
            level = (
                rows["epsilon"]
                .replace_strict(
                    {epsilon: at for at, epsilon in enumerate(plan.settings.epsilons)},
                    return_dtype=pl.Int64,
                )
                .to_numpy()
            )
            after = np.stack(
                [shares(attacked[:, place], covered) for place in range(attacked.shape[1])], axis=1
            )
            dead = (rows["clean_dead"] | rows["attacked_dead"]).to_numpy()[:, None]
            sides = {
                "clean": np.where(dead, np.nan, clean[at]),
                "attacked": np.where(dead, np.nan, after[at, level]),
            }
            yield rows.select("image", "label", *_KEYS).with_columns(
                pl.Series(f"{side} {region}", values[:, number], nan_to_null=True)
                for side, values in sides.items()
                for number, region in enumerate(REGIONS)
            )


def _summed(rows: pl.DataFrame) -> pl.DataFrame:
    """Means over the images, and what moved beyond noise."""
    moved = rows.with_columns(
        (pl.col(f"attacked {region}") - pl.col(f"clean {region}")).alias(f"moved {region}")
        for region in REGIONS
    )
    same = ["image", "variant", "model", "method", "layer", "explained_class", "epsilon"]
    values = {f"noise {region}": pl.col(f"moved {region}") for region in REGIONS}
    beside = beside_control(moved, same, values).with_columns(
        (pl.col(f"moved {region}") - pl.col(f"noise {region}")).alias(f"beyond_noise {region}")
        for region in REGIONS
    )
    parts = []
    for frame, names in ((moved, ("clean", "attacked", "moved")), (beside, ("beyond_noise",))):
        every = [f"{name} {region}" for name in names for region in REGIONS]
        measures = {name: pl.col(name) for name in every}
        if frame.height:
            parts.append(measure_frames(frame, _KEYS, measures))
    told = pl.concat(parts).with_columns(
        pl.col("measure").str.splitn(" ", 2).struct.rename_fields(["measure", "region"])
    )
    return told.unnest("measure").select(pl.col(name).cast(kind) for name, kind in SCHEMA.items())

"""Where on a face explanations look: shares of participation in parts of the aligned square."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from lookaway.analysis.aimed import without_shaped
from lookaway.analysis.columns import schema, typed
from lookaway.analysis.grouped import MEASURED, SETTING, measure_frames
from lookaway.analysis.regions import GRID, enlarged
from lookaway.analysis.scale import beside_control
from lookaway.data.pose import TEMPLATE, TEMPLATE_SIZE, Pose
from lookaway.study.faces import read_points, read_poses
from lookaway.study.json_files import Plan
from lookaway.study.keys import map_key
from lookaway.study.store import Store

REGIONS = ("eyes", "nose", "mouth", "forehead", "cheeks and chin", "background")
_FINER = 4  # points a side in which a cell of the grid is divided
# Of the square that the cascade finds, without a margin: between the eyes, from eye to eye, from
# the eyes to the mouth. Measured on the mean of ORL's aligned faces.
_CASCADE = ((0.5, 0.38), 0.36, 0.375)
# Of a face's own points: how wide the region of a mouth is beside the mouth, as in the template;
# how far a nose may lean, and how high its tip may be; how large the face is at least, in squares.
_MOUTH, _MOST_LEAN, _HIGHEST_TIP, _LEAST_FACE = 1.33, 0.75, 0.2, 0.01
_KEYS = [*SETTING, "method", "layer", "depth", "explained_class", "epsilon"]
_COLUMNS = [*_KEYS, "region", *MEASURED]


def layout(aligner: Mapping[str, Any]) -> np.ndarray | None:
    """How much of each cell of an aligned square belongs to each region, by its standard layout.

    Args:
        aligner: what a plan says of it.

    Returns:
        (6, GRID, GRID) in [0, 1], in the order of ``REGIONS``; they add up to 1 in every cell. None
        for images that are not aligned.
    """
    if aligner.get("aligner") == "cascade":
        middle, across, down = _CASCADE
        margin = float(aligner["margin"])
        x, y = ((each + margin) / (1 + 2 * margin) for each in middle)
        across, down = across / (1 + 2 * margin), down / (1 + 2 * margin)
    elif aligner.get("aligner") == "landmarks":
        points = np.array(TEMPLATE) / TEMPLATE_SIZE
        eyes, mouth = points[:2], points[3:].mean(axis=0)
        x, y = eyes.mean(axis=0)
        across, down = eyes[1, 0] - eyes[0, 0], mouth[1] - y
    else:
        return None
    right, below = _cells_of_grid()
    return _covered((right - x) / across, (below - y) / down)


def layout_of_points(points: np.ndarray) -> np.ndarray | None:
    """The same by a face's own points.

    Args:
        points: (5, 2) fractions of the square: eyes, tip of the nose, corners of the mouth, in the
            order of ``TEMPLATE``.

    Returns:
        None where they span no face in the square: from between the eyes to the mouth is along the
        eyes, as in a profile, or the face lies beside the square.
    """
    eye, other, tip, *mouth = points
    middle, down = (eye + other) / 2, np.mean(mouth, axis=0) - (eye + other) / 2
    axes = np.stack([other - eye, down], axis=1)
    inside = bool(((middle >= 0) & (middle <= 1)).all())
    if not inside or abs(np.linalg.det(axes)) < _LEAST_FACE:
        return None
    (tip_right, tip_below), left, right = (
        np.linalg.solve(axes, each - middle) for each in (tip, *mouth)
    )
    along = np.moveaxis(np.stack(np.broadcast_arrays(*_cells_of_grid())), 0, -1) - middle
    aside, below = np.moveaxis(along @ np.linalg.inv(axes).T, -1, 0)
    lean = float(np.clip(tip_right / max(tip_below, _HIGHEST_TIP), -_MOST_LEAN, _MOST_LEAN))
    return _covered(aside, below, lean, _MOUTH * abs(right[0] - left[0]) / 2)


def _cells_of_grid() -> tuple[np.ndarray, np.ndarray]:
    """Points of the square, several in each cell: x (1, n) and y (n, 1)."""
    places = (np.arange(GRID * _FINER) + 0.5) / (GRID * _FINER)
    return places[None, :], places[:, None]


def _covered(
    right: np.ndarray, below: np.ndarray, lean: float = 0.0, mouth: float = 0.55
) -> np.ndarray:
    """How much of each cell belongs to each region.

    With x from between the eyes, in distances of the eyes, and y downwards, in distances of eyes
    and mouth: the face is the ellipse around (0, 0.3) with the axes 1.05 and 1.3. In it lie eyes
    and brows (0.1 ≤ |x| ≤ 0.9, -0.5 ≤ y ≤ 0.22); nose (|x - lean · y| ≤ 0.3 down to y = 0.8, and
    the bridge between the eyes); mouth (0.8 ≤ y ≤ 1.25); forehead (above the brows); cheeks and
    chin (the rest). ``lean`` is how far the nose leaves the middle, ``mouth`` how wide that is.
    """
    aside = np.abs(right)
    face = (right / 1.05) ** 2 + ((below - 0.3) / 1.3) ** 2 <= 1
    high = (below >= -0.5) & (below <= 0.22)
    nose = np.abs(right - lean * below) <= 0.3
    parts = {
        "eyes": high & (aside >= 0.1) & (aside <= 0.9),
        "nose": ((below > 0.22) & (below < 0.8) & nose) | (high & (aside < 0.1)),
        "mouth": (below >= 0.8) & (below <= 1.25) & (aside <= mouth),
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
        covered: (R, GRID, GRID) from ``layout``, or (n, R, GRID, GRID) of each.

    Returns:
        (n, R), adding up to 1; NaN where a map is all zeros.
    """
    heat = enlarged(maps)
    every = np.broadcast_to(covered, (len(heat), *covered.shape[-3:]))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: np.ndarray = np.einsum("nij,nrij->nr", heat, every) / heat.sum(axis=(1, 2))[:, None]
    return found


def face_regions(store: Store, plan: Plan) -> pl.DataFrame:
    """Where on the face each layer looks, clean and attacked, and what moved.

    Of the last layer all test images in which a face was found, of others those whose maps are
    kept: the pictured ones. Regions follow an image's own five points where the study was given
    some, else the standard layout.

    Returns:
        variant, model, attack, source, method, layer, depth, explained_class, epsilon, region,
        measure, n, value, low, high, interval. Measures: ``clean`` and ``attacked``, mean shares;
        ``moved``, their difference; and of attacks ``beyond_noise``, what moved less what noise of
        the same size moved. Pairs in which a map is dead are left out.
    """
    nothing = pl.DataFrame(schema=schema(*_COLUMNS))
    return pl.concat([nothing, *(_summed(moved) for moved in moved_rows(store, plan))])


# Rows of images, and the measures of them.
_Moved = list[tuple[pl.DataFrame, dict[str, pl.Expr]]]


def moved_rows(store: Store, plan: Plan) -> Iterator[_Moved]:
    """What ``face_regions`` sums up, of each image: a variant, model and layer at a time.

    Yields:
        Rows and their measures, such as ``clean eyes``: those of every perturbation, then
        ``beyond_noise`` of attacks.
    """
    for variant in plan.variants:
        faces = Faces.of(store, plan, variant)
        if faces is None:
            continue
        for model in plan.models:
            cells = list(_cells(store, plan, variant, model, faces))
            if cells and (rows := pl.concat(cells)).height:
                for part in rows.partition_by("layer", maintain_order=True):
                    yield _moved(part)


@dataclass(frozen=True)
class Faces:
    """Where the faces of a variant lie.

    Attributes:
        standard: the layout of an aligned square.
        poses: of the faces, by image.
        points: five of the upright image, by image, where the study was given some.
        boxed: whether a face without points is a box, which is anyone's, and has no layout.
    """

    standard: np.ndarray
    poses: Mapping[str, Pose | None]
    points: Mapping[str, np.ndarray]
    boxed: bool

    @classmethod
    def of(cls, store: Store, plan: Plan, variant: str) -> "Faces | None":
        """Those of a run; None where the variant's images are not aligned.

        Raises:
            StoreError: poses or points are missing or damaged.
        """
        aligner = plan.variants[variant].aligner
        standard = layout(aligner)
        if standard is None:
            return None
        boxed = aligner.get("aligner") == "landmarks"
        return cls(standard, read_poses(store, variant), read_points(store), boxed)

    def layouts(self, images: Iterable[str]) -> dict[str, np.ndarray]:
        """The layout of each of these images that has one, by its own points where it has some."""
        found = {}
        for image in images:
            pose, points = self.poses.get(image), self.points.get(image)
            if pose is None:
                continue
            own = None if points is None else layout_of_points(pose.seen(points))
            if own is not None or not self.boxed:
                found[image] = self.standard if own is None else own
        return found


def _cells(
    store: Store, plan: Plan, variant: str, model: str, faces: Faces
) -> Iterator[pl.DataFrame]:
    """A row for each pair of maps, with the shares of both in each region."""
    samples = store.samples_of("test", variant)
    pictured = set(samples.filter("pictured")["image"])
    last = plan.last_layers[model]
    keys = ["method", "layer", "explained_class", "attack", "source"]
    nothing = np.zeros_like(faces.standard)  # of images that are left out below
    for shard, places in enumerate(store.identity.shards(variant)):
        key = store.identity.cell(variant, model, shard)
        known = faces.layouts(samples["image"].gather(places))
        maps = store.read_maps(key)
        rows = without_shaped(store.read_cell("rows", key))  # of others no maps are kept
        before: dict[str, np.ndarray] = {}
        for found in rows.partition_by(keys, maintain_order=True):
            method, layer, policy, attack, source = found.select(keys).row(0)
            name = map_key("clean", method, policy, layer)
            if name not in maps:
                continue
            images = found["image"].unique(maintain_order=True).to_list()
            kept = [image for image in images if layer == last or image in pictured]
            attacked = maps[map_key("attacked", method, policy, layer, attack, source)]
            covered = np.stack([known.get(image, nothing) for image in kept])
            if name not in before:
                before[name] = shares(maps[name], covered)
            place = {image: at for at, image in enumerate(kept)}
            rows = found.filter(pl.col("image").is_in([*known.keys() & {*kept}]))
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
                "clean": np.where(dead, np.nan, before[name][at]),
                "attacked": np.where(dead, np.nan, after[at, level]),
            }
            yield rows.select("image", "label", *_KEYS).with_columns(
                pl.Series(f"{side} {region}", values[:, number], nan_to_null=True)
                for side, values in sides.items()
                for number, region in enumerate(REGIONS)
            )


def _moved(rows: pl.DataFrame) -> _Moved:
    """The shares of a layer, what moved, and what moved beyond noise."""
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
    found = []
    for frame, names in ((moved, ("clean", "attacked", "moved")), (beside, ("beyond_noise",))):
        every = [f"{name} {region}" for name in names for region in REGIONS]
        if frame.height:
            found.append((frame, {name: pl.col(name) for name in every}))
    return found


def _summed(moved: _Moved) -> pl.DataFrame:
    """Means over the images."""
    parts = [measure_frames(frame, _KEYS, measures) for frame, measures in moved]
    told = pl.concat(parts).with_columns(
        pl.col("measure").str.splitn(" ", 2).struct.rename_fields(["measure", "region"])
    )
    return typed(told.unnest("measure"), _COLUMNS)

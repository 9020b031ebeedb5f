"""How much of a heatmap's participation lies inside a region, such as a face."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
import polars as pl
from PIL import Image

from lookaway.analysis.aimed import without_shaped
from lookaway.data.folder import canonical
from lookaway.data.pixels import white_is_lowest
from lookaway.errors import DataError
from lookaway.places import local_path
from lookaway.study.keys import map_key
from lookaway.study.store import Store

GRID = 56  # cells a side of a region's coverage
_FAR = 4.0  # a box may reach a little beyond the picture
BOX = ["left", "top", "right", "bottom"]
_BOMB = Image.DecompressionBombError
_MASKS = (".png", ".bmp", ".tif", ".tiff")


def read_regions(source: str | Path | pl.DataFrame, images: list[str]) -> dict[str, np.ndarray]:
    """Regions of images: boxes from a table, or masks from a folder.

    Args:
        source: a CSV file or a frame with image, left, top, right, bottom (fractions of the square
            picture that the models see, from its upper left corner; of several boxes of an image
            all count); or a folder with a mask for
            each image, at the image's path with the ending .png, .bmp or .tif: white inside. A
            mask goes the image's way to that square: shorter side resized, centre cut out. Names
            may have another Unicode form than the images', or backslashes.
        images: names; an image without a region is left out.

    Returns:
        For each image that has one (GRID, GRID) coverage in [0, 1].

    Raises:
        DataError: the source cannot be read, names no image of the run or may mean two, or a box
            is no box.
    """
    if isinstance(source, pl.DataFrame):
        found = _boxes(source, images, "the frame")
    else:
        path = local_path(source, "regions")
        try:
            if path.is_dir():
                found = _masks(path, images)
            else:
                frame = pl.read_csv(path, glob=False, infer_schema=False)
                found = _boxes(frame, images, str(path))
        except (OSError, pl.exceptions.PolarsError, ValueError, _BOMB) as error:
            raise DataError(
                f"regions {str(source)!r} cannot be read ({error}); give a CSV with image, left, "
                "top, right, bottom, or a folder of masks"
            ) from error
    if not found:
        raise DataError(
            f"{str(source)[:200]!r} holds no region of an image of this run, such as "
            f"{images[0]!r}; names are paths below the image folder"
        )
    return found


def _boxes(frame: pl.DataFrame, images: list[str], name: str) -> dict[str, np.ndarray]:
    missing = [column for column in ["image", *BOX] if column not in frame.columns]
    if missing:
        there = ", ".join(frame.columns)[:200]
        raise DataError(f"{name} has no column {', '.join(missing)}; it has {there!r}")
    found: dict[str, np.ndarray] = {}
    known = _Known(images)
    for given, *sides in frame.select(pl.col("image").cast(pl.String), *BOX).iter_rows():
        image = None if given is None else known.named(given, name)
        if image is None:
            continue
        try:
            left, top, right, bottom = map(float, sides)
        except (TypeError, ValueError):
            left = right = top = bottom = float("nan")
        if not (left < right and top < bottom and left < 1 and top < 1 and right > 0 < bottom):
            raise DataError(
                f"{name}: the box of {image!r} is {sides}; left < right and top < bottom are "
                "needed, in fractions of the picture"
            )
        if max(abs(side) for side in (left, top, right, bottom)) > _FAR:
            raise DataError(
                f"{name}: the box of {image!r} is {sides}, which looks like pixels; give fractions "
                "of the square picture that the models see, from 0 to 1"
            )
        box = np.outer(_covered(top, bottom), _covered(left, right))
        found[image] = np.maximum(box, found[image]) if image in found else box
    return found


def _covered(start: float, stop: float) -> np.ndarray:
    """How much of each of GRID cells lies between two fractions."""
    edges = np.arange(GRID + 1) / GRID
    covered: np.ndarray = np.clip(
        np.minimum(edges[1:], stop) - np.maximum(edges[:-1], start), 0, None
    )
    return covered * GRID


class _Known:
    """The images of a run, by their names as another file spells them."""

    def __init__(self, images: list[str]) -> None:
        self._images = set(images)
        self._alike: dict[str, list[str]] = {}
        for image in images:
            self._alike.setdefault(canonical(image), []).append(image)

    def named(self, given: str, where: str) -> str | None:
        """The image of this name, in any Unicode form and slashes; None: there is none.

        Raises:
            DataError: it may be several.
        """
        if given in self._images:
            return given
        alike = self._alike.get(canonical(given), [])
        if len(alike) > 1:
            raise DataError(
                f"{where}: {given!r} may be {' or '.join(map(repr, alike))}, which differ in "
                "Unicode form or slashes alone; give it the name of the image that is meant"
            )
        return alike[0] if alike else None


def _masks(folder: Path, images: list[str]) -> dict[str, np.ndarray]:
    stems = {image: PurePosixPath(image).with_suffix("").as_posix() for image in images}
    paths = {stem: _mask_of(folder, stem) for stem in stems.values()}
    if None in paths.values():
        _seek_masks(folder, paths)
    found = {}
    for image, stem in stems.items():
        path = paths[stem]
        if path is None:
            continue
        mask = _mask(path)
        side = min(mask.size)
        left, top = (mask.width - side) // 2, (mask.height - side) // 2
        square = (left, top, left + side, top + side)
        small = mask.resize((GRID, GRID), Image.Resampling.BOX, box=square)
        found[image] = np.asarray(small, dtype=float)
    return found


def _mask_of(folder: Path, stem: str) -> Path | None:
    """The mask of exactly this name, if there is one."""
    given = (folder / f"{stem}{ending}" for ending in _MASKS)
    return next((path for path in given if path.is_file()), None)


def _seek_masks(folder: Path, paths: dict[str, Path | None]) -> None:
    """Find masks whose names have another Unicode form, or backslashes, for those without one."""
    known, spelled = _Known(list(paths)), dict[str, str]()
    for path in sorted(folder.rglob("*")):
        given = path.relative_to(folder).with_suffix("").as_posix()
        stem = known.named(given, str(folder)) if path.suffix in _MASKS else None
        if stem is None or stem == given or spelled.get(stem) == given:
            continue
        if stem in spelled:
            raise DataError(
                f"{spelled[stem]!r} and {given!r} in {str(folder)!r} differ in Unicode form or "
                f"slashes alone, and either may be the mask of {stem!r}; remove one"
            )
        if paths[stem] is None:
            spelled[stem], paths[stem] = given, path


def _mask(path: Path) -> Image.Image:
    """A mask as floats in [0, 1]: of 1, 8 or 16 bits, or with 1 for white in more."""
    with Image.open(path, formats=("PNG", "BMP", "TIFF")) as opened:
        grey = opened if opened.mode.startswith(("1", "L", "I", "F")) else opened.convert("L")
        values, inverted = np.asarray(grey, dtype=np.float32), white_is_lowest(opened)
    highest = values.max(initial=0.0)
    white = next((level for level in (1.0, 255.0) if highest <= level), 65535.0)
    return Image.fromarray(1.0 - values / white if inverted else values / white)


def inside(maps: np.ndarray, coverage: np.ndarray) -> np.ndarray:
    """The share of each heatmap's mass that lies in a region.

    Args:
        maps: (n, h, w) at least 0, brought bilinearly to the coverage's size.
        coverage: (n, GRID, GRID) in [0, 1].

    Returns:
        (n,) in [0, 1]; NaN where a map is all zeros.
    """
    heat = enlarged(maps)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares: np.ndarray = (heat * coverage).sum(axis=(1, 2)) / heat.sum(axis=(1, 2))
    return shares


def enlarged(maps: np.ndarray) -> np.ndarray:
    """Maps (n, h, w) brought bilinearly to (n, GRID, GRID) float64."""
    rows, columns = (_enlarging(size) for size in maps.shape[1:])
    heat: np.ndarray = rows @ maps.astype(float) @ columns.T
    return heat


def _enlarging(cells: int) -> np.ndarray:
    """The bilinear weights from ``cells`` to GRID, antialiased when shrinking: (GRID, cells)."""
    places = np.clip((np.arange(GRID) + 0.5) * cells / GRID - 0.5, 0, cells - 1)
    reach = max(1.0, cells / GRID)
    weights = np.clip(1 - np.abs(places[:, None] - np.arange(cells)) / reach, 0, None)
    normalised: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
    return normalised


def inside_frame(store: Store, regions: Mapping[str, np.ndarray]) -> pl.DataFrame:
    """The share of participation inside the regions, clean and attacked, from stored maps.

    Args:
        store: the run's files.
        regions: coverage by image.

    Returns:
        image, variant, model, attack, source, epsilon, method, explained_class, clean_inside,
        attacked_inside; null where a map is dead or the image has no region.
    """
    last = store.read_plan().last_layers
    parts = []
    for rows, maps in store.cells_with_maps():
        layer = last[rows["model"][0]]
        setting = ["method", "attack", "source", "explained_class"]
        for found in (
            without_shaped(rows)
            .filter(pl.col("layer") == layer)
            .partition_by(setting, maintain_order=True)
        ):
            method, attack, source, policy = found.select(setting).row(0)
            images = found["image"].unique(maintain_order=True).to_list()
            known = np.array([image in regions for image in images])
            clean = maps[map_key("clean", method, policy, layer)]
            attacked = maps[map_key("attacked", method, policy, layer, attack, source)]
            covered = np.stack([regions.get(image, np.zeros((GRID, GRID))) for image in images])
            shares = (
                [inside(clean, covered)] * attacked.shape[1],
                [inside(attacked[:, level], covered) for level in range(attacked.shape[1])],
            )
            values = [
                np.where(np.tile(known, attacked.shape[1]), np.concatenate(s), np.nan)
                for s in shares
            ]
            parts.append(
                found.select(
                    *("image", "variant", "model", "attack", "source", "epsilon"),
                    *("method", "explained_class"),
                ).with_columns(
                    pl.Series(name, value, dtype=pl.Float64, nan_to_null=True)
                    for name, value in zip(("clean_inside", "attacked_inside"), values, strict=True)
                )
            )
    return pl.concat(parts)


def pack(regions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Regions as they are stored: 8 bit for each cell."""
    return {name: np.round(255 * region).astype(np.uint8) for name, region in regions.items()}


def unpack(stored: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Regions as they were before ``pack``, to 1 part in 255."""
    return {name: region / 255.0 for name, region in stored.items()}

"""What the explorer draws from: pixels, perturbations and native maps, as small as can be."""

import base64
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from lookaway.analysis import direction
from lookaway.analysis.frames import Frames
from lookaway.data.pixels import as_picture
from lookaway.perturbation import NOISE, Perturbation
from lookaway.report.explorer_looks import Perturbed, Shown, add_looks, first_shown
from lookaway.report.pictured import Pictured, PicturedImages, Placed
from lookaway.report.wording import first_method
from lookaway.study.thumbnails import SIDE, columns_of

_IMAGES = 500  # in the page, at most
_CODE_BYTES = 10_000_000  # of all perturbations, before compression
_MAP_BYTES = 11_000_000  # of the maps of layers before the last, before compression
_SMALL_MAP_BYTES = 6_000_000  # of the maps of images with a small copy alone, the same
_SIDES = (56, 28, 14, 7)  # larger maps of those layers are averaged down to one of these


@dataclass(frozen=True)
class Layer:
    """A layer in the page.

    Attributes:
        name: its name.
        depth: 0 the first, 1 the last.
        size: (h, w) of its maps.
        shown: (h, w) of its maps in the page.
        policies: places of the explained classes whose maps are in the page.
        last: whether it enters pooling.
    """

    name: str
    depth: float
    size: tuple[int, int]
    shown: tuple[int, int]
    policies: tuple[int, ...]
    last: bool


@dataclass(frozen=True)
class Explorer:
    """The explorer's data.

    Attributes:
        about: plain data: names, sizes, predictions, NISSIM, the clean images as lossless WebP,
            and small copies of others, together in one.
        blobs: deflated bytes by name. ``codes-P-I``: perturbation P's codes for image I,
            (L, H, W, C); two bits each where they are signs, else eight: ``about["changes"]``.
            ``maps-M-I``: model M's maps of image I as 8-bit shares of their maxima: for each of
            its layers in the page and each policy of that layer, the clean map, then for each of
            the model's perturbations the maps of each ε.
        note: what of the pictured images is not in the page, in a sentence or two; may be empty.
    """

    about: dict[str, Any]
    blobs: dict[str, bytes]
    note: str


def explorer(frames: Frames, found: PicturedImages) -> Explorer:
    """Everything that the explorer shows, in some 20 MB at most.

    Where the study pictures more than fits, fewer images are shown, and of the layers before the
    last smaller maps, by a rule that follows from the study alone.

    Raises:
        StoreError: a file is missing or damaged.
    """
    data, sources = frames.settings.data, len(frames.models)
    side, channels = data.image_size, data.channels
    perturbations = [Perturbed(a, source) for a in frames.attacks for source in range(sources)]
    perturbations.append(Perturbed(NOISE, None))
    fits = _CODE_BYTES // (len(perturbations) * channels * side * side // 4)
    images = found.images[: min(_IMAGES, max(1, fits))]
    drawn = {image.image for image in images}
    others = [(tile, image) for tile, image in enumerate(found.small) if image.image not in drawn][
        : max(0, _IMAGES - len(images))
    ]
    every = [*images, *(image for _, image in others)]
    names = [image.image for image in every]

    def of_images(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.filter(pl.col("image").is_in(names), pl.col("variant") == found.variant)

    rows = of_images(frames.shown_rows).filter(pl.col("attack").is_in([*frames.attacks, NOISE]))
    shown = Shown(frames, every, perturbations)
    met = shown.met
    layers, deep = _layers(frames, rows, len(images), max(map(len, met), default=0))
    mapped = len(images) + _mapped(frames, layers, met, len(others))
    blobs = {}
    changes: list[list[dict[str, Any]]] = [[{} for _ in images] for _ in perturbations]
    for index, model in enumerate(frames.models):
        for place in sorted(range(mapped), key=lambda place: every[place].shard):
            image = every[place]
            for number, one in enumerate(perturbations):
                if one.source == index and isinstance(image, Pictured):
                    change = found.perturbation(image, one.attack, model)
                    blobs[f"codes-{number}-{place}"], changes[number][place] = _codes(change)
            chosen = [layer for layer in layers[model] if layer.last or place < deep]
            its = [perturbations[number] for number in met[index]]
            maps = _maps(frames, found, image, model, chosen, its)
            blobs[f"maps-{index}-{place}"] = _deflated(maps)
    for place, image in enumerate(images):
        change = found.perturbation(image, NOISE, None)
        number = len(perturbations) - 1
        blobs[f"codes-{number}-{place}"], changes[number][place] = _codes(change)
    met_classes = {*rows["clean_class"], *rows["attacked_class"], *frames.plan.classes}
    classes = [name for name in frames.plan.predicted_classes() if name in met_classes]
    results = _results(shown, rows, classes, every, layers)
    add_looks(shown, of_images(frames.shown_statistics), results)
    about = {
        "first": first_shown(
            frames,
            [its[: len(images)] for its in results],
            [classes.index(image.label) for image in images],
            [_place_of_last(layers[model]) for model in frames.models],
        ),
        "looks": list(direction.WORDS),
        "epsilons": frames.epsilons,
        "side": side,
        "channels": channels,
        "policies": frames.policies,
        "policy": frames.policies.index(frames.policy),
        "classes": classes,
        "perturbations": [asdict(one) for one in perturbations],
        "changes": changes,
        "models": [
            {
                "name": model,
                "perturbations": met[index],
                "layers": [asdict(layer) for layer in layers[model]],
            }
            for index, model in enumerate(frames.models)
        ],
        "images": [
            {
                "name": image.image,
                "label": classes.index(image.label),
                "deep": place < deep,
                "mapped": place < mapped,
                "source": _webp(image.pixels) if isinstance(image, Pictured) else None,
            }
            for place, image in enumerate(every)
        ],
        "small": _small(found, len(images), [tile for tile, _ in others]),
        "results": results,
    }
    note = _note(frames, found, [len(images), mapped, len(every)], deep, layers)
    return Explorer(about, blobs, note)


def _layers(
    frames: Frames, rows: pl.DataFrame, images: int, perturbations: int
) -> tuple[dict[str, list[Layer]], int]:
    """Each model's layers in the page by depth; and of how many images those before the last."""
    known = rows.select("model", "layer", "depth", "map_size").unique().sort("depth", "layer")
    last = frames.plan.last_layers
    sizes = [
        tuple(map(int, row["map_size"].split("x")))
        for row in known.iter_rows(named=True)
        if row["layer"] != last[row["model"]]
    ]
    each = 1 + perturbations * len(frames.epsilons)
    cost = {side: each * sum(min(h, side) * min(w, side) for h, w in sizes) for side in _SIDES}
    side = next((side for side in _SIDES if images * cost[side] <= _MAP_BYTES), _SIDES[-1])
    deep = min(images, _MAP_BYTES // cost[side]) if sizes else images
    found: dict[str, list[Layer]] = {model: [] for model in frames.models}
    for row in known.iter_rows(named=True):
        height, width = map(int, row["map_size"].split("x"))
        is_last = row["layer"] == last[row["model"]]
        shown = (height, width) if is_last else (min(height, side), min(width, side))
        every = tuple(range(len(frames.policies)))
        policies = every if is_last else (frames.policies.index(frames.policy),)
        layer = Layer(row["layer"], row["depth"], (height, width), shown, policies, is_last)
        found[row["model"]].append(layer)
    return found, deep


def _mapped(
    frames: Frames,
    layers: Mapping[str, Sequence[Layer]],
    met: Sequence[Sequence[int]],
    others: int,
) -> int:
    """Of how many of the images with a small copy alone the maps are in the page."""
    each = 0
    for model, its in zip(frames.models, met, strict=True):
        maps = len(frames.policies) * (1 + len(its) * len(frames.epsilons))
        each += sum(maps * math.prod(layer.shown) for layer in layers[model] if layer.last)
    return min(others, _SMALL_MAP_BYTES // max(1, each))


def _small(found: PicturedImages, first: int, tiles: Sequence[int]) -> dict[str, Any] | None:
    """The small copies: those of the images from ``first`` on, by their places in the file."""
    if not tiles:
        return None
    source = "data:image/webp;base64," + base64.b64encode(found.thumbnails()).decode()
    columns = columns_of(len(found.small))
    return {"source": source, "side": SIDE, "columns": columns, "first": first, "tiles": tiles}


def _place_of_last(layers: Sequence[Layer]) -> int:
    """Where a model's last layer is among those shown; 0 where no image is pictured."""
    return next((place for place, layer in enumerate(layers) if layer.last), 0)


def _codes(change: Perturbation) -> tuple[bytes, dict[str, Any]]:
    """An image's codes, channels last, as small as they are stored; and what they mean."""
    channels_last = Perturbation(change.codes.transpose(0, 1, 3, 4, 2))
    ((kind, codes),) = channels_last.arrays().items()
    scale = None if change.scale is None else change.scale[0].tolist()
    return _deflated(codes), {"signs": kind == "signs", "scale": scale}


def _maps(
    frames: Frames,
    found: PicturedImages,
    image: Placed,
    model: str,
    layers: Sequence[Layer],
    perturbations: Sequence[Perturbed],
) -> np.ndarray:
    """A model's maps of one image, in the order that ``Explorer`` tells."""
    parts = []
    for layer in layers:
        for place in layer.policies:
            names = (model, layer.name, frames.policies[place])
            parts.append(_shares(found.clean_map(image, *names)[None], layer.shown))
            for one in perturbations:
                source = None if one.source is None else frames.models[one.source]
                attacked = found.attacked_maps(image, *names, one.attack, source)
                parts.append(_shares(attacked, layer.shown))
    return np.concatenate([part.ravel() for part in parts])


def _shares(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(n, h, w) maps in [0, 1] as 8-bit shares, averaged down to a size; only a dead one is 0."""
    if maps.shape[1:] != size:
        down = [
            np.asarray(
                Image.fromarray(one.astype(np.float32)).resize(size[::-1], Image.Resampling.BOX)
            )
            for one in maps
        ]
        maps = np.stack(down)
    shares = np.round(np.clip(maps.astype(np.float32), 0.0, 1.0) * 255.0)
    faint = (shares.max(axis=(1, 2)) == 0) & (maps.max(axis=(1, 2)) > 0)
    shares[faint] = np.where(maps[faint] == maps[faint].max(axis=(1, 2), keepdims=True), 1.0, 0.0)
    return shares.astype(np.uint8)


def _results(
    shown: Shown,
    rows: pl.DataFrame,
    names: Sequence[str],
    images: Sequence[Placed],
    layers: Mapping[str, Sequence[Layer]],
) -> list[list[dict[str, Any]]]:
    """For each model and image what was predicted and measured.

    ``clean``: class and confidence. ``attacked``: for each perturbation that the model met, for
    each ε class, confidence and PSNR. ``nissim``: for each layer, policy of the study and such
    perturbation, for each ε; None for layers before the last of images that are not pictured.
    """
    classes = {name: place for place, name in enumerate(names)}
    depths = [{layer.name: place for place, layer in enumerate(its)} for its in layers.values()]
    found: list[list[dict[str, Any]]] = [
        [
            {
                "clean": None,
                "attacked": shown.of_levels(model),
                "nissim": [
                    shown.of_policies(model) if layer.last or isinstance(image, Pictured) else None
                    for layer in its
                ],
            }
            for image in images
        ]
        for model, its in enumerate(layers.values())
    ]
    for row in rows.iter_rows(named=True):
        if (at := shown.place(row)) is None:
            continue
        cell = found[at.model][at.image]
        cell["clean"] = [classes[row["clean_class"]], _short(row["clean_confidence"])]
        cell["attacked"][at.slot][at.level] = [
            classes[row["attacked_class"]],
            _short(row["attacked_confidence"]),
            None if row["psnr"] is None else round(row["psnr"], 2),
        ]
        layer = depths[at.model][row["layer"]]
        cell["nissim"][layer][at.policy][at.slot][at.level] = _short(row["nissim"])
    return found


def _note(
    frames: Frames,
    found: PicturedImages,
    counts: Sequence[int],
    deep: int,
    layers: Mapping[str, Sequence[Layer]],
) -> str:
    """Which of the images are in the page, and what of them is not.

    ``counts``: of those that are drawn, of these and the others with maps, of all in the page.
    """
    images, mapped, shown = counts
    tested = frames.plan.variants[found.variant].images.test.count
    notes = [*filter(None, [first_method(frames)])]
    if 0 < images < tested:
        notes.append(
            f"{images:,} of the {tested:,} test images are drawn here, chosen by a hash of their "
            "content, one of each class in turn; numbers and charts are of all."
        )
    if images < shown:
        more = f"{shown - images:,} more" if shown < tested else "the others"
        maps = "heatmaps of the last layer"
        if mapped < shown:
            maps = f"for the first {mapped - images:,} {maps}" if mapped > images else "no heatmaps"
        notes.append(
            f"Of {more} there are small copies with what was measured, {maps}, and no "
            "attacked pixels."
        )
    if images < len(found.images):
        notes.append(f"{images:,} of the {len(found.images):,} pictured images are in this page.")
    every = [layer for its in layers.values() for layer in its]
    smaller = [layer for layer in every if layer.shown != layer.size]
    if smaller:
        side = max(max(layer.shown) for layer in smaller)
        notes.append(f"Maps larger than {side}×{side} are averaged down to that size here.")
    if deep < images and any(not layer.last for layer in every):
        notes.append(f"Layers before the last are in this page for the first {deep} images.")
    return " ".join(notes)


def _short(value: float) -> float:
    return round(value, 4)


def _deflated(array: np.ndarray) -> bytes:
    return zlib.compress(array.tobytes())


def _webp(pixels: np.ndarray) -> str:
    """Every pixel as it is."""
    buffer = BytesIO()
    as_picture(pixels).convert("RGB").save(buffer, "WEBP", lossless=True, method=6)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()

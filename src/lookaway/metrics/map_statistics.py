"""How a clean and an attacked map differ beside NISSIM: displacement, and other conventions."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lookaway.explainers.base import MIN_GRID, on_grid
from lookaway.metrics import direction
from lookaway.metrics.map_nissim import nissim_of_maps, nissims
from lookaway.metrics.ssim import PRESETS

GRID = 56  # px: what places and areas are measured on
DISPLACEMENT = [
    "lost",
    "gained",
    "right",
    "down",
    "clean_area",
    "attacked_area",
    "rank_correlation",
    "strength",
]


def conventions(ssim: str, grid: int) -> list[str]:
    """The other ways to compare two maps, each ``similarity@resolution``.

    Args:
        ssim: the preset that NISSIM is measured with.
        grid: side of its heatmaps in px.

    Returns:
        Both SSIM presets on that grid, on a half, a quarter and a sixteenth of it and, from maps
        brought to a resolution common to all architectures, on that grid; Spearman and top-10 % on
        native and common maps; without NISSIM's own.
    """
    sides = [f"{max(MIN_GRID, grid // part)}" for part in (1, 2, 4, 16)]
    found = [f"{preset}@{place}" for preset in PRESETS for place in (*sides, "common")]
    found += [f"{name}@{place}" for name in ("spearman", "top10") for place in ("native", "common")]
    return [name for name in dict.fromkeys(found) if name != f"{ssim}@{grid}"]


def map_statistics(
    clean: Tensor,
    attacked: Tensor,
    ssim: str,
    grid: int,
    common: tuple[int, int],
    *,
    displacement: bool = True,
) -> dict[str, Tensor]:
    """Displacement and other conventions of pairs of maps.

    Args:
        clean: (N, h, w) float32 maps, at least 0; zeros where dead.
        attacked: the same shape.
        ssim: the preset that NISSIM is measured with.
        grid: side of its heatmaps in px.
        common: height and width that maps of all architectures are brought to.
        displacement: whether that is measured too.

    Returns:
        (N,) float64 for each of ``DISPLACEMENT``, where it is measured, and ``conventions``; NaN
        where a dead or constant map has no such number.
    """
    native = _as_stored(clean), _as_stored(attacked)
    found = _otherwise(native, ssim, grid, common)
    if displacement:
        peaks = clean.amax(dim=(1, 2)).double(), attacked.amax(dim=(1, 2)).double()
        found = {**_displaced(native, peaks), **found}
    return found


def of_last(
    pair: tuple[Tensor, Tensor],
    native: Tensor,
    ssim: str,
    grid: int,
    common: tuple[int, int],
    statistics: bool,
    displacement: bool,
) -> dict[str, Tensor]:
    """What is measured of the last layer's maps alone, beside NISSIM at their own size.

    Args:
        pair: of (N, h, w) float32 maps, at least 0; zeros where dead.
        native: (N,) their NISSIM.
        ssim: the preset that it is measured with.
        grid: side of its heatmaps in px.
        common: height and width that maps of all architectures are brought to.
        statistics: whether ``map_statistics`` are wanted.
        displacement: with those of where participation went.

    Returns:
        ``nissim_common``, (N,) float64 in [0, 1]: NISSIM of the maps, first brought to the common
        size; and, where wanted, ``map_statistics``.
    """
    clean, attacked = pair
    found = {}
    if statistics:
        found = map_statistics(clean, attacked, ssim, grid, common, displacement=displacement)
    shared = found.get(f"{ssim}@common")
    if tuple(clean.shape[1:]) == tuple(common):
        shared = native
    if shared is None:
        first, second = (_resized(_as_stored(maps), common) for maps in pair)
        shared = nissim_of_maps(first, second, grid, ssim)
    return {"nissim_common": shared, **found}


_Pair = tuple[Tensor, Tensor]


def _otherwise(native: _Pair, ssim: str, grid: int, common: tuple[int, int]) -> dict[str, Tensor]:
    """The other ways to compare two maps."""
    same_size = tuple(native[0].shape[1:]) == tuple(common)
    pairs = {"native": native, "common": native}
    if not same_size:
        pairs["common"] = _resized(native[0], common), _resized(native[1], common)
    where = {}  # of each name the maps, and the similarity with the side of the heatmaps
    for name in conventions(ssim, grid):
        similarity, place = name.split("@")
        maps = "common" if place == "common" and not same_size else "native"
        where[name] = maps, (similarity, int(place) if place.isdigit() else grid)
    found: dict[tuple[str, tuple[str, int]], Tensor] = {}
    for maps, pair in pairs.items():
        ways = {way for here, way in where.values() if here == maps}
        ssims = nissims(*pair, sorted(way for way in ways if way[0] in PRESETS))
        found |= {(maps, way): values for way, values in ssims.items()}
        for way in ways - ssims.keys():
            found[maps, way] = _in_order(pair, _DISSIMILARITIES[way[0]])
    return {name: found[where[name]] for name in where}


def _displaced(native: _Pair, peaks: _Pair) -> dict[str, Tensor]:
    """Where participation went: of maps, and their maxima before they were scaled."""
    clean, attacked = (on_grid(maps, GRID) for maps in native)
    alive = peaks[0] > 0, peaks[1] > 0
    lost, gained = direction.lost_and_gained(clean, attacked)
    right, down = (direction.centre(attacked) - direction.centre(clean)).unbind(1)
    strength = (peaks[1] - peaks[0]) / (peaks[0] + peaks[1])
    area = direction.area(attacked)
    return {
        "lost": lost,
        "gained": gained,
        "right": right,
        "down": down,
        "clean_area": direction.area(clean),
        "attacked_area": torch.where(alive[0], area, torch.nan),
        "rank_correlation": _in_order(native, direction.rank_correlation),
        "strength": torch.where(alive[0] | alive[1], strength, torch.nan),
    }


def _in_order(pair: _Pair, measure: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """A number of the order of two maps' cells; NaN where one has none."""
    return torch.where(_varies(pair[0]) & _varies(pair[1]), measure(*pair), torch.nan)


_DISSIMILARITIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "spearman": lambda a, b: (1.0 - direction.rank_correlation(a, b)) / 2.0,
    "top10": lambda a, b: 1.0 - direction.top_overlap(a, b),
}


def _as_stored(maps: Tensor) -> Tensor:
    """Maps ÷ their maxima, rounded as a study stores them: who reads them finds these numbers."""
    peak = maps.amax(dim=(1, 2), keepdim=True)
    return (maps / torch.where(peak > 0, peak, 1.0)).half().float()


def _varies(maps: Tensor) -> Tensor:
    """Whether the cells of a map differ by more than what resizing rounds."""
    high, low = maps.amax(dim=(1, 2)), maps.amin(dim=(1, 2))
    return high - low > 1e-5 * high


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    resized = F.interpolate(
        maps[:, None], size=size, mode="bilinear", align_corners=False, antialias=True
    )
    return resized[:, 0].clamp(min=0.0)

"""How a clean and an attacked map differ beside NISSIM: displacement, and other conventions."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from lookaway.explainers.base import MIN_GRID, heatmap
from lookaway.metrics import direction
from lookaway.metrics.map_nissim import nissim_of_maps
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
    missing = torch.full((len(clean),), float("nan"), dtype=torch.float64, device=clean.device)
    names, found = conventions(ssim, grid), {}
    native = _as_stored(clean), _as_stored(attacked)
    for name, places, values in _otherwise(*native, ssim, grid, common):
        found[name] = missing.masked_scatter(places, values.double())
    if displacement:
        peaks = clean.amax(dim=(1, 2)).double(), attacked.amax(dim=(1, 2)).double()
        for name, places, values in _displaced(native, peaks):
            found[name] = missing.masked_scatter(places, values.double())
        names = [*DISPLACEMENT, *names]
    return {name: found[name] for name in names}


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


_Measured = Iterator[tuple[str, Tensor, Tensor]]  # name, the pairs that have it (N,) bool, values


def _otherwise(
    clean: Tensor, attacked: Tensor, ssim: str, grid: int, common: tuple[int, int]
) -> _Measured:
    """The other ways to compare two maps."""
    native = clean, attacked
    same_size = tuple(clean.shape[1:]) == tuple(common)
    shared = native if same_size else (_resized(clean, common), _resized(attacked, common))
    every = torch.ones(len(clean), dtype=torch.bool, device=clean.device)
    for name in conventions(ssim, grid):
        similarity, place = name.split("@")
        first, second = shared if place == "common" else native
        if similarity in PRESETS:
            side = grid if place == "common" else int(place)
            yield name, every, nissim_of_maps(first, second, side, similarity)
        else:
            ordered = _varies(first) & _varies(second)
            yield name, ordered, _DISSIMILARITIES[similarity](first[ordered], second[ordered])


def _displaced(native: tuple[Tensor, Tensor], peaks: tuple[Tensor, Tensor]) -> _Measured:
    """Where participation went: of maps, and their maxima before they were scaled."""
    alive = peaks[0] > 0, peaks[1] > 0
    either, both = alive[0] | alive[1], alive[0] & alive[1]
    ordered = _varies(native[0]) & _varies(native[1])
    correlation = direction.rank_correlation(native[0][ordered], native[1][ordered])
    yield "rank_correlation", ordered, correlation
    heat = heatmap(native[0], GRID), heatmap(native[1], GRID)
    lost, gained = direction.lost_and_gained(heat[0][alive[0]], heat[1][alive[0]])
    yield "lost", alive[0], lost
    yield "gained", alive[0], gained
    yield "clean_area", alive[0], direction.area(heat[0][alive[0]])
    moved = direction.centre(heat[1][both]) - direction.centre(heat[0][both])
    yield "right", both, moved[:, 0]
    yield "down", both, moved[:, 1]
    yield "attacked_area", both, direction.area(heat[1][both])
    total = peaks[0][either] + peaks[1][either]
    yield "strength", either, (peaks[1][either] - peaks[0][either]) / total


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

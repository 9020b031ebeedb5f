"""The numbers of a study as metrics of torchmetrics: fed in batches, reduced over processes.

They take an explainer's maps and compare them as the kernel does. What is kept of the images are
moments, whose size does not grow, but for ``NISSIM``, which gives each image's value.
"""

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from lookaway.errors import InputError
from lookaway.explainers.base import MIN_GRID
from lookaway.metrics.map_nissim import nissim_of_maps
from lookaway.metrics.moments import merged, moments
from lookaway.metrics.ssim import PRESETS

_PAIRS = ("all", "alive")
_WAYS = ("image", "level", "pooled")


class _OfPairs(Metric):  # type: ignore[misc]  # torchmetrics may be missing
    """What the metrics of pairs of maps share."""

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    plot_lower_bound: float | None = 0.0
    plot_upper_bound: float | None = 1.0

    def __init__(
        self,
        *,
        levels: int | None = None,
        pairs: str = "all",
        ssim: str = "gaussian11",
        grid: int = 224,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if levels is not None and (not isinstance(levels, int) or levels < 1):
            raise InputError(f"levels is the number of ε, at least 1, or None; got {levels!r}")
        if pairs not in _PAIRS:
            raise InputError(f"pairs={pairs!r} is unknown; possible: {', '.join(_PAIRS)}")
        if ssim not in PRESETS:
            raise InputError(f"ssim preset {ssim!r} is unknown; possible: {', '.join(PRESETS)}")
        if not isinstance(grid, int) or grid < MIN_GRID:
            raise InputError(f"grid must be a whole number of at least {MIN_GRID}; got {grid!r}")
        self.levels, self.pairs, self.ssim, self.grid = levels, pairs, ssim, grid
        self._begin()

    @abstractmethod
    def _begin(self) -> None:
        """Add the state."""

    def _named(self, what: str) -> str:
        """The name of a state, in which everything stands that it depends on.

        A ``MetricCollection`` lets metrics share one state whose states have the same names and
        were equal after the first batch, as those of identical maps are whatever the grid.
        """
        return f"{what}_{self.levels}_{self.pairs}_{self.ssim}_{self.grid}"

    def _add_moments(self, what: str, columns: int) -> None:
        self._state = self._named(what)
        zeros = torch.zeros(columns, 3, dtype=torch.float64)
        self.add_state(self._state, zeros, dist_reduce_fx=merged)

    def _moments(self) -> Tensor:
        """(L, 3) of what came until now."""
        kept: Tensor = getattr(self, self._state)
        return kept

    def _count(self, found: Tensor) -> None:
        kept = self._moments()
        setattr(self, self._state, merged(torch.stack([kept, found.to(kept)])))

    def _compared(self, clean: Tensor, attacked: Tensor, what: str) -> tuple[Tensor, Tensor]:
        """NISSIM and whether a map is dead, (L, N) each; L is 1 without levels."""
        clean = _maps(clean, "clean_maps")
        shape = (*([] if self.levels is None else [self.levels]), *clean.shape)
        if isinstance(attacked, Tensor) and tuple(attacked.shape) != shape:
            raise InputError(
                f"{what} must have the shape {shape}: that of clean_maps {tuple(clean.shape)}"
                f"{'' if self.levels is None else ' for each of the levels'}; got "
                f"{tuple(attacked.shape)}"
            )
        count = self.levels or 1
        others = _maps(attacked.flatten(0, 1) if self.levels and clean.ndim else attacked, what)
        repeated = clean.repeat(count, 1, 1)
        found = nissim_of_maps(repeated, others, self.grid, self.ssim)
        dead = _dead(repeated) | _dead(others)
        return found.view(count, -1), dead.view(count, -1)

    def _used(self, dead: Tensor) -> Tensor:
        """Which pairs count, of those in which a map is dead."""
        return ~dead if self.pairs == "alive" else torch.ones_like(dead)

    def _or_none(self, counts: Tensor, value: Tensor) -> Tensor | None:
        """The value; None, with a warning that says why, where one of its counts (L,) is 0."""
        if bool((counts > 0).all()):
            return value
        living = " in which no map is dead" if self.pairs == "alive" else ""
        at = "" if self.levels is None else " at one of the levels"
        warnings.warn(
            f"{type(self).__name__} is None: it was given no pair of maps{living}{at}",
            UserWarning,
            stacklevel=3,
        )
        return None

    def plot(self, val: Tensor | Sequence[Tensor] | None = None, ax: Any = None) -> Any:
        """Draw a value, or several in order, such as those of each epoch.

        Args:
            val: what ``forward`` or ``compute`` gave, or a list of such; None: ``compute()``.
            ax: axes of matplotlib; None: new ones.

        Returns:
            The figure (None where axes are given) and the axes.

        Raises:
            InputError: there is nothing to draw.
        """
        val = self.compute() if val is None else val
        several = isinstance(val, Sequence)
        if val is None or (several and (not val or any(each is None for each in val))):
            raise InputError(f"{type(self).__name__} has no value to draw; update it first")
        return self._plot(list(val) if several else val, ax)


class NISSIM(_OfPairs):
    """How far the heatmaps of each pair of maps are apart, (1 − SSIM) / 2; see ``lookaway.nissim``.

    ``compute`` gives the values, float64 in [0, 1], 0 the same, in the order in which the pairs
    came, of several processes one after the other: (N,), or (L, N) where there are levels; a value
    alone is a scalar, as everywhere in torchmetrics. All are kept, 8 bytes each;
    ``MeanObservedDissimilarity`` and ``VariationInDissimilarity`` keep moments alone.

    Args:
        levels: how many ε the attacked maps are of, (L, N, h, w); None: one, (N, h, w).
        pairs: ``all``, or ``alive``: without the images of which a map is dead, which are zeros.
        ssim: ``gaussian11`` or ``uniform7``.
        grid: side of the heatmaps in px, at least 11.
        kwargs: torchmetrics' own, such as ``sync_on_compute``.

    Raises:
        InputError: an argument does not fit.

    >>> metric = NISSIM(grid=32)
    >>> maps = torch.eye(4)[None]
    >>> metric.update(maps, 2 * maps)
    >>> metric.update(maps, maps.flip(1))
    >>> metric.compute()
    tensor([0.0000, 0.5674], dtype=torch.float64)
    """

    def _begin(self) -> None:
        self._state = self._named("nissim")
        self.add_state(self._state, [], dist_reduce_fx="cat")

    def update(self, clean_maps: Tensor, attacked_maps: Tensor) -> None:
        """Compare a batch.

        Args:
            clean_maps: (N, h, w) float, finite, at least 0, as an explainer gives them (no
                heatmaps, which are resized already); zeros where dead.
            attacked_maps: the same shape, or (L, N, h, w).

        Raises:
            InputError: shapes or values do not fit.
        """
        found, dead = self._compared(clean_maps, attacked_maps, "attacked_maps")
        used = self._used(dead).all(dim=0)
        getattr(self, self._state).append(found[:, used].T.to(self.device))

    def compute(self) -> Tensor:
        """The values until now, (N,) or (L, N) float64."""
        kept = getattr(self, self._state)
        none = torch.zeros(0, self.levels or 1, dtype=torch.float64, device=self.device)
        values = dim_zero_cat(kept) if len(kept) else none
        return values[:, 0] if self.levels is None else values.T

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gather the values of all processes.

        What torchmetrics puts in the place of a process without any has another shape and type.
        """
        kept = getattr(self, self._state)
        if isinstance(kept, list) and not kept:
            dtype = torch.float64
            kept.append(torch.zeros(0, self.levels or 1, dtype=dtype, device=self.device))
        super().sync(*args, **kwargs)


class _MeanOfPairs(_OfPairs):
    """The mean of a number of each pair, at each level."""

    def _begin(self) -> None:
        self._add_moments(type(self).__name__, self.levels or 1)

    def compute(self) -> Tensor | None:
        """The mean until now."""
        counts, means, _ = self._moments().unbind(1)
        return self._or_none(counts, means if self.levels else means[0])


class MeanObservedDissimilarity(_MeanOfPairs):
    """MOD: the mean NISSIM over the images, at one ε or at each of several; eq. 2 of the paper.

    ``compute`` gives a float64 scalar in [0, 1], or (L,) where there are levels; None, with a
    warning, where no pair counts. It equals ``la.measure(…).mod()`` of the same maps.

    Args:
        levels: how many ε the attacked maps are of, (L, N, h, w); None: one, (N, h, w).
        pairs: ``all``, or ``alive``: without the pairs in which a map is dead, which are zeros.
        ssim: ``gaussian11`` or ``uniform7``.
        grid: side of the heatmaps in px, at least 11.
        kwargs: torchmetrics' own, such as ``sync_on_compute``.

    Raises:
        InputError: an argument does not fit.

    >>> metric = MeanObservedDissimilarity(grid=32)
    >>> maps = torch.eye(4)[None]
    >>> metric.update(maps, maps.flip(1))
    >>> metric.update(maps, maps)
    >>> round(float(metric.compute()), 3)
    0.284
    """

    def update(self, clean_maps: Tensor, attacked_maps: Tensor) -> None:
        """Compare a batch; see ``NISSIM.update``."""
        found, dead = self._compared(clean_maps, attacked_maps, "attacked_maps")
        self._count(moments(found, self._used(dead)))


class ExcessShift(_MeanOfPairs):
    """How much more an attack moves the heatmaps than its control does: the mean difference.

    An image's excess is its NISSIM under attack less that under the control, such as noise of the
    same size. ``compute`` gives a float64 scalar in [−1, 1], or (L,) where there are levels; None,
    with a warning, where no image counts. It equals ``excess`` of a study on the same maps.

    Args:
        levels: how many ε the attacked maps are of, (L, N, h, w); None: one, (N, h, w).
        pairs: ``all``, or ``alive``: without the images of which one of the three maps is dead. (A
            study also leaves out those whose partner in its shuffled baseline is dead.)
        ssim: ``gaussian11`` or ``uniform7``.
        grid: side of the heatmaps in px, at least 11.
        kwargs: torchmetrics' own, such as ``sync_on_compute``.

    Raises:
        InputError: an argument does not fit.
    """

    plot_lower_bound = -1.0

    def update(self, clean_maps: Tensor, attacked_maps: Tensor, control_maps: Tensor) -> None:
        """Compare a batch; see ``NISSIM.update``.

        Args:
            clean_maps: (N, h, w).
            attacked_maps: the same shape, or (L, N, h, w).
            control_maps: as the attacked ones, of the images under the control.
        """
        attacked, dead = self._compared(clean_maps, attacked_maps, "attacked_maps")
        control, also_dead = self._compared(clean_maps, control_maps, "control_maps")
        self._count(moments(attacked - control, self._used(dead | also_dead)))


class VariationInDissimilarity(_OfPairs):
    """VID: the population standard deviation of NISSIM over the ε levels; eq. 4 of the paper.

    ``compute`` gives a float64 scalar in [0, 0.5]; None, with a warning, where nothing counts. It
    equals ``la.measure(…).vid(per=…)`` of the same maps.

    Args:
        levels: how many ε there are, at least 2; the attacked maps are (L, N, h, w).
        per: ``image``: each image over its levels, then the mean over the images; ``level``: of
            the MOD curve; ``pooled``: all images and levels together.
        include_zero: whether ε = 0, where NISSIM is 0, is a level too; this changes rankings.
        pairs: ``all``, or ``alive``: without the pairs in which a map is dead, which are zeros;
            with ``per="image"`` without the images of which one is.
        ssim: ``gaussian11`` or ``uniform7``.
        grid: side of the heatmaps in px, at least 11.
        kwargs: torchmetrics' own, such as ``sync_on_compute``.

    Raises:
        InputError: an argument does not fit.

    >>> metric = VariationInDissimilarity(levels=2, grid=32)
    >>> maps = torch.eye(4)[None]
    >>> metric.update(maps, torch.stack([maps, maps.flip(1)]))
    >>> round(float(metric.compute()), 3)
    0.284
    """

    plot_upper_bound = 0.5

    def __init__(
        self, *, levels: int, per: str = "image", include_zero: bool = False, **kwargs: Any
    ) -> None:
        if per not in _WAYS:
            raise InputError(f"per={per!r} is unknown; possible: {', '.join(_WAYS)}")
        if not isinstance(levels, int) or levels + include_zero < 2:
            raise InputError(f"levels must be at least 2, for one ε does not vary; got {levels!r}")
        self._columns = levels + include_zero if per == "level" else 1
        self._way = f"vid_{per}_{bool(include_zero)}"
        super().__init__(levels=levels, **kwargs)
        self.per, self.include_zero = per, bool(include_zero)

    def _begin(self) -> None:
        self._add_moments(self._way, self._columns)

    def update(self, clean_maps: Tensor, attacked_maps: Tensor) -> None:
        """Compare a batch.

        Args:
            clean_maps: (N, h, w); see ``NISSIM.update``.
            attacked_maps: (L, N, h, w).
        """
        found, dead = self._compared(clean_maps, attacked_maps, "attacked_maps")
        if self.include_zero:
            found = torch.cat([torch.zeros_like(found[:1]), found])
            dead = torch.cat([_dead(_maps(clean_maps, "clean_maps"))[None], dead])
        used = self._used(dead)
        if self.per == "image":
            found, used = found.std(dim=0, correction=0)[None], used.all(dim=0)[None]
        elif self.per == "pooled":
            found, used = found.reshape(1, -1), used.reshape(1, -1)
        self._count(moments(found, used))

    def compute(self) -> Tensor | None:
        """The deviation until now."""
        counts, means, squares = self._moments().unbind(1)
        if self.per == "image":
            return self._or_none(counts, means[0])
        if self.per == "level":
            return self._or_none(counts, means.std(correction=0))
        return self._or_none(counts, (squares / counts.clamp(min=1)).sqrt()[0])


def _maps(maps: Tensor, what: str) -> Tensor:
    """Checked maps (N, h, w), float32.

    Raises:
        InputError: they are none.
    """
    if not isinstance(maps, Tensor) or not maps.is_floating_point() or maps.ndim != 3:
        got = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
        raise InputError(f"{what} must be a float tensor (N, h, w) of maps; got {got}")
    maps = maps.detach().float()
    if maps.numel() and not (bool(torch.isfinite(maps).all()) and float(maps.min()) >= 0):
        raise InputError(f"{what} must be finite and at least 0, as maps of explainers are")
    return maps


def _dead(maps: Tensor) -> Tensor:
    """(N,) bool: an explainer gives zeros where there is no evidence."""
    return maps.amax(dim=(1, 2)) <= 0

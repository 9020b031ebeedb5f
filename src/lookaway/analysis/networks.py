"""Networks trained several times: what holds for an architecture, not for one training of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
from scipy.special import stdtrit

from lookaway.analysis.columns import schema
from lookaway.analysis.ends import LEVEL
from lookaway.analysis.grouped import Grouped, grouped
from lookaway.analysis.per_image import CLEAN, numbers_of
from lookaway.analysis.proportions import kind_of, proportion_ends
from lookaway.study.settings import Study

_KEYS = ["variant", "scope", "method", "explained_class", "epsilon", "measure"]
_OF_ONE = ["network", "seeds", "n", "mean", "spread", "smallest", "largest", "low", "high"]
_OF_TWO = ["network_a", "network_b", "n", "difference", "low", "high", "between_trainings"]
SCHEMA = schema(*_KEYS, *_OF_ONE, "interval")
PAIRS = schema(*_KEYS, *_OF_TWO, "interval")
_SHARES = ("accuracy", CLEAN)
# What a mean of each measure can be.
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(["mod", *_SHARES], (0.0, 1.0)),
    **dict.fromkeys(["excess", "aimed"], (-1.0, 1.0)),
    "vid": (0.0, 0.5),
}


def trained_again(study: Study) -> dict[str, list[str]]:
    """The networks that were trained more than once, and their trainings, in the study's order."""
    found: dict[str, list[str]] = {}
    for spec in study.models:
        if spec.is_trained:
            found.setdefault(spec.of_network, []).append(spec.name)
    return {network: models for network, models in found.items() if len(models) > 1}


def networks(
    rows: pl.DataFrame, trainings: Mapping[str, Sequence[str]]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Numbers of networks over their trainings, and networks in pairs.

    A training is one of many that could have been: other initial weights, another order of the
    images. Intervals therefore take both for drawn, trainings and images (or classes); see
    ``two_levels``. Dead maps count; an image counts where every training has its number.

    Args:
        rows: measurements of one layer of each model, at all ε.
        trainings: from ``trained_again``.

    Returns:
        variant, scope (own perturbations, or a noise control), method, explained_class, epsilon
        (null for vid and clean accuracy), measure (see ``per_image.numbers_of``), network, seeds,
        n, mean over the trainings, spread (standard deviation between trainings), smallest,
        largest, low, high, interval.

        The same keys, network_a, network_b, n, difference (a less b), low, high,
        between_trainings (what two trainings of one of them differ by: root mean square),
        interval.
    """
    every = {model: numbers_of(rows, model) for models in trainings.values() for model in models}
    long = [found.with_columns(_model=pl.lit(model)) for model, found in every.items()]
    singles, pairs = [pl.DataFrame(schema=SCHEMA)], [pl.DataFrame(schema=PAIRS)]
    for table in grouped(pl.concat(long), [*_KEYS, "_model"]) if long else []:
        found = _Trained(table, trainings)
        singles.append(found.singles())
        pairs.append(found.pairs())
    return pl.concat(singles), pl.concat(pairs)


def two_levels(
    point: float, of_images: tuple[float, float], of_seeds: Sequence[np.ndarray]
) -> tuple[float, float]:
    """The 95 % interval of a mean, or of a difference of means, over trainings and images.

    The arm of what images alone leave open (bootstrap-t, of a share Wilson's) and that of what
    trainings do (Student's t, by Welch's degrees of freedom where there are two networks) are put
    together as the sides of a right angle (G. Y. Zou and A. Donner, Construction of confidence
    limits about effect measures, 2008). Two or three trainings cannot be resampled: the widest of
    their resamples would be far too narrow.

    Args:
        point: the mean, or the difference.
        of_images: the ends of its interval over images, trainings being as they are.
        of_seeds: for each network the mean of each of its S trainings (S,), S at least 2.

    >>> low, high = two_levels(0.5, (0.47, 0.53), [np.array([0.5, 0.5, 0.5])])
    >>> round(low, 2), round(high, 2)
    (0.47, 0.53)
    """
    parts = [float(seeds.var(ddof=1)) / len(seeds) for seeds in of_seeds]
    free = [len(seeds) - 1 for seeds in of_seeds]
    variance = sum(parts)
    arm = 0.0
    if variance > 0:
        squares = sum(part**2 / count for part, count in zip(parts, free, strict=True))
        arm = float(stdtrit(variance**2 / squares, (1 + LEVEL) / 2)) * variance**0.5
    low, high = of_images
    return (
        point - float(np.hypot(point - low, arm)),
        point + float(np.hypot(high - point, arm)),
    )


@dataclass(frozen=True)
class _Column:
    """A number over images: its row, each image's (N,), which count, and those of trainings."""

    row: dict[str, Any]
    each: np.ndarray
    used: np.ndarray
    of_seeds: list[np.ndarray]


class _Trained:
    """The numbers of one variant: for each setting, a column for each training."""

    def __init__(self, table: Grouped, trainings: Mapping[str, Sequence[str]]) -> None:
        self._table = table
        placed = table.groups.with_row_index("_column")
        self._keys = placed.select(_KEYS).unique(maintain_order=True)
        self._columns: dict[str, list[np.ndarray | None]] = {}
        for network, models in trainings.items():
            order = pl.col("_model").replace_strict(
                {model: place for place, model in enumerate(models)}, default=None
            )
            mine = placed.filter(pl.col("_model").is_in(list(models))).sort(order)
            by_key = mine.group_by(_KEYS, maintain_order=True).agg("_column")
            joined = self._keys.join(
                by_key, on=_KEYS, how="left", nulls_equal=True, maintain_order="left"
            )
            self._columns[network] = [
                np.array(columns) if columns is not None and len(columns) == len(models) else None
                for columns in joined["_column"].to_list()
            ]

    def singles(self) -> pl.DataFrame:
        """A row for each network and setting."""
        found = []
        for network, places in self._columns.items():
            for key, columns in zip(self._keys.iter_rows(named=True), places, strict=True):
                if columns is None:
                    continue
                each, used = self._means(columns)
                if not used.any():
                    continue
                of_seeds = self._of_seeds(columns, used)
                row = {
                    **key,
                    "network": network,
                    "seeds": len(columns),
                    "mean": _mean(each, used),
                    "spread": float(of_seeds.std(ddof=1)),
                    "smallest": float(of_seeds.min()),
                    "largest": float(of_seeds.max()),
                }
                found.append(_Column(row, each, used, [of_seeds]))
        return self._frame(found, "mean", SCHEMA)

    def pairs(self) -> pl.DataFrame:
        """A row for each setting and two networks."""
        found = []
        for a, b in combinations(self._columns, 2):
            together = zip(self._columns[a], self._columns[b], strict=True)
            for key, (first, second) in zip(
                self._keys.iter_rows(named=True), together, strict=True
            ):
                if first is None or second is None:
                    continue
                (each, used), (other, also) = self._means(first), self._means(second)
                used &= also
                if not used.any():
                    continue
                of_seeds = [self._of_seeds(columns, used) for columns in (first, second)]
                spread = np.mean([seeds.var(ddof=1) for seeds in of_seeds])
                row = {
                    **key,
                    "network_a": a,
                    "network_b": b,
                    "difference": _mean(each - other, used),
                    "between_trainings": float(np.sqrt(2 * spread)),
                }
                found.append(_Column(row, each - other, used, of_seeds))
        return self._frame(found, "difference", PAIRS)

    def _means(self, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of each image the mean over the trainings, and whether all have it; (N,) both."""
        used = np.asarray(self._table.used[:, columns].all(axis=1))
        return self._table.values["value"][:, columns].mean(axis=1), used

    def _of_seeds(self, columns: np.ndarray, used: np.ndarray) -> np.ndarray:
        """The mean of each training (S,), over the images that count."""
        means: np.ndarray = self._table.values["value"][used][:, columns].mean(axis=0)
        return means

    def _frame(
        self, found: Sequence[_Column], called: str, columns: dict[str, pl.DataType]
    ) -> pl.DataFrame:
        """Rows with their intervals."""
        if not found:
            return pl.DataFrame(schema=columns)
        used = np.stack([column.used for column in found], axis=1).astype(float)
        values = np.stack([column.each for column in found], axis=1) * used
        rows = []
        resamples = self._table.bootstrap
        shares = [called == "mean" and column.row["measure"] in _SHARES for column in found]
        ends = list(zip(*resamples.intervals(values, used), strict=True))
        # An image's share of trainings varies no more than one training's 0 or 1.
        wilsons = proportion_ends(resamples, values[:, shares], used[:, shares])
        for place, each in zip(np.flatnonzero(shares), zip(*wilsons, strict=True), strict=True):
            ends[place] = each
        for column, (low, high), is_share in zip(found, ends, shares, strict=True):
            row, epsilon = column.row, column.row["epsilon"]
            least, most = _RANGES[row["measure"]]
            if called == "difference":
                least, most = least - most, most - least
            whole: dict[str, float | None] = {"low": None, "high": None}
            if low is not None and high is not None:
                reached = two_levels(row[called], (low, high), column.of_seeds)
                whole = {"low": max(least, reached[0]), "high": min(most, reached[1])}
            about = {"n": int(column.used.sum()), "epsilon": epsilon if epsilon > 0 else None}
            kind = kind_of(resamples) if is_share else f"bootstrap-t, {resamples.kind}"
            rows.append({**row, **about, **whole, "interval": f"{kind}; t, trainings"})
        return pl.DataFrame(rows, schema=columns)


def _mean(values: np.ndarray, used: np.ndarray) -> float:
    return float(values[used].mean())

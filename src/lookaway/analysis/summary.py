"""Rows to numbers that describe a model: accuracy, MOD, VID, spread, PSNR.

Every frame is long and tidy: a number in a row, with ``n``, its 95 % interval (``low``, ``high``)
and what was resampled for it (``interval``). ``pairs`` is ``all``, or ``alive``: without the pairs
in which a map is dead.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from lookaway.analysis.intervals import Bootstrap, bounds
from lookaway.errors import InputError

SETTING = ["variant", "model", "attack", "source"]
LOOK = ["layer", "depth", "map_size", "explained_class"]
VID_WAYS = ("image", "level", "pooled")


def accuracy(rows: pl.DataFrame) -> pl.DataFrame:
    """Share of images whose predicted class is the true one, for each ε, 0 included.

    Args:
        rows: measurements.

    Returns:
        variant, model, attack, source, epsilon, n, accuracy, low, high, interval.
    """
    once = _once(rows)
    right = pl.col("attacked_class") == pl.col("label")
    clean = once.filter(pl.col("epsilon") == pl.col("epsilon").min().over(SETTING))
    both = pl.concat(
        [
            clean.with_columns(
                epsilon=pl.lit(0.0), value=(pl.col("clean_class") == pl.col("label")).cast(float)
            ),
            once.with_columns(value=right.cast(float)),
        ]
    )
    return _means(both, [*SETTING, "epsilon"], "accuracy").sort(
        _order(rows, [*SETTING, "epsilon"]), nulls_last=True
    )


def psnr(rows: pl.DataFrame) -> pl.DataFrame:
    """Mean PSNR in dB for each ε; images that did not change have none and are left out.

    Args:
        rows: measurements.

    Returns:
        variant, model, attack, source, epsilon, n, psnr, low, high, interval.
    """
    once = _once(rows).with_columns(value="psnr")
    return _means(once, [*SETTING, "epsilon"], "psnr")


def mod(rows: pl.DataFrame) -> pl.DataFrame:
    """Mean observed dissimilarity: the mean NISSIM over the images, for each ε (eq. 2).

    Args:
        rows: measurements.

    Returns:
        variant, model, attack, source, layer, depth, map_size, explained_class, epsilon, pairs,
        n, mod, low, high, interval.
    """
    return _by_pairs(rows, lambda chosen: _means(chosen, [*SETTING, *LOOK, "epsilon"], "mod"))


def spread(rows: pl.DataFrame) -> pl.DataFrame:
    """Population standard deviation of NISSIM over the images, for each ε.

    Args:
        rows: measurements.

    Returns:
        As ``mod``, with spread in its place.
    """

    def deviations(chosen: pl.DataFrame) -> pl.DataFrame:
        tables = _tables(chosen, [*SETTING, *LOOK, "epsilon"])
        parts = []
        for table in tables:
            first, second = table.moment(1), table.moment(2)
            points = [
                float(np.std(column[used])) if used.any() else None
                for column, used in zip(table.values.T, table.used.T, strict=True)
            ]
            parts.append(table.frame("spread", points, _root(second - first**2)))
        return pl.concat(parts)

    return _by_pairs(rows, deviations)


def vid(rows: pl.DataFrame, per: str = "image", include_zero: bool = False) -> pl.DataFrame:
    """Variation in dissimilarity: a population standard deviation over the ε levels (eq. 4).

    Args:
        rows: measurements.
        per: ``image`` (each image over its levels, then the mean over the images), ``level`` (of
            the MOD curve) or ``pooled`` (all images and levels together).
        include_zero: count ε = 0, where NISSIM is 0, as a level too; this changes rankings.

    Returns:
        variant, model, attack, source, layer, depth, map_size, explained_class, pairs, per,
        include_zero, levels, n, vid, low, high, interval; vid is null where there is one level.

    Raises:
        InputError: ``per`` is unknown.
    """
    if per not in VID_WAYS:
        raise InputError(f"per={per!r} is unknown; possible: {', '.join(VID_WAYS)}")
    if include_zero:
        zero = rows.filter(pl.col("epsilon") == pl.col("epsilon").min().over([*SETTING, *LOOK]))
        zero = zero.with_columns(epsilon=pl.lit(0.0), nissim=pl.lit(0.0))
        zero = zero.with_columns(attacked_dead=pl.col("clean_dead"))
        rows = pl.concat([rows, zero])
    way = {"image": _per_image, "level": _per_level, "pooled": _pooled}[per]
    found = _by_pairs(rows, lambda chosen: _vid(chosen, way))
    return found.with_columns(per=pl.lit(per), include_zero=pl.lit(include_zero))


def by_scope(frame: pl.DataFrame) -> pl.DataFrame:
    """Name whose perturbations each row is about, as tables and charts group them.

    Args:
        frame: with model, attack and source.

    Returns:
        The rows with ``scope``: ``noise``; ``fgsm white-box``, each model under its own
        perturbations; ``fgsm from S``, all models under the source S's, S itself among them. A
        source's own rows stand in both.
    """
    own = pl.col("source") == pl.col("model")
    sources = frame.filter(~own)["source"].drop_nulls().unique(maintain_order=True)
    white_box = frame.filter(own).with_columns(scope=pl.format("{} white-box", "attack"))
    transfer = frame.filter(pl.col("source").is_in(sources.implode())).with_columns(
        scope=pl.format("{} from {}", "attack", "source")
    )
    control = frame.filter(pl.col("source").is_null()).with_columns(scope=pl.col("attack"))
    return pl.concat([white_box, transfer, control])


def mean_over_models(frame: pl.DataFrame, value: str) -> pl.DataFrame:
    """The mean of a number over the models, as the last row of the paper's Table 3 has it.

    Args:
        frame: one row for each model, source and ε, such as ``mod`` of the last layers; with
            scopes or without.
        value: the column.

    Returns:
        variant, scope, explained_class, pairs, epsilon (those that ``frame`` has), models, value.
    """
    scoped = frame if "scope" in frame.columns else by_scope(frame)
    keys = ["variant", "scope", "explained_class", "pairs", "epsilon"]
    keys = [key for key in keys if key in scoped.columns]
    return scoped.group_by(keys, maintain_order=True).agg(
        pl.col("model").n_unique().alias("models"), pl.col(value).mean()
    )


@dataclass(frozen=True)
class _Table:
    """Values of one variant: an image a row, a group a column; 0 where not used."""

    groups: pl.DataFrame
    values: np.ndarray
    used: np.ndarray
    bootstrap: Bootstrap

    def moment(self, power: int) -> np.ndarray:
        """The mean of a power of each column in each resample, (resamples, G)."""
        return self.bootstrap.ratios(self.values**power, self.used.astype(float))

    def frame(
        self, name: str, points: Sequence[float | None], resampled: np.ndarray
    ) -> pl.DataFrame:
        """The groups with a number each, and its interval."""
        low, high = bounds(resampled)
        return self.groups.with_columns(
            pl.Series("n", self.used.sum(axis=0), dtype=pl.Int64),
            pl.Series(name, points, dtype=pl.Float64),
            pl.Series("low", low, dtype=pl.Float64),
            pl.Series("high", high, dtype=pl.Float64),
            pl.lit(self.bootstrap.kind).alias("interval"),
        )


def _tables(rows: pl.DataFrame, keys: list[str]) -> list[_Table]:
    """A table for each variant, whose images are the same for all its groups."""
    tables = []
    for part in rows.partition_by("variant", maintain_order=True):
        images = part.select("image", "label").unique("image", maintain_order=True)
        groups = part.select(keys).unique(maintain_order=True)
        placed = part.join(images.select("image").with_row_index("_i"), on="image").join(
            groups.with_row_index("_g"), on=keys, nulls_equal=True
        )
        values = np.zeros((len(images), len(groups)))
        used = np.zeros(values.shape, dtype=bool)
        known = placed.filter(pl.col("value").is_not_null())
        at = (known["_i"].to_numpy(), known["_g"].to_numpy())
        values[at], used[at] = known["value"].to_numpy(), True
        tables.append(_Table(groups, values, used, Bootstrap(images["label"].to_list())))
    return tables


def _means(rows: pl.DataFrame, keys: list[str], name: str) -> pl.DataFrame:
    parts = []
    for table in _tables(rows, keys):
        counts = table.used.sum(axis=0)
        sums = table.values.sum(axis=0)
        points = [
            float(total / count) if count else None
            for total, count in zip(sums, counts, strict=True)
        ]
        parts.append(table.frame(name, points, table.moment(1)))
    return pl.concat(parts)


def _by_pairs(
    rows: pl.DataFrame, summarise: Callable[[pl.DataFrame], pl.DataFrame]
) -> pl.DataFrame:
    """A summary of all pairs, and of those in which no map is dead."""
    dead = pl.col("clean_dead") | pl.col("attacked_dead")
    alive = pl.when(~dead).then(pl.col("nissim"))
    found = [
        summarise(rows.with_columns(value=value)).with_columns(pairs=pl.lit(pairs))
        for pairs, value in (("all", pl.col("nissim")), ("alive", alive))
    ]
    return pl.concat(found)


def _once(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of one layer and policy: what belongs to the image alone stands in each of them."""
    return rows.unique([*SETTING, "epsilon", "image"], keep="first", maintain_order=True)


def _order(rows: pl.DataFrame, keys: list[str]) -> list[Any]:
    """Sorting that keeps models, attacks and sources as they first appear."""
    order: list[Any] = []
    for key in keys:
        if key == "epsilon":
            order.append(pl.col(key))
            continue
        seen = rows[key].unique(maintain_order=True).drop_nulls().to_list()
        places = pl.col(key).replace_strict(seen, list(range(len(seen))), default=len(seen))
        order.append(places)
    return order


def _root(variance: np.ndarray) -> np.ndarray:
    root: np.ndarray = np.sqrt(np.maximum(variance, 0.0))
    return root


# A point, its resamples (resamples,), and which images it is made of (N,).
_Measured = tuple[float | None, np.ndarray, np.ndarray]


def _vid(rows: pl.DataFrame, measure: Callable[[_Table], _Measured]) -> pl.DataFrame:
    keys = [*SETTING, *LOOK]
    parts = []
    for group in rows.partition_by(keys, maintain_order=True):
        (table,) = _tables(group, [*keys, "epsilon"])
        levels = table.values.shape[1]
        point, resampled, images = measure(table)
        if levels < 2 or point is None:
            point, resampled = None, np.full((1,), np.nan)
        one = _Table(
            table.groups.select(keys).head(1),
            np.zeros((len(images), 1)),
            images[:, None],
            table.bootstrap,
        )
        frame = one.frame("vid", [point], resampled[:, None])
        parts.append(frame.with_columns(levels=pl.lit(levels)))
    return pl.concat(parts)


def _per_image(table: _Table) -> _Measured:
    whole = np.array(table.used.all(axis=1))  # an image counts where every level of it does
    each = np.where(whole, table.values.std(axis=1), 0.0)
    point = float(each[whole].mean()) if whole.any() else None
    resampled = table.bootstrap.ratios(each[:, None], whole[:, None].astype(float))
    return point, resampled[:, 0], whole


def _per_level(table: _Table) -> _Measured:
    counts, images = table.used.sum(axis=0), np.array(table.used.any(axis=1))
    point = float((table.values.sum(axis=0) / counts).std()) if counts.all() else None
    return point, table.moment(1).std(axis=1), images


def _pooled(table: _Table) -> _Measured:
    images = np.array(table.used.any(axis=1))
    point = float(table.values[table.used].std()) if images.any() else None
    counts = table.used.sum(axis=1, keepdims=True).astype(float)
    first, second = (
        table.bootstrap.ratios((table.values**power).sum(axis=1, keepdims=True), counts)[:, 0]
        for power in (1, 2)
    )
    return point, _root(second - first**2), images

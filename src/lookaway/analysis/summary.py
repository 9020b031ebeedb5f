"""Rows to numbers that describe a model: accuracy, MOD, VID, spread, PSNR.

Every frame is long and tidy: a number in a row, with ``n``, its 95 % interval (``low``, ``high``)
and how that was made (``interval``). ``pairs`` is ``all``, or ``alive``: without the pairs
in which a map is dead.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import polars as pl

from lookaway.analysis.aimed import pooled
from lookaway.analysis.ends import DEVIATION, Ends, only_where
from lookaway.analysis.grouped import (
    HEATMAP,
    SETTING,
    Grouped,
    by_pairs,
    grouped,
    mean_frames,
    measure_frames,
    share_frames,
)
from lookaway.errors import InputError

_GROUPS_AT_ONCE = 64
VID_WAYS = ("image", "level", "pooled")


def accuracy(rows: pl.DataFrame) -> pl.DataFrame:
    """Share of images whose predicted class is the true one, for each ε, 0 included.

    Args:
        rows: measurements; the replicates of a control are one, see ``aimed.pooled``.

    Returns:
        variant, model, attack, source, epsilon, n, accuracy, low, high, interval.
    """
    right = (pl.col("attacked_class") == pl.col("label")).cast(float)
    once = pooled(_once(rows).with_columns(right=right), ["right"])
    clean = once.filter(pl.col("epsilon") == pl.col("epsilon").min().over(SETTING))
    both = pl.concat(
        [
            clean.with_columns(
                epsilon=pl.lit(0.0), value=(pl.col("clean_class") == pl.col("label")).cast(float)
            ),
            once.with_columns(value="right"),
        ]
    )
    return share_frames(both, [*SETTING, "epsilon"], "accuracy").sort(
        _order(once, [*SETTING, "epsilon"]), nulls_last=True
    )


def psnr(rows: pl.DataFrame) -> pl.DataFrame:
    """Mean PSNR in dB for each ε; images that did not change have none and are left out.

    Args:
        rows: measurements.

    Returns:
        variant, model, attack, source, epsilon, n, psnr, low, high, interval.
    """
    once = _once(rows).with_columns(value="psnr")
    return mean_frames(once, [*SETTING, "epsilon"], "psnr")


def mod(rows: pl.DataFrame) -> pl.DataFrame:
    """Mean observed dissimilarity: the mean NISSIM over the images, for each ε (eq. 2).

    ``pairs`` is also ``attacked``: without the images of which no pixel was changed, whose NISSIM
    of 0 is no stability.

    Args:
        rows: measurements; the replicates of a control are one, see ``aimed.pooled``.

    Returns:
        variant, model, attack, source, method, layer, depth, map_size, explained_class, epsilon,
        pairs, n, mod, low, high, interval.
    """
    rows, keys = pooled(rows), [*SETTING, *HEATMAP, "epsilon"]
    found = _by_pairs(rows, lambda chosen: mean_frames(chosen, keys, "mod"))
    attacked = rows.with_columns(value=pl.when(~pl.col("unattacked")).then("nissim"))
    attacked = mean_frames(attacked, keys, "mod").with_columns(pairs=pl.lit("attacked"))
    return pl.concat([found, attacked])


def unattacked(rows: pl.DataFrame) -> pl.DataFrame:
    """Share of images of which an attack changed no pixel, as where its gradient is zero.

    Args:
        rows: measurements.

    Returns:
        variant, model, attack, source, epsilon, n, unattacked, low, high, interval.
    """
    once = _once(rows).with_columns(value=pl.col("unattacked").cast(pl.Float64))
    return share_frames(once, [*SETTING, "epsilon"], "unattacked")


def reached(rows: pl.DataFrame) -> pl.DataFrame:
    """How large a change is where it reaches the network: after its resizing and normalisation.

    Resizing inside a model leaves less of white noise than of a smooth change.

    Args:
        rows: measurements; the replicates of a control are one, see ``aimed.pooled``.

    Returns:
        variant, model, attack, source, epsilon, measure (rms or linf: the mean over the images of
        the root mean square and of the largest change, in units of the normalised input), n, value,
        low, high, interval; without the rows of runs that are older than this measure.
    """
    names = {"rms": "reached_rms", "linf": "reached_linf"}
    once = pooled(_once(rows), list(names.values()))
    measures = {name: pl.col(column) for name, column in names.items()}
    return measure_frames(once, [*SETTING, "epsilon"], measures).filter(pl.col("n") > 0)


def spread(rows: pl.DataFrame) -> pl.DataFrame:
    """Population standard deviation of NISSIM over the images, for each ε.

    Args:
        rows: measurements.

    Returns:
        As ``mod``, with spread in its place.
    """

    def deviations(chosen: pl.DataFrame) -> pl.DataFrame:
        parts = []
        for table in grouped(chosen, [*SETTING, *HEATMAP, "epsilon"]):
            values = table.values["value"]
            points = [
                float(np.std(column[used])) if used.any() else None
                for column, used in zip(values.T, table.used.T, strict=True)
            ]
            used = table.used.astype(float)
            mean = values.sum(axis=0) / np.maximum(used.sum(axis=0), 1)
            ends = table.bootstrap.deviations(used * (values - mean) ** 2, used)
            parts.append(table.frame("spread", points, ends, table.studentised))
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
        variant, model, attack, source, method, layer, depth, map_size, explained_class, pairs,
        per, include_zero, levels, n, vid, low, high, interval; vid is null where there is one
        level.

    Raises:
        InputError: ``per`` is unknown.
    """
    check_way(per)
    if include_zero:
        zero = rows.filter(pl.col("epsilon") == pl.col("epsilon").min().over([*SETTING, *HEATMAP]))
        zero = zero.with_columns(epsilon=pl.lit(0.0), nissim=pl.lit(0.0))
        zero = zero.with_columns(attacked_dead=pl.col("clean_dead"))
        rows = pl.concat([rows, zero])
    way = {"image": _per_image, "level": _per_level, "pooled": _pooled}[per]
    found = _by_pairs(rows, lambda chosen: _vid(chosen, way))
    return found.with_columns(per=pl.lit(per), include_zero=pl.lit(include_zero))


def check_way(per: str) -> None:
    """Refuse what is no way of reading eq. 4.

    Raises:
        InputError: with the ways.
    """
    if per not in VID_WAYS:
        raise InputError(f"per={per!r} is unknown; possible: {', '.join(VID_WAYS)}")


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
    control = frame.filter(pl.col("source").is_null()).with_columns(
        scope=pl.col("attack").cast(pl.String)
    )
    return pl.concat([white_box, transfer, control])


def mean_over_models(frame: pl.DataFrame, value: str) -> pl.DataFrame:
    """The mean of a number over the models, as the last row of the paper's Table 3 has it.

    Args:
        frame: one row for each model, source and ε, such as ``mod`` of the last layers; with
            scopes or without.
        value: the column.

    Returns:
        variant, scope, method, explained_class, pairs, epsilon (those that ``frame`` has), models,
        value.
    """
    scoped = frame if "scope" in frame.columns else by_scope(frame)
    keys = ["variant", "scope", "method", "explained_class", "pairs", "epsilon"]
    keys = [key for key in keys if key in scoped.columns]
    return scoped.group_by(keys, maintain_order=True).agg(
        pl.col("model").n_unique().alias("models"), pl.col(value).mean()
    )


_DEAD = pl.col("clean_dead") | pl.col("attacked_dead")


def _by_pairs(
    rows: pl.DataFrame, summarise: Callable[[pl.DataFrame], pl.DataFrame]
) -> pl.DataFrame:
    """A summary of all pairs, and of those in which no map is dead."""
    parts = by_pairs(rows.with_columns(value="nissim"), _DEAD, ["value"])
    return pl.concat(
        summarise(part).with_columns(pairs=pl.lit(pairs)) for pairs, part in parts.items()
    )


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


# For each group its point, the ends of its interval, and which images it is made of (N,).
_Measured = tuple[list[float | None], Ends, np.ndarray]


def _vid(rows: pl.DataFrame, measure: Callable[["_Levels"], _Measured]) -> pl.DataFrame:
    parts = []
    for table in grouped(rows, [*SETTING, *HEATMAP, "epsilon"]):
        levels = _Levels(table)
        points, ends, images = measure(levels)
        several = [len(columns) > 1 for columns in levels.columns]
        whole = [found is not None and more for found, more in zip(points, several, strict=True)]
        points, low, high = (only_where(each, whole) for each in (points, *ends))
        one = Grouped(levels.groups, {}, images, table.bootstrap)
        way = None if measure is _per_level else one.studentised
        counts = pl.Series("levels", [len(columns) for columns in levels.columns])
        parts.append(one.frame("vid", points, (low, high), way).with_columns(counts))
    return pl.concat(parts)


class _Levels:
    """The columns of each group, one for each ε."""

    def __init__(self, table: Grouped) -> None:
        self.table = table
        keys = [*SETTING, *HEATMAP]
        placed = table.groups.with_row_index("_column")
        found = placed.group_by(keys, maintain_order=True).agg("_column")
        self.groups = found.select(keys)
        self.columns: list[np.ndarray] = [np.array(each) for each in found["_column"].to_list()]

    def parts(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The values and what is used of each group, (N, levels) both."""
        for columns in self.columns:
            yield self.table.values["value"][:, columns], self.table.used[:, columns]


def _per_image(levels: _Levels) -> _Measured:
    """An image counts where every level of it does."""
    whole = np.stack([used.all(axis=1) for _, used in levels.parts()], axis=1)
    each = np.stack([values.std(axis=1) for values, _ in levels.parts()], axis=1)
    each = np.where(whole, each, 0.0)
    one = Grouped(levels.groups, {"vid": each}, whole, levels.table.bootstrap)
    ends = one.bootstrap.intervals(each, whole.astype(float), DEVIATION)
    return one.means("vid"), ends, whole


def _per_level(levels: _Levels) -> _Measured:
    images = np.stack([used.any(axis=1) for _, used in levels.parts()], axis=1)
    bootstrap = levels.table.bootstrap
    points: list[float | None] = []
    low: list[float | None] = []
    high: list[float | None] = []
    for values, used in levels.parts():
        counts = used.sum(axis=0)
        points.append(float((values.sum(axis=0) / counts).std()) if counts.all() else None)
    for start in range(0, len(levels.columns), _GROUPS_AT_ONCE):
        some = levels.columns[start : start + _GROUPS_AT_ONCE]
        together = np.concatenate(some)
        table = levels.table
        curves = bootstrap.ratios(
            table.values["value"][:, together], table.used[:, together].astype(float)
        )
        stops = np.cumsum([len(columns) for columns in some])[:-1]
        deviations = [curve.std(axis=1) for curve in np.split(curves, stops, axis=1)]
        used = images[:, start : start + _GROUPS_AT_ONCE]
        ends = bootstrap.bounds(np.stack(deviations, axis=1), used, DEVIATION)
        low += ends[0]
        high += ends[1]
    return points, (low, high), images


def _pooled(levels: _Levels) -> _Measured:
    images = np.stack([used.any(axis=1) for _, used in levels.parts()], axis=1)
    points = [float(values[used].std()) if used.any() else None for values, used in levels.parts()]
    squares, counts = np.zeros((2, *images.shape))
    for place, (values, used) in enumerate(levels.parts()):
        mean = values[used].mean() if used.any() else 0.0
        squares[:, place] = (used * (values - mean) ** 2).sum(axis=1)
        counts[:, place] = used.sum(axis=1)
    return points, levels.table.bootstrap.deviations(squares, counts), images

"""Every number by group of people, and the largest gap between two groups."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from lookaway.analysis import face_regions, scale, subgroups
from lookaway.analysis.columns import schema, typed
from lookaway.analysis.grouped import SETTING, Grouped, grouped, range_of
from lookaway.analysis.subgroups import FEW, FEWEST, GAP, NO_GAP, gap_ends
from lookaway.errors import shown
from lookaway.study.store import Store

if TYPE_CHECKING:
    from lookaway.analysis.frames import Frames

KEPT = "groups.parquet"
_LAYER = ["method", "layer", "explained_class"]
_KEYS = [*SETTING, "epsilon", *_LAYER]
_NUMBERS = ["nissim", "clean_class", "attacked_class"]
_SHARES = ("accuracy",)
_TOLD = ["group", "n_people", "n", "value", "low", "high", "reason"]
_COLUMNS = [*_KEYS, "measure", *_TOLD]


def keep_groups(store: Store, groups: Mapping[str, str], column: str) -> None:
    """Keep the groups of a run's people with it.

    Raises:
        StoreError: the run cannot be written.
    """
    frame = pl.DataFrame({"label": [*groups], "group": [*groups.values()]})
    store.write_frame(KEPT, frame, {"column": column})


def kept_groups(store: Store) -> tuple[str, dict[str, str]] | None:
    """What a run's groups are called, and that of each person; None where it has none.

    Raises:
        StoreError: they are damaged.
    """
    path = store.folder / KEPT
    if not path.is_file():
        return None
    return store.read_metadata(path)["column"], dict(store.read_frame(path).iter_rows())


def of_run(frames: "Frames") -> pl.DataFrame | None:
    """The numbers by the groups that were kept with a run; None where it has none."""
    kept = kept_groups(frames.store)
    return None if kept is None else by_group(frames, kept[1])


def by_group(frames: "Frames", groups: Mapping[str, str]) -> pl.DataFrame:
    """Accuracy, MOD and excess of the last layers, regions of the face, and error rates by group.

    Thresholds of error rates are the same for all groups. The largest gap is the number of the
    group that has the highest less that of the group that has the lowest, its interval from both of
    theirs; which two they are was chosen by the same numbers, so of many
    groups it is too wide a claim.

    Args:
        frames: of a run.
        groups: of each person, by class.

    Returns:
        variant, model, attack, source, epsilon, method, layer, explained_class, measure (accuracy,
        mod, excess; of aligned faces ``clean``, ``attacked``, ``moved`` and ``beyond_noise`` with a
        region's name behind; of galleries those of ``subgroups.group_rates``), group, n_people, n
        (images, or comparisons; of ``epsilon@rate`` and success, probes), value, low, high, reason.
        A value is null where a group has under 20 people; reason says it, and of a gap whose it is.
    """
    parts = [pl.DataFrame(schema=schema(*_COLUMNS)), *_shifts(frames, groups)]
    for moved in face_regions.moved_rows(frames.store, frames.plan):
        parts += [group_means(rows, _KEYS, measures, groups) for rows, measures in moved]
    for variant in frames.variants:
        for model in frames.galleries:
            found = subgroups.by_group(frames.store, frames.plan, variant, model, groups)
            impostor = pl.col("measure").str.contains("^(fmr|impostor)")
            n = pl.when(impostor).then("n_impostor").otherwise("n_genuine")
            equal = pl.col("measure") == "eer"
            n = pl.when(equal).then(pl.col("n_genuine") + pl.col("n_impostor")).otherwise(n)
            parts.append(found.with_columns(n=n))
    return pl.concat(typed(part, _COLUMNS) for part in parts)


def _shifts(frames: "Frames", groups: Mapping[str, str]) -> Iterator[pl.DataFrame]:
    """Accuracy, MOD and excess of the last layers, a part of the run at a time."""
    columns = ["image", "label", *_KEYS, "depth", "map_size", "clean_dead", "attacked_dead"]
    for part in frames.parts.split("variant", "model", "method", "explained_class", "epsilon"):
        rows = frames.parts.read("rows", [*columns, *_NUMBERS], part)
        right = (pl.col("attacked_class") == pl.col("label")).cast(pl.Float64)
        measures = {"accuracy": right, "mod": pl.col("nissim")}
        yield group_means(rows, _KEYS, measures, groups, _SHARES)
        beside = scale.beside_noise(rows)
        if beside.height:
            yield group_means(beside, _KEYS, {"excess": pl.col("excess")}, groups)


def group_means(
    rows: pl.DataFrame,
    keys: Sequence[str],
    measures: Mapping[str, pl.Expr],
    groups: Mapping[str, str],
    shares: Collection[str] = (),
) -> pl.DataFrame:
    """The mean of each measure in each group of people, and the largest gap.

    Args:
        rows: with image, label, variant and the keys.
        keys: what makes a number; variant among them.
        measures: name → value of an image.
        groups: of each label.
        shares: names of measures that are 0 or 1, whose means are proportions.

    Returns:
        The keys, measure, group, n_people, n, value, low, high, reason.
    """
    own = pl.col("label").cast(pl.String).replace_strict(groups, return_dtype=pl.String)
    told = rows.select("image", "label", *keys, **measures).with_columns(_group=own)
    every = told.select(keys).unique(maintain_order=True)
    parts = []
    for name in measures:
        found = []
        for group in sorted(set(groups.values())):
            tables = grouped(told.filter(pl.col("_group") == group), keys, [name])
            found += [_of_group(table, name, group, share=name in shares) for table in tables]
        parts += [pl.concat(found), _gaps(every, keys, found)]
        parts[-2:] = [
            each.with_columns(measure=pl.lit(name)).select(*keys, "measure", *_TOLD)
            for each in parts[-2:]
        ]
    return pl.concat(parts)


def _of_group(table: Grouped, name: str, group: str, *, share: bool) -> pl.DataFrame:
    frame = (
        table.share_frame(name, "value")
        if share
        else table.mean_frame(name, "value", range_of(name))
    )
    there = np.zeros((table.bootstrap.classes.max(initial=-1) + 1, table.used.shape[1]), dtype=bool)
    np.logical_or.at(there, table.bootstrap.classes, table.used)
    people = pl.Series(there.sum(axis=0), dtype=pl.Int64)
    enough = pl.col("n_people") >= FEWEST
    return frame.with_columns(n_people=people, group=pl.lit(group)).with_columns(
        *(pl.when(enough).then(column).alias(column) for column in ("value", "low", "high")),
        reason=pl.when(~enough).then(pl.lit(FEW)),
    )


def _gaps(every: pl.DataFrame, keys: Sequence[str], found: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The highest number less the lowest of each column, of groups that have enough people."""
    known = pl.concat(found).drop_nulls("value")
    rows = []
    for key in every.iter_rows(named=True):
        same = [pl.col(name).eq_missing(pl.lit(key[name])) for name in keys]
        mine = known.filter(same).sort("value", "group")
        row = {**key, "group": GAP, "n_people": None, "n": None}
        if mine.height < 2:
            rows.append(row | {"value": None, "low": None, "high": None, "reason": NO_GAP})
            continue
        least, most = mine.row(0, named=True), mine.row(-1, named=True)
        ends = gap_ends(*((side["value"], side["low"], side["high"]) for side in (most, least)))
        which = f"{shown(most['group'], 40)} less {shown(least['group'], 40)}"
        value = most["value"] - least["value"]
        rows.append(row | {"value": value, "low": ends[0], "high": ends[1], "reason": which})
    return pl.DataFrame(rows, schema={name: every.schema[name] for name in keys} | schema(*_TOLD))

"""Error rates of groups of people, and the largest gap between two of them."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from lookaway.analysis.columns import schema
from lookaway.analysis.comparisons import study_verification
from lookaway.analysis.verification import (
    RATES,
    Comparisons,
    Judged,
    Number,
    Told,
    questions,
)
from lookaway.data.table import plain_name
from lookaway.errors import DataError, shown
from lookaway.places import local_path
from lookaway.study.json_files import Plan
from lookaway.study.store import Store

FEWEST = 20  # people of a group, for any claim about it
GAP = "largest gap"
FEW = f"under {FEWEST} people"
NO_GAP = f"fewer than two groups of {FEWEST} people"
_NUMBERS = ("value", "low", "high")


def read_groups(
    source: str | Path | pl.DataFrame, column: str, samples: pl.DataFrame
) -> dict[str, str]:
    """The group of each person.

    Args:
        source: a CSV, Parquet or frame with ``label`` or ``image``, and the column of the groups.
        column: its name.
        samples: the run's images, with image and label.

    Raises:
        DataError: it cannot be read, a person has no group, or several.
    """
    if isinstance(source, pl.DataFrame):
        frame, where = source, "the frame"
    else:
        path = local_path(source, "groups")
        where = str(path)
        try:
            whole = path.suffix.lower() == ".parquet"
            frame = pl.read_parquet(path) if whole else pl.read_csv(path, infer_schema=False)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise DataError(f"the groups {where!r} cannot be read: {error}") from error
    key = next((name for name in ("label", "image") if name in frame.columns), None)
    if key is None or column not in frame.columns:
        raise DataError(
            f"{where} needs a column label or image, and {column!r}; it has "
            f"{', '.join(frame.columns)[:200]}"
        )
    told = frame.select(pl.col(key, column).cast(pl.String)).drop_nulls().unique()
    if key == "image":  # as a table of images names them
        told = told.with_columns(pl.col(key).map_elements(plain_name, pl.String))
    joined = samples.select("image", "label").join(told, on=key, how="left", maintain_order="left")
    groups = joined.select("label", column).unique(maintain_order=True).drop_nulls()
    twice = groups.filter(pl.col("label").is_duplicated())["label"].to_list()
    if twice:
        raise DataError(f"{where} puts {shown(twice[0], 60)!r} into several groups")
    found = dict(groups.iter_rows())
    missing = [
        label for label in samples["label"].unique(maintain_order=True) if label not in found
    ]
    if missing:
        raise DataError(
            f"{where} has no group for {len(missing)} people, such as {shown(missing[0], 60)!r}"
        )
    return found


def by_group(
    store: Store, plan: Plan, variant: str, model: str, groups: Mapping[str, str]
) -> pl.DataFrame:
    """A gallery's error rates in each group of people; see ``group_rates``.

    Returns:
        Its columns, with variant, model and source.
    """
    rates = partial(group_rates, groups=[groups[name] for name in plan.classes])
    return study_verification(store, plan, variant, model, rates, ["group", "n_people"])


def group_rates(
    found: Comparisons, groups: Sequence[str], rates: Sequence[float] = RATES
) -> pl.DataFrame:
    """Error rates in each group, at thresholds that are the same for all, and the largest gap.

    Genuine comparisons are those of a group's people, impostor comparisons those of two of its
    people. The largest gap is the number of the group that has the highest less that of the group
    that has the lowest, its interval from both of theirs (``gap_ends``); which two they are was
    chosen by the same numbers, so of many groups it is too wide a claim.

    Args:
        found: the comparisons.
        groups: K names: of each person.
        rates: clean false match rates at which thresholds are fixed.

    Returns:
        attack, objective, epsilon, measure (those of ``analysis.verification.verification`` but
        ``threshold@rate``), n_genuine, n_impostor, value, low, high, reason, group, n_people. A
        value is null where a group has under 20 people, no threshold can be fixed, or fewer than
        half of the decisions change; reason says it, and of a gap whose it is.
    """
    of = np.array(groups)
    every = {name: Judged(found, of == name, FEWEST) for name in sorted(set(groups))}
    levels = {rate: found.thresholds(rate) for rate in rates}
    rows: list[dict[str, object]] = []
    for about, ask in questions(found, levels):
        if str(about["measure"]).startswith("threshold@"):  # the same for all
            continue
        told = {name: ask(each) for name, each in every.items()}
        rows += [
            {**about, **_numbers(told[name]), **each.counts, "group": name, "n_people": each.people}
            for name, each in every.items()
        ]
        rows.append(about | _gap(told))
    kinds = schema("epsilon", *_NUMBERS, "n_genuine", "n_impostor", "n_people", "reason")
    return pl.DataFrame(rows, schema_overrides=kinds, infer_schema_length=None)


def _numbers(told: Told) -> dict[str, object]:
    return {name: getattr(told, name) for name in (*_NUMBERS, "reason")}


def _gap(told: Mapping[str, Told]) -> dict[str, object]:
    """The highest number less the lowest, of groups that have enough people."""
    row: dict[str, object] = dict.fromkeys((*_NUMBERS, "n_people", "n_genuine", "n_impostor"))
    row |= {"group": GAP, "reason": NO_GAP}
    known = [(one, name) for name, one in told.items() if one.value is not None or one.beyond]
    if len(known) < 2:
        reasons = {one.reason for one in told.values()}
        alike = reasons - {FEW}  # such as that no threshold can be fixed
        return row if known or len(alike) != 1 else row | {"reason": alike.pop()}
    for one, name in known:
        if one.beyond:  # any other gap would be too small a claim
            return row | {"reason": f"{shown(name, 40)}: {one.reason}"}
    sides = [((one.value or 0.0, one.low, one.high), name) for one, name in known]
    (least, lower), (most, higher) = min(sides, key=_first), max(sides, key=_first)
    low, high = gap_ends(most, least)
    which = f"{shown(higher, 40)} less {shown(lower, 40)}"
    return row | {"value": most[0] - least[0], "low": low, "high": high, "reason": which}


def _first(side: tuple[Number, str]) -> tuple[float, str]:
    return side[0][0], side[1]


def gap_ends(most: Number, least: Number) -> tuple[float | None, float | None]:
    """The 95 % interval of a difference of two groups of other people, from both of theirs.

    The distances to the ends are added as squares (R. G. Newcombe, Interval estimation for the
    difference between independent proportions, 1998; G. Y. Zou and A. Donner, Construction of
    confidence limits about effect measures, 2008, for any number). A bootstrap of the difference
    has no width where nothing failed in either group.

    Args:
        most: the higher number and its ends.
        least: the lower.

    Returns:
        Its ends; None where an end that it needs is not known.
    """
    ends: list[float | None] = []
    for sign, above, below in ((-1, most[1], least[2]), (1, most[2], least[1])):
        if above is None or below is None:
            ends.append(None)
        else:
            apart = float(np.hypot(above - most[0], below - least[0]))
            ends.append(most[0] - least[0] + sign * apart)
    return ends[0], ends[1]

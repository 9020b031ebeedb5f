"""Error rates of groups of people, and the largest gap between two of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from lookaway.analysis.comparisons import SCHEMA, comparisons_of
from lookaway.analysis.intervals import Bootstrap
from lookaway.analysis.verification import RATES, Comparisons, Setting, share_of
from lookaway.errors import DataError, shown
from lookaway.metrics.verification import needed
from lookaway.places import local_path
from lookaway.study.json_files import Plan
from lookaway.study.store import Store

FEWEST = 20  # people of a group, for any claim about it
GAP = "largest gap"
_RESAMPLES, _TAIL = 2_000, 0.025
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
    store: Store, plan: Plan, variant: str, model: str, groups: dict[str, str]
) -> pl.DataFrame:
    """A gallery's error rates in each group of people; see ``group_rates``.

    Returns:
        Its columns, with variant, model and source.
    """
    frames = []
    for source, found in comparisons_of(store, plan, variant, model):
        rates = group_rates(found, [groups[name] for name in plan.classes])
        if source != model:
            rates = rates.filter(pl.col("attack") != "clean")
        own = pl.when(pl.col("objective") != "").then(pl.lit(source))
        about = {"variant": pl.lit(variant), "model": pl.lit(model), "source": own}
        frames.append(rates.with_columns(**about))
    order = [*SCHEMA, "group", "n_people"]
    return pl.concat(frames).select(order)


def group_rates(
    found: Comparisons, groups: Sequence[str], rates: Sequence[float] = RATES
) -> pl.DataFrame:
    """Error rates in each group, at thresholds that are the same for all, and the largest gap.

    Genuine comparisons are those of a group's people, impostor comparisons those of two of its
    people. The largest gap is the rate of the group that has the highest less that of the group
    that has the lowest, its interval from resampling the people of each; which two they are was
    chosen by the same numbers, so of many groups it is too wide a claim.

    Args:
        found: the comparisons.
        groups: K names: of each person.
        rates: clean false match rates at which thresholds are fixed.

    Returns:
        attack, objective, epsilon, measure (fnmr@rate, fmr@rate and, of impersonations,
        success@rate), n_genuine, n_impostor, value, low, high, reason, group, n_people. A value is
        null where a group has under 20 people, or no threshold can be fixed; reason says it.
    """
    names = sorted(set(groups))
    of = np.array([names.index(group) for group in groups])
    same, probes = found.genuine(), of[found.persons]
    within = probes[:, None] == of[None, :]
    levels = {rate: found.thresholds(rate) for rate in rates}
    boot = Bootstrap([str(person) for person in found.persons])
    rows = []
    for setting, each in found.similarities.items():
        targets = found.targets.get(setting[:2])
        for rate, threshold in levels.items():
            counted = {"fnmr": same, "fmr": within & ~same}
            if targets is not None:
                counted["success"] = targets[:, None] == np.arange(same.shape[1])[None, :]
            for measure, trials in counted.items():
                about = _about(setting, f"{measure}@{rate:g}")
                if threshold is None:
                    few = f"a clean FMR of {rate:g} takes {needed(rate)} impostor comparisons"
                    nothing: list[_Rate] = [(None, None, None, few)] * len(names)
                    rows += [
                        _row(about, found, of, probes, g, names, *numbers)
                        for g, numbers in enumerate(nothing)
                    ]
                    continue
                match = each >= threshold[:, None]
                wrong = ~match if measure == "fnmr" else match
                kept = [trials & (probes == g)[:, None] for g in range(len(names))]
                told = [
                    _rate(wrong, some, found.persons, int((of == g).sum()), boot)
                    for g, some in enumerate(kept)
                ]
                rows += [
                    _row(about, found, of, probes, g, names, *numbers)
                    for g, numbers in enumerate(told)
                ]
                rows.append(about | _gap(wrong, kept, found.persons, of, names, told))
    schema: dict[str, type[pl.DataType]] = dict.fromkeys(_NUMBERS, pl.Float64)
    schema |= dict.fromkeys(("n_genuine", "n_impostor", "n_people"), pl.Int64)
    schema |= {"reason": pl.String}
    return pl.DataFrame(rows, schema_overrides=schema, infer_schema_length=None)


_Rate = tuple[float | None, float | None, float | None, str | None]


def _about(setting: Setting, measure: str) -> dict[str, object]:
    keys = dict(zip(("attack", "objective", "epsilon"), setting, strict=True))
    return {**keys, "measure": measure}


def _rate(
    wrong: np.ndarray, trials: np.ndarray, persons: np.ndarray, people: int, boot: Bootstrap
) -> _Rate:
    if people < FEWEST:
        return None, None, None, f"under {FEWEST} people"
    if not trials.any():
        return None, None, None, "no comparison"
    return *share_of(wrong & trials, trials, persons, boot), None


def _row(
    about: dict[str, object],
    found: Comparisons,
    of: np.ndarray,
    probes: np.ndarray,
    group: int,
    names: Sequence[str],
    value: float | None,
    low: float | None,
    high: float | None,
    reason: str | None,
) -> dict[str, object]:
    people, mine = int((of == group).sum()), int((probes == group).sum())
    counts = {"n_genuine": mine, "n_impostor": mine * (people - 1)}
    ends = {"value": value, "low": low, "high": high, "reason": reason}
    return {**about, **counts, **ends, "group": names[group], "n_people": people}


def _gap(
    wrong: np.ndarray,
    kept: Sequence[np.ndarray],
    persons: np.ndarray,
    of: np.ndarray,
    names: Sequence[str],
    told: Sequence[_Rate],
) -> dict[str, object]:
    """The highest rate less the lowest, of groups that have enough people."""
    known = [(rate[0], group) for group, rate in enumerate(told) if rate[0] is not None]
    row: dict[str, object] = {"group": GAP, "n_people": None, "n_genuine": None}
    row |= {"n_impostor": None, "value": None, "low": None, "high": None}
    if len(known) < 2:
        return row | {"reason": f"fewer than two groups of {FEWEST} people"}
    (least, low_group), (most, high_group) = min(known), max(known)
    random = np.random.default_rng(0)
    drawn = [
        _resampled(wrong, kept[group], persons, of == group, random)
        for group in (high_group, low_group)
    ]
    ends = np.quantile(drawn[0] - drawn[1], [_TAIL, 1 - _TAIL])
    which = f"{shown(names[high_group], 40)} less {shown(names[low_group], 40)}"
    return row | {
        "value": most - least,
        "low": float(ends[0]),
        "high": float(ends[1]),
        "reason": which,
    }


def _resampled(
    wrong: np.ndarray,
    trials: np.ndarray,
    persons: np.ndarray,
    mine: np.ndarray,
    random: np.random.Generator,
) -> np.ndarray:
    """A group's rate in each resample of its people; a comparison of two counts for both."""
    people = np.flatnonzero(mine)
    count = trials.shape[1]
    sums = np.zeros((2, count, count))
    for place, values in enumerate((wrong & trials, trials)):
        np.add.at(sums[place], persons, values.astype(float))
    times = np.zeros((_RESAMPLES, count))
    even = np.full(len(people), 1 / len(people))
    times[:, people] = random.multinomial(len(people), even, _RESAMPLES)
    own = np.diagonal(sums, axis1=1, axis2=2)
    # Of a target outside of the group the probe's person alone is drawn.
    beside = np.where(mine[None, :], times, 1.0)
    above, below = (
        ((times @ (each - np.diag(diagonal))) * beside).sum(axis=1) + times @ diagonal
        for each, diagonal in zip(sums, own, strict=True)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        found = above / below
    return np.where(np.isfinite(found), found, float(sums[0].sum() / sums[1].sum()))

"""Error rates of groups of people, and the largest gap between two of them."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from scipy.special import ndtr, stdtrit

from lookaway.analysis.comparisons import SCHEMA, comparisons_of
from lookaway.analysis.ends import LEVEL, SHARE, quantiles_of
from lookaway.analysis.intervals import Bootstrap
from lookaway.analysis.verification import (
    RATES,
    Comparisons,
    Setting,
    equal_error,
    share_of,
)
from lookaway.data.table import plain_name
from lookaway.errors import DataError, shown
from lookaway.metrics.verification import needed
from lookaway.places import local_path
from lookaway.study.json_files import Plan
from lookaway.study.store import Store

FEWEST = 20  # people of a group, for any claim about it
GAP = "largest gap"
FEW = f"under {FEWEST} people"
NO_GAP = f"fewer than two groups of {FEWEST} people"
_RESAMPLES = 2_000
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
        attack, objective, epsilon, measure (eer of comparisons within a group, fnmr@rate, fmr@rate
        and, of impersonations, success@rate), n_genuine, n_impostor, value, low, high, reason,
        group, n_people. A value is null where a group has under 20 people, or no threshold can be
        fixed; reason says it.
    """
    names = sorted(set(groups))
    of = np.array([names.index(group) for group in groups])
    same, probes = found.genuine(), of[found.persons]
    within = probes[:, None] == of[None, :]
    levels = {rate: found.thresholds(rate) for rate in rates}
    boot = Bootstrap([str(person) for person in found.persons])
    tell = partial(_rows, found=found, of=of, names=names)
    rows: list[dict[str, object]] = []
    for setting, each in found.similarities.items():
        equal = [_equal(each, same, probes == g, of == g, seed=g + 1) for g in range(len(names))]
        drawn = [resampled for _, resampled in equal].__getitem__
        rows += tell(_about(setting, "eer"), [rate for rate, _ in equal], drawn)
        targets = found.targets.get(setting[:2])
        for rate, threshold in levels.items():
            counted = {"fnmr": same, "fmr": within & ~same}
            if targets is not None:
                counted["success"] = targets[:, None] == np.arange(same.shape[1])[None, :]
            for measure, trials in counted.items():
                about = _about(setting, f"{measure}@{rate:g}")
                if threshold is None:
                    few = f"a clean FMR of {rate:g} takes {needed(rate)} impostor comparisons"
                    rows += tell(about, [(None, None, None, few)] * len(names))
                    continue
                match = each >= threshold[:, None]
                wrong = ~match if measure == "fnmr" else match
                kept = [trials & (probes == g)[:, None] for g in range(len(names))]
                told = [
                    _rate(wrong, some, found.persons, int((of == g).sum()), boot)
                    for g, some in enumerate(kept)
                ]
                random = np.random.default_rng(0)
                rows += tell(
                    about, told, partial(_resampled, wrong, kept, found.persons, of, random)
                )
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
        return None, None, None, FEW
    if not trials.any():
        return None, None, None, "no comparison"
    return *share_of(wrong & trials, trials, persons, boot), None


def _rows(
    about: dict[str, object],
    told: Sequence[_Rate],
    drawn: Callable[[int], np.ndarray] | None = None,
    *,
    found: Comparisons,
    of: np.ndarray,
    names: Sequence[str],
) -> list[dict[str, object]]:
    """A row for each group, and for the largest gap where there is something to resample."""
    rows = []
    for group, (value, low, high, reason) in enumerate(told):
        people, mine = int((of == group).sum()), int((of[found.persons] == group).sum())
        counts = {"n_genuine": mine, "n_impostor": mine * (people - 1)}
        ends = {"value": value, "low": low, "high": high, "reason": reason}
        rows.append({**about, **counts, **ends, "group": names[group], "n_people": people})
    return rows if drawn is None else [*rows, about | _gap(of, names, told, drawn)]


def _equal(
    similarities: np.ndarray, same: np.ndarray, mine: np.ndarray, people: np.ndarray, *, seed: int
) -> tuple[_Rate, np.ndarray]:
    """A group's equal error rate, and in each resample of its people.

    Args:
        similarities: (N, K).
        same: (N, K) bool: genuine comparisons.
        mine: (N,) bool: the group's probes.
        people: (K,) bool: its people.
        seed: that of no other group, whose people are drawn apart.
    """
    if people.sum() < FEWEST:
        return (None, None, None, FEW), np.empty(0)
    if not mine.any():
        return (None, None, None, "no comparison"), np.empty(0)
    cut = np.ix_(mine, people)
    persons = [str(place) for place in same[cut].argmax(axis=1)]
    boot = Bootstrap(persons, seed=seed)
    value, resampled = equal_error(similarities[cut], same[cut], boot)
    low, high = boot.bounds(resampled[:, None], None, SHARE)
    return (value, low[0], high[0], None), resampled


def _gap(
    of: np.ndarray,
    names: Sequence[str],
    told: Sequence[_Rate],
    drawn: Callable[[int], np.ndarray],
) -> dict[str, object]:
    """The highest rate less the lowest, of groups that have enough people.

    Args:
        of: (K,) int: each person's group.
        names: of the groups.
        told: a rate of each.
        drawn: a group's rate in each resample of its people.
    """
    known = [(rate[0], group) for group, rate in enumerate(told) if rate[0] is not None]
    row: dict[str, object] = {"group": GAP, "n_people": None, "n_genuine": None}
    row |= {"n_impostor": None, "value": None, "low": None, "high": None}
    if len(known) < 2:
        return row | {"reason": NO_GAP}
    (least, low_group), (most, high_group) = min(known), max(known)
    people = min(int((of == group).sum()) for group in (low_group, high_group))
    low, high = gap_ends(drawn(high_group) - drawn(low_group), people)
    which = f"{shown(names[high_group], 40)} less {shown(names[low_group], 40)}"
    return row | {"value": most - least, "low": low, "high": high, "reason": which}


def gap_ends(resampled: np.ndarray, people: int) -> tuple[float, float]:
    """The 95 % interval of a difference of two groups, by percentiles expanded for few people.

    See ``intervals.Bootstrap``.

    Args:
        resampled: (resamples,); what is not finite is left out.
        people: of the smaller group, at least 2.
    """
    tail = ndtr(-stdtrit(people - 1, (1 + LEVEL) / 2) * np.sqrt(people / (people - 1)))
    low, high = quantiles_of(resampled[:, None], [float(tail)])
    assert low[0] is not None and high[0] is not None  # noqa: PT018, S101  both or neither
    return low[0], high[0]


def _resampled(
    wrong: np.ndarray,
    kept: Sequence[np.ndarray],
    persons: np.ndarray,
    of: np.ndarray,
    random: np.random.Generator,
    group: int,
) -> np.ndarray:
    """A group's rate in each resample of its people; a comparison of two counts for both."""
    trials, mine = kept[group], of == group
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

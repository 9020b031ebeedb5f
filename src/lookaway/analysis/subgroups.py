"""Error rates of groups of people, and the largest gap between two of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from lookaway.analysis.comparisons import SCHEMA, comparisons_of
from lookaway.analysis.intervals import Bootstrap
from lookaway.analysis.smallest_epsilon import smallest_epsilon
from lookaway.analysis.verification import (
    BEFORE_THRESHOLDS,
    RATES,
    Comparisons,
    Number,
    Setting,
    decided,
    share_of,
    shares_at,
    titles,
    too_few,
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
    every = [_Group(found, of == name, name) for name in sorted(set(groups))]
    levels = {rate: found.thresholds(rate) for rate in rates}
    rows: list[dict[str, object]] = []

    def tell(setting: tuple[str, str, float | None], measure: str, told: Sequence[_Told]) -> None:
        about = dict(zip(("attack", "objective", "epsilon"), setting, strict=True))
        about["measure"] = measure
        rows.extend(about | each.row(one) for each, one in zip(every, told, strict=True))
        rows.append(about | _gap(every, told))

    for setting in found.similarities:
        for name, number in BEFORE_THRESHOLDS.items():
            tell(setting, name, [each.alone(setting, number) for each in every])
        for rate, threshold in levels.items():
            counted = shares_at(found, setting, threshold)
            for name, (meant, trials) in counted.items():
                if name == "fmr":
                    trials = trials & (of[found.persons][:, None] == of[None, :])
                told = [each.share(meant, trials, rate) for each in every]
                tell(setting, f"{name}@{rate:g}", told)
    for title in titles(found):
        for rate, threshold in levels.items():
            told = [each.smallest(title, threshold, rate) for each in every]
            tell((*title, None), f"epsilon@{rate:g}", told)
    schema: dict[str, type[pl.DataType]] = dict.fromkeys(("epsilon", *_NUMBERS), pl.Float64)
    schema |= dict.fromkeys(("n_genuine", "n_impostor", "n_people"), pl.Int64)
    schema |= {"reason": pl.String}
    return pl.DataFrame(rows, schema_overrides=schema, infer_schema_length=None)


@dataclass(frozen=True)
class _Told:
    """A number of a group, or why there is none; whether it lies beyond the largest ε."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None
    beyond: bool = False


class _Group:
    """A group's comparisons.

    Args:
        found: all comparisons.
        people: (K,) bool: who is in it.
        name: its.
    """

    def __init__(self, found: Comparisons, people: np.ndarray, name: str) -> None:
        self.name, self.people = name, int(people.sum())
        self._found, self._of = found, people
        self._mine = people[found.persons]
        self._persons = found.persons[self._mine]
        self._same = found.genuine()[self._mine]
        self._boot = Bootstrap([str(each) for each in self._persons])

    def _missing(self) -> _Told | None:
        if self.people < FEWEST:
            return _Told(reason=FEW)
        return None if self._mine.any() else _Told(reason="no comparison")

    def row(self, told: _Told) -> dict[str, object]:
        """A row's columns that are the group's."""
        probes = int(self._mine.sum())
        return {
            **{name: getattr(told, name) for name in (*_NUMBERS, "reason")},
            "n_genuine": probes,
            "n_impostor": probes * (self.people - 1),
            "group": self.name,
            "n_people": self.people,
        }

    def alone(self, setting: Setting, number: Callable[..., Number]) -> _Told:
        """What takes no threshold, of the group's probes with the group's templates."""
        if missing := self._missing():
            return missing
        here = np.ix_(self._mine, self._of)
        same = self._same[:, self._of]
        return _Told(*number(self._found.similarities[setting][here], same, self._boot))

    def share(self, meant: np.ndarray | None, trials: np.ndarray, rate: float) -> _Told:
        """How many of the comparisons (N, K) that the group's probes have are meant."""
        if meant is None:
            return _Told(reason=too_few(rate))
        if missing := self._missing():
            return missing
        mine = trials[self._mine]
        above = meant[self._mine] & mine
        return _Told(*share_of(above, mine, self._persons, self._boot))

    def smallest(self, title: tuple[str, str], threshold: np.ndarray | None, rate: float) -> _Told:
        """The median smallest ε that changes a decision about one of the group's probes."""
        if threshold is None:
            return _Told(reason=too_few(rate))
        if missing := self._missing():
            return missing
        before, after, used = decided(self._found, title, threshold)
        changed = {epsilon: each[self._mine] for epsilon, each in after.items()}
        some = used[self._mine]
        found = smallest_epsilon(before[self._mine], changed, some, self._boot)
        return _Told(*found[:3], found[3] or None, found[0] is None and bool(some.any()))


def _gap(groups: Sequence[_Group], told: Sequence[_Told]) -> dict[str, object]:
    """The highest number less the lowest, of groups that have enough people."""
    row: dict[str, object] = dict.fromkeys((*_NUMBERS, "n_people", "n_genuine", "n_impostor"))
    row |= {"group": GAP, "reason": NO_GAP}
    known = [(one, each.name) for one, each in zip(told, groups, strict=True)]
    known = [(one, name) for one, name in known if one.value is not None or one.beyond]
    if len(known) < 2:
        alike = {one.reason for one in told} - {FEW}  # such as that no threshold can be fixed
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

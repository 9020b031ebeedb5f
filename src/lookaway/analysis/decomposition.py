"""Is a shift there because more predictions flip, or beyond that? An excess in its two parts."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import polars as pl

from lookaway.analysis.columns import schema
from lookaway.analysis.ends import CHANGE, Ends, only_where
from lookaway.analysis.grouped import SETTING, Grouped, grouped, whose
from lookaway.analysis.outcomes import OUTCOMES, with_outcome

EXCESS, FLIPS, BEYOND = "excess", "more flips", "equal outcome"
RIGHT_BOTH, FLIPPED_BOTH = "stayed right under both", "flipped under both"
WRONG_BOTH, SAME, APART = "wrong before", "same outcome", "other outcome"
FEWEST = 5  # images of an outcome under the control, below which their mean is not known
_RIGHT, _FLIPPED, _WRONG = OUTCOMES
_IMAGE = ["image", "label", "variant", "model", "method", "explained_class", "epsilon"]
_KEYS = [*SETTING, "method", "explained_class", "epsilon", "control"]
_COLUMNS = [*_KEYS, "measure", "n", "value", "low", "high", "reason", "interval"]
_AT_ONCE = 64
_TIE = 1e-6  # of a share: resampled sums are rounded
_Arrays = dict[str, np.ndarray]
_Ratios = Callable[[np.ndarray, np.ndarray], np.ndarray]
_SAME_OUTCOME = {
    RIGHT_BOTH: "no image stayed right under both",
    FLIPPED_BOTH: "no image flipped under both",
    WRONG_BOTH: "no image was wrong before",
    SAME: "no image has the same outcome under both",
    APART: "every image has the same outcome under both",
}
_OF_ATTACK = {_FLIPPED: "flipped", _RIGHT: "right"}
_NAMES = ["difference", *_OF_ATTACK.values(), *_SAME_OUTCOME]
_NAMES += [f"control {name}" for name in _OF_ATTACK.values()]
_NAMES += [f"nissim, control {name}" for name in _OF_ATTACK.values()]
_NAMES += [f"difference, {name}" for name in _SAME_OUTCOME]


def decomposition(rows: pl.DataFrame) -> pl.DataFrame:
    """How much of an attack's excess over a control follows from more flips, and how much does not.

    With the outcomes o (stayed right, flipped, wrong before), their shares π and mean NISSIM m
    under the attack (a) and its control (c), the excess Σ π_a m_a − Σ π_c m_c is the sum of *more
    flips*, Σ (π_a − π_c) m_c, and *equal outcome*, Σ π_a (m_a − m_c) (the two-fold decomposition
    of E. M. Kitagawa, Components of a Difference Between Two Rates, 1955). Both are null, with the
    reason, where an outcome that the attack causes is that of fewer than ``FEWEST`` images under
    the control: their m_c is not known.

    This compares different images: those that stay right under the attack are the steadier ones. So
    beside it stands what needs no m_c and compares each image with itself: the mean difference of
    images that have the ``same outcome`` under both. That, and of images with an ``other outcome``,
    weighted by their images, add up to the excess too; the second holds all that these images
    shift, also what they would without a flip.

    Args:
        rows: measurements of one layer of each model, with those of controls (source null).

    Returns:
        variant, model, attack, source, method, explained_class, epsilon, control, measure, n
        (images), value, low, high, reason (why a value is null), interval. A control of several
        draws, such as ``shifted 1 of fgsm`` and ``shifted 2 of fgsm``, is one, ``shifted of fgsm``:
        an image has its mean. Measures: excess, ``more flips``, ``equal outcome``; the mean
        difference, attack less control, of images that ``stayed right under both``, were ``flipped
        under both``, were ``wrong before``, have the ``same outcome`` (all of these) or an ``other
        outcome`` under the control; flipped and ``flipped under control``, shares of all images.
    """
    tables = grouped(_beside(rows), _KEYS, _NAMES)
    if not tables:
        return pl.DataFrame(schema=schema(*_COLUMNS))
    return pl.concat(frame for table in tables for frame in _decomposed(table))


def beside_controls(
    rows: pl.DataFrame, same: Sequence[str], values: Mapping[str, pl.Expr]
) -> pl.DataFrame:
    """Each row of an attack beside that of every draw of every control that is meant for it.

    Args:
        rows: with model, attack and source; of a control the source is null.
        same: what tells an attack's row and its controls' from others.
        values: of the control, by the names that they get.

    Returns:
        The rows of attacks, once for each draw, with control (without the draw's number) and the
        values.
    """
    name = pl.col("attack").cast(pl.String)
    controls = rows.filter(pl.col("source").is_null()).select(*same, _control=name, **values)
    attacked = rows.filter(pl.col("source").is_not_null()).with_columns(_whose=whose())
    pairs = _meant_for(
        attacked["_whose"].unique().to_list(), controls["_control"].unique().to_list()
    )
    names = attacked.join(pairs, on="_whose", how="left", maintain_order="left_right")
    found = names.join(controls, on=[*same, "_control"], how="inner", maintain_order="left_right")
    return found.drop("_whose", "_control")


def _meant_for(attacks: Sequence[str], controls: Sequence[str]) -> pl.DataFrame:
    """Which controls, by their names, each attack is held against: those of its own, or of all."""
    found = []
    for control in sorted(controls):
        whose = [attack for attack in attacks if control.endswith(f" of {attack}")]
        own = max(whose, key=len, default=None)
        if own is None and " of " in control:
            continue  # of an attack that is not there
        kind = control if own is None else control.removesuffix(f" of {own}")
        family = re.sub(r" \d+$", "", kind) + ("" if own is None else f" of {own}")
        found += [(attack, family, control) for attack in ([own] if own else attacks)]
    names = ("_whose", "control", "_control")
    return pl.DataFrame(found, schema=dict.fromkeys(names, pl.String), orient="row")


def _beside(rows: pl.DataFrame) -> pl.DataFrame:
    """For each image, attack and control: their difference and outcomes, means over the draws."""
    told = with_outcome(rows)
    theirs = {"nissim_c": pl.col("nissim"), "outcome_c": pl.col("outcome")}
    beside = beside_controls(told, _IMAGE, theirs)

    def share(condition: pl.Expr) -> pl.Expr:
        return condition.cast(pl.Float64).mean()

    after, under = (
        {outcome: pl.col(column) == outcome for outcome in OUTCOMES}
        for column in ("outcome", "outcome_c")
    )
    same = {
        RIGHT_BOTH: after[_RIGHT] & under[_RIGHT],
        FLIPPED_BOTH: after[_FLIPPED] & under[_FLIPPED],
        WRONG_BOTH: after[_WRONG],  # before, and so under both
        SAME: pl.col("outcome") == pl.col("outcome_c"),
        APART: pl.col("outcome") != pl.col("outcome_c"),
    }
    difference = pl.col("nissim") - pl.col("nissim_c")
    values = {"difference": difference.mean()}
    for outcome, name in _OF_ATTACK.items():
        values[name] = share(after[outcome])
        values[f"control {name}"] = share(under[outcome])
        values[f"nissim, control {name}"] = (pl.col("nissim_c") * under[outcome]).mean()
    for name, condition in same.items():
        values[name] = share(condition)
        values[f"difference, {name}"] = (difference * condition).mean()
    each = [*_IMAGE, "attack", "source", "control"]
    return beside.group_by(each, maintain_order=True).agg(**values)


def _decomposed(table: Grouped) -> Iterator[pl.DataFrame]:
    """The measures of one variant, each a frame."""
    yield _told(table.mean_frame("difference", "value", CHANGE), EXCESS)
    yield _told(table.share_frame("flipped", "value"), "flipped")
    # Of several draws it varies no more than of one, so Wilson's interval is wide enough.
    yield _told(table.share_frame("control flipped", "value"), "flipped under control")
    reasons = [_not_known(table, place) for place in range(table.groups.height)]
    are_known = [reason is None for reason in reasons]
    for measure, (points, ends) in _two_parts(table).items():
        known, low, high = (only_where(each, are_known) for each in (points, *ends))
        yield _told(table.frame("value", known, (low, high)), measure, reasons)
    for measure, empty in _SAME_OUTCOME.items():
        weights, values = table.values[measure], table.values[f"difference, {measure}"]
        one = Grouped(table.groups, {}, weights > 0, table.bootstrap)
        totals = weights.sum(axis=0)
        points = [
            float(value / total) if total else None
            for value, total in zip(values.sum(axis=0), totals, strict=True)
        ]
        ends = table.bootstrap.intervals(values, weights, CHANGE)
        found = one.frame("value", points, ends, one.studentised)
        yield _told(found, measure, [None if total else empty for total in totals])


def _told(
    found: pl.DataFrame, measure: str, reasons: Sequence[str | None] | None = None
) -> pl.DataFrame:
    reason = pl.Series("reason", reasons or [None] * found.height, dtype=pl.String)
    return found.with_columns(reason, measure=pl.lit(measure)).select(_COLUMNS)


def _not_known(table: Grouped, place: int) -> str | None:
    """Why the two parts of a column are not known; None where they are."""
    for outcome, name in _OF_ATTACK.items():
        under = int((table.values[f"control {name}"][:, place] > 0).sum())
        if under < FEWEST and table.values[name][:, place].any():
            few = f"only {under}" if under else "no"
            return f"not known: {few} image{'s' if under > 1 else ''} {outcome} under the control"
    return None


def _two_parts(table: Grouped) -> dict[str, tuple[list[float | None], Ends]]:
    """What follows from more flips, and what is left at equal outcome, of each column.

    The share of images that were wrong before is the same under both, so it adds nothing to the
    first. NaN stands for what is not known.
    """
    found: dict[str, tuple[list[float | None], Ends]] = {
        measure: ([], ([], [])) for measure in (FLIPS, BEYOND)
    }
    bootstrap = table.bootstrap
    for start in range(0, table.groups.height, _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        used = table.used[:, part]
        values = {name: table.values[name][:, part] for name in _NAMES}

        def parts(ratios: _Ratios, values: _Arrays = values, used: np.ndarray = used) -> _Arrays:
            every = used.astype(float)
            flips = np.zeros(1)
            for name in _OF_ATTACK.values():
                under = values[f"control {name}"]
                more = ratios(values[name] - under, every)
                mean = ratios(values[f"nissim, control {name}"], under)
                nothing = np.isnan(mean) & (np.abs(more) < _TIE)  # in neither
                flips = flips + np.where(nothing, 0.0, more * mean)
            return {FLIPS: flips, BEYOND: ratios(values["difference"], every) - flips}

        points, resampled = parts(_ratios), parts(bootstrap.ratios)
        for measure, (numbers, ends) in found.items():
            numbers += [float(point) for point in points[measure]]
            told = bootstrap.bounds(resampled[measure], used, CHANGE)
            for side, more in zip(ends, told, strict=True):
                side += more
    return found


def _ratios(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """Sum over sum of each column; NaN where the denominators sum to 0."""
    below = denominators.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios: np.ndarray = numerators.sum(axis=0) / below
    return ratios

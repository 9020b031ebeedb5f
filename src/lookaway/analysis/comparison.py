"""Models, and runs, compared in pairs on the same images."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations

import numpy as np
import polars as pl

from lookaway.analysis.aimed import beside_shaped, without_shaped
from lookaway.analysis.columns import schema
from lookaway.analysis.ends import Ends, within_range
from lookaway.analysis.grouped import SETTING, Grouped, by_pairs, grouped
from lookaway.analysis.intervals import Bootstrap
from lookaway.analysis.scale import beside_noise
from lookaway.analysis.studentised import studentised
from lookaway.analysis.summary import by_scope
from lookaway.controls import SHIFTED

PERMUTATIONS = 10_000
_EXACT = 13  # units, up to which every sign pattern is tried
_FAMILY = ["variant", "scope", "method", "explained_class", "epsilon", "measure", "pairs"]
_ONE = [name for name in _FAMILY if name != "pairs"]
_KEYS = [*_FAMILY, "model_a", "model_b", "n"]
_ENDS = ["difference", "low", "high", "p"]
_MODELS = schema(*_KEYS, *_ENDS, "p_holm", "probability", "interval")
_RUNS = schema(*_KEYS, "before", "after", *_ENDS, "interval")
_SAME_IMAGE = ["image", "label", "variant", "scope", "method", "explained_class", "epsilon"]


def compare_models(rows: pl.DataFrame) -> pl.DataFrame:
    """Each pair of models on the same images: whose heatmaps move less?

    The test is a paired permutation test: under the hypothesis that two models are alike, the
    sign of each difference is a coin's. Whole classes are flipped where whole classes are
    resampled. Holm's correction is over the pairs of models of one scope, ε, method, class
    policy and measure.

    Args:
        rows: measurements of one layer of each model, models in the order that they are told in.

    Returns:
        variant, scope, method, explained_class, epsilon, measure (mod, excess or aimed), pairs,
        model_a, model_b, n, difference (a less b), low, high, p, p_holm, probability (that a's is
        the smaller, under the bootstrap; half of a tie), interval. Empty where there is one model.
    """
    scoped = _measured(rows)
    models = scoped["model"].unique(maintain_order=True).to_list()
    if len(models) < 2:
        return pl.DataFrame(schema=_MODELS)
    by_model = {model: scoped.filter(pl.col("model") == model) for model in models}
    parts: dict[tuple[str, str], list[pl.DataFrame]] = {}
    for a, b in combinations(models, 2):  # one after another: memory for one pair
        joined = differences(by_model[a], by_model[b])
        joined = joined.with_columns(model_a=pl.lit(a), model_b=pl.lit(b))
        for pairs, part in by_pairs(joined, pl.col("dead"), ["value"]).items():
            for table in grouped(part, [*_ONE, "model_a", "model_b"]):
                found = _compared(table).with_columns(pairs=pl.lit(pairs))
                parts.setdefault((pairs, found["variant"][0]), []).append(found)
    every = pl.concat(found for some in parts.values() for found in some)
    return every.with_columns(p_holm=holm().over(_FAMILY)).select(list(_MODELS))


def compare_runs(
    first: pl.DataFrame, second: pl.DataFrame, models: Sequence[tuple[str, str]]
) -> pl.DataFrame:
    """Two runs on the same images: what changed from the first to the second.

    Args:
        first: rows of the last layers of a run.
        second: of the other.
        models: pairs of names, of the first run and of the second.

    Returns:
        variant, scope, method, explained_class, epsilon, measure (mod, excess, aimed or accuracy),
        pairs, model_a, model_b, n, before, after, difference (after less before), low, high, p,
        interval.
    """
    parts = []
    for a, b in models:
        joined = differences(measured_of(second, b), measured_of(first, a))
        parts.append(changes(joined.with_columns(model_a=pl.lit(a), model_b=pl.lit(b))))
    return pl.concat(parts) if parts else pl.DataFrame(schema=_RUNS)


def measured_of(rows: pl.DataFrame, model: str) -> pl.DataFrame:
    """A model's NISSIM, excesses and accuracy, long, by scopes that do not name it."""
    found = _measured(rows.filter(pl.col("model") == model), accuracy=True)
    return _generic(found, model)


def changes(joined: pl.DataFrame) -> pl.DataFrame:
    """What changed, on the same images.

    Args:
        joined: from ``differences``, with the names ``model_a`` and ``model_b``.

    Returns:
        As ``compare_runs``.
    """
    parts = [pl.DataFrame(schema=_RUNS)]
    for pairs, part in by_pairs(joined, pl.col("dead"), ["value"]).items():
        keys = [*_ONE, "model_a", "model_b"]
        for table in grouped(part, keys, ["value", "value_a", "value_b"]):
            found = _compared(table).with_columns(
                pl.Series("after", table.means("value_a"), dtype=pl.Float64),
                pl.Series("before", table.means("value_b"), dtype=pl.Float64),
                pl.col("variant", "scope", "method", "explained_class").cast(pl.String),
                pairs=pl.lit(pairs),
            )
            parts.append(found.select(list(_RUNS)))
    return pl.concat(parts)


def _generic(scoped: pl.DataFrame, model: str) -> pl.DataFrame:
    """A model's own perturbations have no name of their own, so that two runs can be paired."""
    own = pl.col("scope").str.ends_with(f" from {model}")
    return scoped.filter(~own)


def _measured(rows: pl.DataFrame, *, accuracy: bool = False) -> pl.DataFrame:
    """Long rows by scope: NISSIM, its excesses, and whether the prediction is right."""
    dead = pl.col("clean_dead") | pl.col("attacked_dead")
    shifted = beside_shaped(rows).filter(control=SHIFTED)
    rows = without_shaped(rows)
    attacked = beside_noise(rows)
    found = [
        rows.with_columns(value="nissim", measure=pl.lit("mod"), dead=dead),
        attacked.with_columns(
            value="excess", measure=pl.lit("excess"), dead=dead | pl.col("noise_dead")
        ),
        shifted.with_columns(
            value="aimed", measure=pl.lit("aimed"), dead=dead | pl.col("control_dead")
        ),
    ]
    if accuracy:
        right = (pl.col("attacked_class") == pl.col("label")).cast(pl.Float64)
        never = pl.lit(value=False)
        found.append(rows.with_columns(value=right, measure=pl.lit("accuracy"), dead=never))
    kept = ["image", "label", *SETTING, "method", "explained_class", "epsilon"]
    return by_scope(pl.concat(part.select(*kept, "measure", "value", "dead") for part in found))


def differences(first: pl.DataFrame, second: pl.DataFrame) -> pl.DataFrame:
    """The first's value less the second's, image by image."""
    on = [*_SAME_IMAGE, "measure"]
    joined = first.join(
        second.select(*on, "value", "dead"), on=on, suffix="_b", maintain_order="left"
    )
    return joined.with_columns(
        value=pl.col("value") - pl.col("value_b"),
        value_a=pl.col("value"),
        dead=pl.col("dead") | pl.col("dead_b"),
    )


def _compared(table: Grouped) -> pl.DataFrame:
    values, bootstrap = table.values["value"], table.bootstrap
    chances: list[float | None] = []
    ends: Ends = ([], [])
    start = 0
    for some, moved in studentised(bootstrap, values, table.used.astype(float)):
        part = slice(start, start + moved.shape[1])
        start = part.stop
        ends[0].extend(some[0])
        ends[1].extend(some[1])
        counts = np.maximum(table.used[:, part].sum(axis=0), 1)
        resampled = values[:, part].sum(axis=0) / counts + moved
        known = np.isfinite(resampled)
        # Sums are rounded, so a tie is what is as good as 0.
        tie = 1e-6 * np.abs(values[:, part]).mean(axis=0)
        smaller = ((resampled < -tie) + 0.5 * (np.abs(resampled) <= tie)).sum(axis=0)
        chances += [
            float(part_smaller / count) if count and bootstrap.tail is not None else None
            for part_smaller, count in zip(smaller, known.sum(axis=0), strict=True)
        ]
    of_two = pl.col("measure").is_in(["excess", "aimed"])  # each itself a difference
    width = table.groups.select(1 + of_two.cast(pl.Float64)).to_series()
    ends = within_range(ends, (-width.to_numpy(), width.to_numpy()))
    found = table.frame("difference", table.means("value"), ends, table.studentised)
    return found.with_columns(
        pl.Series("p", paired_p(bootstrap, values, table.used), dtype=pl.Float64),
        pl.Series("probability", chances, dtype=pl.Float64),
    )


def paired_p(bootstrap: Bootstrap, values: np.ndarray, used: np.ndarray) -> list[float | None]:
    """The two-sided p of a paired permutation test that the mean difference is 0.

    Args:
        bootstrap: of the images: its units are what is flipped.
        values: (N, G) differences; 0 where not used.
        used: (N, G) bool.

    Returns:
        For each column (1 + how many of the flipped sums are as large) / (1 + their number), or
        the exact share where there are few units; None where nothing is used.
    """
    by_unit = bootstrap.by_unit(values).astype(np.float32)
    units = by_unit.shape[0]
    observed = np.abs(by_unit.sum(axis=0))
    slack = 1e-5 * np.abs(by_unit).sum(axis=0)
    as_large = np.zeros(by_unit.shape[1])
    total = 0
    for signs in map(_as_floats, _signs(units)):
        as_large += (np.abs(signs @ by_unit) >= observed - slack).sum(axis=0)
        total += len(signs)
    exact = units <= _EXACT
    chances = as_large / total if exact else (1 + as_large) / (1 + total)
    return [
        float(chance) if any_used else None
        for chance, any_used in zip(chances, np.array(used.any(axis=0)), strict=True)
    ]


@lru_cache(maxsize=1)
def _signs(units: int) -> list[np.ndarray]:
    """Sign patterns as int8: all of them for few units, else seeded ones."""
    if units <= _EXACT:
        bits = np.arange(2**units)[:, None] >> np.arange(units) & 1
        return [(1 - 2 * bits).astype(np.int8)]
    random = np.random.default_rng(1)
    step = max(1, 4_000_000 // units)
    return [
        (1 - 2 * random.integers(0, 2, (min(step, PERMUTATIONS - start), units))).astype(np.int8)
        for start in range(0, PERMUTATIONS, step)
    ]


def _as_floats(signs: np.ndarray) -> np.ndarray:
    return signs.astype(np.float32)


def holm() -> pl.Expr:
    """Holm's step-down correction over a group of p values; null where there is none."""
    rank = pl.col("p").rank("ordinal")
    stepped = pl.col("p") * (pl.col("p").count() - rank + 1)
    order = pl.col("p").arg_sort()
    climbing = stepped.gather(order).cum_max().clip(upper_bound=1.0)
    return climbing.gather(order.arg_sort())

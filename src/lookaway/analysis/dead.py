"""Dead maps apart: MOD as the share of pairs in which a map is dead, and what the others score."""

import polars as pl

from lookaway.analysis.aimed import pooled
from lookaway.analysis.grouped import HEATMAP, SETTING, measure_frames

KEYS = [*SETTING, *HEATMAP, "epsilon"]
DEAD, ONE, BOTH = "dead", "one dead", "both dead"
MOD_ONE, MOD_LIVING = "MOD, one dead", "MOD, living"
MEASURES = (DEAD, ONE, BOTH, MOD_ONE, MOD_LIVING)
_SHARES = (DEAD, ONE, BOTH)
RULE = (
    "A dead map against a living one scores about 0.5 by construction, whatever moved, and two "
    "dead ones score 0"
)


def dead(rows: pl.DataFrame) -> pl.DataFrame:
    """MOD in its parts: how many pairs hold a dead map, and what these and the living ones score.

    A map of zeros has no structure in common with another, so a dead map against a living one
    scores about 0.5, less where the living one is nearly zero in most places, and two dead ones
    0: neither says where the network looks. MOD = P(one dead) · MOD of those + P(none dead) · MOD
    of living pairs, exactly.

    Args:
        rows: measurements; the replicates of a control are one, see ``aimed.pooled``.

    Returns:
        variant, model, attack, source, method, layer, depth, map_size, explained_class, epsilon,
        measure, n, value, low, high, reason (why a value is null), interval. Measures: the shares
        of pairs ``dead`` (at least one map), ``one dead`` and ``both dead``, and the means ``MOD,
        one dead`` and ``MOD, living``.
    """
    clean, attacked = pl.col("clean_dead"), pl.col("attacked_dead")
    one = clean ^ attacked
    values = (
        (clean | attacked).cast(pl.Float64),
        one.cast(pl.Float64),
        (clean & attacked).cast(pl.Float64),
        pl.when(one).then("nissim"),
        pl.when(~(clean | attacked)).then("nissim"),
    )
    told = rows.with_columns(
        value.alias(name) for name, value in zip(MEASURES, values, strict=True)
    )
    measures = {name: pl.col(name) for name in MEASURES}
    found = measure_frames(pooled(told, MEASURES), KEYS, measures, _SHARES)
    empty = pl.when(pl.col("n") == 0).then(
        pl.when(pl.col("measure") == MOD_ONE)
        .then(pl.lit("no pair with one dead map"))
        .otherwise(pl.lit("no pair of living maps"))
    )
    return found.select(
        *KEYS, "measure", "n", "value", "low", "high", empty.alias("reason"), "interval"
    )

"""Does looking elsewhere go with failing? Measurements split by what became of the prediction."""

import numpy as np
import polars as pl

from lookaway.analysis.auroc import Chance, auroc, kind_of
from lookaway.analysis.grouped import (
    LAST,
    SETTING,
    Grouped,
    grouped,
    mean_frames,
    measure_frames,
    share_frames,
)

OUTCOMES = ("stayed right", "flipped", "wrong before")
FLIPPED_OR_NOT = "flipped against stayed right"
_COLUMNS = [*LAST, "outcome", "measure", "n", "value", "low", "high", "reason", "interval"]


def with_outcome(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with their outcome: one of ``OUTCOMES``."""
    before = pl.col("clean_class") == pl.col("label")
    after = pl.col("attacked_class") == pl.col("label")
    return rows.with_columns(
        outcome=pl.when(before & after)
        .then(pl.lit(OUTCOMES[0]))
        .when(before)
        .then(pl.lit(OUTCOMES[1]))
        .otherwise(pl.lit(OUTCOMES[2]))
    )


def outcomes(rows: pl.DataFrame) -> pl.DataFrame:
    """NISSIM, accuracy and confidence by outcome, and how well NISSIM tells flips.

    Args:
        rows: measurements of one layer of each model.

    Returns:
        variant, model, attack, source, method, explained_class, epsilon, outcome, measure, n,
        value, low, high, reason (why a value is null), interval. Measures: share (of all images),
        mod, dead (share of its pairs in which a map is dead), mod_living (MOD of the other pairs),
        accuracy (under attack), clean_confidence, attacked_confidence; and auroc, the chance that a
        flipped image's NISSIM is above that of one that stayed right, under the outcome ``flipped
        against stayed right``.
    """
    told = with_outcome(rows)
    dead = pl.col("clean_dead") | pl.col("attacked_dead")
    parts = []
    for outcome in OUTCOMES:
        mine = pl.col("outcome") == outcome
        measures = {
            "share": mine.cast(pl.Float64),
            "mod": pl.when(mine).then("nissim"),
            "dead": pl.when(mine).then(dead.cast(pl.Float64)),
            "mod_living": pl.when(mine & ~dead).then("nissim"),
            "accuracy": pl.when(mine).then(
                (pl.col("attacked_class") == pl.col("label")).cast(pl.Float64)
            ),
            "clean_confidence": pl.when(mine).then("clean_confidence"),
            "attacked_confidence": pl.when(mine).then("attacked_confidence"),
        }
        # The accuracy of those that stayed right, or flipped, is what they are told by.
        shares = ["share", "dead", *(["accuracy"] if outcome == OUTCOMES[2] else [])]
        found = measure_frames(told, LAST, measures, shares).with_columns(
            outcome=pl.lit(outcome),
            reason=pl.when(pl.col("n") == 0).then(_empty(outcome)),
        )
        parts.append(found.select(_COLUMNS))
    return pl.concat([*parts, flip_auroc(rows)])


def _empty(outcome: str) -> pl.Expr:
    """Why a measure of an outcome has no image."""
    told = f"{'was ' if outcome == OUTCOMES[2] else ''}{outcome}"
    living = pl.col("measure") == "mod_living"
    alive = pl.lit(f"no image {told} with two living maps")
    return pl.when(living).then(alive).otherwise(pl.lit(f"no image {told}"))


def flip_auroc(rows: pl.DataFrame) -> pl.DataFrame:
    """The AUROC of NISSIM for a flip, among the images that were right.

    Args:
        rows: measurements of one layer of each model.

    Returns:
        As ``outcomes``, with the measure auroc; null with the reason where an outcome is empty.
    """
    told = with_outcome(rows).filter(pl.col("outcome") != OUTCOMES[2])
    told = told.with_columns(flipped=(pl.col("outcome") == OUTCOMES[1]).cast(pl.Float64))
    keys = [*LAST, "image"]
    joined = rows.join(
        told.select(*keys, "flipped"), on=keys, how="left", nulls_equal=True, maintain_order="left"
    )
    tables = grouped(joined, LAST, ["nissim", "flipped"])
    return pl.concat(_auroc_frame(table) for table in tables)


def _auroc_frame(table: Grouped) -> pl.DataFrame:
    flipped, scores = table.values["flipped"] > 0, table.values["nissim"]
    found: list[Chance] = [
        auroc(
            scores[:, place],
            flipped[:, place],
            np.where(table.used[:, place], 0, -1),
            table.bootstrap,
        )
        for place in range(table.groups.height)
    ]
    reasons = [no_pair(flipped[used, place]) for place, used in enumerate(table.used.T)]
    points, *ends = ([each[part] for each in found] for part in range(3))
    named = kind_of(table.bootstrap)
    told = table.frame("value", points, (ends[0], ends[1]), named).with_columns(
        pl.lit(FLIPPED_OR_NOT).alias("outcome"),
        pl.lit("auroc").alias("measure"),
        pl.Series("reason", reasons, dtype=pl.String),
    )
    return told.select(_COLUMNS)


def no_pair(flipped: np.ndarray) -> str | None:
    """Why there is no image that flipped, or none that stayed right, among those right before."""
    if not len(flipped):
        return "no image was right before"
    if not flipped.any():
        return "no image flipped"
    return "every image that was right flipped" if flipped.all() else None


def transfer(rows: pl.DataFrame) -> pl.DataFrame:
    """What one model's perturbations do to another: the matrix of sources and targets.

    Args:
        rows: measurements of one layer of each model, with excess (see ``scale.beside_noise``).

    Returns:
        variant, attack, source, model (the target), epsilon, method and explained_class (null for
        accuracy), measure (accuracy, mod or excess), n, value, low, high, interval.
    """
    attacked = rows.filter(pl.col("source").is_not_null())
    once = attacked.unique([*SETTING, "epsilon", "image"], keep="first", maintain_order=True)
    right = (pl.col("attacked_class") == pl.col("label")).cast(pl.Float64)
    heatmap = ("method", "explained_class")
    never = {name: pl.lit(None, dtype=rows.schema[name]) for name in heatmap}
    images = once.with_columns(value=right, **never)
    parts = [share_frames(images, LAST, "value").with_columns(measure=pl.lit("accuracy"))]
    for measure, column in (("mod", "nissim"), ("excess", "excess")):
        found = mean_frames(attacked.with_columns(value=column), LAST, "value", measure)
        parts.append(found.with_columns(measure=pl.lit(measure)))
    order = ["variant", "attack", "source", "model", "epsilon", *heatmap, "measure"]
    return pl.concat(parts).select(*order, "n", "value", "low", "high", "interval")

"""Accuracy, MOD and excess of each class, and confusion; a mean may be that of no class."""

import polars as pl

from lookaway.analysis import scale
from lookaway.analysis.columns import schema
from lookaway.analysis.grouped import MEASURED, SETTING, measure_frames
from lookaway.analysis.parts import Parts

MOST = 20  # classes, beyond which no class is told by itself
_KEYS = [*SETTING, "epsilon", "method", "explained_class", "class"]


def by_class(rows: pl.DataFrame) -> pl.DataFrame:
    """Each true class's numbers.

    Args:
        rows: measurements of one layer of each model.

    Returns:
        variant, model, attack, source (null for controls), epsilon, method, explained_class, class
        (the true one), measure (clean accuracy, accuracy, mod; of attacks excess), n, value, low,
        high, interval. No row where there is one class or more than 20.
    """
    told = rows.with_columns(pl.col("label").cast(pl.String).alias("class"))
    if not 2 <= told["class"].n_unique() <= MOST:
        return pl.DataFrame(schema=schema(*_KEYS, *MEASURED))
    measures = {
        "clean accuracy": (pl.col("clean_class") == pl.col("label")).cast(pl.Float64),
        "accuracy": (pl.col("attacked_class") == pl.col("label")).cast(pl.Float64),
        "mod": pl.col("nissim"),
    }
    parts = [measure_frames(told, _KEYS, measures, ["clean accuracy", "accuracy"])]
    beside = scale.beside_noise(told)
    if beside.height:
        parts.append(measure_frames(beside, _KEYS, {"excess": pl.col("excess")}))
    return pl.concat(parts)


def confusion(rows: pl.DataFrame) -> pl.DataFrame:
    """How often each class is predicted for the images of each, clean and attacked.

    Args:
        rows: measurements of one explained class and layer of each model.

    Returns:
        variant, model, attack, source (null for controls), epsilon, class (the true one),
        predicted, clean and attacked (how many images). No row where there is one true class or
        more than 20.
    """
    keys = [*SETTING, "epsilon", "class"]
    told = rows.with_columns(pl.col("label").cast(pl.String).alias("class"))
    if not 2 <= told["class"].n_unique() <= MOST:
        told = told.clear()
    counted = [
        told.with_columns(pl.col(f"{when}_class").cast(pl.String).alias("predicted"))
        .group_by([*keys, "predicted"], maintain_order=True)
        .agg(
            clean=pl.len() if when == "clean" else pl.lit(0, pl.UInt32),
            attacked=pl.len() if when == "attacked" else pl.lit(0, pl.UInt32),
        )
        for when in ("clean", "attacked")
    ]
    both = pl.concat(counted).group_by([*keys, "predicted"], maintain_order=True)
    return both.agg(pl.col("clean", "attacked").sum().cast(pl.Int64))


def confusion_of(parts: Parts) -> pl.DataFrame:
    """The same of a run, a part at a time, sorted."""
    once = {"method": parts.methods[0], "explained_class": parts.policies[0]}
    columns = ["image", "label", *SETTING, "epsilon", "clean_class", "attacked_class", *once]
    found = [
        confusion(parts.read("rows", [*columns, "layer"], part | once)).with_columns(
            pl.col(*SETTING).cast(pl.String)
        )
        for part in parts.split("variant", "model", "epsilon")
    ]
    return pl.concat(found).sort(*SETTING, "epsilon", "class", "predicted")

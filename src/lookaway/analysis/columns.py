"""Of what type the columns of summaries are: one description for the frames of all modules."""

from collections.abc import Iterable

import polars as pl

_COUNTS = "n n_people n_genuine n_impostor replicates seeds flipped mixed held conventions"
_NUMBERS = (
    "epsilon depth rate value low high p p_holm "
    "mod floor_mod ceiling_mod control_mod spread aimed place auroc probability "
    "difference before after of_standard of_robust between_trainings mean smallest largest "
    "accuracy accuracy_low accuracy_high pairs_held threshold"
)
_TYPES: dict[str, pl.DataType] = {
    **dict.fromkeys(_COUNTS.split(), pl.Int64()),
    **dict.fromkeys(_NUMBERS.split(), pl.Float64()),
    "ranking": pl.List(pl.String),
    "positive": pl.List(pl.Int64),
    "changed_by": pl.List(pl.String),
}


def schema(*names: str) -> dict[str, pl.DataType]:
    """The columns of these names, each with its type: text, where nothing else is said here."""
    return {name: _TYPES.get(name, pl.String()) for name in names}


def told(frame: pl.DataFrame, **values: str | float | None) -> pl.DataFrame:
    """The frame with columns of one value each, of their types also where that is None."""
    kinds = schema(*values)
    return frame.with_columns(
        pl.lit(value, kinds[name]).alias(name) for name, value in values.items()
    )


def typed(frame: pl.DataFrame, names: Iterable[str]) -> pl.DataFrame:
    """The columns of these names, in their order and of their types; null where there is none."""
    nothing = pl.lit(None)
    return frame.select(
        (pl.col(name) if name in frame.columns else nothing).cast(kind).alias(name)
        for name, kind in schema(*names).items()
    )

"""The columns of a run's stored frames."""

import polars as pl

ROW_SCHEMA = {
    "image": pl.String,
    "label": pl.String,
    "variant": pl.String,
    "model": pl.String,
    "attack": pl.String,
    "source": pl.String,
    "epsilon": pl.Float64,
    "linf": pl.Float64,
    "psnr": pl.Float64,
    "unattacked": pl.Boolean,
    "clean_class": pl.String,
    "attacked_class": pl.String,
    "clean_confidence": pl.Float64,
    "attacked_confidence": pl.Float64,
    "layer": pl.String,
    "depth": pl.Float64,
    "map_size": pl.String,
    "explained_class": pl.String,
    "nissim": pl.Float64,
    "clean_dead": pl.Boolean,
    "attacked_dead": pl.Boolean,
}
SHUFFLED_SCHEMA = {
    "image": pl.String,
    "label": pl.String,
    "variant": pl.String,
    "model": pl.String,
    "layer": pl.String,
    "depth": pl.Float64,
    "map_size": pl.String,
    "explained_class": pl.String,
    "partner": pl.String,
    "nissim": pl.Float64,
    "dead": pl.Boolean,
}
SAMPLE_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "image": pl.String,
    "label": pl.String,
    "part": pl.String,
    "pictured": pl.Boolean,
    "sha256": pl.String,
    "variants": pl.List(pl.String),
    "no_face": pl.List(pl.String),
}

"""Beside NISSIM: at a common resolution, how far evidence lies apart, how much there is."""

import polars as pl

from lookaway.analysis.aimed import beside_shaped, pooled
from lookaway.analysis.columns import schema
from lookaway.analysis.grouped import HEATMAP, SETTING, mean_frames
from lookaway.analysis.scale import beside_noise
from lookaway.controls import SHIFTED

MEASURES = ("nissim_common", "sliced_wasserstein", "log_mass_ratio")
LESS = ("noise", SHIFTED)
_KEYS = [*SETTING, *HEATMAP, "epsilon"]
_COLUMNS = [*_KEYS, "measure", "less", "n", "value", "low", "high", "interval"]


def beside_nissim(rows: pl.DataFrame) -> pl.DataFrame:
    """Means of what is measured beside NISSIM, and what an attack adds to its controls in each.

    Args:
        rows: measurements of one layer of each model.

    Returns:
        variant, model, attack, source, method, layer, depth, map_size, explained_class, epsilon,
        measure (``nissim_common``, ``sliced_wasserstein`` or ``log_mass_ratio``, see
        ``docs/numbers.md``), less (null: the mean itself; ``noise`` or ``shifted``: each image's
        number less that under this control), n, value, low, high, interval. Pairs with a dead map
        count at a common resolution and not in the others, where they have no number. Without rows
        of runs that are older than these measures.
    """
    found = []
    for measure in MEASURES:
        one = rows.with_columns(pl.col("attack").cast(pl.String), nissim=pl.col(measure))
        parts: dict[str | None, pl.DataFrame] = {}
        parts[None] = pooled(one).with_columns(value="nissim")
        parts["noise"] = beside_noise(one).with_columns(value="excess")
        shifted = beside_shaped(one).filter(control=SHIFTED)
        parts[SHIFTED] = shifted.with_columns(value="aimed")
        for less, part in parts.items():
            if part["value"].null_count() < part.height:
                means = mean_frames(
                    part, _KEYS, "value", measure if less is None else f"less {measure}"
                )
                named = {"measure": pl.lit(measure), "less": pl.lit(less, pl.String)}
                found.append(means.with_columns(**named).filter(pl.col("n") > 0).select(_COLUMNS))
    return pl.concat(found) if found else pl.DataFrame(schema=schema(*_COLUMNS))

"""Each image's numbers of a model, to be compared with those of another."""

import polars as pl

from lookaway.analysis.comparison import measured_of

CLEAN = "clean accuracy"
SETTING = ["image", "label", "variant", "scope", "method", "explained_class"]
PLACE = [*SETTING, "epsilon"]


def numbers_of(rows: pl.DataFrame, model: str) -> pl.DataFrame:
    """Each image's numbers of a model, under its own perturbations and under noise.

    Args:
        rows: measurements of one layer of the model, at all ε; of other models too.
        model: its name.

    Returns:
        image, label, variant, scope (without the model's name), method, explained_class, epsilon,
        measure (mod, excess, aimed, accuracy; at ε = 0 clean accuracy and vid), value, dead, right
        (on the clean image and the perturbed one; null at ε = 0).
    """
    mine = rows.filter(pl.col("model") == model)
    found = measured_of(mine, model)
    own = pl.col("scope").str.ends_with(" white-box") | pl.col("source").is_null()
    found = found.filter(own).drop("model", "attack", "source")
    is_right = mine.group_by("image", "variant", maintain_order=True).agg(
        clean_right=(pl.col("clean_class") == pl.col("label")).first()
    )
    found = found.join(is_right, on=["image", "variant"], maintain_order="left")
    hit = found.filter(measure="accuracy").select(*PLACE, right=pl.col("value") == 1)
    found = found.join(hit, on=PLACE, maintain_order="left")
    found = found.with_columns(right=pl.col("right") & pl.col("clean_right"))
    mods = found.filter(measure="mod").group_by([*SETTING, "clean_right"], maintain_order=True)
    curves = mods.agg(
        value=pl.when(pl.len() > 1).then(pl.col("value").std(ddof=0)),
        dead=pl.col("dead").any(),
    ).with_columns(measure=pl.lit("vid"))
    clean = curves.with_columns(
        value=pl.col("clean_right").cast(pl.Float64),
        measure=pl.lit(CLEAN),
        dead=pl.lit(value=False),
    )
    summed = [
        each.with_columns(epsilon=pl.lit(0.0), right=pl.lit(None)) for each in (curves, clean)
    ]
    return pl.concat([found, *summed], how="diagonal")

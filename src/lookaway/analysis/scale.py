"""The scale of a shift: beside noise of the same size, and beside the shuffled baseline."""

from collections.abc import Mapping, Sequence

import polars as pl

from lookaway.analysis.ends import only_where
from lookaway.analysis.grouped import (
    HEATMAP,
    RANGES,
    SETTING,
    Grouped,
    by_pairs,
    grouped,
    mean_frames,
    named_ends,
    whose,
)
from lookaway.metrics.shuffled import OTHER_CLASS, OTHER_OWN
from lookaway.perturbation import NOISE, OWN_SIZE

NOT_RESOLVABLE = (
    "not resolvable: noise is not clearly closer to the clean heatmaps than that of an image of "
    "another class is"
)
_NO_PARTNER = "not resolvable: no image of another class to compare with"
_NO_PAIRS = "no pair in which no map is dead"
ALIKE = 0.02  # NISSIM of a spot that moves by 3 to 6 % of the side
_HEATMAP_OF_MODEL = ["variant", "model", *HEATMAP]


def shuffled(compared: pl.DataFrame) -> pl.DataFrame:
    """The shuffled baseline: the mean NISSIM of the clean heatmaps of two different images.

    An image has the mean of its partners. What a partner's map explains follows from the policy:
    its own class (*own*), or the class of the first image, held fixed (*clean*, *label*).

    Args:
        compared: each clean heatmap against others, as a run stores them.

    Returns:
        variant, model, method, layer, depth, map_size, explained_class, relation (of the images'
        labels: ``other class``, which is meant where nothing is said, ``same class``; or ``other
        class, each its own prediction``, where no policy explains that), pairs, n (images),
        shuffled, low, high, dead (the share of the pairs of images with a dead map), interval.
    """
    rows = compared.with_columns(value="nissim")
    keys = [*_HEATMAP_OF_MODEL, "relation"]
    dead = (
        rows.filter(pl.col("nissim").is_not_null())
        .group_by(keys)
        .agg(pl.col("dead").cast(pl.Float64).mean())
    )
    parts = [
        mean_frames(part, keys, "shuffled", partner="partner").with_columns(pairs=pl.lit(pairs))
        for pairs, part in by_pairs(rows, pl.col("dead"), ["value"]).items()
    ]
    return pl.concat(parts).join(dead, on=keys, how="left", maintain_order="left")


def alike(levels: pl.DataFrame) -> pl.DataFrame:
    """Networks whose clean heatmaps hardly differ from image to image.

    Where the heatmaps of images of different classes, each of its own prediction, are all but the
    same, none of them says anything of its image, and that it moves can mean nothing. The rule: the
    whole 95 % interval of their mean NISSIM lies below ``ALIKE``.

    Args:
        levels: from ``shuffled``, of last layers.

    Returns:
        Those of its rows, one for each variant, model and method.
    """
    own = (pl.col("explained_class") == "own") & (pl.col("relation") == OTHER_CLASS)
    seen = levels.filter(own | (pl.col("relation") == OTHER_OWN), pairs="all")
    once = seen.unique(["variant", "model", "method"], keep="first", maintain_order=True)
    return once.filter(pl.col("high") < ALIKE)


def beside_noise(rows: pl.DataFrame) -> pl.DataFrame:
    """Each attacked pair beside the same image's under the attack's control, at the same ε.

    Args:
        rows: measurements.

    Returns:
        The rows of attacks with control (its name), noise (its NISSIM), noise_dead, and excess:
        the attack's NISSIM less the control's.
    """
    dead = pl.col("clean_dead") | pl.col("attacked_dead")
    same = ["image", "epsilon", *_HEATMAP_OF_MODEL]
    paired = beside_control(rows, same, {"noise": pl.col("nissim"), "noise_dead": dead})
    return paired.with_columns(excess=pl.col("nissim") - pl.col("noise"))


def beside_control(
    rows: pl.DataFrame, same: Sequence[str], values: Mapping[str, pl.Expr]
) -> pl.DataFrame:
    """Each row of an attack beside that of its control.

    That is noise of the attack's own size where there is some, and else of random signs alone.

    Args:
        rows: with variant, model, attack and source; of a control the source is null.
        same: what tells an attack's row and its control's from others.
        values: of the control, by the names that they get.

    Returns:
        The rows of attacks with control (its name) and the values.
    """
    attack = pl.col("attack").cast(pl.String)
    controls = rows.filter(pl.col("source").is_null()).select(*same, control=attack, **values)
    others = controls["control"].unique().drop_nulls().to_list()
    several = any(name != NOISE for name in others)
    own = pl.format(OWN_SIZE, whose())
    attacked = rows.filter(pl.col("source").is_not_null()).with_columns(
        control=pl.when(own.is_in(others)).then(own).otherwise(pl.lit(NOISE))
        if several
        else pl.lit(NOISE)
    )
    return attacked.join(controls, on=[*same, "control"], how="left", maintain_order="left")


def excess(rows: pl.DataFrame, compared: pl.DataFrame) -> pl.DataFrame:
    """How much more an attack moves the heatmaps than its noise control of the same ε does.

    The excess of an image is its NISSIM under attack less its NISSIM under noise. The share is the
    mean excess over the mean distance from noise to the shuffled baseline of images of other
    classes: 0 where the attack does what noise does, 1 where it makes heatmaps as unlike as those
    of two such images. It is of the images that have a partner.

    Args:
        rows: measurements.
        compared: each clean heatmap against others, as a run stores them.

    Returns:
        variant, model, attack, source, method, layer, depth, map_size, explained_class, epsilon,
        control (the name of its noise), pairs, n, mod, noise, shuffled (over those of the same
        images that have a partner), excess, low, high, share, share_low, share_high, share_reason
        (why the share is null), interval.
    """
    beside = beside_noise(rows)
    dead = pl.any_horizontal("clean_dead", "attacked_dead", "noise_dead")
    keys = [*SETTING, *HEATMAP, "epsilon", "control"]
    names = ["nissim", "noise", "excess"]
    parts = []
    for pairs, part in by_pairs(beside, dead, names).items():
        paired = _beside_others(part, compared, alive=pairs == "alive")
        for table in grouped(part, keys, names):
            means = {"mod": "nissim", "noise": "noise"}
            found = table.mean_frame("excess", "excess", RANGES["excess"], **means)
            found = found.with_columns(pairs=pl.lit(pairs))
            variant = pl.col("variant") == table.groups["variant"][0]
            shares = _shares(paired.filter(variant), keys)
            parts.append(
                found.join(shares, on=keys, how="left", nulls_equal=True, maintain_order="left")
            )
    numbers = ["mod", "noise", "shuffled", "excess", "low", "high", "share", "share_low"]
    reason = pl.when(pl.col("n") == 0).then(pl.lit(_NO_PAIRS)).otherwise(pl.lit(_NO_PARTNER))
    reason = pl.coalesce("share_reason", reason)
    return pl.concat(parts).select(
        *keys,
        "pairs",
        "n",
        *numbers,
        "share_high",
        pl.when(pl.col("share").is_null()).then(reason).alias("share_reason"),
        "interval",
    )


def by_depth(rows: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
    """MOD, excess and dead maps of every layer against its depth: where does the shift begin?

    Args:
        rows: measurements.
        found: from ``excess``.

    Returns:
        variant, model, attack, source, method, explained_class, epsilon, depth, layer, map_size,
        control, n, mod, noise, shuffled, excess, low, high, clean_dead, attacked_dead (shares of
        the images whose map is dead), interval; by depth.
    """
    keys = [*SETTING, *HEATMAP, "epsilon"]
    dead = rows.group_by(keys).agg(
        pl.col("clean_dead").cast(pl.Float64).mean(),
        pl.col("attacked_dead").cast(pl.Float64).mean(),
    )
    joined = found.filter(pl.col("pairs") == "all").join(
        dead, on=keys, how="left", nulls_equal=True, maintain_order="left"
    )
    heatmap = ["method", "explained_class", "epsilon", "depth", "layer", "map_size"]
    names = ["control", "n", "mod", "noise", "shuffled", "excess", "low", "high", "clean_dead"]
    return joined.select(*SETTING, *heatmap, *names, "attacked_dead", "interval").sort(
        "depth", maintain_order=True
    )


def _beside_others(part: pl.DataFrame, compared: pl.DataFrame, *, alive: bool) -> pl.DataFrame:
    """Each attacked pair beside its image's clean heatmap and each partner's of another class.

    Args:
        part: from ``beside_noise``.
        compared: each clean heatmap against others, as a run stores them.
        alive: without partners where one of the two maps is dead.
    """
    others = compared.filter(pl.col("relation") == OTHER_CLASS)
    others = others.filter(~pl.col("dead").fill_null(value=False)) if alive else others
    other = others.select("image", *_HEATMAP_OF_MODEL, "partner", shuffled="nissim")
    joined = part.join(other, on=["image", *_HEATMAP_OF_MODEL], how="left", maintain_order="left")
    return joined.with_columns(distance=pl.col("shuffled") - pl.col("noise"))


def _shares(part: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """The share of the way from noise to shuffled of each group, where it is resolvable."""
    names = ["excess", "shuffled", "distance"]
    return pl.concat(_share_frame(table) for table in grouped(part, keys, names, "partner"))


def _share_frame(table: Grouped) -> pl.DataFrame:
    over, distance = table.values["excess"], table.values["distance"]
    used = table.used.astype(float)
    reached, _ = table.bootstrap.intervals(distance, used, pairs=table.pairs)
    clear = [end is not None and end > 0 for end in reached]
    reasons = [
        None if plain or not some else NOT_RESOLVABLE
        for plain, some in zip(clear, (n > 0 for n in table.used.sum(axis=0)), strict=True)
    ]
    sums = over.sum(axis=0), distance.sum(axis=0)
    low, high = table.bootstrap.intervals(over, distance, pairs=table.pairs, paired_below=True)
    shares = [
        float(first / second) if plain else None
        for first, second, plain in zip(*sums, clear, strict=True)
    ]
    ends = only_where(low, clear), only_where(high, clear)
    return table.groups.with_columns(
        pl.Series("shuffled", table.means("shuffled"), dtype=pl.Float64),
        pl.Series("share", shares, dtype=pl.Float64),
        *named_ends("share_", ends),
        share_reason=pl.Series(reasons, dtype=pl.String),
    )

"""Is it the attack's aim, or its shape? Attacks beside controls with their own shape."""

from collections.abc import Sequence

import polars as pl

from lookaway.analysis.columns import schema
from lookaway.analysis.ends import CHANGE
from lookaway.analysis.grouped import HEATMAP, SETTING, by_pairs, grouped, whose
from lookaway.controls import OTHER_CLASS, SAME_CLASS, SHIFTED, Control, shaped

CLASS = "aimed at the class"
_SAME = ["image", "epsilon", "variant", "model", *HEATMAP]
_KEYS = [*SETTING, *HEATMAP, "epsilon", "control"]
_NUMBERS = ["replicates", "pairs", "n", "mod", "control_mod", "spread", "aimed", "low", "high"]
_COLUMNS = [*_KEYS, *_NUMBERS, "interval"]


def without_shaped(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of attacks and noise: without controls of the attacks' own shape."""
    controls = _controls(rows)
    return (
        rows.filter(~pl.col("attack").cast(pl.String).is_in(list(controls))) if controls else rows
    )


def pooled(rows: pl.DataFrame, names: Sequence[str] = ("nissim",)) -> pl.DataFrame:
    """The replicates of a control as one, image by image.

    Numbers are means over the replicates; a pair is dead, or unattacked, where one of them is.

    Args:
        rows: measurements.
        names: of the numbers.

    Returns:
        The rows in their order, where the first replicate of a control stands for all and has
        their common name.
    """
    controls = _controls(rows)
    if not controls:
        return rows
    attack = pl.col("attack").cast(pl.String)
    named = rows.with_columns(attack).with_row_index("_row")
    mine = attack.is_in(list(controls))
    common = {name: control.together for name, control in controls.items()}
    first = [name for name, control in controls.items() if control.number == 1]
    many = named.filter(mine).with_columns(
        attack.replace_strict(common, return_dtype=pl.String), _first=attack.is_in(first)
    )
    keys = [name for name in (*SETTING, *_SAME) if name in rows.columns]
    numbers = [pl.col(name).mean() for name in names]
    flags = ("clean_dead", "attacked_dead", "unattacked")
    numbers += [pl.col(name).any() for name in flags if name in rows.columns]
    one = many.with_columns(number.over(keys) for number in numbers).filter("_first")
    found = pl.concat([named.filter(~mine), one.select(named.columns)])
    return found.sort("_row").drop("_row")


def beside_shaped(
    rows: pl.DataFrame, same: Sequence[str] = _SAME, value: str = "nissim"
) -> pl.DataFrame:
    """Each attacked pair beside the same image's under each kind of control, at the same ε.

    Args:
        rows: measurements of one layer of each model.
        same: what tells an attack's row and its controls' from others.
        value: the number that is compared.

    Returns:
        The rows of attacks, once for each kind of control that the image has, with control (the
        kind), replicates (how many), draws (their numbers), control_nissim (the mean of these) and
        control_dead (whether a map of one of them is), and aimed: the attack's number less theirs.
    """
    controls = _controls(rows)
    attack = pl.col("attack").cast(pl.String)
    attacked = rows.filter(pl.col("source").is_not_null()).with_columns(_of=whose())
    dead = pl.col("clean_dead") | pl.col("attacked_dead")
    found = rows.filter(attack.is_in(list(controls))).with_columns(
        attack.replace({name: control.kind for name, control in controls.items()}).alias("control"),
        attack.replace({name: control.of for name, control in controls.items()}).alias("_of"),
        attack.replace_strict(
            {name: control.number for name, control in controls.items()}, return_dtype=pl.Int64
        ).alias("_draw"),
    )
    mean = found.group_by([*same, "_of", "control"]).agg(
        replicates=pl.len().cast(pl.Int64),
        control_nissim=pl.col(value).mean(),
        control_dead=dead.any(),
        draws=pl.col(value).sort_by("_draw"),
    )
    kinds = dict.fromkeys([SHIFTED, *(control.kind for control in controls.values())])
    parts = [
        attacked.join(
            mean.filter(control=kind), on=[*same, "_of"], how="inner", maintain_order="left"
        )
        for kind in kinds
    ]
    return pl.concat(parts).drop("_of").with_columns(aimed=pl.col(value) - pl.col("control_nissim"))


def aimed(rows: pl.DataFrame) -> pl.DataFrame:
    """How much more an attack moves the heatmaps than its own change does that is not aimed.

    Args:
        rows: measurements of one layer of each model.

    Returns:
        variant, model, attack, source, method, layer, depth, map_size, explained_class, epsilon,
        control (see ``controls.KINDS``), replicates, pairs, n, mod, control_mod (means over the
        same images), spread (the standard deviation of MOD over the replicates: how much the draw
        of a control moves it; null for one), aimed (the first less the second), low, high,
        interval. With ``shifted`` it is the aimed excess. The control ``aimed at the class`` has
        the same-class transplants in place of the attack, and those of another class as its
        control. Empty where there are none.
    """
    beside = beside_shaped(rows)
    if beside.is_empty():
        return pl.DataFrame(schema=schema(*_COLUMNS))
    every = pl.concat([beside, of_class(beside).select(beside.columns)])
    dead = pl.any_horizontal("clean_dead", "attacked_dead", "control_dead")
    names = ["nissim", "control_nissim", "aimed"]
    parts = []
    for pairs, part in by_pairs(every, dead, names).items():
        for table in grouped(part, [*_KEYS, "replicates"], names):
            means = {"mod": "nissim", "control_mod": "control_nissim"}
            found = table.mean_frame("aimed", "aimed", CHANGE, **means)
            found = found.with_columns(pairs=pl.lit(pairs))
            parts.append(found.join(_over_draws(part), on=_KEYS, how="left", nulls_equal=True))
    return pl.concat(parts).select(_COLUMNS)


def _over_draws(beside: pl.DataFrame) -> pl.DataFrame:
    """The standard deviation of MOD over the draws of each control."""
    number = pl.int_ranges(pl.col("draws").list.len()).alias("_draw")
    mods = (
        beside.filter(pl.col("control") != CLASS)
        .select(*_KEYS, "draws", number)
        .explode("draws", "_draw")
        .group_by(*_KEYS, "_draw", maintain_order=True)  # sums depend on the order
        .agg(pl.col("draws").mean())
    )
    return mods.group_by(_KEYS, maintain_order=True).agg(spread=pl.col("draws").std())


def of_class(beside: pl.DataFrame) -> pl.DataFrame:
    """Same-class transplants beside those of another class, where an image has both."""
    keys: Sequence[str] = [*SETTING, *_SAME[:2], *HEATMAP]
    other = beside.filter(control=OTHER_CLASS).select(
        *keys, _nissim="control_nissim", _dead="control_dead"
    )
    return (
        beside.filter(control=SAME_CLASS)
        .join(other, on=keys, how="inner", maintain_order="left")
        .with_columns(
            control=pl.lit(CLASS),
            nissim="control_nissim",
            attacked_dead="control_dead",
            control_nissim="_nissim",
            control_dead="_dead",
            aimed=pl.col("control_nissim") - pl.col("_nissim"),
        )
    )


def _controls(rows: pl.DataFrame) -> dict[str, Control]:
    """The controls of the attacks' own shape among the rows, by name."""
    return shaped(rows["attack"].cast(pl.String).unique(maintain_order=True).to_list())

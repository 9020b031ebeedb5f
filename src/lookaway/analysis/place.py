"""A shift between its floor, controls, and its ceiling, an attack on the explanation."""

from typing import NamedTuple

import polars as pl

from lookaway.analysis.aimed import beside_shaped
from lookaway.analysis.columns import schema
from lookaway.analysis.ends import only_where
from lookaway.analysis.grouped import HEATMAP, SETTING, Grouped, by_pairs, grouped
from lookaway.analysis.scale import beside_noise
from lookaway.controls import SHIFTED
from lookaway.study.settings import Study

KIND = "explanation"  # the attack's name in the registry
NOT_RUN = "not run: an attack on the explanation gives the ceiling; add explanation to attacks"
NOT_RESOLVABLE = "not resolvable: the ceiling does not lie clearly above the floor"
_NO_IMAGE = "no image with all three"
_KEYS = [*SETTING, *HEATMAP, "epsilon", "floor"]
_SAME = ["image", "epsilon", "variant", "model", *HEATMAP]
_MEANS = ("mod", "floor_mod", "ceiling_mod")
_SCHEMA = schema(*_KEYS, "pairs", "n", *_MEANS, "place", "low", "high", "reason", "interval")


class Ceiling(NamedTuple):
    """The attack of a study whose MOD is the ceiling.

    Attributes:
        attack: its name.
        method: whose maps it moves.
        within: how far the confidence may go.
    """

    attack: str
    method: str
    within: float


def ceiling_of(study: Study) -> Ceiling | None:
    """The first attack of a study on the explanation of last layers; None where it has none."""
    for spec in study.attacks:
        if (
            spec.kind == KIND
            and spec.library is None
            and spec.options.get("layer") in (None, "last")
        ):
            method, within = spec.options.get("method"), spec.options.get("within")
            within = 0.05 if within is None else within  # 0 is a value, too
            return Ceiling(spec.name, str(method or "gradcam"), float(within))
    return None


def place(rows: pl.DataFrame, ceiling: Ceiling | None) -> pl.DataFrame:
    """The place of each attack's MOD between floor and ceiling.

    place = (MOD − floor) / (ceiling − floor): 0 where the attack moves heatmaps as far as its
    control does, 1 where it moves them as far as the attack on the explanation, which keeps the
    prediction; an attack that flips it may pass 1. All three are of the same images.

    Args:
        rows: measurements of one layer of each model.
        ceiling: which attack's MOD is the ceiling; None: it was not run.

    Returns:
        variant, model, attack, source, method, layer, depth, map_size, explained_class, epsilon,
        floor (``noise``: random signs, or of the attack's own size; ``shifted``: its own change in
        other places), pairs, n, mod, floor_mod, ceiling_mod, place, low, high, reason (why the
        place is null), interval. Of white-box attacks, for the method that the ceiling is of. Where
        it was not run, ceiling and place are null.
    """
    name = ceiling.attack if ceiling else ""
    own = pl.col("source").cast(pl.String) == pl.col("model").cast(pl.String)
    attack = pl.col("attack").cast(pl.String)
    top = rows.filter(own, attack == name).select(
        *_SAME,
        _ceiling="nissim",
        _ceiling_dead=pl.col("clean_dead") | pl.col("attacked_dead"),
    )
    of_method = pl.lit(value=True)
    if ceiling is not None:
        of_method = pl.col("method").cast(pl.String) == ceiling.method
    parts = []
    for floor, beside in _floors(rows.filter(of_method)).items():
        three = beside.filter(own, attack != name).join(
            top, on=_SAME, how="left", maintain_order="left"
        )
        if three.is_empty():
            continue
        three = three.with_columns(
            floor=pl.lit(floor),
            _over=pl.col("nissim") - pl.col("_floor"),
            _room=pl.col("_ceiling") - pl.col("_floor"),
        )
        parts += _placed(three, ceiling)
    return pl.concat(parts) if parts else pl.DataFrame(schema=_SCHEMA)


def _floors(rows: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """The rows of attacks beside each floor: _floor and _floor_dead."""
    noise = beside_noise(rows).rename({"noise": "_floor", "noise_dead": "_floor_dead"})
    shifted = beside_shaped(rows).filter(control=SHIFTED)
    shifted = shifted.rename({"control_nissim": "_floor", "control_dead": "_floor_dead"})
    return {"noise": noise, SHIFTED: shifted}


def _placed(three: pl.DataFrame, ceiling: Ceiling | None) -> list[pl.DataFrame]:
    flags = ["clean_dead", "attacked_dead", "_floor_dead", "_ceiling_dead"]
    dead = pl.any_horizontal(pl.col(name).fill_null(value=False) for name in flags)
    measured = ["nissim", "_floor"] + (["_ceiling", "_over", "_room"] if ceiling else [])
    return [
        _frame(table, ceiling).with_columns(pairs=pl.lit(pairs)).select(list(_SCHEMA))
        for pairs, part in by_pairs(three, dead, measured).items()
        for table in grouped(part, _KEYS, measured)
    ]


def _frame(table: Grouped, ceiling: Ceiling | None) -> pl.DataFrame:
    nothing: list[float | None] = [None] * table.groups.height
    values, ends, tops = nothing, (nothing, nothing), nothing
    reasons: list[str | None] = [NOT_RUN] * len(nothing)
    if ceiling is not None:
        over, room = table.values["_over"], table.values["_room"]
        least, _ = table.bootstrap.intervals(room, table.used.astype(float))
        clear = [end is not None and end > 0 for end in least]
        found = table.bootstrap.intervals(over, room)
        sums = zip(over.sum(axis=0), room.sum(axis=0), clear, strict=True)
        values = [float(above / whole) if plain else None for above, whole, plain in sums]
        ends = only_where(found[0], clear), only_where(found[1], clear)
        tops = table.means("_ceiling")
        reasons = [
            None if plain else NOT_RESOLVABLE if some else _NO_IMAGE
            for plain, some in zip(clear, table.used.sum(axis=0), strict=True)
        ]
    means = table.means("nissim"), table.means("_floor"), tops
    return table.frame("place", values, ends).with_columns(
        *(pl.Series(name, each, pl.Float64) for name, each in zip(_MEANS, means, strict=True)),
        pl.Series("reason", reasons, pl.String),
        *(pl.col(name).cast(kind) for name, kind in _SCHEMA.items() if name in _KEYS),
    )

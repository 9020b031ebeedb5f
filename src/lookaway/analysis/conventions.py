"""Does a conclusion depend on a convention? Every number and ranking again, under each of them."""

from collections.abc import Iterator, Sequence
from itertools import combinations

import polars as pl

from lookaway.analysis.aimed import beside_shaped, without_shaped
from lookaway.analysis.columns import schema
from lookaway.analysis.grouped import SETTING
from lookaway.analysis.scale import beside_control
from lookaway.analysis.summary import by_scope
from lookaway.controls import SHIFTED

_IMAGE = ["image", *SETTING, "method", "explained_class", "epsilon"]
_CONVENTION = ["method", "explained_class", "pairs", "similarity", "resolution"]
_RANKING = ["method", "ranking", "conventions", "held", "pairs_held", "positive", "changed_by"]


def conventions(rows: pl.DataFrame, statistics: pl.DataFrame, ssim: str, grid: int) -> pl.DataFrame:
    """MOD, both excesses and VID of the last layers under every convention that stored maps allow.

    Args:
        rows: measurements of each model's last layer, with those of shifted controls.
        statistics: what was measured from their maps.
        ssim: the study's preset.
        grid: the study's grid.

    Returns:
        variant, model, attack, source, scope, method, explained_class, pairs (all or alive),
        similarity (an SSIM preset, spearman or top10), resolution (px of the grid, native, or
        common: all maps brought to the smallest model's size first), measure (mod, excess, aimed or
        vid), epsilon (null for vid), n, value. A dissimilarity is (1 − ρ) / 2 for spearman, 1 −
        overlap for top10.
    """
    return with_scopes(measured(rows, statistics, ssim, grid))


def with_scopes(found: pl.DataFrame) -> pl.DataFrame:
    """What ``measured`` found of all models, as ``conventions`` gives it."""
    order = [*SETTING, "scope", *_CONVENTION, "measure", "epsilon", "n", "value"]
    return by_scope(found).select(order)


def measured(rows: pl.DataFrame, statistics: pl.DataFrame, ssim: str, grid: int) -> pl.DataFrame:
    """What ``conventions`` tells, without scopes, which take all models to name.

    One convention after another, in memory for one.
    """
    own, others = f"{ssim}@{grid}", [name for name in statistics.columns if "@" in name]
    joined = statistics.select(*_IMAGE, "clean_dead", "attacked_dead", *others).join(
        rows.select(*_IMAGE, pl.col("nissim").alias(own)),
        on=_IMAGE,
        how="left",
        nulls_equal=True,
        maintain_order="left",
    )
    parts: dict[tuple[str, str], list[pl.DataFrame]] = {}
    for name in (own, *others):
        one = joined.select(
            *_IMAGE,
            similarity=pl.lit(name.partition("@")[0]),
            resolution=pl.lit(name.partition("@")[2]),
            value=name,
            dead=pl.col("clean_dead") | pl.col("attacked_dead"),
            clean_dead="clean_dead",
            attacked_dead="attacked_dead",
        )
        for key, found in _measures(one):
            parts.setdefault(key, []).append(found)
    return pl.concat((found for some in parts.values() for found in some), how="diagonal")


def _measures(one: pl.DataFrame) -> Iterator[tuple[tuple[str, str], pl.DataFrame]]:
    """MOD, VID and excesses under one convention, with all pairs and with those alive."""
    same = [name for name in _IMAGE if name not in ("attack", "source")]

    def less(beside: pl.DataFrame, value: pl.Expr, control_dead: str) -> pl.DataFrame:
        dead = pl.col("dead") | pl.col(control_dead)
        return beside.select(*_IMAGE, "similarity", "resolution", value=value, dead=dead)

    shifted = beside_shaped(one, same, "value").filter(control=SHIFTED)
    aimed = less(shifted, pl.col("aimed"), "control_dead")
    one = without_shaped(one)
    noise = {"value_noise": pl.col("value"), "dead_noise": pl.col("dead")}
    beside = beside_control(one, same, noise)
    excess = less(beside, pl.col("value") - pl.col("value_noise"), "dead_noise")
    keys = [*SETTING, *_CONVENTION]
    for pairs in ("all", "alive"):
        for measure, frame in (("mod", one), ("excess", excess), ("aimed", aimed)):
            used = frame if pairs == "all" else frame.filter(~pl.col("dead"))
            used = used.with_columns(pairs=pl.lit(pairs))
            level = used.group_by([*keys, "epsilon"], maintain_order=True).agg(
                n=pl.col("value").count(), value=pl.col("value").mean()
            )
            yield (pairs, measure), level.with_columns(measure=pl.lit(measure))
            if measure == "mod":
                yield (pairs, "vid"), _vid(used, keys, frame["epsilon"].n_unique())


def _vid(used: pl.DataFrame, keys: Sequence[str], levels: int) -> pl.DataFrame:
    """Each image's deviation over its levels, then the mean over the images with all levels."""
    each = used.group_by([*keys, "image"], maintain_order=True).agg(
        count=pl.col("value").count(), value=pl.col("value").std(ddof=0)
    )
    whole = each.filter((pl.col("count") == levels) & (levels > 1))
    found = whole.group_by(keys, maintain_order=True).agg(
        n=pl.col("value").count(), value=pl.col("value").mean()
    )
    return found.with_columns(measure=pl.lit("vid"), epsilon=pl.lit(None, dtype=pl.Float64))


def robustness_of_ranking(
    found: pl.DataFrame, models: Sequence[str], reference: tuple[str, str, str, str]
) -> pl.DataFrame:
    """In how many conventions each ranking of the models holds.

    Args:
        found: from ``conventions``.
        models: in the study's order.
        reference: method, class policy, similarity and resolution that the told ranking is made
            with, on all pairs.

    Returns:
        variant, scope, measure (mod, excess, aimed or vid), epsilon, method (that of the
        reference), ranking (names from the smallest value to the largest), conventions (how many
        different ones rank all models: those with the same number for every model, such as with
        and without dead maps where there are none, are one), held (in how many of them the whole
        ranking is the same), pairs_held (the share of pairs of models that keep their order, over
        the conventions), positive (for each model of the ranking, in how many of them its number is
        above 0), changed_by (the conventions in which it does not hold). Empty where there is one
        model.
    """
    keys = ["variant", "scope", "measure", "epsilon"]
    lines = []
    skipped = 0 if found["method"].n_unique() > 1 else 1  # a convention that all share
    place = {model: index for index, model in enumerate(models)}
    for setting, part in found.group_by(keys, maintain_order=True):
        rankings: dict[tuple[str, ...], dict[str, float]] = {}
        for row in part.iter_rows(named=True):
            if row["value"] is not None:
                convention = tuple(row[name] for name in _CONVENTION)
                rankings.setdefault(convention, {})[row["model"]] = row["value"]
        method, policy, similarity, resolution = reference
        told = rankings.get((method, policy, "all", similarity, resolution), {})
        if len(told) < 2:
            continue
        ranking = sorted(told, key=lambda model: (told[model], place[model]))
        whole = _different(
            {name: values for name, values in rankings.items() if values.keys() == told.keys()},
            ranking,
        )
        pairs = list(combinations(ranking, 2))
        kept = {
            name: [values[first] <= values[second] for first, second in pairs]
            for name, values in whole.items()
        }
        changed = [", ".join(name[skipped:]) for name, holds in kept.items() if not all(holds)]
        lines.append(
            {
                **dict(zip(keys, setting, strict=True)),
                "method": method,
                "ranking": ranking,
                "conventions": len(whole),
                "held": len(whole) - len(changed),
                "pairs_held": sum(map(sum, kept.values())) / (len(whole) * len(pairs)),
                "positive": [sum(of[model] > 0 for of in whole.values()) for model in ranking],
                "changed_by": changed,
            }
        )
    return pl.DataFrame(lines, schema=schema(*keys, *_RANKING))


_Values = dict[tuple[str, ...], dict[str, float]]  # of each model, by convention


def _different(found: _Values, models: Sequence[str]) -> _Values:
    """The conventions that give different numbers, each once."""
    first: _Values = {}
    known = set()
    for convention, values in found.items():
        numbers = tuple(round(values[model], 12) for model in models)
        if numbers not in known:
            known.add(numbers)
            first[convention] = values
    return first

"""Tables of what a shift means: its scale, its direction, its consequence, its certainty."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from lookaway.analysis import direction, outcomes, summary
from lookaway.analysis.frames import Frames
from lookaway.report.table import Cell, Row, Table

_MEASURES = {
    "lost": "lost",
    "gained": "gained",
    "distance": "centre moved",
    "right": "to the right",
    "down": "downwards",
    "growth": "growth",
    "rank_correlation": "rank correlation",
    "strength": "strength",
    "clean_inside": "inside region, clean",
    "attacked_inside": "inside region, attacked",
    "left_region": "left the region",
}


def evidence(frames: Frames, policy: str) -> list[Table]:
    """The tables of one explained class, at the study's largest ε.

    Args:
        frames: of a run.
        policy: the explained class.
    """
    found = [_scale(frames, policy)]
    if frames.several_layers:
        found += [_depth(frames, policy)]
    found += [_direction(frames, policy), _words(frames, policy)]
    found += [_outcomes(frames, policy), _transfer(frames, policy)]
    if len(frames.models) > 1:
        found += [_compared(frames, policy)]
    if len(frames.models) > 1 and policy == frames.policy:
        found += [_rankings(frames)]
    return found


def _scale(frames: Frames, policy: str) -> Table:
    chosen = summary.by_scope(_chosen(frames.last(frames.excess), frames, policy))
    rows = [
        Row(
            names_of(frames, row),
            (
                Cell(row["mod"]),
                Cell(row["noise"]),
                Cell(row["shuffled"]),
                Cell(row["excess"], row["low"], row["high"]),
                Cell(row["share"], row["share_low"], row["share_high"], row["share_reason"]),
            ),
        )
        for row in chosen.filter(pl.col("pairs") == "all").iter_rows(named=True)
    ]
    return Table(
        f"scale_{policy}",
        f"Scale of the shift at ε = {frames.top:g}, explained class: {policy}",
        "noise: MOD under noise of the same size. shuffled: mean dissimilarity of the clean "
        "heatmaps of two different images, what two unrelated looks score. excess: each image's "
        "dissimilarity under attack less that under noise, averaged. share: the excess over the "
        "distance from noise to shuffled.",
        (*heads_of(frames), "MOD", "noise", "shuffled", "excess", "share"),
        tuple(rows),
        (".3f", ".3f", ".3f", "+.3f", "%"),
        section="Scale: more than noise?",
    )


def _depth(frames: Frames, policy: str) -> Table:
    chosen = _chosen(frames.by_depth, frames, policy).filter(pl.col("source") == pl.col("model"))
    rows = [
        Row(
            (*names_of(frames, {**row, "scope": f"{row['attack']} white-box"}), row["layer"]),
            (
                Cell(row["depth"]),
                Cell(row["mod"]),
                Cell(row["noise"]),
                Cell(row["shuffled"]),
                Cell(row["excess"], row["low"], row["high"]),
                Cell(row["attacked_dead"]),
            ),
        )
        for row in chosen.iter_rows(named=True)
    ]
    return Table(
        f"depth_{policy}",
        f"The shift by layer at ε = {frames.top:g}, explained class: {policy}",
        "Each model under its own perturbations. depth: 0 the first layer, 1 the last. dead: share "
        "of the attacked images whose map holds no evidence there.",
        (*heads_of(frames), "layer", "depth", "MOD", "noise", "shuffled", "excess", "dead"),
        tuple(rows),
        (".2f", ".3f", ".3f", ".3f", "+.3f", "%"),
        section="Scale: more than noise?",
    )


def _direction(frames: Frames, policy: str) -> Table:
    chosen = _chosen(frames.direction, frames, policy)
    there = set(chosen["measure"])
    measures = [name for name in _MEASURES if name in there]
    shares = {"lost", "gained", "clean_inside", "attacked_inside", "left_region"}
    return Table(
        f"direction_{policy}",
        f"Where participation went at ε = {frames.top:g}, explained class: {policy}",
        "Means over the images. lost, gained: shares of the clean heatmap's mass that left its "
        "place, and that came. centre moved: how far, in widths of the image; to the right and "
        "downwards: its mean way (negative: left, up). growth: change of the share of the image "
        "above half maximum. rank correlation: of the two maps' cells, −1 inverted. strength: "
        "(after − before) / (after + before) of the maps' maxima.",
        (*heads_of(frames), *(_MEASURES[name] for name in measures)),
        tuple(_pivoted(frames, chosen, measures)),
        tuple("%" if name in shares else "+.3f" for name in measures),
        section="Direction: where did it go?",
    )


def _words(frames: Frames, policy: str) -> Table:
    return Table(
        f"words_{policy}",
        f"What became of the looks at ε = {frames.top:g}, explained class: {policy}",
        f"Share of the images whose clean map is alive. {direction.RULE}.",
        (*heads_of(frames), *direction.WORDS),
        tuple(_pivoted(frames, _chosen(frames.direction, frames, policy), direction.WORDS)),
        ("%",),
        section="Direction: where did it go?",
    )


def _pivoted(
    frames: Frames, found: pl.DataFrame, measures: Sequence[str], column: str = "measure"
) -> Iterable[Row]:
    """A line for each scope and model, a column for each measure."""
    scoped = summary.by_scope(found)
    keys = ["variant", "scope", "model"]
    for part in scoped.partition_by(keys, maintain_order=True):
        cells = {row[column]: _cell(row) for row in part.iter_rows(named=True)}
        yield Row(
            names_of(frames, part.row(0, named=True)),
            tuple(cells.get(measure, Cell(None)) for measure in measures),
        )


def _outcomes(frames: Frames, policy: str) -> Table:
    chosen = _chosen(frames.outcomes, frames, policy)
    wanted = [
        *((outcome, "share") for outcome in outcomes.OUTCOMES),
        *((outcome, "mod") for outcome in outcomes.OUTCOMES[:2]),
        (outcomes.FLIPPED_OR_NOT, "auroc"),
        (outcomes.OUTCOMES[2], "mod"),
        *((outcome, "attacked_confidence") for outcome in outcomes.OUTCOMES[:2]),
    ]
    told = {"share": "", "mod": "MOD, ", "attacked_confidence": "confidence, "}
    heads = [
        "AUROC" if measure == "auroc" else f"{told[measure]}{outcome}"
        for outcome, measure in wanted
    ]
    named = chosen.with_columns(column=pl.format("{}|{}", "outcome", "measure"))
    columns = ["|".join(pair) for pair in wanted]
    forms = ["%"] * 3 + [".3f"] * 4 + ["%"] * 2
    return Table(
        f"outcomes_{policy}",
        f"Does looking elsewhere go with failing? ε = {frames.top:g}, explained class: {policy}",
        "Images that stayed right, flipped (right on the clean image, wrong under attack), or were "
        "wrong before: how many, their MOD, and the confidence of the attacked prediction. AUROC: "
        "the chance that a flipped image's heatmap moved more than that of one that stayed right; "
        "0.5 is no relation."
        + (
            " A flip changes the explained class here by itself, so read the table of the clean "
            "class first."
            if policy == "own"
            else ""
        ),
        (*heads_of(frames), *heads),
        tuple(_pivoted(frames, named, columns, "column")),
        tuple(forms),
        section="Consequence: does it go with failing?",
    )


def _transfer(frames: Frames, policy: str) -> Table:
    top = frames.transfer.filter(pl.col("epsilon") == frames.top)
    wanted = {
        "accuracy": top.filter(pl.col("measure") == "accuracy"),
        "excess": top.filter(pl.col("measure") == "excess", pl.col("explained_class") == policy),
    }
    models = frames.models
    rows = []
    keys = ["variant", "attack", "source"]
    for key in top.select(keys).unique(maintain_order=True).iter_rows():
        cells = []
        for found in wanted.values():
            mine = found.filter(
                pl.col(name) == value for name, value in zip(keys, key, strict=True)
            )
            by_model = {row["model"]: _cell(row) for row in mine.iter_rows(named=True)}
            cells += [by_model.get(model, Cell(None)) for model in models]
        names = key if _several(frames) else key[1:]
        rows.append(Row(tuple(names), tuple(cells)))
    lead = ("images", "attack", "made by") if _several(frames) else ("attack", "made by")
    heads = [f"{measure}, {model}" for measure in wanted for model in models]
    return Table(
        f"transfer_{policy}",
        f"Who hurts whom at ε = {frames.top:g}, explained class: {policy}",
        "A line for each model that made the perturbations, a column for each model that saw them: "
        "its accuracy, then its excess shift.",
        (*lead, *heads),
        tuple(rows),
        tuple(["%"] * len(models) + ["+.3f"] * len(models)),
        section="Consequence: does it go with failing?",
    )


def _compared(frames: Frames, policy: str) -> Table:
    chosen = _chosen(frames.compare_models, frames, policy).filter(pl.col("pairs") == "all")
    parts = chosen.partition_by("variant", "scope", "measure", maintain_order=True)
    lead = ("images",) if _several(frames) else ()
    rows = [
        Row(
            (
                *((row["variant"],) if lead else ()),
                row["scope"],
                {"mod": "MOD", "excess": "excess"}[row["measure"]],
                f"{row['model_a']} − {row['model_b']}",
            ),
            (
                Cell(row["difference"], row["low"], row["high"]),
                Cell(row["p"]),
                Cell(row["p_holm"]),
                Cell(row["probability"]),
            ),
        )
        for part in parts
        for row in part.iter_rows(named=True)
    ]
    return Table(
        f"models_{policy}",
        f"Models in pairs at ε = {frames.top:g}, explained class: {policy}",
        "On the same images. p: paired permutation test; p (Holm): corrected for the pairs of one "
        "perturbation and measure. P(first is smaller): under the bootstrap.",
        (
            *lead,
            "perturbation",
            "measure",
            "pair",
            "difference",
            "p",
            "p (Holm)",
            "P(first is smaller)",
        ),
        tuple(rows),
        ("+.3f", ".4f", ".4f", ".3f"),
        section="Certainty: how sure?",
    )


def _rankings(frames: Frames) -> Table:
    lead = ("images",) if _several(frames) else ()
    rows = [
        Row(
            (
                *((row["variant"],) if lead else ()),
                row["scope"],
                {"mod": "MOD", "excess": "excess", "vid": "VID"}[row["measure"]]
                + ("" if row["epsilon"] is None else f", ε = {row['epsilon']:g}"),
                " < ".join(row["ranking"]),
            ),
            (Cell(row["held"]), Cell(row["conventions"]), Cell(row["pairs_held"])),
        )
        for row in frames.robustness_of_ranking.iter_rows(named=True)
    ]
    return Table(
        "rankings",
        f"Does the ranking depend on a convention? Explained class: {frames.policy}",
        "Each ranking again under both SSIM presets, two grids, maps brought to one resolution, "
        "rank correlation and the overlap of the top 10 %, each class policy, with and without "
        "dead maps. holds: in how many of them the whole order is the same; pairs: the share of "
        "pairs of models that keep their order.",
        (*lead, "perturbation", "measure", "ranking, smallest first", "holds in", "of", "pairs"),
        tuple(rows),
        (".0f", ".0f", "%"),
        section="Certainty: how sure?",
    )


def _chosen(found: pl.DataFrame, frames: Frames, policy: str) -> pl.DataFrame:
    return found.filter(pl.col("explained_class") == policy, pl.col("epsilon") == frames.top)


def _cell(row: Mapping[str, Any]) -> Cell:
    return Cell(row["value"], row["low"], row["high"], row.get("reason"))


def _several(frames: Frames) -> bool:
    return frames.several_variants


def heads_of(frames: Frames) -> tuple[str, ...]:
    """The heads of the names that a line begins with."""
    return ("images", "perturbation", "model") if _several(frames) else ("perturbation", "model")


def names_of(frames: Frames, row: Mapping[str, Any]) -> tuple[str, ...]:
    """The names that a line begins with; a source under its own transfer is marked."""
    model = row["model"]
    if row["scope"].endswith(f" from {model}"):
        model = f"{model} (white-box)"
    lead = (row["variant"],) if _several(frames) else ()
    return (*lead, row["scope"], model)

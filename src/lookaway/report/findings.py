"""The numbers of the last layers in one long frame: sentences, tables and terminal read it."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from lookaway.analysis import dead, scale, summary
from lookaway.analysis.columns import typed
from lookaway.analysis.frames import Frames
from lookaway.controls import SHIFTED, Control
from lookaway.report.table import Cell
from lookaway.report.wording import isolated, trained, with_interval

_COLUMNS = ["variant", "model", "attack", "source", "explained_class", "pairs", "measure"]
_COLUMNS += ["reason", "epsilon", "value", "low", "high", "n"]


def findings(frames: Frames, *measures: str) -> pl.DataFrame:
    """Numbers of each model's last layer; only what holds these measures is computed.

    Args:
        frames: the run's summaries.
        measures: accuracy, psnr, unattacked, mod, mod_common (of maps brought to one size),
            deviation (of NISSIM over the images), noise,
            shuffled and excess (MOD under noise, the shuffled baseline of the same images, and
            what the attack adds to noise), shifted and aimed (MOD under the attack's own change in
            other places, and what the attack adds to that), vid_image, vid_level, vid_pooled; a
            measure of ``analysis.direction`` or ``analysis.dead``; or one of ``analysis.outcomes``,
            as ``flipped: share``.

    Returns:
        variant, model, attack, source, scope (see ``summary.by_scope``), explained_class, epsilon,
        pairs, measure, n, value, low, high, reason (why a value is null). What does not depend on
        the explained class or on ε has null there.
    """
    return summary.by_scope(pl.concat(_long(frames, measure) for measure in measures))


def _long(frames: Frames, measure: str) -> pl.DataFrame:
    """A measure's numbers, whatever frame holds them."""
    value, kind, of_outcome = measure, *measure.partition(": ")[::2]
    if of_outcome:
        found, value = frames.outcomes.filter(outcome=kind, measure=of_outcome), "value"
    elif measure in ("accuracy", "psnr", "unattacked"):
        found = getattr(frames, measure)
    elif measure in ("noise", "shuffled", "excess"):
        found = frames.last(frames.excess)
    elif measure in ("shifted", "aimed"):
        found = frames.aimed.filter(control=SHIFTED)
        value = "aimed" if measure == "aimed" else "control_mod"
    elif measure == "mod":
        found = frames.last(frames.mod)
    elif measure == "mod_common":
        alone = pl.col("less").is_null(), pl.col("measure") == "nissim_common"
        found, value = frames.beside_nissim.filter(*alone), "value"
    elif measure == "deviation":
        found, value = frames.last(frames.spread), "spread"
    elif measure.startswith("vid_"):
        found, value = frames.vid[measure.removeprefix("vid_")], "vid"
    elif measure in dead.MEASURES:
        found, value = frames.dead.filter(measure=measure), "value"
    else:
        found, value = frames.direction.filter(measure=measure), "value"
    known = {"pairs": pl.lit("all")}
    known |= {name: pl.col(name) for name in _COLUMNS if name in found.columns}
    known |= {"value": pl.col(value), "measure": pl.lit(measure)}
    if measure in ("noise", "shuffled", "shifted"):  # the interval beside them is an excess's
        known |= {"low": pl.lit(None), "high": pl.lit(None)}
    return typed(found.select(**known), _COLUMNS)


def at_top(frames: Frames, policy: str | None = None) -> pl.Expr:
    """Which rows are of the largest ε and of one explained class, or do not depend on them."""
    same = pl.col("explained_class").eq(policy or frames.policy).fill_null(value=True)
    return same & pl.col("epsilon").eq(frames.top).fill_null(value=True)


def of_first(frames: Frames) -> dict[str, str]:
    """Which rows are of all pairs, the first variant, and each model's own first attack."""
    scope = f"{frames.attack} white-box"
    return {"pairs": "all", "variant": frames.variants[0], "scope": scope}


def headlines(frames: Frames, *measures: str, **where: str) -> dict[str, dict[str, Cell]]:
    """What sentences speak of: each model under its own perturbations of the study's first attack.

    At the largest ε, for the headlines' explained class, of the first variant, dead maps counted.

    Returns:
        For each model its measures.
    """
    found = findings(frames, *measures).filter(at_top(frames), **of_first(frames) | where)
    numbers: dict[str, dict[str, Cell]] = {model: {} for model in frames.models}
    for row in found.iter_rows(named=True):
        numbers[row["model"]][row["measure"]] = cell(row)
    return numbers


def accuracies(frames: Frames) -> pl.DataFrame:
    """Each model's accuracy at every ε, under what sentences speak of.

    Returns:
        The findings, and in ``of`` clean (at ε = 0), attack, noise and, where attacks are held
        against their own change in other places, shifted.
    """
    first = of_first(frames)
    scopes = {"clean": first["scope"], "attack": first["scope"], "noise": frames.control}
    if frames.shifted:
        scopes["shifted"] = Control(SHIFTED, 1, frames.attack).together
    every = findings(frames, "accuracy").filter(variant=first["variant"])
    parts = [
        every.filter(pl.col("scope") == scope, (pl.col("epsilon") == 0) == (name == "clean"))
        for name, scope in scopes.items()
    ]
    named = zip(scopes, parts, strict=True)
    return pl.concat(part.with_columns(of=pl.lit(name)) for name, part in named)


def alike(frames: Frames) -> dict[str, Cell]:
    """The models whose clean heatmaps hardly differ from image to image; see ``scale.alike``.

    Returns:
        For each its mean NISSIM of two images' heatmaps, of the first variant.
    """
    found = scale.alike(frames.last(frames.shuffled)).filter(variant=frames.variants[0])
    return {
        row["model"]: Cell(row["shuffled"], row["low"], row["high"])
        for row in found.iter_rows(named=True)
    }


def meaningless(frames: Frames) -> str:
    """Of which models MOD cannot mean anything, and why; empty where there is none."""
    found = alike(frames)
    if not found:
        return ""
    told = [f"{isolated(model)}: {with_interval(cell)}" for model, cell in found.items()]
    its = "its" if len(found) == 1 else "their"
    return (
        f"MOD cannot mean anything for {trained(list(found))}: {its} clean heatmaps are all but "
        "the same for every image (dissimilarity of two images of different classes "
        f"{'; '.join(told)}), so they tell nothing of an image, and that they move tells nothing "
        "either."
    )


def is_positive(found: Cell | None) -> bool:
    """Whether the whole interval lies above 0."""
    return found is not None and found.low is not None and found.low > 0


def cell(row: Mapping[str, Any]) -> Cell:
    """A finding as a table has it."""
    return Cell(row["value"], row["low"], row["high"], row.get("reason"))

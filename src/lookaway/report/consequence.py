"""Does looking elsewhere go with failing? In sentences."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from lookaway.analysis import failing, outcomes
from lookaway.analysis.frames import Frames
from lookaway.perturbation import NOISE
from lookaway.report.conclusion import Conclusion
from lookaway.report.findings import at_top, headlines, of_first
from lookaway.report.table import Cell
from lookaway.report.wording import isolated, listed, trained
from lookaway.written import percent

_RIGHT, _FLIPPED, _ = outcomes.OUTCOMES
_NISSIM, _LIKE = failing.NISSIM, (failing.NISSIM, failing.LIKE)
_P = 0.05
_PREDICTORS = {failing.FALL: "the fall of the logit", failing.CONFIDENCE: "the clean confidence"}

_Told = Mapping[tuple[str, str], Mapping[str, Any]]  # by predictor and within what


def consequence(frames: Frames) -> Conclusion:
    """How far heatmaps moved where predictions flipped, and whether that says more than is known.

    It is said to go with failing only where NISSIM adds to class and clean confidence, whichever
    class is explained: of the clean image's class it follows the logit.
    """
    measures = f"{_FLIPPED}: share", f"{_FLIPPED}: mod", f"{_RIGHT}: mod"
    apart = [f"{each}: {name}" for each in (_FLIPPED, _RIGHT) for name in ("dead", "mod_living")]
    numbers = headlines(frames, *measures, *apart)
    told = {model: _told(frames, model, frames.attack) for model in frames.models}
    models = []
    for model, cells in numbers.items():
        share, flipped, right = (cells[measure].value for measure in measures)
        over_all = told[model][_NISSIM, failing.ALL]
        text = f"{percent(share)} of the images flipped"
        if over_all["only"] is not None:
            text += f", all of the class {isolated(over_all['only'])}"
        if over_all["auroc"] is None:
            models.append((model, f"{text} ({over_all['reason']})"))
            continue
        text += f"; MOD {flipped:.3f}{_dead_apart(cells, _FLIPPED)} where they flipped, "
        text += f"{right:.3f}{_dead_apart(cells, _RIGHT)} where they stayed right "
        noise = _told(frames, model, NOISE)
        models.append((model, f"{text}({_aurocs(told[model], noise)}); {_adds(told[model])}"))
    clear = [model for model, found in told.items() if _is_clear(found)]
    others = [policy for policy in frames.policies if policy != frames.policy]
    sure = [
        model
        for model in clear
        if all(_is_clear(_told(frames, model, frames.attack, policy)) for policy in others)
    ]
    opening = (
        f"Looking elsewhere goes with failing in {trained(sure)}, beyond what class and clean "
        "confidence tell."
        if sure
        else "In no trained network does looking elsewhere tell failing beyond what class and "
        "clean confidence tell."
    )
    rest = [model for model in clear if model not in sure]
    if rest:
        opening += (
            f" Of {listed(rest)} it does with the class policy {frames.policy} alone, not with "
            f"{listed(others)}."
        )
    closing = _as_well(told)
    if frames.policy == "clean":
        closing = (
            "Both maps explain the class seen before, so NISSIM repeats in part the fall of its "
            f"logit, which a flip follows from. {closing}"
        ).rstrip()
    table = f"failing_{frames.policy}"
    return Conclusion("Consequence", opening, table, tuple(models), closing)


def _told(frames: Frames, model: str, attack: str, policy: str | None = None) -> _Told:
    """What is known of a model's flips under its own perturbations, or under a control."""
    found = frames.failing.filter(
        at_top(frames, policy),
        pl.col("source").eq_missing(pl.lit(None if attack == NOISE else model, pl.String)),
        variant=of_first(frames)["variant"],
        model=model,
        attack=attack,
    )
    return {(row["predictor"], row["within"]): row for row in found.iter_rows(named=True)}


def _is_clear(told: _Told) -> bool:
    p = told[_LIKE]["p_holm"]
    return p is not None and p < _P


def _aurocs(told: _Told, noise: _Told) -> str:
    """How well NISSIM tells flips, beside plain predictors, and under noise."""
    text = f"AUROC {_auroc(told[_NISSIM, failing.ALL])}"
    for predictor, name in _PREDICTORS.items():
        text += f"; of {name} {told[predictor, failing.ALL]['auroc']:.2f}"
    under = noise[_NISSIM, failing.ALL]["auroc"] if noise else None
    return text if under is None else f"{text}; under noise {under:.2f}"


def _adds(told: _Told) -> str:
    """What NISSIM tells within classes, and beyond the clean confidence."""
    within, like = told[_NISSIM, failing.CLASSES], told[_LIKE]
    if within["auroc"] is None:
        why = within["reason"].removeprefix("no such pair: ")
        return f"nothing can be told within classes: {why}"
    fall = told[failing.FALL, failing.CLASSES]["auroc"]
    text = f"within classes {_auroc(within)} (the fall of the logit {fall:.2f})"
    if like["p"] is None:
        why = like["reason"].removeprefix("no such pair: ")
        return f"{text}; what it adds to the clean confidence cannot be told: {why}"
    known = f"p = {like['p_holm']:.3f}" if like["p_holm"] >= 0.001 else "p < 0.001"
    clear = "adds" if _is_clear(told) else "adds nothing clear"
    return f"{text}; it {clear} to class and clean confidence ({known} after Holm)"


def _auroc(row: Mapping[str, Any]) -> str:
    interval = "" if row["low"] is None else f", {row['low']:.2f} to {row['high']:.2f}"
    return f"{row['auroc']:.2f}{interval}"


def _as_well(told: Mapping[str, _Told]) -> str:
    """Where the fall of a logit tells flips as well, and no heatmap is needed."""
    models = []
    for model, found in told.items():
        known = found[_NISSIM, failing.CLASSES]["auroc"] is not None
        within = failing.CLASSES if known else failing.ALL
        mine, other = (found[name, within]["auroc"] for name in (_NISSIM, failing.FALL))
        if mine is not None and other >= mine:
            models.append(model)
    if not models:
        return ""
    return (
        f"In {listed(models)} the fall of the logit tells flips at least as well, with no heatmap "
        "at all."
    )


def _dead_apart(cells: Mapping[str, Cell], outcome: str) -> str:
    """How many pairs of an outcome hold a dead map, and what the others score; may be empty."""
    share, living = cells[f"{outcome}: dead"].value, cells[f"{outcome}: mod_living"].value
    if not share:
        return ""
    return (
        f" ({percent(share)} dead" + ("" if living is None else f", the others {living:.3f}") + ")"
    )

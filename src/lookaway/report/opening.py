"""What a page opens with: which model the attack makes look elsewhere, how sure that is."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from lookaway.analysis.frames import Frames
from lookaway.report.findings import (
    accuracies,
    alike,
    at_top,
    findings,
    headlines,
    is_positive,
    meaningless,
    of_first,
)
from lookaway.report.placed import ceiling, common
from lookaway.report.table import Cell
from lookaway.report.wording import (
    first_attack,
    first_images,
    first_method,
    isolated,
    trained,
    whose_noise,
    with_interval,
)
from lookaway.written import decimal, percent, signed


@dataclass(frozen=True)
class Opening:
    """The opening.

    Attributes:
        model: of which the title speaks; None: of none.
        title: in a few words, without the model.
        lead: for which models MOD means nothing; how much the attack moves the heatmaps of one
            beyond its controls, how many images it fails, and how sure that is.
        notes: how far it could be moved, and of what the numbers are, where there is more.
    """

    model: str | None
    title: str
    lead: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def opening(frames: Frames) -> Opening:
    """Which model looks elsewhere most under its own perturbations, at the study's largest ε.

    Ranked is what the attack adds to its own change in other places, or, without such controls, to
    random signs; and only models to which it clearly adds to both.
    """
    measure = "aimed" if frames.shifted else "excess"
    every = headlines(frames, "mod", "excess", *(["aimed"] if frames.shifted else []))
    every = {model: cells for model, cells in every.items() if cells["excess"].value is not None}
    if not every:
        return Opening(None, "No pair of heatmaps to compare")
    same = alike(frames)
    numbers = {model: cells for model, cells in every.items() if model not in same}
    if not numbers:
        return Opening(None, "The same heatmap for every image", (meaningless(frames),))
    added = {model: cells[measure].value for model, cells in numbers.items()}
    ranked = sorted(numbers, key=lambda model: -_or_least(added[model]))
    moved = [model for model in ranked if _is_moved(numbers[model])]
    first = (moved or ranked)[0]
    lead = [meaningless(frames)] if same else []
    lead += [_beyond(frames, first, numbers[first]), _aimed_below(frames), _failed(frames, first)]
    model, title = (first, "looks elsewhere") if moved else (None, _none_moved(frames))
    if moved and len(ranked) > 1:
        rival = next(each for each in ranked if each != first)
        known, clear = _certainty(frames, measure, first, rival)
        title += " most" if clear else f", not clearly further than {isolated(rival)}"
        lead.append(f"{isolated(rival)} is next with {signed(added[rival])}: {known}.")
    notes = (
        ceiling(frames, first),
        common(frames),
        whose_noise(frames, [frames.attack]),
        first_attack(frames),
        first_method(frames),
        first_images(frames),
    )
    return Opening(model, title, tuple(filter(None, lead)), tuple(filter(None, notes)))


def _or_least(value: float | None) -> float:
    return float("-inf") if value is None else value


def _is_moved(cells: Mapping[str, Cell]) -> bool:
    """Whether the attack clearly moves heatmaps further than each of its controls."""
    return all(is_positive(cells[name]) for name in ("excess", "aimed") if name in cells)


def _none_moved(frames: Frames) -> str:
    whose = "no network's" if len(frames.models) > 1 else "no"
    text = f"At ε = {frames.top:g} {frames.attack.upper()} moves {whose} heatmaps clearly further "
    if frames.shifted:
        return f"{text}than its own change in other places does"
    return f"{text}than random signs of the same size do"


def _beyond(frames: Frames, model: str, cells: Mapping[str, Cell]) -> str:
    """How much of a model's shift is beyond random signs, and how much beyond the change's shape.

    Only what is clear against both is called aimed.
    """
    excess, aimed = cells["excess"], cells.get("aimed")
    over = with_interval(excess, sign=True)
    text = (
        f"At ε = {frames.top:g} {frames.attack.upper()} moves the heatmaps of {trained([model])} "
        f"by MOD {decimal(cells['mod'].value)}"
    )
    if not is_positive(excess):
        return f"{text}, not clearly more than random signs of the same size do: {over}."
    text += f", {over} more than random signs of the same size"
    if aimed is None or aimed.value is None:
        return f"{text}."
    left = with_interval(aimed, sign=True)
    if is_positive(aimed):
        return f"{text} and {left} more than its own change in other places: that is aimed."
    return f"{text}, but its own change in other places moves them as far (less that: {left})."


def _failed(frames: Frames, model: str) -> str:
    """Its accuracy under attack, and under its controls."""
    found = accuracies(frames).filter(pl.col("epsilon").is_in([0.0, frames.top]), model=model)
    right = {row["of"]: row["value"] for row in found.iter_rows(named=True)}
    shown = {name: percent(value, 1) for name, value in right.items()}
    text = f"Its accuracy goes from {shown['clean']} to {shown['attack']}; under random signs it "
    text += f"is {shown['noise']}"
    if "shifted" in shown:
        text += f", under its own change in other places {shown['shifted']}"
    if right["attack"] >= right["noise"]:
        return f"{text}: noise fails it as often, so here that is no attack."
    if "shifted" in right and right["attack"] >= right["shifted"]:
        return f"{text}, which fails it as often."
    return f"{text}."


def _certainty(frames: Frames, measure: str, first: str, second: str) -> tuple[str, bool | None]:
    """Whether two models differ clearly on the same images, in words too; None: not known."""
    found = frames.compare_models.filter(at_top(frames), measure=measure, **of_first(frames))
    for row in found.iter_rows(named=True):
        chance = row["p_holm"]
        if {row["model_a"], row["model_b"]} == {first, second} and chance is not None:
            known = f"p = {chance:.3f}" if chance >= 0.001 else "p < 0.001"
            clear = chance < 0.05
            certainty = "the difference is clear" if clear else "the two are not clearly apart"
            return f"{certainty} ({known} after Holm)", clear
    return "the certainty of that difference is not known", None


def _aimed_below(frames: Frames) -> str:
    """Where both excesses are clear at a smaller ε, in models in which they are not at the largest.

    Of these the largest aimed one.
    """
    if not frames.shifted:
        return ""
    here = {"explained_class": frames.policy, **of_first(frames)}
    keys = ["model", "epsilon"]
    over = findings(frames, "excess").filter(pl.col("low") > 0, **here).select(keys)
    both = findings(frames, "aimed").filter(pl.col("low") > 0, **here).join(over, on=keys)
    at_largest = both.filter(epsilon=frames.top)["model"].to_list()
    best = both.sort("value", descending=True).unique("model", keep="first", maintain_order=True)
    most = {row["model"]: row for row in best.iter_rows(named=True)}
    parts: dict[float, list[str]] = {}
    for model in frames.models:
        if model in most and model not in at_largest:
            told = f"in {isolated(model)} ({signed(most[model]['value'])})"
            parts.setdefault(most[model]["epsilon"], []).append(told)
    where = "; ".join(f"at ε = {level:g} {', '.join(told)}" for level, told in parts.items())
    return f"At a smaller ε the shift is aimed: {where}." if parts else ""

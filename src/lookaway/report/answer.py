"""What a page opens with: which model looks elsewhere most, how much of it is attack, how sure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from lookaway.analysis.frames import Frames
from lookaway.report.verdict import first_attack, first_images, isolated, own, signed


@dataclass(frozen=True)
class Bar:
    """One model's shift beside what noise and unrelated looks reach; all at the largest ε."""

    model: str
    mod: float
    low: float | None
    high: float | None
    noise: float
    unrelated: float | None
    excess: float


@dataclass(frozen=True)
class Answer:
    """The answer.

    Attributes:
        model: the one with the largest MOD; None where there is one model.
        title: in a few words, without the model.
        sentences: how much, how much beyond noise, and how sure; of what, where there is more.
        bars: of each model that has pairs.
        scale: what the longest bar, with its interval, reaches.
    """

    model: str | None
    title: str
    sentences: tuple[str, ...]
    bars: tuple[Bar, ...]
    scale: float


def answer(frames: Frames) -> Answer:
    """Which model looks elsewhere most under its own perturbations, at the study's largest ε.

    Args:
        frames: of a run.
    """
    attack = frames.attacks[0].upper()
    every = pl.col("pairs") == "all"
    mod = {row["model"]: row for row in own(frames, frames.last(frames.mod).filter(every))}
    rows = own(frames, frames.last(frames.excess).filter(every))
    rows = sorted((row for row in rows if row["n"]), key=lambda row: -row["mod"])
    if not rows:
        return Answer(None, "No pair of heatmaps to tell of", (), (), 1.0)
    bars = []
    for row in sorted(rows, key=lambda row: frames.models.index(row["model"])):
        ends = mod[row["model"]]["low"], mod[row["model"]]["high"]
        bars.append(
            Bar(row["model"], row["mod"], *ends, row["noise"], row["shuffled"], row["excess"])
        )
    reach = [value for bar in bars for value in (bar.mod, bar.high, bar.noise, bar.unrelated)]
    scale = max(value for value in reach if value is not None) or 1.0
    first = rows[0]
    opening = f"{attack} at ε = {frames.top:g} gives it MOD {first['mod']:.3f}"
    low, high = mod[first["model"]]["low"], mod[first["model"]]["high"]
    if low is not None:
        opening += f" (95 % interval {low:.3f} to {high:.3f})"
    shown = [told for told in (first_attack(frames), first_images(frames)) if told]
    sentences = [f"{opening}; {_beyond(first)}."]
    if len(rows) == 1:
        model = first["model"]
        return Answer(model, "under attack", (*sentences, *shown), tuple(bars), scale)
    second = rows[1]
    title = "looks elsewhere most"
    told, clear = _apart(frames, "mod", first["model"], second["model"])
    sentences.append(f"{isolated(second['model'])} is next with {second['mod']:.3f}: {told}.")
    most, next_ = sorted(rows, key=lambda row: -row["excess"])[:2]
    told, clear_beyond = _apart(frames, "excess", most["model"], next_["model"])
    if most["model"] == first["model"]:
        beyond = "Beyond noise it is first too"
    else:
        beyond = f"What the attack adds to noise is largest in {isolated(most['model'])}"
        beyond += f", {_amount(most)}"
    after = f"{isolated(next_['model'])} is next with {signed(next_['excess'])}"
    sentences.append(f"{beyond}; {after}: {told}.")
    if clear is False:
        title += (
            ", clearly so beyond what noise causes"
            if clear_beyond and most["model"] == first["model"]
            else f", not clearly more than {isolated(second['model'])}"
        )
    return Answer(first["model"], title, (*sentences, *shown), tuple(bars), scale)


def _apart(frames: Frames, measure: str, first: str, second: str) -> tuple[str, bool | None]:
    """Whether two models are clearly apart on the same images, in words too; None: untold."""
    chance = _chance(frames, measure, first, second)
    if chance is None:
        return "how sure that difference is cannot be told", None
    clear = chance < 0.05
    known = f"p = {chance:.3f}" if chance >= 0.001 else "p < 0.001"
    told = "the difference is clear" if clear else "the two are not clearly apart"
    return f"{told} ({known} after Holm)", clear


def _amount(row: Mapping[str, Any]) -> str:
    interval = (
        ""
        if row["low"] is None
        else f" (95 % interval {signed(row['low'])} to {signed(row['high'])})"
    )
    return signed(row["excess"]) + interval


def _beyond(row: Mapping[str, Any]) -> str:
    if row["low"] is not None and row["low"] > 0:
        return f"{_amount(row)} of it is more than noise of the same size causes"
    return f"not clearly more than noise of the same size causes: {_amount(row)}"


def _chance(frames: Frames, measure: str, first: str, second: str) -> float | None:
    """The p value of two models' difference in a measure on the same images, after Holm."""
    settings = frames.plan.settings
    found = frames.compare_models.filter(
        pl.col("variant") == settings.data.variants[0],
        pl.col("scope") == f"{frames.attacks[0]} white-box",
        pl.col("measure") == measure,
        pl.col("explained_class") == frames.policy,
        pl.col("epsilon") == frames.top,
        pl.col("pairs") == "all",
        pl.col("model_a").is_in([first, second]) & pl.col("model_b").is_in([first, second]),
    )
    return float(found["p_holm"][0]) if found["p_holm"].count() else None

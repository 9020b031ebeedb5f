"""What a run found, in sentences that a table below each can check."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from lookaway.analysis import direction, outcomes
from lookaway.analysis.frames import Frames

_DID = {
    "stayed": "stayed where they were",
    "moved": "moved to other places",
    "spread": "spread",
    "shrank": "shrank",
    "inverted": "were turned inside out",
    "died": "lost all evidence for the class (dead maps)",
}


@dataclass(frozen=True)
class Finding:
    """One part of the verdict.

    Attributes:
        title: its heading.
        opening: what holds for all models.
        models: a model's name and what holds for it.
        closing: what follows; may be empty.
        table: the name of the table that shows it.
    """

    title: str
    opening: str
    models: tuple[tuple[str, str], ...]
    closing: str
    table: str


def verdict(frames: Frames) -> list[Finding]:
    """Scale (and depth, where several layers are explained), direction, consequence, certainty.

    It speaks of each model under its own perturbations at the study's largest ε, for the class
    seen in the clean image where the study has it, and of the first variant of the images.

    Args:
        frames: of a run.
    """
    found = [_scale(frames), _direction(frames), _consequence(frames), _certainty(frames)]
    if frames.several_layers:
        found.insert(1, depth_finding(frames))
    return found


def own(frames: Frames, found: pl.DataFrame, *, top: bool = True) -> list[dict[str, Any]]:
    """The rows about each model and its own perturbations, at the largest ε or at each."""
    settings = frames.plan.settings
    chosen = found.filter(
        (pl.col("epsilon") == frames.top) | (not top),
        pl.col("explained_class") == frames.policy,
        pl.col("source") == pl.col("model"),
        pl.col("attack") == frames.attacks[0],
        pl.col("variant") == settings.data.variants[0],
    )
    return list(chosen.iter_rows(named=True))


def _scale(frames: Frames) -> Finding:
    found = frames.last(frames.excess).filter(pl.col("pairs") == "all")
    rows = own(frames, found)
    attack = frames.attacks[0].upper()
    beyond = [row for row in rows if row["low"] is not None and row["low"] > 0]
    if not beyond:
        opening = f"{attack} moves no model's heatmaps clearly further than noise of the same size."
    elif len(beyond) == len(rows):
        every = f"{'every model' if len(rows) > 1 else isolated(rows[0]['model'])}'s heatmaps"
        opening = f"{attack} moves {every} clearly further than noise of the same size."
    else:
        opening = (
            f"{attack} moves the heatmaps of {listed([row['model'] for row in beyond])} clearly "
            "further than noise of the same size, those of the others not."
        )
    unrelated = [row for row in rows if row["shuffled"] is not None]
    fragile = [row for row in unrelated if row["noise"] >= row["shuffled"]]
    closing = ""
    if fragile:
        closing = (
            f"The heatmaps of {listed([row['model'] for row in fragile])} are fragile by "
            "themselves: noise alone changes them at least as much as a look at another image."
        )
    most = _most(own(frames, found, top=False), frames.top)
    models = tuple((row["model"], _beyond(row) + most.get(row["model"], "")) for row in rows)
    return Finding("Scale", opening, models, closing, f"scale_{frames.policy}")


def _beyond(row: Mapping[str, Any]) -> str:
    """One model's shift: how much of it is attack, how much any noise."""
    if row["n"] == 0:
        return "no pair to tell of"
    part = f", {row['noise'] / row['mod']:.0%} of it" if 0 < row["noise"] < row["mod"] else ""
    interval = (
        ""
        if row["low"] is None
        else f" (95 % interval {signed(row['low'])} to {signed(row['high'])})"
    )
    unrelated = (
        "" if row["shuffled"] is None else f"; two unrelated looks score {row['shuffled']:.3f}"
    )
    return (
        f"MOD {row['mod']:.3f}; noise alone gives {row['noise']:.3f}{part}; the attack adds "
        f"{signed(row['excess'])}{interval}{unrelated}"
    )


def depth_finding(frames: Frames) -> Finding:
    """Where in each network the shift beyond noise begins."""
    rows = own(frames, frames.by_depth)
    models = []
    for model in frames.models:
        layers = [row for row in rows if row["model"] == model]
        clear = [row["low"] is not None and row["low"] > 0 for row in layers]
        largest = max(layers, key=lambda row: row["excess"] or 0.0)
        most = f"most at {largest['layer']} (depth {largest['depth']:.2f}): "
        most += signed(largest["excess"] or 0.0)
        if not clear[-1]:
            models.append((model, f"not clearly beyond noise at the last layer; {most}"))
            continue
        begins = len(clear) - clear[::-1].index(False) if False in clear else 0
        first = layers[begins]
        told = (
            "every explained layer"
            if begins == 0
            else f"from {first['layer']} on (depth {first['depth']:.2f}) every layer"
        )
        models.append((model, f"{told} moves clearly further than under noise; {most}"))
    opening = "Where in the network the shift beyond noise begins (depth 0: first layer, 1: last):"
    return Finding("Depth", opening, tuple(models), "", f"depth_{frames.policy}")


def _most(rows: Sequence[Mapping[str, Any]], top: float) -> dict[str, str]:
    """Where an attack adds most, if that is not at the largest ε."""
    best: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        known = best.get(row["model"])
        if row["n"] and (known is None or row["excess"] > known["excess"]):
            best[row["model"]] = row
    return {
        model: f"; it adds most at ε = {row['epsilon']:g}: {signed(row['excess'])}"
        for model, row in best.items()
        if row["epsilon"] != top and row["excess"] > 0
    }


def signed(value: float) -> str:
    """A number with its sign, as it is read."""
    return f"{value:+.3f}".replace("-", "−")


def _direction(frames: Frames) -> Finding:
    rows = own(frames, frames.direction)
    models = []
    for model in frames.models:
        mine = {row["measure"]: row for row in rows if row["model"] == model}
        words = [(mine[word]["value"] or 0.0, word) for word in direction.WORDS]
        if mine["lost"]["value"] is None:
            models.append((model, "every clean map is dead, so nothing can have gone anywhere"))
            continue
        first, second = sorted(words, reverse=True)[:2]
        parts = [f"{first[0]:.0%} of the looks {_DID[first[1]]}"]
        if second[0] > 0:
            parts.append(f"{second[0]:.0%} {_DID[second[1]]}")
        text = (
            f"{' and '.join(parts)}; they lost {mine['lost']['value']:.0%} of their participation "
            f"and gained {mine['gained']['value']:.0%} in new places{_way(mine)}"
        )
        if "left_region" in mine and mine["left_region"]["value"] is not None:
            inside = mine["clean_inside"]["value"], mine["attacked_inside"]["value"]
            text += f"; inside the region it went from {inside[0]:.0%} to {inside[1]:.0%}"
        models.append((model, text))
    stayed = _stayed(frames)
    opening = (
        "Under attack "
        + listed([f"{share[0]:.0%} of {isolated(model)}'s" for model, share in stayed.items()])
        + " looks stayed where they were; under noise of the same size "
        + listed([f"{share[1]:.0%}" for share in stayed.values()])
        + "."
        if stayed
        else "No clean map is alive, so no look has a direction."
    )
    return Finding("Direction", opening, tuple(models), "", f"words_{frames.policy}")


def _stayed(frames: Frames) -> dict[str, tuple[float, float]]:
    """The share of looks that stayed under attack, and under noise, of each model."""
    found = frames.direction.filter(pl.col("measure") == "stayed")
    attacked = {row["model"]: row["value"] for row in own(frames, found)}
    controls = found.filter(
        pl.col("source").is_null(),
        pl.col("epsilon") == frames.top,
        pl.col("explained_class") == frames.policy,
        pl.col("variant") == frames.plan.settings.data.variants[0],
    )
    noise = dict(controls.select("model", "value").iter_rows())
    return {
        model: (attacked[model], noise[model])
        for model in frames.models
        if attacked[model] is not None and noise[model] is not None
    }


def _way(mine: Mapping[str, Mapping[str, Any]]) -> str:
    """How far the centre moved, and whether in one direction."""
    if mine["distance"]["value"] is None:
        return ""
    names = {"right": ("left", "right"), "down": ("up", "down")}
    ways = [
        ends[row["value"] > 0]
        for measure, ends in names.items()
        for row in [mine[measure]]
        if row["low"] is not None and (row["low"] > 0 or row["high"] < 0)
    ]
    where = f"mostly {' and '.join(ways)}" if ways else "in no common direction"
    return f"; the centre moved by {mine['distance']['value']:.0%} of the image's side, {where}"


def _consequence(frames: Frames) -> Finding:
    rows = own(frames, frames.outcomes)
    models = []
    further = []
    for model in frames.models:
        mine = {(row["outcome"], row["measure"]): row for row in rows if row["model"] == model}
        flipped = mine[outcomes.OUTCOMES[1], "share"]["value"]
        auroc = mine[outcomes.FLIPPED_OR_NOT, "auroc"]
        if auroc["value"] is None:
            models.append((model, f"{flipped:.0%} of the images flipped ({auroc['reason']})"))
            continue
        interval = "" if auroc["low"] is None else f", {auroc['low']:.2f} to {auroc['high']:.2f}"
        mods = [mine[outcome, "mod"]["value"] for outcome in outcomes.OUTCOMES[:2]]
        models.append(
            (
                model,
                f"{flipped:.0%} of the images flipped; MOD {mods[1]:.3f} where they flipped, "
                f"{mods[0]:.3f} where they stayed right (AUROC {auroc['value']:.2f}{interval})",
            )
        )
        if auroc["low"] is not None and auroc["low"] > 0.5:
            further.append(model)
    opening = (
        f"Looking elsewhere goes with failing in {listed(further)}: the heatmaps of images that "
        "flipped moved further than those of images that stayed right."
        if further
        else "No model's heatmaps moved clearly further where its prediction flipped."
    )
    return Finding("Consequence", opening, tuple(models), "", f"outcomes_{frames.policy}")


def _certainty(frames: Frames) -> Finding:
    kind = frames.mod["interval"][0]
    count = len(frames.plan.classes)
    test = frames.plan.images.test.count
    drawn = (
        f"over whole classes, {count} of them, so they speak of other classes too"
        if kind == "classes"
        else f"over the images within each class and so hold for these {count} classes alone"
    )
    opening = f"Intervals are 95 %, bootstrapped {drawn}; {test} test images."
    if len(frames.models) < 2:
        return Finding("Certainty", opening, (), "", f"scale_{frames.policy}")
    variant = frames.plan.settings.data.variants[0]
    scope = f"{frames.attacks[0]} white-box"
    here = pl.col("variant") == variant, pl.col("scope") == scope, pl.col("measure") == "excess"
    pairs = frames.compare_models.filter(
        *here,
        pl.col("explained_class") == frames.policy,
        pl.col("epsilon") == frames.top,
        pl.col("pairs") == "all",
    )
    apart = [
        (row["model_b"], row["model_a"])
        if row["difference"] > 0
        else (row["model_a"], row["model_b"])
        for row in pairs.iter_rows(named=True)
        if row["p_holm"] is not None and row["p_holm"] < 0.05
    ]
    if apart:
        told = "; ".join(
            f"less to {isolated(smaller)} than to {isolated(larger)}" for smaller, larger in apart
        )
        text = f"The attack adds clearly different amounts (p < 0.05 after Holm): {told}."
    else:
        text = "No two models differ clearly in what the attack adds (p ≥ 0.05 after Holm)."
    ranking = frames.robustness_of_ranking.filter(*here, pl.col("epsilon") == frames.top)
    for row in ranking.iter_rows(named=True):
        trust = (
            "so it does not hang on a convention"
            if row["held"] == row["conventions"]
            else "so do not build on the whole order"
            if row["held"] < 0.8 * row["conventions"]
            else "so it hardly hangs on a convention"
        )
        text += (
            " The order of what the attack adds, "
            f"{' < '.join(map(isolated, row['ranking']))}, holds in {row['held']} of "
            f"{row['conventions']} conventions of comparing heatmaps, {trust}."
        )
    return Finding("Certainty", opening, (), text, "rankings")


def first_attack(frames: Frames) -> str:
    """What is told where the study's first attack alone is shown; empty where it has no other."""
    first, *others = (name.upper() for name in frames.attacks)
    if not others:
        return ""
    attack = "attack" if len(others) == 1 else "attacks"
    return f"Shown: {first}; the study's other {attack}, {listed(others)}, in the tables."


def first_images(frames: Frames) -> str:
    """The same where images of the first variant alone are shown."""
    first, *others = frames.plan.settings.data.variants
    if not others:
        return ""
    return f"Images: {first}; those of {listed(others)} in the tables."


def listed(names: Sequence[str]) -> str:
    """Names as in a sentence."""
    alone = [isolated(name) for name in names]
    return alone[0] if len(alone) == 1 else f"{', '.join(alone[:-1])} and {alone[-1]}"


def isolated(name: str) -> str:
    """A name that turns no letters around it: isolated where it holds any that run leftwards."""
    turning = {"R", "AL", "AN", "RLE", "RLO", "LRE", "LRO", "RLI", "LRI", "FSI", "PDF", "PDI"}
    if any(unicodedata.bidirectional(letter) in turning for letter in name):
        return f"\N{FIRST STRONG ISOLATE}{name}\N{POP DIRECTIONAL ISOLATE}"
    return name

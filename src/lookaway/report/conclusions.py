"""What a run shows, in sentences that a table below each can check."""

from collections.abc import Mapping
from dataclasses import replace

import polars as pl

from lookaway.analysis import direction, sanity
from lookaway.analysis.frames import Frames
from lookaway.report.again import networks_conclusion
from lookaway.report.conclusion import Conclusion
from lookaway.report.consequence import consequence
from lookaway.report.findings import at_top, findings, headlines, is_positive, of_first
from lookaway.report.flips import flips
from lookaway.report.robust import robust_conclusion
from lookaway.report.table import Cell
from lookaway.report.wording import ONE_TRAINING, isolated, listed, method_ending, trained
from lookaway.written import percent, signed

_DID = {
    "moved": "moved to other places",
    "spread": "spread",
    "shrank": "shrank",
    "inverted": f"were inverted (rank correlation ≤ −{-direction.REVERSED:g})",
    "died": "lost all evidence for the class (dead maps)",
}

_OTHER = {
    "own": "an image of another class",
    "clean": "an image of another class, explained for the same class,",
    "label": "an image of another class, explained for the same class,",
}


def conclusions(frames: Frames) -> list[Conclusion]:
    """Scale (and depth, with several layers), flips, direction, consequence, certainty.

    Before the last, where a network was trained in two ways, which of these looks elsewhere less;
    where one was trained several times, what holds for all of its trainings.

    Of each model under its own perturbations at the study's largest ε, for the class seen in the
    clean image where the study has it, and of the first variant of the images.
    """
    made = [_scale, _depth, flips, _direction, consequence, _certainty]
    if not frames.several_layers:
        made.remove(_depth)
    if not frames.robust_training.is_empty():
        made.insert(-1, robust_conclusion)
    if not frames.networks.is_empty():
        made.insert(-1, networks_conclusion)
    ending = method_ending(frames)
    found = [make(frames) for make in made]
    return [replace(each, table=each.table + ending) for each in found]


def _scale(frames: Frames) -> Conclusion:
    shifted = ("aimed",) if frames.shifted else ()
    numbers = headlines(frames, "noise", "shuffled", "excess", *shifted)
    clear = [model for model, cells in numbers.items() if is_positive(cells["excess"])]
    if clear:
        every = len(clear) == len(numbers) > 1
        moved = f"the heatmaps of {'every trained network' if every else trained(clear)}"
    else:
        moved = "no trained network's heatmaps"
    opening = (
        f"{frames.attack.upper()} moves {moved} clearly further than random signs of the same "
    )
    opening += "size, those of the others not." if 0 < len(clear) < len(numbers) else "size."
    if shifted and clear:
        opening += " " + _aimed(
            [model for model in clear if is_positive(numbers[model]["aimed"])], clear
        )
    fragile = [
        model
        for model, cells in numbers.items()
        if cells["shuffled"].value is not None
        and (cells["noise"].value or 0.0) >= cells["shuffled"].value
    ]
    closing = [_largest(frames)]
    if fragile:
        closing.append(
            f"The heatmaps of {trained(fragile)} are fragile by themselves: noise alone changes "
            f"them at least as much as {_OTHER[frames.policy]} does (the shuffled baseline)."
        )
    closing.append(_same_at_random(frames))
    table = f"scale_{frames.policy}"
    return Conclusion("Scale", opening, table, closing=" ".join(filter(None, closing)))


def _same_at_random(frames: Frames) -> str:
    """Which models' MOD is that of the same network with weights drawn anew."""
    if frames.sanity.is_empty():
        return ""
    found = frames.sanity.filter(at_top(frames), pl.col("low") <= 0, pl.col("high") >= 0)
    same: dict[str, list[str]] = {}
    for row in found.iter_rows(named=True):
        told = f"{sanity.TOLD[row['weights']]}: {row['mod']:.3f}"
        same.setdefault(row["model"], []).append(told)
    each = "; ".join(f"{isolated(model)} ({', '.join(told)})" for model, told in same.items())
    if not each:
        return ""
    return (
        "A network that has learnt nothing moves its heatmaps as far, so the size of this shift is "
        f"no sign of what was learnt: {each}."
    )


def _aimed(aimed: list[str], clear: list[str]) -> str:
    """In which of the models that move further than under noise that is the attack's aim."""
    rest = [model for model in clear if model not in aimed]
    shape = "any smooth change of this shape does, so no effect of the attack is shown"
    if not aimed:
        return f"Its own change in other places moves them as far: {shape}."
    text = "clearly further than its own change does in other places: that is aimed at the image"
    if not rest:
        return f"They move {text}."
    return f"Those of {listed(aimed)} move {text}. Those of {listed(rest)} do not: {shape}."


def _largest(frames: Frames) -> str:
    """Where the attack adds most, if that is not at the largest ε."""
    found = findings(frames, "excess").filter(explained_class=frames.policy, **of_first(frames))
    best = found.drop_nulls("value").sort("value", descending=True, maintain_order=True)
    best = best.unique("model", keep="first").filter(
        pl.col("value") > 0, pl.col("epsilon") != frames.top
    )
    most = {row["model"]: row for row in best.iter_rows(named=True)}
    parts = [
        f"in {isolated(model)} at ε = {most[model]['epsilon']:g} ({signed(most[model]['value'])})"
        for model in frames.models
        if model in most
    ]
    return f"It adds most to random signs below the largest ε: {'; '.join(parts)}." if parts else ""


def _depth(frames: Frames) -> Conclusion:
    """Where in each network the shift beyond noise begins."""
    rows = frames.by_depth.filter(
        at_top(frames),
        pl.col("source") == pl.col("model"),
        attack=frames.attack,
        variant=frames.variants[0],
    )
    models = []
    for model in frames.models:
        layers = rows.filter(model=model).to_dicts()
        clear = [layer["low"] is not None and layer["low"] > 0 for layer in layers]
        largest = max(layers, key=lambda row: row["excess"] or 0.0)
        most = f"most at {largest['layer']} (depth {largest['depth']:.2f}): "
        most += signed(largest["excess"] or 0.0)
        begins = len(clear) - clear[::-1].index(False) if False in clear else 0
        if not clear[-1]:
            text = "not clearly beyond noise at the last layer"
        elif begins == 0:
            text = "every explained layer moves clearly further than under noise"
        else:
            text = f"from {layers[begins]['layer']} on (depth {layers[begins]['depth']:.2f}) every "
            text += "layer moves clearly further than under noise"
        models.append((model, f"{text}; {most}"))
    opening = "Where in the network the shift beyond noise begins (depth 0: first layer, 1: last):"
    return Conclusion("Depth", opening, f"depth_{frames.policy}", tuple(models))


def _direction(frames: Frames) -> Conclusion:
    region = ["clean_inside", "attacked_inside"] if frames.regions is not None else []
    measures = (*direction.WORDS, "lost", "gained", "distance", "right", "down", *region)
    noise = headlines(frames, "stayed", scope=frames.control)
    models = []
    for model, cells in headlines(frames, *measures).items():
        if cells["lost"].value is None:
            models.append((model, "every clean map is dead, so nothing can have gone anywhere"))
            continue
        share = {word: cells[word].value or 0.0 for word in direction.WORDS}
        text = f"{percent(share['stayed'])} of the heatmaps stayed where they were"
        text += f" ({percent(noise[model]['stayed'].value)} under noise of the same size)"
        for word in sorted(_DID, key=lambda word: -share[word])[:2]:
            text += f", {percent(share[word])} {_DID[word]}" if share[word] > 0 else ""
        text += (
            f"; they lost {percent(cells['lost'].value)} of their participation and gained "
            f"{percent(cells['gained'].value)} in new places{_way(cells)}"
        )
        if region and cells[region[0]].value is not None:
            before, after = (cells[name].value for name in region)
            text += f"; inside the region it went from {percent(before)} to {percent(after)}"
        models.append((model, text))
    opening = "Where participation went under attack:"
    return Conclusion("Direction", opening, f"words_{frames.policy}", tuple(models))


def _way(cells: Mapping[str, Cell]) -> str:
    """How far the centre moved, and whether in one direction."""
    if cells["distance"].value is None:
        return ""
    names = {"right": ("left", "right"), "down": ("up", "down")}
    ways = [
        ends[is_positive(cells[measure])]
        for measure, ends in names.items()
        if is_positive(cells[measure]) or (cells[measure].high or 0.0) < 0
    ]
    where = f"mostly {' and '.join(ways)}" if ways else "in no common direction"
    return f"; the centre moved by {percent(cells['distance'].value)} of the image's side, {where}"


def _certainty(frames: Frames) -> Conclusion:
    count, test = len(frames.plan.classes), frames.plan.images.test.count
    drawn = (
        f"over whole classes, {count} of them, so they speak of other classes too"
        if frames.mod["interval"][0].endswith(", classes")
        else f"over the images within each class and so hold for these {count} classes alone"
    )
    opening = f"Intervals are 95 %, {drawn}; {test} test images. {ONE_TRAINING}"
    if len(frames.models) < 2:
        return Conclusion("Certainty", opening, f"scale_{frames.policy}")
    here = of_first(frames)
    measure = "aimed" if frames.shifted else "excess"
    what = "its own change in other places" if frames.shifted else "random signs"
    apart = frames.compare_models.filter(
        at_top(frames), pl.col("p_holm") < 0.05, measure=measure, **here
    )
    pairs = []
    for row in apart.iter_rows(named=True):
        names = [isolated(row["model_a"]), isolated(row["model_b"])]
        less, more = reversed(names) if row["difference"] > 0 else names
        pairs.append(f"less to {less} than to {more}")
    added = f"what the attack adds to {what}"
    text = (
        f"Trained networks differ clearly in {added} (p < 0.05 after Holm): {'; '.join(pairs)}."
        if pairs
        else f"No two trained networks differ clearly in {added} (p ≥ 0.05 after Holm)."
    )
    ranking = frames.robustness_of_ranking.filter(
        scope=here["scope"], variant=here["variant"], measure=measure, epsilon=frames.top
    )
    for row in ranking.iter_rows(named=True):
        trust = "so it hardly depends on a convention"
        if row["held"] == row["conventions"]:
            trust = "so it does not depend on a convention"
        elif row["held"] < 0.8 * row["conventions"]:
            trust = "so do not build on the whole order"
        above = zip(row["ranking"], row["positive"], strict=True)
        counts = ", ".join(f"{isolated(model)} in {count}" for model, count in above)
        text += (
            f" The order of {added}, {' < '.join(map(isolated, row['ranking']))}, holds in "
            f"{row['held']} of {row['conventions']} different conventions of comparing heatmaps, "
            f"{trust}; above 0 it is for {counts} of them."
        )
    return Conclusion("Certainty", opening, "rankings", closing=text)

"""Is a shift there because predictions flip, or beyond that? In sentences."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from lookaway.analysis import decomposition
from lookaway.analysis.frames import Frames
from lookaway.report.conclusion import Conclusion
from lookaway.report.findings import at_top, cell, headlines, of_first
from lookaway.report.table import Cell
from lookaway.report.wording import explainer, isolated, trained
from lookaway.written import percent, signed

_EXCESS, _FLIPS, _BEYOND = decomposition.EXCESS, decomposition.FLIPS, decomposition.BEYOND
_SAME = decomposition.SAME
_FLIPPED = ("flipped", "flipped under control")
_SHIFTED = "shifted of {}"
_CLASS_FREE = "eigencam"

# For each control its measures, each with how many images it is of.
_Parts = Mapping[str, Mapping[str, tuple[Cell, int]]]


def flips(frames: Frames) -> Conclusion:
    """What of each model's excess is left at equal outcome.

    Held against noise and, where the study has them, the attack's own perturbations, shifted: only
    what is left beside both is called clear, and in both ways to hold the outcome.
    """
    parts = {model: _parts(frames, model) for model in frames.models}
    equal = {model: _at_equal_accuracy(frames, model) for model in frames.models}
    clear = [
        model for model, found in parts.items() if found and all(map(_is_clear, found.values()))
    ]
    others = len(parts) - len(clear)
    attack = frames.attack.upper()
    if not clear:
        opening = (
            f"Among images that fare alike, {attack} moves no trained network's heatmaps clearly "
            "further than its controls do."
        )
    else:
        whose = "every trained network" if not others and len(clear) > 1 else trained(clear)
        opening = f"Also among images that fare alike, {attack} moves the heatmaps of {whose} "
        opening += "clearly further than its controls do"
        opening += "; those of the others it does not." if others else "."
    opening += " An image fares alike where it stays right, or flips, under both."
    models = tuple(
        (
            model,
            " ".join(
                _told(control, of, equal[model].get(control)) for control, of in found.items()
            ).removesuffix("."),
        )
        for model, found in parts.items()
        if found
    )
    table = f"flips_{frames.policy}"
    return Conclusion("Flips", opening, table, models, _without_class(frames))


def _without_class(frames: Frames) -> str:
    """How much of the shift a method shows that knows no class; empty where the study has none."""
    free = [each.name for each in frames.settings.explain.methods if each.kind == _CLASS_FREE]
    if not free or frames.method in free:
        return ""
    mine, theirs = (headlines(of, "mod") for of in (frames, frames.of(free[0], frames.attack)))
    parts = []
    for model, cells in mine.items():
        whole, shown = cells["mod"].value, theirs[model]["mod"].value
        if whole and shown is not None:
            parts.append(
                f"{percent(shown / whole)} in {isolated(model)} ({shown:.3f} of {whole:.3f})"
            )
    if not parts:
        return ""
    return (
        f"{explainer(_CLASS_FREE)} knows no class, so what it shows needs no change of class: of "
        f"the MOD of {explainer(frames.method)}, {', '.join(parts)}."
    )


def _parts(frames: Frames, model: str) -> _Parts:
    """The parts of a model's excess at the largest ε, beside each control that is told of."""
    controls = [frames.control, _SHIFTED.format(frames.attack)]
    found = frames.decomposition.filter(
        at_top(frames),
        pl.col("source") == pl.col("model"),
        attack=frames.attack,
        variant=of_first(frames)["variant"],
        model=model,
    )
    parts: dict[str, dict[str, tuple[Cell, int]]] = {}
    for control in controls:
        for row in found.filter(control=control).iter_rows(named=True):
            parts.setdefault(control, {})[row["measure"]] = cell(row), row["n"]
    return parts


def _at_equal_accuracy(frames: Frames, model: str) -> dict[str, Mapping[str, Any]]:
    """What a model's MOD differs by at equal accuracy, by control."""
    found = frames.equal_accuracy.filter(
        pl.col("source") == pl.col("model"),
        attack=frames.attack,
        variant=of_first(frames)["variant"],
        model=model,
        explained_class=frames.policy,
    )
    return {row["control"]: row for row in found.iter_rows(named=True)}


def _is_clear(of: Mapping[str, tuple[Cell, int]]) -> bool:
    """Whether a shift is left at equal outcome: of the same images and, where known, of all."""
    known = [of[measure][0] for measure in (_SAME, _BEYOND)]
    return all(
        left.low is not None and left.low > 0
        for left in known[: 1 if known[1].value is None else 2]
    )


def _told(control: str, of: Mapping[str, tuple[Cell, int]], equal: Mapping[str, Any] | None) -> str:
    """What is left of a model's excess over one control, a short sentence for each number."""
    shifted = control.startswith("shifted")
    name = "its own change in other places" if shifted else isolated(control)
    flipped, under = (of[measure][0].value or 0.0 for measure in _FLIPPED)
    sentences = [
        f"Beside {name}: {percent(flipped)} of the images flip, under the control "
        f"{percent(under)}.",
        f"MOD is higher by {_amount(of[_EXCESS][0])}.",
    ]
    beyond, same = of[_BEYOND][0], of[_SAME][0]
    if beyond.value is None:
        sentences.append(f"How much of that is due to more flips is not known: {beyond.reason}.")
    else:
        sentences.append(f"More flips account for {_amount(of[_FLIPS][0])} of that.")
        sentences.append(f"At equal outcome {_amount(beyond)} is left.")
    if same.value is None:
        return " ".join([*sentences, f"{(same.reason or '').capitalize()}."])
    count = of[_SAME][1]
    whose = "The one image that fares" if count == 1 else f"The {count} images that fare"
    moves = "moves" if count == 1 else "move"
    sentences.append(f"{whose} alike under both {moves} further by {_amount(same)}.")
    if equal is not None and equal["difference"] is not None:
        found = Cell(equal["difference"], equal["low"], equal["high"])
        sentences.append(
            f"Where both leave {percent(equal['accuracy'])} right, MOD is higher by "
            f"{_amount(found)}."
        )
    return " ".join(sentences)


def _amount(found: Cell) -> str:
    """A signed number with its interval, where it has one."""
    value = signed(found.value or 0.0)
    if found.low is None or found.high is None:
        return value
    return f"{value} ({signed(found.low)} to {signed(found.high)})"

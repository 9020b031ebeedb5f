"""What a run shows of networks trained plainly and on attacked images: a table, and sentences."""

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from lookaway.analysis.frames import Frames
from lookaway.analysis.per_image import CLEAN
from lookaway.analysis.robust_training import ALL, BOTH
from lookaway.report.again import MEASURES
from lookaway.report.conclusion import Conclusion
from lookaway.report.findings import of_first
from lookaway.report.pivot import listing
from lookaway.report.table import Table
from lookaway.report.wording import adversaries, isolated
from lookaway.written import percent, signed

SECTION = "Robust training: does it look elsewhere less?"
FEWEST = 10  # images that both get right, of which the sentence speaks
_FEW = "too few to tell"

_Told = Mapping[str, Any]


def robust_tables(frames: Frames, policy: str) -> Iterator[Table]:
    """Each pair of models that are one network trained in two ways, at every ε."""
    found = frames.robust_training.filter(explained_class=policy, pairs="all")
    if found.is_empty():
        return
    level = pl.col("epsilon").map_elements("{:g}".format, pl.String).fill_null("all")
    found = found.with_columns(
        pl.col("measure").replace_strict(MEASURES),
        pair=pl.format("{} − {}", "robust", "standard"),
        epsilon=level,
    )
    yield Table(
        f"robust_{policy}",
        f"Trained on attacked images or as they are, explained class: {policy}",
        "Robust less standard, on the same images, each model under its own perturbations (or "
        "noise). right under both: the images whose class both models predict, clean and "
        "perturbed, at that ε: no flip moves a heatmap there. VID is over all ε.",
        *listing(
            frames,
            found,
            {
                "standard": (".3f", "of_standard"),
                "robust": (".3f", "of_robust"),
                "difference": ("+.3f", "difference", "low", "high"),
                "n": (".0f", "n"),
            },
            ("variant", "pair", "scope", "measure", "images", "epsilon"),
        ),
        SECTION,
    )


def robust_conclusion(frames: Frames) -> Conclusion:
    """Does a robustly trained network look elsewhere less, also where both are right?"""
    first = of_first(frames)
    here = frames.robust_training.filter(explained_class=frames.policy, **first)
    attacks, models, answers = adversaries(frames.settings), [], []
    for standard, robust in here.select("standard", "robust").unique(maintain_order=True).rows():
        mine = here.filter(standard=standard, robust=robust)
        text, answer = _pair(frames, mine, attacks[robust])
        told = f"beside {isolated(standard)}, {text}. {answer}"
        models.append((robust, told.removesuffix(".")))
        answers.append(answer)
    told = answers[0] if len(set(answers)) == 1 else "That depends on the network."
    opening = f"Does a network that is trained on attacked images look elsewhere less? {told}"
    return Conclusion("Robust training", opening, f"robust_{frames.policy}", tuple(models))


def _pair(frames: Frames, mine: pl.DataFrame, attack: str) -> tuple[str, str]:
    """What is known of a pair in words, and the answer."""
    numbers = {
        (row["measure"], row["images"], row["epsilon"]): row for row in mine.iter_rows(named=True)
    }
    both = [
        epsilon
        for epsilon in frames.epsilons
        if numbers.get(("mod", BOTH, epsilon), {"n": 0})["n"] >= FEWEST
    ]
    level = max(both) if both else frames.top
    every, right = numbers["mod", ALL, level], numbers.get(("mod", BOTH, level))
    text = f"learnt from images attacked with {attack}. At ε = {level:g} its MOD is "
    text += f"{_two(every)} on all images"
    if right is not None and both:
        text += f", {_two(right)} on the {right['n']} that both get right, clean and attacked"
    else:
        text += f"; at no ε do both get as many as {FEWEST} images right, clean and attacked"
        right = None
    for measure in ("excess", "aimed"):
        if (found := numbers.get((measure, ALL, level))) is not None:
            text += f"; {measure} {_two(found)}"
            if right is not None and (few := numbers.get((measure, BOTH, level))) is not None:
                text += f", where both are right {signed(few['difference'])}{_interval(few)}"
    vid = numbers["vid", ALL, None]
    if vid["difference"] is not None:
        text += f"; VID {_two(vid)}"
    clean, attacked = numbers[CLEAN, ALL, None], numbers["accuracy", ALL, level]
    text += f". Accuracy: clean {_shares(clean)}, attacked {_shares(attacked)}"
    return text, _answer(every, right)


def _answer(every: _Told, right: _Told | None) -> str:
    """The answer for one pair, by its intervals."""
    less, both = _side(every), None if right is None else _side(right)
    if less == "less":
        told = "Yes"
        if both == "less":
            return f"{told}, also on images that both it and its plain twin get right."
        if both is None:
            return f"{told}; whether also where both are right, {_FEW}."
        if both == "more":
            return f"{told}, but it looks elsewhere more where both are right."
        return f"{told}, but not clearly where both are right: it flips less."
    told = "No: it looks elsewhere more" if less == "more" else "Not clearly"
    if both in ("less", "more"):
        return f"{told}, but {both} where both are right."
    return f"{told}."


def _side(row: _Told) -> str:
    """On which side of 0 the whole interval of a difference lies."""
    low, high = row["low"], row["high"]
    if low is None or high is None or low <= 0 <= high:
        return "unclear"
    return "less" if high < 0 else "more"


def _two(row: _Told) -> str:
    """Both models' numbers and their difference."""
    if row["difference"] is None:
        return "not known"
    pair = f"{row['of_robust']:.3f} against {row['of_standard']:.3f}"
    return f"{pair} ({signed(row['difference'])}{_interval(row)})"


def _interval(row: _Told) -> str:
    if row["low"] is None:
        return ""
    return f", {signed(row['low'])} to {signed(row['high'])}"


def _shares(row: _Told) -> str:
    return f"{percent(row['of_robust'], 1)} against {percent(row['of_standard'], 1)}"

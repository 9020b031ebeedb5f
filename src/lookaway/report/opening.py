"""What a page opens with: which model looks elsewhere most, how much of it is attack, how sure."""

from collections.abc import Mapping
from dataclasses import dataclass

from lookaway.analysis import dead
from lookaway.analysis.frames import Frames
from lookaway.report.findings import (
    accuracies,
    alike,
    at_top,
    headlines,
    is_positive,
    meaningless,
    of_first,
)
from lookaway.report.placed import ceiling, common
from lookaway.report.table import Cell
from lookaway.report.wording import (
    ONE_TRAINING,
    first_attack,
    first_images,
    first_method,
    isolated,
    signed,
    trained,
    whose_noise,
    with_interval,
)


@dataclass(frozen=True)
class Opening:
    """The opening.

    Attributes:
        model: the one with the largest MOD; None where no model has heatmaps that can be compared.
        title: in a few words, without the model.
        sentences: for which models MOD means nothing; how much, how much beyond its controls, how
            many it fails, and how sure; of what, where there is more.
        bars: of each model that has pairs mod, noise, shuffled and excess, and where there are
            shifted controls shifted and aimed; all at the largest ε.
        accuracies: of the same models; see ``findings.accuracies``.
        scale: what the longest bar, with its interval, reaches.
    """

    model: str | None
    title: str
    sentences: tuple[str, ...]
    bars: Mapping[str, Mapping[str, Cell]]
    accuracies: Mapping[str, Mapping[str, Cell]]
    scale: float


def opening(frames: Frames) -> Opening:
    """Which model looks elsewhere most under its own perturbations, at the study's largest ε."""
    shifted = ("shifted", "aimed") if frames.shifted else ()
    apart = (dead.DEAD, dead.MOD_LIVING)
    every = headlines(frames, "mod", "noise", "shuffled", "excess", *shifted, *apart)
    bars = {model: cells for model, cells in every.items() if cells["excess"].value is not None}
    if not bars:
        return Opening(None, "No pair of heatmaps to compare", (), {}, {}, 1.0)
    same = alike(frames)
    told = {model: cells for model, cells in bars.items() if model not in same}
    ends = [
        end or 0.0
        for cells in bars.values()
        for cell in (cells["mod"], cells["noise"], cells["shuffled"], cells.get("shifted"))
        if cell is not None
        for end in (cell.value, cell.high)
    ]
    scale = max(ends) or 1.0
    right = accuracies(frames)
    if not told:
        sentence = (meaningless(frames), ONE_TRAINING)
        return Opening(None, "The same heatmap for every image", sentence, bars, right, scale)
    by_mod = sorted(told, key=lambda model: -(told[model]["mod"].value or 0.0))
    first = by_mod[0]
    sentences = [meaningless(frames)] if same else []
    sentences += [
        f"{frames.attack.upper()} at ε = {frames.top:g} gives {trained([first])} MOD "
        f"{with_interval(bars[first]['mod'])}; {_beyond(bars[first])}."
        f"{_dead_apart(bars[first])} {_failed(right[first])}"
    ]
    title = "under attack"
    if len(told) > 1:
        title, certain = _compared(frames, told, by_mod)
        sentences += certain
    sentences.append(ONE_TRAINING)
    shown = (
        ceiling(frames, first),
        common(frames),
        whose_noise(frames, [frames.attack]),
        first_attack(frames),
        first_method(frames),
        first_images(frames),
    )
    sentences += filter(None, shown)
    return Opening(first, title, tuple(sentences), bars, right, scale)


def _compared(
    frames: Frames, bars: Mapping[str, Mapping[str, Cell]], by_mod: list[str]
) -> tuple[str, list[str]]:
    """The title, and how sure it is that the first model is first."""
    first, second = by_mod[:2]
    measure = "aimed" if frames.shifted else "excess"
    what, s = ("its own change in other places", "s") if frames.shifted else ("random signs", "")
    most, next_ = sorted(bars, key=lambda model: -(bars[model][measure].value or 0.0))[:2]
    certainty, clear = _certainty(frames, "mod", first, second)
    certainty_beyond, clear_beyond = _certainty(frames, measure, most, next_)
    if most == first:
        beyond = f"Beyond {what} it is first too"
    else:
        beyond = f"What the attack adds to {what} is largest in {isolated(most)}, "
        beyond += with_interval(bars[most][measure], sign=True)
    added = is_positive(bars[first]["excess"]) and is_positive(bars[first][measure])
    no_further = [isolated(second)] if clear is False else []
    title = "looks elsewhere" if no_further else "looks elsewhere most"
    if no_further and clear_beyond and most == first and added:
        title, no_further = f"looks elsewhere most beyond what {what} cause{s}", []
    if not added:  # what is not the attack's is not claimed
        no_further.append(f"under {what}")
    if no_further:
        title += f", not clearly further than {' or '.join(no_further)}"
    beyond += f"; {isolated(next_)} is next with {signed(bars[next_][measure].value or 0.0)}: "
    beyond += f"{certainty_beyond}."
    if frames.shifted and not any(is_positive(cells["aimed"]) for cells in bars.values()):
        beyond = f"No trained network's heatmaps move clearly further than under {what}."
    known = f"{isolated(second)} is next with {bars[second]['mod'].value:.3f}: {certainty}."
    return title, [known, beyond]


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


def _dead_apart(cells: Mapping[str, Cell]) -> str:
    """MOD without the pairs whose NISSIM says nothing of where a network looks; may be empty."""
    share, living = cells[dead.DEAD].value, cells[dead.MOD_LIVING].value
    if not share:
        return ""
    rest = "none is left without them" if living is None else f"the others score {living:.3f}"
    return (
        f" In {share:.0%} of its pairs a map is dead, which scores about 0.5 by construction (0 "
        f"where both are); {rest}."
    )


def _beyond(cells: Mapping[str, Cell]) -> str:
    """How much of a model's shift is beyond random signs, and how much beyond the change's shape.

    Only what is clear against both is the attack's.
    """
    excess, aimed = cells["excess"], cells.get("aimed")
    over = with_interval(excess, sign=True)
    known = aimed is not None and aimed.value is not None
    left = with_interval(aimed, sign=True) if aimed is not None and known else ""
    if not is_positive(excess):
        text = f"not clearly more than random signs of the same size cause: {over}"
        return f"{text}; less what its own change causes in other places: {left}" if known else text
    text = f"{over} of it is more than random signs of the same size cause"
    if not known:
        return text
    if is_positive(aimed):
        return f"{text}, and {left} more than its own change causes in other places: that is aimed"
    return (
        f"{text}, but its own change in other places moves the heatmaps as far (less that: {left}):"
        " any smooth change of this shape does"
    )


def _failed(right: Mapping[str, Cell]) -> str:
    """The accuracy under attack, and under its controls."""
    shown = {name: f"{found.value:.1%}" for name, found in right.items()}
    text = f"Its accuracy goes from {shown['clean']} to {shown['attack']}; under random signs it "
    text += f"is {shown['noise']}"
    text += (
        f", under its own change in other places {shown['shifted']}" if "shifted" in shown else ""
    )
    attack = right["attack"].value or 0.0
    if attack >= (right["noise"].value or 0.0):
        return f"{text}: noise fails it as often, so here that is no attack."
    if "shifted" in right and attack >= (right["shifted"].value or 0.0):
        return f"{text}, which fails it as often."
    return f"{text}."

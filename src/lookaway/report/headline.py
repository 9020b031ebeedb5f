"""A run in one small table for the terminal, and the same as numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import polars as pl
from rich.cells import cell_len

from lookaway.analysis import dead
from lookaway.analysis.frames import Frames
from lookaway.perturbation import NOISE
from lookaway.report.findings import findings
from lookaway.report.opening import opening
from lookaway.report.wording import explainer, listed
from lookaway.written import NONE, decimal, percent, signed


def headline_numbers(frames: Frames) -> list[dict[str, Any]]:
    """For each method, model and perturbation, at the largest ε: accuracy, MOD and excesses.

    MOD and excess are of the last layer, for the class of the clean image where the study has it.

    Returns:
        variant, model, perturbation, epsilon, method, explained_class, n, accuracy_clean, accuracy,
        dead (share of pairs with a dead map), mod_living (MOD of the others; null where there are
        none), mod, mod_low, mod_high; and under an attack excess, excess_low, excess_high (beyond
        noise), aimed, aimed_low, aimed_high (beyond its own change in other places); null under
        controls.
    """
    return [row for one in frames.each_method for row in _of_method(one)]


def _of_method(frames: Frames) -> list[dict[str, Any]]:
    apart = {"dead": dead.DEAD, "mod_living": dead.MOD_LIVING}
    found = findings(frames, "mod", "excess", "aimed", "accuracy", *apart.values()).filter(
        pl.col("scope") != pl.format("{} from {}", "attack", "model"),  # its white-box row again
        (pl.col("explained_class") == frames.policy).fill_null(value=True),
        pl.col("epsilon").is_in([0.0, frames.top]),
        pairs="all",
    )
    rows = []
    for part in found.partition_by("variant", "scope", "model", maintain_order=True):
        numbers = {(row["measure"], row["epsilon"]): row for row in part.iter_rows(named=True)}
        mod = numbers["mod", frames.top]
        beyond = {name: numbers.get((name, frames.top), {}) for name in ("excess", "aimed")}
        rows.append(
            {
                "variant": mod["variant"],
                "model": mod["model"],
                "perturbation": mod["scope"],
                "epsilon": frames.top,
                "method": frames.method,
                "explained_class": frames.policy,
                "n": mod["n"],
                "accuracy_clean": numbers["accuracy", 0.0]["value"],
                "accuracy": numbers["accuracy", frames.top]["value"],
                **{name: numbers[measure, frames.top]["value"] for name, measure in apart.items()},
                "mod": mod["value"],
                "mod_low": mod["low"],
                "mod_high": mod["high"],
                **{
                    f"{name}{end}": found.get(end[1:] or "value")
                    for name, found in beyond.items()
                    for end in ("", "_low", "_high")
                },
            }
        )
    return sorted(rows, key=lambda row: frames.models.index(row["model"]))


_CONTROL = "other controls"  # but noise
_INDENT = "  "
_NAME = 14  # letters that the column of names has at least


@dataclass(frozen=True)
class Headline:
    """A run in one table for the terminal.

    Attributes:
        title: the ε, method and explained class of the numbers.
        heads: of the columns behind the perturbation's name.
        models: each model's name, and its lines: a perturbation's name and a cell for each head.
        left_out: what has no line here, and where it is; empty where everything has.
        verdict: the sentence that the page opens with.
    """

    title: str
    heads: tuple[str, ...]
    models: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]
    left_out: str
    verdict: str

    def lines(self, width: int = 80, plain: Callable[[str], str] = str) -> list[str]:
        """As text: a name that its column cannot hold has a line of its own.

        Args:
            width: of the console, in letters; intervals stand below their numbers where they do
                not fit beside them.
            plain: what the console writes of a text.
        """
        blocks = [
            (plain(name), [_plainly(line, plain) for line in each]) for name, each in self.models
        ]
        heads = _plainly(("", *self.heads), plain)
        for apart, gap in ((" ", 2), ("\n", 1)):
            parted = [[_parted(line, apart) for line in each] for _, each in blocks]
            every = [line for each in parted for line in each]
            sizes = [max(map(_wide, column)) for column in zip(heads, *every, strict=True)]
            room = width - sum(sizes[1:]) - gap * len(sizes[1:]) - len(_INDENT)
            if room >= min(sizes[0], _NAME):
                break
        sizes[0] = max(min(sizes[0], room), _NAME)
        told = [plain(self.title), *_laid(_parted(heads, apart), sizes, gap)]
        for (name, _), each in zip(blocks, parted, strict=True):
            told.append(name)
            told += [text for line in each for text in _laid(line, sizes, gap)]
        closing = [*filter(None, (self.left_out, self.verdict))]
        return [*told, *(text for one in closing for text in wrap(plain(one), width))]


def headline(frames: Frames, most: int = 24) -> Headline:
    """The run's first method at its largest ε, in few lines.

    Where there are too many, controls but noise go first, then transfers.
    """
    numbers = headline_numbers(frames)
    kinds = _kinds(frames)
    shown = [row for row in numbers if row["method"] == frames.method]
    for kind in (_CONTROL, "transfers"):
        if len(shown) > most:
            shown = [row for row in shown if kinds.get(row["perturbation"], _CONTROL) != kind]
    less = {"excess": "less noise (95 %)", "aimed": "less shifted (95 %)"}
    less = less if frames.shifted else {"excess": less["excess"]}
    models = []
    for (model, variant), rows in _by_model(shown):
        clean = ("clean", percent(rows[0]["accuracy_clean"], 1), *[""] * (3 + len(less)))
        lines = [
            (row["perturbation"], *_cells(row), *(_with_ends(row, of) for of in less))
            for row in rows
        ]
        several = f" ({variant})" if frames.several_variants else ""
        models.append((f"{model}{several}", (clean, *lines)))
    title = f"At ε = {frames.top:g}: {explainer(frames.method)}, class: {frames.policy}"
    heads = ("right", "dead", "living", "MOD", *less.values())
    said = opening(frames)
    verdict = " ".join(filter(None, [said.model, f"{said.title}.", *said.lead[:1]]))
    return Headline(
        title,
        heads,
        tuple(models),
        _left_out(frames, numbers, shown),
        verdict,
    )


def _plainly(line: Sequence[str], plain: Callable[[str], str]) -> tuple[str, ...]:
    return tuple(map(plain, line))


def _parted(line: Sequence[str], apart: str) -> tuple[str, ...]:
    """A line whose intervals stand beside, or below, their numbers."""
    return (line[0], *(cell.replace(" (", f"{apart}(") for cell in line[1:]))


def _wide(cell: str) -> int:
    return max(map(cell_len, cell.split("\n")))


def _laid(line: Sequence[str], sizes: Sequence[int], gap: int) -> list[str]:
    """One line of a table as lines of text: its first cell to the left, the others to the right."""
    name, cells = line[0], [cell.split("\n") for cell in line[1:]]
    above = []
    if cell_len(name) > sizes[0]:
        above, name = [f"{_INDENT}{name}"], ""
    laid = []
    for place in range(max(map(len, cells))):
        first = name if place == 0 else ""
        text = _INDENT + first + " " * (sizes[0] - cell_len(first))
        for parts, size in zip(cells, sizes[1:], strict=True):
            part = parts[place] if place < len(parts) else ""
            text += " " * (gap + size - cell_len(part)) + part
        laid.append(text.rstrip())
    return above + laid


def _kinds(frames: Frames) -> dict[str, str]:
    """What kind of perturbation a name is of; what has none is a control of an attack."""
    own = {f"{attack} white-box": "white-box" for attack in frames.attacks}
    given = {
        f"{attack} from {model}": "transfers"
        for attack in frames.attacks
        for model in frames.models
    }
    return {**own, **given, NOISE: "noise"}


def _by_model(rows: list[dict[str, Any]]) -> list[tuple[tuple[str, str], list[dict[str, Any]]]]:
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["model"], row["variant"]), []).append(row)
    return list(found.items())


def _left_out(frames: Frames, every: list[dict[str, Any]], shown: list[dict[str, Any]]) -> str:
    """What has no line, in words."""
    if len(shown) == len(every):
        return ""
    kinds = _kinds(frames)
    here = {kinds.get(row["perturbation"], _CONTROL) for row in shown}
    mine = [row for row in every if row["method"] == frames.method]
    gone = {kinds.get(row["perturbation"], _CONTROL) for row in mine} - here
    others = [explainer(name) for name in frames.methods if name != frames.method]
    what = listed([*sorted(gone), *others])
    return f"{len(every) - len(shown)} more lines ({what}): on the page, and with --json."


def _cells(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Accuracy, the share of dead pairs, MOD of living ones and of all."""
    if row["mod"] is None:
        return percent(row["accuracy"], 1), "", "", NONE
    living, mod = decimal(row["mod_living"]), decimal(row["mod"])
    return percent(row["accuracy"], 1), percent(row["dead"]), living, mod


def _with_ends(row: Mapping[str, Any], name: str) -> str:
    """A number with its interval; empty where there is none."""
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if value is None:
        return ""
    return signed(value) if low is None else f"{signed(value)} ({signed(low)}, {signed(high)})"

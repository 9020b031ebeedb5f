"""What was taken of checkpoints, and whether networks that were only loaded tell the classes."""

from lookaway.analysis.frames import Frames
from lookaway.analysis.loaded import CHANCE, ORDER
from lookaway.errors import shown
from lookaway.report.wording import isolated
from lookaway.study.json_files import Plan
from lookaway.written import percent


def details(plan: Plan, *, choices: bool = False) -> list[str]:
    """What was taken of each model's checkpoint, in a line; none for models without one.

    Args:
        plan: what ``plan.json`` holds.
        choices: only where the user could choose otherwise.
    """
    lines = []
    for model, about in plan.loaded.items():
        parts, used = [], about.checkpoint
        left = [] if used is None else used.left
        if used is not None:
            kind = "averaged weights" if used.averaged else "weights"
            parts.append(f"{kind} from {used.taken or 'the top'} of its checkpoint")
            if left:
                other = "raw" if used.averaged else "averaged"
                choice = f"averaged: {str(not used.averaged).lower()}"
                parts[-1] += f", not {', '.join(left)}; `{choice}` takes the {other} ones"
            if used.prefix:
                parts.append(f"{used.prefix!r} taken off all names")
            if used.new_head:
                parts.append("no classification layer in it, so a new one")
        order = about.classes or ""
        found = order.startswith("the checkpoint")
        if order:
            parts.append(f"class order: {order}{' (`classes` sets another)' if found else ''}")
        if parts and (left or found or not choices):
            lines.append(f"{_plain(model)}: {'; '.join(parts)}")
    return lines


def doubts(frames: Frames) -> list[str]:
    """Warnings about networks that were only loaded and do not tell the classes of clean images."""
    lines = []
    for row in frames.loaded.iter_rows(named=True):
        where = f" ({row['variant']})" if row["variant"] != "none" else ""
        right = f"{_plain(row['model'])}{where} is right on {_percent(row['accuracy'])} of the "
        right += f"{row['n']} clean test images ({_percent(row['chance'])} by chance)"
        if row["finding"] == CHANCE:
            lines.append(
                f"{right}: what an attack changes in it says little. Are its weights trained for "
                "these classes, and are mean, std, input_size and `classes` those that it was "
                "trained with?"
            )
        if row["finding"] != ORDER:
            continue
        known = frames.plan.loaded[row["model"]].classes
        likely = "its outputs likely stand for the classes in another order than "
        likely += known or "that of sorted names"
        if known is None and row["natural"] > 0.9 * row["reassigned"]:
            lines.append(
                f"{right}, but on {_percent(row['natural'])} if its outputs stand for the classes "
                f"in natural order (2 before 10): {likely}; `classes: natural`"
            )
        else:
            lines.append(
                f"{right}, but on {_percent(row['reassigned'])} if each class that it predicts is "
                f"taken for another one ({_percent(row['reassigned_by_chance'])} by chance): "
                f"{likely}; give the model's `classes`: names in the network's order, or a file of "
                "them"
            )
    return lines


def _plain(model: str) -> str:
    """A model's name in a sentence for page and terminal."""
    return isolated(shown(model, 100))


def _percent(share: float) -> str:
    return percent(share, 0 if share > 0.1 or share == 0 else 1)

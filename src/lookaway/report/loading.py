"""What was taken of checkpoints, and whether networks that were only loaded tell the classes."""

from collections.abc import Mapping
from typing import Any

from lookaway.analysis.frames import Frames
from lookaway.analysis.loaded import CHANCE, ORDER
from lookaway.errors import shown
from lookaway.report.verdict import isolated


def choices(plan: Mapping[str, Any]) -> list[str]:
    """What a user should know of how models were loaded: where there was a choice, and what by.

    Args:
        plan: of a run.
    """
    lines = []
    for model, about in plan.get("loaded", {}).items():
        name, left = _plain(model), ", ".join(about.get("left", []))
        if left:
            kind = "averaged" if about["averaged"] else "raw"
            lines.append(
                f"{name}: of its checkpoint the {kind} weights are taken ({about['taken']}), not "
                f"{left}; `averaged: {str(not about['averaged']).lower()}` takes the "
                f"{'raw' if about['averaged'] else 'averaged'} ones"
            )
        if about.get("classes", "").startswith("the checkpoint"):
            lines.append(
                f"{name}: {about['classes']} says which of its outputs is which class; `classes` "
                "says it otherwise"
            )
    return lines


def details(plan: Mapping[str, Any]) -> list[str]:
    """What was taken of each model's checkpoint, in a line; none for models without one.

    Args:
        plan: of a run.
    """
    lines = []
    for model, about in plan.get("loaded", {}).items():
        parts = []
        if "taken" in about:
            kind = "averaged weights" if about["averaged"] else "weights"
            parts.append(f"{kind} from {about['taken'] or 'the top'} of its checkpoint")
            if about["left"]:
                parts.append(f"not taken: {', '.join(about['left'])}")
            if about["prefix"]:
                parts.append(f"{about['prefix']!r} taken off all names")
            if about["new_head"]:
                parts.append("no classification layer in it, so a new one")
        if "classes" in about:
            parts.append(f"class order: {about['classes']}")
        lines += [f"{_plain(model)}: {'; '.join(parts)}"] if parts else []
    return lines


def doubts(frames: Frames) -> list[str]:
    """Warnings about networks that were only loaded and do not tell the classes of clean images.

    Args:
        frames: of a run.
    """
    lines = []
    for row in frames.loaded.iter_rows(named=True):
        name = _plain(row["model"])
        where = f" ({row['variant']})" if row["variant"] != "none" else ""
        right = f"{name}{where} is right on {_percent(row['accuracy'])} of the {row['n']} clean "
        right += f"test images ({_percent(row['chance'])} by chance)"
        if row["finding"] == ORDER:
            known = frames.plan.get("loaded", {}).get(row["model"], {}).get("classes")
            likely = (
                f"its outputs likely stand for the classes in another order than "
                f"{known or 'that of sorted names'}"
            )
            if known is None and row["natural"] > 0.9 * row["reassigned"]:
                lines.append(
                    f"{right}, but on {_percent(row['natural'])} if its outputs stand for the "
                    f"classes in natural order (2 before 10): {likely}; `classes: natural`"
                )
            else:
                lines.append(
                    f"{right}, but on {_percent(row['reassigned'])} if each class that it predicts "
                    f"is taken for another one ({_percent(row['reassigned_by_chance'])} by "
                    f"chance): {likely}; give the model's `classes`: names in the network's "
                    "order, or a file of them"
                )
        elif row["finding"] == CHANCE:
            lines.append(
                f"{right}: what an attack changes in it says little. Are its weights trained for "
                "these classes, and are mean, std, input_size and `classes` those that it was "
                "trained with?"
            )
    return lines


def _plain(model: str) -> str:
    """A model's name in a sentence for page and terminal."""
    return isolated(shown(model, 100))


def _percent(share: float) -> str:
    return f"{share:.0%}" if share > 0.1 or share == 0 else f"{share:.1%}"

"""What was taken of checkpoints, and whether networks that were only loaded tell the classes."""

from lookaway.analysis.frames import Frames
from lookaway.analysis.loaded import CHANCE, ORDER
from lookaway.errors import shown
from lookaway.report.verdict import isolated
from lookaway.study.json_files import Plan


def choices(plan: Plan) -> list[str]:
    """What a user should know of how models were loaded: where there was a choice, and what by.

    Args:
        plan: of a run.
    """
    lines = []
    for model, about in plan.loaded.items():
        name, used = _plain(model), about.checkpoint
        if used is not None and used.left:
            kind = "averaged" if used.averaged else "raw"
            lines.append(
                f"{name}: of its checkpoint the {kind} weights are taken ({used.taken}), not "
                f"{', '.join(used.left)}; `averaged: {str(not used.averaged).lower()}` takes the "
                f"{'raw' if used.averaged else 'averaged'} ones"
            )
        if about.classes is not None and about.classes.startswith("the checkpoint"):
            lines.append(
                f"{name}: {about.classes} says which of its outputs is which class; `classes` "
                "says it otherwise"
            )
    return lines


def details(plan: Plan) -> list[str]:
    """What was taken of each model's checkpoint, in a line; none for models without one.

    Args:
        plan: of a run.
    """
    lines = []
    for model, about in plan.loaded.items():
        parts, used = [], about.checkpoint
        if used is not None:
            kind = "averaged weights" if used.averaged else "weights"
            parts.append(f"{kind} from {used.taken or 'the top'} of its checkpoint")
            if used.left:
                parts.append(f"not taken: {', '.join(used.left)}")
            if used.prefix:
                parts.append(f"{used.prefix!r} taken off all names")
            if used.new_head:
                parts.append("no classification layer in it, so a new one")
        if about.classes is not None:
            parts.append(f"class order: {about.classes}")
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
            known = frames.plan.loaded[row["model"]].classes
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

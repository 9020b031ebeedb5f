"""What a reader must know before believing a run's numbers, in sentences."""

import polars as pl

from lookaway.analysis import summary
from lookaway.analysis.frames import Frames
from lookaway.report.loading import doubts

TOO_MANY = 0.01  # of the images


def warnings(frames: Frames) -> list[str]:
    """The warnings of a run; none where all is well.

    Args:
        frames: of a run.
    """
    return [*doubts(frames), *_not_attacked(frames)]


def _not_attacked(frames: Frames) -> list[str]:
    """Models and perturbations that leave more than one image in a hundred as it was."""
    found = summary.by_scope(frames.unattacked).filter(pl.col("unattacked") > TOO_MANY)
    if found.is_empty():
        return []
    keys = ["variant", "model", "attack", "source", "epsilon"]
    mods = frames.last(frames.mod).filter(pl.col("explained_class") == frames.policy)
    means = {
        pairs: {tuple(row[:5]): row[5] for row in part.select(*keys, "mod").iter_rows()}
        for (pairs,), part in mods.partition_by("pairs", as_dict=True).items()
    }
    lines = []
    once = pl.col("scope") != pl.format("{} from {}", "attack", "model")  # a source's own rows
    for row in found.filter(once).iter_rows(named=True):
        key = tuple(row[name] for name in keys)
        with_them, without = means["all"].get(key), means["attacked"].get(key)
        told = "none is left without them" if without is None else f"{without:.3f} without them"
        where = f" ({row['variant']})" if frames.several_variants else ""
        lines.append(
            f"{row['model']}{where}, {row['scope']}, ε = {row['epsilon']:g}: no pixel was changed "
            f"in {round(row['unattacked'] * row['n'])} of {row['n']} images "
            f"({row['unattacked']:.1%}), as where the gradient is exactly zero. That is no "
            f"stability: MOD is {with_them:.3f} with them, {told}"
        )
    return lines

"""What a reader must know before believing a run's numbers, in sentences."""

import polars as pl

from lookaway.analysis.frames import Frames
from lookaway.perturbation import OWN_SIZE
from lookaway.report.findings import findings
from lookaway.report.loading import doubts
from lookaway.report.masked import masked
from lookaway.report.wording import of_method

TOO_MANY = 0.01  # of the images


def warnings(frames: Frames) -> list[str]:
    """The warnings of a run; none where all is well."""
    return [*doubts(frames), *_not_attacked(frames), *masked(frames)]


def _not_attacked(frames: Frames) -> list[str]:
    """Models and perturbations that leave more than one image in a hundred as it was."""
    found = findings(frames, "unattacked").filter(
        pl.col("value") > TOO_MANY,
        ~pl.col("attack").str.starts_with(OWN_SIZE.format("")),
        pl.col("scope") != pl.format("{} from {}", "attack", "model"),  # its white-box row again
    )
    if found.is_empty():
        return []
    mods = findings(frames, "mod").filter(explained_class=frames.policy)
    keys = ("variant", "model", "scope", "epsilon")
    means = {
        (pairs, *setting): mod
        for pairs, *setting, mod in mods.select("pairs", *keys, "value").iter_rows()
    }
    lines = []
    for row in found.iter_rows(named=True):
        setting = [row[key] for key in keys]
        with_them, without = (means.get((pairs, *setting)) for pairs in ("all", "attacked"))
        rest = "none is left without them" if without is None else f"{without:.3f} without them"
        where = f" ({row['variant']})" if frames.several_variants else ""
        lines.append(
            f"{row['model']}{where}, {row['scope']}, ε = {row['epsilon']:g}: no pixel was changed "
            f"in {round(row['value'] * row['n'])} of {row['n']} images ({row['value']:.1%}), as "
            f"where the gradient is exactly zero. That is no stability: MOD{of_method(frames)} is "
            f"{with_them:.3f} with them, {rest}"
        )
    return lines

"""Tables of groups of people, and of the largest gap between two of them."""

from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from lookaway.analysis import summary
from lookaway.analysis.by_group import kept_groups
from lookaway.analysis.face_regions import REGIONS
from lookaway.analysis.frames import Frames
from lookaway.analysis.subgroups import FEWEST, GAP
from lookaway.report.pivot import LINES, Body, pivoted
from lookaway.report.table import Table
from lookaway.report.verified import known_rates

SECTION = "Groups of people"
_RULE = (
    f"No number is told of a group with under {FEWEST} people. largest gap: the highest less the "
    "lowest, of which two stands beside it; they were chosen by the same numbers, so of many "
    "groups it claims too much. Intervals take people for their units."
)


def group_tables(frames: Frames, found: pl.DataFrame | None) -> Iterator[Table]:
    """Accuracy, MOD and excess, what moved on the face, and error rates, by group.

    Args:
        frames: of one of the run's methods.
        found: ``Frames.by_group``, of all methods.
    """
    kept = kept_groups(frames.store)
    if found is None or kept is None:
        return
    called, groups = kept[0], [*sorted(set(kept[1].values())), GAP]
    at_top = (pl.col("epsilon") == frames.top) | (pl.col("attack") == "clean")
    every = summary.by_scope(found.filter(at_top))
    mine = frames.last(every.filter(method=frames.method))
    for policy in frames.ordered_policies:
        some = mine.filter(explained_class=policy)
        where = f"at ε = {frames.top:g}, explained class: {policy}"
        shift = {"accuracy": "accuracy", "mod": "MOD", "excess": "excess"}
        yield Table(
            f"groups_{policy}",
            f"By {called} {where}",
            f"Means over the images of each group's people. {_RULE}",
            *_lines(frames, some, shift, groups, ".3f"),
            SECTION,
        )
        regions = {f"beyond_noise {region}": region for region in REGIONS}
        if not (moved := some.filter(pl.col("measure").is_in([*regions]))).is_empty():
            points = moved.with_columns(pl.col("value", "low", "high") * 100)
            yield Table(
                f"groups_regions_{policy}",
                f"What moved on the face by {called}, beyond noise, {where}",
                "Each image's change of the share under attack less that under noise of the same "
                f"size, in the last layer, averaged, in percentage points. {_RULE}",
                *_lines(frames, points, regions, groups, "+.1f"),
                SECTION,
            )
    compared = every.filter(pl.col("method").is_null())
    rates = {"eer": "EER"}
    for rate in known_rates(compared):
        rates |= {f"{name}@{rate:g}": f"{told} at FMR {rate:g}" for name, told in _RATES.items()}
    if not compared.is_empty():
        yield Table(
            "groups_verification",
            f"Error rates by {called} at ε = {frames.top:g}",
            "Genuine comparisons are those of a group's people, impostor comparisons those of two "
            f"of its people; thresholds are the same for all. {_RULE}",
            *_lines(frames, compared, rates, groups, "%"),
            SECTION,
            of_images=True,
        )


_RATES = {"fnmr": "FNMR", "fmr": "FMR", "success": "taken for target"}


def _lines(
    frames: Frames,
    found: pl.DataFrame,
    measures: Mapping[str, str],
    groups: Sequence[str],
    form: str,
) -> Body:
    """A line for each number, a column for each group."""
    some = found.filter(pl.col("measure").is_in([*measures]))
    some = some.with_columns(number=pl.col("measure").replace(measures))
    columns = {(group,): (group, form) for group in groups}
    return pivoted(frames, some, columns, by=("group",), lines=(*LINES, "number"))

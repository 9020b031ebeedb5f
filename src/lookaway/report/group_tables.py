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
from lookaway.report.verified import RATES_TOLD, SMALLEST, known_rates

SECTION = "Groups of people"
_RULE = (
    f"No number is told of a group with under {FEWEST} people. largest gap: the highest less the "
    "lowest, of which two stands beside it; they were chosen by the same numbers, so of many "
    "groups it claims too much. Intervals take people for their units."
)


def group_tables(frames: Frames, found: pl.DataFrame | None) -> Iterator[Table]:
    """Accuracy, MOD and excess, what moved on the face, and error rates, by group."""
    kept = kept_groups(frames.store)
    if found is None or kept is None:
        return
    called, groups = kept[0], [*sorted(set(kept[1].values())), GAP]
    at_top = (pl.col("epsilon") == frames.top) | (pl.col("attack") == "clean")
    every = summary.by_scope(found.filter(at_top | pl.col("epsilon").is_null()))
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
    if not compared.is_empty():
        yield from _of_comparisons(frames, compared, called, groups)


def _of_comparisons(
    frames: Frames, compared: pl.DataFrame, called: str, groups: Sequence[str]
) -> Iterator[Table]:
    """Error rates, mean similarities, and the smallest ε that changes a decision."""
    rates, shares, smallest = known_rates(compared), {"eer": "EER"}, {}
    for rate in rates:
        shares |= {
            f"{name}@{rate:g}": f"{told} at FMR {rate:g}" for name, told in RATES_TOLD.items()
        }
        smallest[f"epsilon@{rate:g}"] = f"at FMR {rate:g}"
    means = {name: f"cosine, {name}" for name in ("genuine", "impostor")}
    same = (
        "Genuine comparisons are those of a group's people, impostor comparisons those of two of "
    )
    same += f"its people; thresholds are the same for all. {_RULE}"
    top = f"by {called} at ε = {frames.top:g}"
    median = f"The smallest ε that changes a decision, by {called}"
    for name, title, note, measures, form in (
        ("verification", f"Error rates {top}", same, shares, "%"),
        ("cosines", f"Mean similarities {top}", same, means, ".3f"),
        ("smallest_epsilon", median, f"{SMALLEST} {_RULE}", smallest, ".3g"),
    ):
        lines = _lines(frames, compared, measures, groups, form)
        yield Table(f"groups_{name}", title, note, *lines, SECTION, of_images=True)


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

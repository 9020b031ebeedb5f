"""Tables of where on aligned faces the layers look."""

from collections.abc import Iterator

import polars as pl

from lookaway.analysis import summary
from lookaway.analysis.face_regions import REGIONS, layout
from lookaway.analysis.frames import Frames
from lookaway.report.pivot import LINES, pivoted
from lookaway.report.table import Table
from lookaway.written import percent

SECTION = "Regions: where on the face?"


def _areas(frames: Frames) -> str:
    """What a heatmap that is the same everywhere would have in each region."""
    told = []
    for variant, about in frames.plan.variants.items():
        if (covered := layout(about.aligner)) is not None:
            areas = zip(REGIONS, covered.mean(axis=(1, 2)), strict=True)
            listed = ", ".join(f"{region} {percent(area)}" for region, area in areas)
            told.append(f"{variant}: {listed}" if frames.several_variants else listed)
    return "; ".join(told)


def face_tables(frames: Frames) -> Iterator[Table]:
    """The share of participation in each region, and what an attack moved beyond noise."""
    if not frames.aligned:
        return
    top = frames.face_regions.filter(epsilon=frames.top)
    for policy in frames.ordered_policies:
        found = top.filter(explained_class=policy)
        if found.is_empty():
            continue
        where = f"at ε = {frames.top:g}, explained class: {policy}"
        attacked = summary.by_scope(found.filter(measure="attacked"))
        clean = found.filter(measure="clean", attack=frames.attacks[0]).filter(
            pl.col("source") == pl.col("model")
        )
        before = clean.with_columns(scope=pl.lit("clean"))
        yield Table(
            f"regions_{policy}",
            f"Where on the face {where}",
            "Mean share of a heatmap's participation in each part of the face, by its own five "
            "points where the study was given some, else by the aligned square's standard layout; "
            "a line's parts add up to 100 %. Of layers before the last the pictured images alone. "
            "Regions smaller than a position of a layer's map share that position. Of the "
            f"square's area by the standard layout: {_areas(frames)}.",
            *pivoted(
                frames,
                pl.concat([before, attacked.select(before.columns)]),
                {(region,): (region, "%") for region in REGIONS},
                by=("region",),
                lines=(*LINES, "layer"),
            ),
            SECTION,
        )
        yield Table(
            f"regions_moved_{policy}",
            f"What moved on the face, beyond noise, {where}",
            "Each image's change of the share under attack less that under noise of the same size, "
            "averaged, in percentage points.",
            *pivoted(
                frames,
                summary.by_scope(found.filter(measure="beyond_noise")).with_columns(
                    pl.col("value", "low", "high") * 100
                ),
                {(region,): (region, "+.1f") for region in REGIONS},
                by=("region",),
                lines=(*LINES, "layer"),
            ),
            SECTION,
        )

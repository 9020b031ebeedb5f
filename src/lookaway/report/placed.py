"""Tables and sentences of what stands beside MOD: its place, and the numbers beside NISSIM."""

from collections.abc import Iterator

import polars as pl

from lookaway.analysis import summary
from lookaway.analysis.frames import Frames
from lookaway.analysis.place import Ceiling, ceiling_of
from lookaway.report.findings import at_top, headlines
from lookaway.report.pivot import listing, pivoted
from lookaway.report.table import SCALE, Table
from lookaway.report.wording import isolated
from lookaway.written import percent

_HEADS = {
    "nissim_common": ("MOD at a common size", ".3f"),
    "sliced_wasserstein": ("apart", ".3f"),
    "log_mass_ratio": ("ln mass", "+.3f"),
}
_LESS = {"": "", "noise": " less noise", "shifted": " less shifted"}


def placed_tables(frames: Frames, policy: str) -> Iterator[Table]:
    """The tables of one explained class, at the study's largest ε."""
    where = f"ε = {frames.top:g}, explained class: {policy}"
    here = at_top(frames, policy)
    found = frames.place.filter(here, pairs="all")
    if _ceiling(frames) is not None and not found.is_empty():
        yield Table(
            f"place_{policy}",
            f"Between floor and ceiling at {where}",
            "floor: MOD under random signs (noise), or under the attack's own change in other "
            "places (shifted). ceiling: MOD under the attack on the explanation, which keeps the "
            "prediction. place: (MOD − floor) / (ceiling − floor), 0 at the floor and 1 at the "
            "ceiling, which an attack that flips predictions may pass.",
            *listing(
                frames,
                summary.by_scope(found),
                {
                    "MOD": (".3f", "mod"),
                    "at the floor": (".3f", "floor_mod"),
                    "ceiling": (".3f", "ceiling_mod"),
                    "place": ("%", "place", "low", "high", "reason"),
                },
                ("variant", "scope", "floor", "model"),
            ),
            SCALE,
        )
    beside = frames.beside_nissim.filter(here)
    if not beside.is_empty():
        less = list(_LESS) if frames.shifted else ["", "noise"]
        yield Table(
            f"beside_nissim_{policy}",
            f"Beside NISSIM at {where}",
            "MOD at a common size: all last maps brought to the smallest size among them, "
            f"{common_size(frames)}, first. apart: the sliced Wasserstein distance of the two maps "
            "÷ their sums, in sides of the image, free of grid and map size. ln mass: the "
            "logarithm of the sum of the raw map after the attack over that before, where −0.69 is "
            "half the evidence. The last two of living pairs. less: each image's number less that "
            "under the control.",
            *pivoted(
                frames,
                summary.by_scope(beside.with_columns(pl.col("less").fill_null(""))).filter(
                    pl.col("source").is_not_null()
                ),
                {
                    (measure, control): (f"{head}{_LESS[control]}", "+.3f" if control else form)
                    for measure, (head, form) in _HEADS.items()
                    for control in less
                },
                by=("measure", "less"),
            ),
            SCALE,
        )


def ceiling(frames: Frames, model: str) -> str:
    """How far a model can be made to look elsewhere with its prediction kept; may be empty."""
    top = _ceiling(frames)
    if top is None:
        return ""
    scope = f"{top.attack} white-box"
    highest = headlines(frames, "mod", scope=scope)[model].get("mod")
    if highest is None or highest.value is None:
        return ""
    text = (
        f"With the predicted class kept and its confidence within {top.within:g}, "
        f"{isolated(model)}'s heatmaps can be made to move to MOD {highest.value:.3f} at ε = "
        f"{frames.top:g} (`{top.attack}`)"
    )
    found = frames.place.filter(
        at_top(frames), pl.col("source") == pl.col("model"), model=model, attack=frames.attack
    ).filter(pairs="all", floor="noise", variant=frames.variants[0])
    for row in found.iter_rows(named=True):
        if row["place"] is None:
            return f"{text}: not clearly further than random signs move them."
        share, low, high = (percent(row[name]) for name in ("place", "low", "high"))
        text += f"; {frames.attack.upper()} stands at {share} of the way from random signs "
        text += f"({row['floor_mod']:.3f}) to there (95 % interval {low} to {high})"
    return f"{text}."


def common(frames: Frames) -> str:
    """MOD at a common resolution, where models differ in map size; else empty."""
    if not sizes_differ(frames):
        return ""
    sizes = frames.plan.last_sizes
    found = frames.beside_nissim.filter(
        at_top(frames),
        pl.col("less").is_null(),
        pl.col("source") == pl.col("model"),
        measure="nissim_common",
        attack=frames.attack,
        variant=frames.variants[0],
    )
    told = {row["model"]: row["value"] for row in found.iter_rows(named=True)}
    parts = [
        f"{isolated(model)} {told[model]:.3f} ({'×'.join(map(str, sizes[model]))})"
        for model in frames.models
        if told.get(model) is not None
    ]
    if not parts:
        return ""
    return (
        "The last maps differ in size, and NISSIM with it. With all brought to "
        f"{common_size(frames)} first, MOD is: {', '.join(parts)}."
    )


def _ceiling(frames: Frames) -> Ceiling | None:
    """The study's ceiling, where it is of the frames' method."""
    found = ceiling_of(frames.settings)
    return found if found is not None and found.method == frames.method else None


def sizes_differ(frames: Frames) -> bool:
    """Whether the models' last maps are of several sizes, so that NISSIM is not one measure."""
    return len({tuple(frames.plan.last_sizes[model]) for model in frames.models}) > 1


def common_size(frames: Frames) -> str:
    """The size that all last maps are brought to, such as ``7×7``."""
    sizes = [frames.plan.last_sizes[model] for model in frames.models]
    return f"{min(size[0] for size in sizes)}×{min(size[1] for size in sizes)}"

"""Two runs on the same images: what changed, and whether a rise is clearly above a limit."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from lookaway.analysis import comparison
from lookaway.errors import InputError, StoreError
from lookaway.places import AnyPath
from lookaway.report.compared import compared_page
from lookaway.result import Result, open_result
from lookaway.study.json_files import Plan
from lookaway.written import signed

_SAME = ("image_size", "channels", "range", "norm", "quantize", "methods", "ssim", "grid")


@dataclass(frozen=True)
class RunComparison:
    """What changed from one run to another.

    Attributes:
        differences: from ``analysis.comparison.compare_runs``: one row for each variant,
            perturbation, class policy, ε, measure and pair of models.
        headline: those of the largest common ε, of the clean image's class where both runs have
            it, and of all pairs, dead ones too.
        passed: a sentence for each rise whose whole 95 % interval lies above its limit.
        runs: the places of the two.
        limits: how much a measure may rise, by its name: mod, excess, aimed.
    """

    differences: pl.DataFrame
    headline: pl.DataFrame
    passed: tuple[str, ...]
    runs: tuple[str, str]
    limits: Mapping[str, float]

    def page(self) -> str:
        """The comparison as one HTML file: what passes its limit and what fails, and every ε."""
        differs = what_differs(self.headline)
        return compared_page(self.runs, self.differences, self.headline, self.limits, differs)


def compare(
    first: AnyPath | str,
    second: AnyPath | str,
    max_mod_rise: float | None = None,
    max_excess_rise: float | None = None,
    max_aimed_rise: float | None = None,
) -> RunComparison:
    """Compare two finished runs on the same images, image by image.

    A limit is passed where the whole 95 % interval of the rise lies above it, at the
    largest ε that both runs have, for the class of the clean image where both have it, under any
    perturbation that both have (noise has a MOD, and no excess).
    A limit on what one of the runs did not measure is refused, because nothing could pass it.

    Args:
        first: the folder of the run to compare with.
        second: the folder of the other run.
        max_mod_rise: how much MOD may rise from the first to the second.
        max_excess_rise: how much the excess over random signs may rise.
        max_aimed_rise: how much the aimed excess, that over the attack's own change in other
            places, may rise.

    Raises:
        InputError: a limit is not a finite number.
        StoreError: a run cannot be read, or the two are not of the same images and measure.
    """
    given = {"mod": max_mod_rise, "excess": max_excess_rise, "aimed": max_aimed_rise}
    limits = {measure: limit for measure, limit in given.items() if limit is not None}
    for measure, limit in limits.items():
        if not math.isfinite(limit):
            raise InputError(
                f"max_{measure}_rise must be a finite number, such as 0.02; got {limit}"
            )
    runs = open_result(first), open_result(second)
    _check_same(*runs)
    names = [run.frames.models for run in runs]
    shared = [name for name in names[0] if name in names[1]]
    if shared:
        models = [(name, name) for name in shared]
    elif len(names[0]) == len(names[1]) == 1:
        models = [(names[0][0], names[1][0])]
    else:
        raise StoreError(
            f"the runs have no model in common: {', '.join(names[0])} and {', '.join(names[1])}; "
            "models are paired by name (two runs of one model each are paired as they are)"
        )
    differences = comparison.compare_runs(
        runs[0].frames.last_rows, runs[1].frames.last_rows, models
    )
    if differences.is_empty():
        raise StoreError("the runs have no ε, perturbation and explained class in common")
    headline = _headline(differences)
    if max_aimed_rise is not None and "aimed" not in headline["measure"]:
        raise StoreError(
            "max_aimed_rise needs an aimed excess in both runs, and one has none at "
            f"ε = {headline['epsilon'][0]:g}: run the studies with controls: {{shifted: 2}}"
        )
    passed = [
        sentence
        for measure, limit in limits.items()
        for sentence in _passed(headline.filter(pl.col("measure") == measure), limit)
    ]
    places = str(runs[0].folder), str(runs[1].folder)
    return RunComparison(differences, headline, tuple(passed), places, limits)


def what_differs(headline: pl.DataFrame, most: int = 6) -> str:
    """In a line: which differences' 95 % intervals do not hold 0, the largest first.

    Args:
        headline: of a ``RunComparison``.
        most: how many are named.
    """
    once = ["model_b", "variant", "scope", "measure"]  # accuracy is the same for every method
    clear = (
        headline.filter((pl.col("low") > 0) | (pl.col("high") < 0))
        .unique([*once, "difference"], keep="first", maintain_order=True)
        .sort(pl.col("difference").abs(), *once, descending=[True, *[False] * len(once)])
    )
    if clear.is_empty():
        return "Nothing differs clearly: every 95 % interval of a difference holds 0."
    several = headline["method"].n_unique() > 1
    named = [
        f"{_called(row, several)} {signed(row['difference'])}"
        for row in clear.head(most).iter_rows(named=True)
    ]
    more = clear.height - len(named)
    return f"Clearly different: {'; '.join(named)}{f'; and {more} more' if more else ''}."


def _called(row: Mapping[str, Any], several: bool) -> str:
    """Which number a difference is of; with the method where there are several."""
    names = {"mod": "MOD", "excess": "the excess", "aimed": "the aimed excess"}
    name = names.get(row["measure"], row["measure"])
    by = f" by {row['method']}" if several and row["measure"] != "accuracy" else ""
    return f"{name}{by} of {row['model_b']} under {row['scope']}"


def _check_same(first: Result, second: Result) -> None:
    """Refuse runs whose numbers cannot be held side by side."""
    found = []
    for run in (first, second):
        test = run.samples().filter(pl.col("part") == "test")
        found.append(dict(test.select("image", "sha256").iter_rows()))
    different = sorted(
        name for name in {*found[0], *found[1]} if found[0].get(name) != found[1].get(name)
    )
    if different:
        raise StoreError(
            f"the runs were not made on the same test images: {len(different)} differ, such as "
            f"{different[0]!r}; give both studies the same folder, classes and split"
        )
    settings = [_measure(run.plan) for run in (first, second)]
    for name in _SAME:
        if settings[0][name] != settings[1][name]:
            raise StoreError(
                f"the runs were measured otherwise: {name} is {settings[0][name]!r} in "
                f"{str(first.folder)!r} and {settings[1][name]!r} in {str(second.folder)!r}"
            )


def _measure(plan: Plan) -> dict[str, Any]:
    settings = plan.settings
    return {
        "norm": plan.norm,
        **settings.data.model_dump(include={"image_size", "channels", "range"}),
        "quantize": settings.quantize,
        "methods": settings.explain.model_dump()["methods"],
        **settings.measure.model_dump(),
    }


def _headline(differences: pl.DataFrame) -> pl.DataFrame:
    policies = differences["explained_class"].unique(maintain_order=True).to_list()
    policy = "clean" if "clean" in policies else policies[0]
    return differences.filter(
        pl.col("epsilon") == pl.col("epsilon").max(),
        pl.col("explained_class") == policy,
        pl.col("pairs") == "all",
    )


def _passed(rows: pl.DataFrame, limit: float) -> list[str]:
    several = rows["method"].n_unique() > 1
    return [
        f"{_called(row, several)} at ε = {row['epsilon']:g} rose by {signed(row['difference'])} "
        f"(95 % interval {signed(row['low'])} to {signed(row['high'])}), more than {limit:g}"
        for row in rows.iter_rows(named=True)
        if row["low"] is not None and row["low"] > limit
    ]

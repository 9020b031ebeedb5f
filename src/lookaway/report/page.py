"""One HTML file that says what a study found; and the tables and figures as files."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import polars as pl
import yaml

from lookaway.analysis import summary
from lookaway.analysis.frames import Frames
from lookaway.report import figures, pictures, tables
from lookaway.study.store import Store

PICTURED_ON_PAGE = 12
_LISTED = 200  # files set aside that the page names


def build_report(store: Store) -> Path:
    """Write a run's tables, figures and page from what is stored.

    Args:
        store: the run's files.

    Returns:
        The page's path.

    Raises:
        StoreError: something stored is missing or damaged.
    """
    plan = store.read_plan()
    frames = Frames(store)
    made_tables = tables.all_tables(frames)
    made_figures = figures.files(figures.all_figures(frames))
    for name, text in tables.files(made_tables).items():
        store.write_text(f"tables/{name}", text)
    for name, raw in made_figures.items():
        store.write_bytes(f"figures/{name}", raw)
    store.write_text("report.html", _page(store, plan, frames, made_tables, made_figures))
    return store.folder / "report.html"


def sentences(frames: Frames) -> tuple[str, str]:
    """A study in two sentences: what was done, and what came out.

    Args:
        frames: of a run.
    """
    settings, counts = frames.plan["settings"], frames.plan["images"]
    models = frames.models
    attacks = " and ".join(name.upper() for name in settings["attacks"])
    sources = settings["transfer_from"]
    transfer = f" and in transfer from {_listed(sources)}" if sources else ""
    done = (
        f"{_listed(models)} {'was' if len(models) == 1 else 'were'} attacked with {attacks}, "
        f"white-box{transfer}, on {counts['test']['count']} test images of "
        f"{len(frames.plan['classes'])} classes; random signs of the same size are the control."
    )
    return done, _found(frames)


def _found(frames: Frames) -> str:
    policy = frames.policies[0]
    chosen = summary.by_scope(
        frames.last(frames.mod).filter(
            (pl.col("explained_class") == policy) & (pl.col("pairs") == "all")
        )
    )
    top = float(chosen["epsilon"].to_numpy().max())
    at_top = chosen.filter(pl.col("epsilon") == top)
    own = at_top.filter(pl.col("source") == pl.col("model"), pl.col("scope").str.ends_with("box"))
    most = own.sort("mod", descending=True, nulls_last=True).row(0, named=True)
    same = pl.col("model") == most["model"], pl.col("variant") == most["variant"]
    noise = at_top.filter(pl.col("source").is_null(), *same).row(0, named=True)
    accuracy = frames.accuracy.filter(
        pl.col("source") == most["model"], pl.col("attack") == most["attack"], *same
    ).sort("epsilon")["accuracy"]
    which = f"the heatmaps of {most['model']} moved" + (" most" if own.height > 1 else "")
    return (
        f"At ε = {top:g} {which}: MOD {_number(most)} under its own {most['attack'].upper()}, "
        f"against {_number(noise)} under noise of the same size, while its accuracy went from "
        f"{accuracy[0]:.1%} to {accuracy[-1]:.1%}."
    )


def _number(row: Mapping[str, Any]) -> str:
    if row["low"] is None:
        return f"{row['mod']:.3f}"
    return f"{row['mod']:.3f} (95 % interval {row['low']:.3f} to {row['high']:.3f})"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _page(
    store: Store,
    plan: Mapping[str, Any],
    frames: Frames,
    made_tables: list[tables.Table],
    made_figures: Mapping[str, bytes],
) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    charts = [
        {
            "title": f"MOD over ε, explained class: {policy}",
            "source": "data:image/svg+xml;base64,"
            + base64.b64encode(made_figures[f"mod_{policy}.svg"]).decode(),
        }
        for policy in frames.policies
    ]
    kinds = frames.mod["interval"].unique().to_list()
    return environment.get_template("page.html.j2").render(
        sentences=sentences(frames),
        charts=charts,
        tables=made_tables,
        pictures=pictures.pictures(store, plan, frames.rows, PICTURED_ON_PAGE),
        policy=frames.policies[0],
        attack=plan["settings"]["attacks"][0].upper(),
        dead_pairs=frames.dead_pairs,
        rows=frames.rows.height,
        set_aside=list(plan["set_aside"].items())[:_LISTED],
        set_aside_count=len(plan["set_aside"]),
        counts={part: about["count"] for part, about in plan["images"].items()},
        classes=plan["classes"],
        interval=kinds[0],
        grid=plan["settings"]["measure"]["grid"],
        settings=yaml.safe_dump(plan["settings"], sort_keys=False, allow_unicode=True),
        versions=plan["versions"],
        weights=plan["weights"],
        layers=plan["last_layers"],
        map_sizes=dict(frames.last(frames.mod).select("model", "map_size").iter_rows()),
    )

"""One HTML file that says what a study found; and the tables and figures as files."""

import base64
from collections.abc import Mapping
from pathlib import Path

import jinja2
import yaml

from lookaway.analysis.frames import Frames
from lookaway.report import figures, mean_maps, pictures, tables
from lookaway.report.mean_maps import MeanLook, mean_looks
from lookaway.report.pictured import PicturedImages
from lookaway.report.table import Table
from lookaway.report.table import files as table_files
from lookaway.report.verdict import listed, verdict
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
    frames = Frames(store)
    made_tables = tables.all_tables(frames)
    made_figures = figures.files(figures.all_figures(frames))
    looks = mean_looks(frames, frames.policy)
    mean_files = mean_maps.files(f"mean_heatmaps_{frames.policy}", looks)
    for name, frame in frames.to_keep().items():
        store.write_frame(f"frames/{name}.parquet", frame)
    for name, text in table_files(made_tables).items():
        store.write_text(f"tables/{name}", text)
    for name, raw in (made_figures | mean_files).items():
        store.write_bytes(f"figures/{name}", raw)
    store.write_text("report.html", _page(store, frames, made_tables, made_figures, looks))
    return store.folder / "report.html"


def done(frames: Frames) -> str:
    """What was done, in a sentence.

    Args:
        frames: of a run.
    """
    settings, counts = frames.plan["settings"], frames.plan["images"]
    models = frames.models
    attacks = " and ".join(name.upper() for name in settings["attacks"])
    sources = settings["transfer_from"]
    transfer = f" and in transfer from {listed(sources)}" if sources else ""
    return (
        f"{listed(models)} {'was' if len(models) == 1 else 'were'} attacked with {attacks}, "
        f"white-box{transfer}, on {counts['test']['count']} test images of "
        f"{len(frames.plan['classes'])} classes; random signs of the same size are the control."
    )


_CHARTS = {
    "mod": "MOD over ε",
    "words": "What became of the looks, by ε",
    "mod_by_depth": "MOD over depth",
    "excess_by_depth": "Excess shift over depth",
    "dead_by_depth": "Dead maps over depth",
}


def _chart_title(name: str) -> str:
    kind, _, policy = name.rpartition("_")
    return f"{_CHARTS[kind]}, explained class: {policy}"


def _sections(made_tables: list[Table]) -> list[tuple[str, list[Table]]]:
    names = dict.fromkeys(table.section for table in made_tables)
    return [(name, [table for table in made_tables if table.section == name]) for name in names]


def _page(
    store: Store,
    frames: Frames,
    made_tables: list[Table],
    made_figures: Mapping[str, bytes],
    looks: list[MeanLook],
) -> str:
    plan = frames.plan
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    charts = [
        {
            "title": _chart_title(name.removesuffix(".svg")),
            "source": "data:image/svg+xml;base64," + base64.b64encode(raw).decode(),
        }
        for name, raw in made_figures.items()
        if name.endswith(".svg")
    ]
    kinds = frames.mod["interval"].unique().to_list()
    return environment.get_template("page.html.j2").render(
        done=done(frames),
        verdict=verdict(frames),
        looks=[(look, *mean_maps.tiles(look)) for look in looks],
        aligned=[name for name in plan["settings"]["data"]["variants"] if name != "none"],
        top=frames.top,
        headline_policy=frames.policy,
        charts=charts,
        headline=next(table for table in made_tables if table.section == "Headline"),
        sections=_sections([table for table in made_tables if table.section != "Headline"]),
        pictures=pictures.pictures(frames, PicturedImages(frames), PICTURED_ON_PAGE),
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

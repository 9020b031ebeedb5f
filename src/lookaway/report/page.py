"""One HTML file that says what a study found; and the tables and figures as files."""

import base64
import hashlib
import json
import zlib
from itertools import islice
from typing import Any

import numpy as np
import vl_convert
import yaml
from markupsafe import Markup

from lookaway.analysis.frames import Frames
from lookaway.places import AnyPath
from lookaway.report.conclusions import conclusions
from lookaway.report.explorer import explorer as explored
from lookaway.report.figure import Figure
from lookaway.report.figures import Figures, figure_name
from lookaway.report.first_screen import bars, strip
from lookaway.report.loading import details
from lookaway.report.mean_heatmaps import MeanHeatmaps, mean_figure, means_of
from lookaway.report.opening import opening
from lookaway.report.options import COLOURS as COLOUR_MAPS
from lookaway.report.options import Options
from lookaway.report.overlays import GAINED, LOST, coloured
from lookaway.report.pair_views import PairView, PairViews
from lookaway.report.panels import on_any_ground
from lookaway.report.paper.figures import correspondence, paper_figures
from lookaway.report.paper.tables import SECTION, paper_tables
from lookaway.report.pictured import PicturedImages
from lookaway.report.static import static
from lookaway.report.table import Table
from lookaway.report.table import files as table_files
from lookaway.report.tables import all_tables
from lookaway.report.templates import ASSETS, environment
from lookaway.report.verified import heading, verified
from lookaway.report.warnings import warnings
from lookaway.report.wording import (
    adversaries,
    explainer,
    first_attack,
    first_method,
    listed,
)
from lookaway.study.settings import settings_that_change_results
from lookaway.study.store import Store

_SCRIPTS = [
    "data.js",
    "draw.js",
    "state.js",
    "tables.js",
    "gallery.js",
    "explorer.js",
    "layers.js",
    "charts.js",
    "start.js",
]
_FIRST_CHARTS = ("accuracy", "excess", "excess_by_class", "nissim")  # the others are folded
_LISTED = 200  # files set aside that the page names


def build_report(store: Store, *, paper: bool | None = None) -> AnyPath:
    """Write a run's tables, figures and page from what is stored.

    Args:
        store: the run's files.
        paper: whether with the tables and figures in the paper's form; None: as the study says.

    Returns:
        The page's path.

    Raises:
        StoreError: something stored is missing or damaged.
    """
    frames = Frames(store)
    paper = frames.settings.report.paper if paper is None else paper
    made_tables, papers = all_tables(frames), []
    if paper:
        made_tables += paper_tables(frames)
        papers = [planned.make(Options()) for planned in paper_figures(frames)]
    charts = list(Figures(frames).charts())
    views = [frames.of(method, attack) for attack in frames.attacks for method in frames.methods]
    means = means_of(views, frames.policy)
    for name, frame in frames.to_keep().items():
        store.write_frame(f"frames/{name}.parquet", frame)
    for name, text in table_files(made_tables).items():
        store.write_text(f"tables/{name}", text)
    figures = [*charts, *papers]
    for view, mean in zip(views, means, strict=True):
        name = figure_name(view, "mean_heatmaps", frames.policy)
        figures.append(Figure(name, "", "", 2, panels=mean_figure(mean)))
    svgs = {figure.name: figure.svg() for figure in figures}
    for name, svg in svgs.items():
        store.write_text(f"figures/{name}.svg", svg)
    shown = [_View(view, mean) for view, mean in zip(views, means, strict=True)]
    store.write_text("report.html", _page(frames, shown, made_tables, charts, papers, svgs))
    return store.folder / "report.html"


def done(frames: Frames) -> str:
    """What was done, in a sentence."""
    plan, models = frames.plan, frames.models
    attacks = " and ".join(name.upper() for name in frames.attacks)
    transfer = f" and in transfer from {listed(frames.sources)}" if frames.sources else ""
    shifted = " and the attacks' own changes in other places" if frames.shifted else ""
    controls = f"random signs of the same size{shifted} are the control{'s' if shifted else ''}"
    return (
        f"{listed(models)} {'was' if len(models) == 1 else 'were'} attacked with {attacks}, "
        f"white-box{transfer}, on {plan.images.test.count} test images of "
        f"{len(plan.classes)} classes; {controls}."
    )


class _View:
    """What the page shows of one attack and method."""

    def __init__(self, frames: Frames, means: list[MeanHeatmaps]) -> None:
        self.attack, self.method = frames.attack, frames.method
        self.explainer, self.first_attack = explainer(frames.method), first_attack(frames)
        self.first_method = first_method(frames)
        self.opening, self.conclusions = opening(frames), conclusions(frames)
        self.bars = bars(frames)
        self.means = [(mean, *mean.panels()) for mean in means]


def _is_other(frames: Frames, chart: Figure) -> bool:
    """Whether a chart is shown only where another explained class, attack or method is chosen."""
    about = {
        frames.policy: chart.policy,
        frames.attacks[0]: chart.attack,
        frames.methods[0]: chart.method,
    }
    return any(its and its != first for first, its in about.items())


def _deflated(data: object) -> bytes:
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return zlib.compress(text.encode(), 9)


def _sections(tables: list[Table]) -> dict[str, list[Table]]:
    """The page's tables by section, but for those that stand in a part of their own."""
    found: dict[str, list[Table]] = {}
    for table in tables:
        if table.section != SECTION:
            found.setdefault(table.section, []).append(table)
    return found


def _page(
    frames: Frames,
    views: list[_View],
    tables: list[Table],
    charts: list[Figure],
    papers: list[Figure],
    svgs: dict[str, str],
) -> str:
    pictured = PicturedImages(frames)
    found = explored(frames, pictured)
    drawn = {chart.name: chart for chart in [*charts, *papers] if chart.spec}
    pictures = {name: static(svgs[name]) for name in drawn}
    about = {name: each for name, each in found.about.items() if name != "results"}
    data = {
        "results": found.about["results"],
        "charts": {name: chart.spec for name, chart in drawn.items()},
        "tables": {table.name: table.csv() for table in tables},
        "pictures": {
            name: pictures.pop(name) for name, chart in drawn.items() if _is_other(frames, chart)
        },
    }
    blobs = found.blobs | {f"json-{name}": _deflated(each) for name, each in data.items()}
    opened = {sentence for view in views for sentence in view.opening.lead}
    vega = vl_convert.javascript_bundle(None)  # type: ignore[arg-type]  # None: all of it
    blobs["vega"] = zlib.compress(vega.encode(), 9)
    script = _inline("\n".join(["(() => {", '"use strict";', *map(_asset, _SCRIPTS), "})();"]))
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            frames=frames,
            plan=frames.plan,
            views=views,
            explainers={name: explainer(name) for name in frames.methods},
            done=done(frames),
            verified=[(heading(each), each) for each in verified(frames)],
            pairs=_pairs(frames),
            without_face=_without_face(frames),
            warnings=[line for line in warnings(frames) if line not in opened],
            sections=_sections(tables),
            charts=charts,
            first_charts=_FIRST_CHARTS,
            statics=pictures,
            strip=strip(frames, pictured, found.about["first"]),
            colours=_colours(),
            explorer_data=about,
            explorer_note=found.note,
            blobs={name: base64.b64encode(raw).decode() for name, raw in blobs.items()},
            correspondence=correspondence(frames) if papers else [],
            papers=[(figure, _source(figure)) for figure in papers],
            paper_tables=[table for table in tables if table.section == SECTION],
            interval=frames.mod["interval"][0].partition(", ")[2],
            map_sizes=dict(frames.last(frames.mod).select("model", "map_size").iter_rows()),
            set_aside=dict(islice(frames.plan.set_aside.items(), _LISTED)),
            details=details(frames.plan),
            trained=frames.store.trained(),
            adversarial=adversaries(frames.settings),
            settings=yaml.safe_dump(
                settings_that_change_results(frames.settings), sort_keys=False, allow_unicode=True
            ),
            css=Markup(_asset("page.css")),  # noqa: S704  our own
            script=Markup(script),  # noqa: S704  our own
            policy_of_content=_content_policy(vega, script),
        )
    )


def _without_face(frames: Frames) -> dict[str, tuple[int, list[str]]]:
    """Of each variant how many images no face was found in, and the first of them."""
    if not any(about.without_face for about in frames.plan.variants.values()):
        return {}
    samples = frames.store.samples()
    found = {}
    for variant in frames.variants:
        unseen = samples.filter(samples["no_face"].list.contains(variant))["image"].to_list()
        if unseen:
            found[variant] = len(unseen), unseen[:_LISTED]
    return found


def _pairs(frames: Frames) -> list[tuple[str, str, list[PairView]]]:
    """Each gallery that keeps pairs: its name, how they are read, and the pairs of all attacks."""
    if not frames.galleries or not frames.settings.explain.pictured:
        return []
    views = PairViews(frames)
    found = [
        (
            name,
            views.note(name),
            [pair for attack in frames.attacks for pair in views.of(name, attack)],
        )
        for name in frames.galleries
    ]
    return [each for each in found if each[2]]


def _colours() -> dict[str, list[Any]]:
    """The page's colours of heatmaps and changes, each as red, green and blue up to 255."""
    whole = np.linspace(0.0, 1.0, 256)
    named = {name: coloured(whole, name) for name in COLOUR_MAPS}
    named |= {"lost": np.array(LOST), "gained": np.array(GAINED)}
    return {name: (255 * shades).round().astype(int).tolist() for name, shades in named.items()}


def _source(figure: Figure) -> str:
    """Image panels as a data URI; empty for a chart, which the page draws itself."""
    if figure.panels is None:
        return ""
    return "data:image/webp;base64," + base64.b64encode(on_any_ground(figure.panels)).decode()


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _inline(script: str) -> str:
    """A script as it may stand in a page: nothing in it ends it early."""
    plain = script.replace("\r\n", "\n").replace("\r", "\n")
    return plain.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _content_policy(*scripts: str) -> str:
    """No network for anything, and no script but these; Vega compiles its expressions."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    allowed = " ".join(f"'sha256-{found}'" for found in hashes)
    return (
        f"default-src 'none'; script-src {allowed} 'unsafe-eval'; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )

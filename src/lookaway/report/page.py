"""One HTML file that says what a study found; and the tables and figures as files."""

import base64
import hashlib
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import vl_convert
import yaml
from markupsafe import Markup
from PIL import Image

from lookaway.analysis.frames import Frames
from lookaway.places import AnyPath
from lookaway.report.conclusions import conclusions
from lookaway.report.explorer import explorer
from lookaway.report.figure import Figure
from lookaway.report.figures import Figures
from lookaway.report.loading import details
from lookaway.report.mean_heatmaps import MeanHeatmaps, mean_figure, mean_heatmaps
from lookaway.report.opening import opening
from lookaway.report.options import Options
from lookaway.report.overlays import GAINED, LOST, coloured
from lookaway.report.panels import saved
from lookaway.report.paper.figures import correspondence, paper_figures
from lookaway.report.paper.tables import SECTION, paper_tables
from lookaway.report.pictured import PicturedImages
from lookaway.report.table import Table
from lookaway.report.table import files as table_files
from lookaway.report.tables import all_tables
from lookaway.report.warnings import warnings
from lookaway.report.wording import first_attack, listed, signed
from lookaway.study.settings import settings_that_change_results
from lookaway.study.store import Store

_ASSETS = Path(__file__).parent / "assets"
_SCRIPTS = [
    "data.js",
    "draw.js",
    "state.js",
    "tables.js",
    "charts.js",
    "explorer.js",
    "layers.js",
    "start.js",
]
_EXPLAINERS = {  # by the names of the literature; others by their own
    "gradcam": "Grad-CAM",
    "gradcam++": "Grad-CAM++",
    "hirescam": "HiResCAM",
    "xgradcam": "XGrad-CAM",
    "layercam": "LayerCAM",
    "eigencam": "Eigen-CAM",
}
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
    means = mean_heatmaps(frames, frames.policy)
    for name, frame in frames.to_keep().items():
        store.write_frame(f"frames/{name}.parquet", frame)
    for name, text in table_files(made_tables).items():
        store.write_text(f"tables/{name}", text)
    panels = mean_figure(means)
    name = f"mean_heatmaps_{frames.policy}"
    figures = [*charts, *papers, Figure(name, "", "", 2, panels=panels)]
    for figure in figures:
        store.write_text(f"figures/{figure.name}.svg", figure.svg())
    store.write_text("report.html", _page(frames, made_tables, charts, papers, means))
    return store.folder / "report.html"


def done(frames: Frames) -> str:
    """What was done, in a sentence."""
    plan, models = frames.plan, frames.models
    attacks = " and ".join(name.upper() for name in frames.attacks)
    transfer = f" and in transfer from {listed(frames.sources)}" if frames.sources else ""
    return (
        f"{listed(models)} {'was' if len(models) == 1 else 'were'} attacked with {attacks}, "
        f"white-box{transfer}, on {plan.images.test.count} test images of "
        f"{len(plan.classes)} classes; random signs of the same size are the control."
    )


def _sections(tables: list[Table]) -> dict[str, list[Table]]:
    """The page's tables by section, but for those that stand in a part of their own."""
    found: dict[str, list[Table]] = {}
    for table in tables:
        if table.section not in ("Headline", SECTION):
            found.setdefault(table.section, []).append(table)
    return found


def _page(
    frames: Frames,
    tables: list[Table],
    charts: list[Figure],
    papers: list[Figure],
    means: list[MeanHeatmaps],
) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_ASSETS),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["data_uri"] = _jpeg
    found = explorer(frames, PicturedImages(frames))
    vega = _inline(vl_convert.javascript_bundle(None))  # type: ignore[arg-type]  # None: all of it
    script = _inline("\n".join(["(() => {", '"use strict";', *map(_asset, _SCRIPTS), "})();"]))
    return environment.get_template("page.html.j2").render(
        frames=frames,
        plan=frames.plan,
        opening=opening(frames),
        done=done(frames),
        warnings=warnings(frames),
        conclusions=conclusions(frames),
        signed=signed,
        first_attack=first_attack(frames),
        explainer=_EXPLAINERS.get(frames.method, frames.method),
        headline=next(table for table in tables if table.section == "Headline"),
        sections=_sections(tables),
        tables_data={table.name: table.csv() for table in tables},
        charts=charts,
        colours=_colours(),
        charts_data={chart.name: chart.spec for chart in [*charts, *papers] if chart.spec},
        explorer_data=found.about,
        explorer_note=found.note,
        blobs={name: base64.b64encode(raw).decode() for name, raw in found.blobs.items()},
        means=[(mean, *mean.panels()) for mean in means],
        correspondence=correspondence(frames) if papers else [],
        papers=[(figure, _source(figure)) for figure in papers],
        paper_tables=[table for table in tables if table.section == SECTION],
        interval=frames.mod["interval"][0],
        map_sizes=dict(frames.last(frames.mod).select("model", "map_size").iter_rows()),
        set_aside=dict(islice(frames.plan.set_aside.items(), _LISTED)),
        details=details(frames.plan),
        trained=frames.store.trained(),
        settings=yaml.safe_dump(
            settings_that_change_results(frames.settings), sort_keys=False, allow_unicode=True
        ),
        css=Markup(_asset("page.css")),  # noqa: S704  our own
        script=Markup(script),  # noqa: S704  our own
        vega=Markup(vega),  # noqa: S704  Vega's own
        policy_of_content=_content_policy(vega, script),
    )


def _colours() -> dict[str, list[Any]]:
    """The page's colours of heatmaps and changes, each as red, green and blue up to 255."""
    turbo = coloured(np.linspace(0.0, 1.0, 256), "turbo")
    named = {"turbo": turbo, "lost": np.array(LOST), "gained": np.array(GAINED)}
    return {name: (255 * shades).round().astype(int).tolist() for name, shades in named.items()}


def _jpeg(pixels: np.ndarray) -> str:
    """An image (H, W, 3) in [0, 1] as a data URI."""
    buffer = BytesIO()
    Image.fromarray((255 * pixels).round().astype(np.uint8)).save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _source(figure: Figure) -> str:
    """Image panels as a data URI; empty for a chart, which the page draws itself."""
    if figure.panels is None:
        return ""
    return "data:image/webp;base64," + base64.b64encode(saved(figure.panels, "webp")).decode()


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


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

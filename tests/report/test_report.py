"""The page holds everything itself, shows any name as text, and is rebuilt from what is stored."""

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
import sys
import zlib
from dataclasses import replace

import markupsafe
import numpy as np
import polars as pl
import pytest
import typer.testing

import lookaway as la
from hostile import HOSTILE
from lookaway.analysis.intervals import Bootstrap
from lookaway.cli import app
from lookaway.report import mean_heatmaps, overlays
from lookaway.report.figures import Figures
from lookaway.study.keys import map_key


def test_the_page_asks_no_network_for_anything(finished):
    page = finished.report.read_text()
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    sources = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)""", markup)
    assert sources
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert "@import" not in markup
    assert "url(" not in markup
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1])
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "connect-src" not in policy
    assert "http" not in policy


def test_only_the_pages_own_scripts_may_run(finished):
    page = finished.report.read_text()
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1])
    packed = re.search(r'id="bytes-vega">([^<]*)<', page)[1]
    scripts = [zlib.decompress(base64.b64decode(packed)).decode()]  # put in by the other one
    scripts += re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    allowed = [
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    ]
    assert re.search(r"script-src ([^;]*);", policy)[1].split() == [*allowed, "'unsafe-eval'"]


def test_hostile_names_are_text_in_every_format(finished):
    page = finished.report.read_text()
    assert '<script>alert("x")' not in page
    charts = re.findall(r'src="(data:image/svg[^"]*)"', page)
    assert charts
    assert not any("<script" in html.unescape(chart) for chart in charts)
    page = re.sub(r'src="data:[^"]*"', "", page)
    assert "alert" not in re.sub(
        r"<script.*?</script>", "", page.replace(str(markupsafe.escape(HOSTILE)), "")
    )
    assert "&lt;script&gt;" in page
    for path in (finished.folder / "figures").glob("*.svg"):
        assert "<script" not in path.read_text()
    latex = (finished.folder / "tables" / "accuracy.tex").read_text()
    assert r"\&" in latex
    markdown = (finished.folder / "tables" / "accuracy.md").read_text()
    assert r"\<script\>" in markdown


def test_the_page_has_the_tables_and_the_mean_heatmaps(finished):
    page = finished.report.read_text()
    for title in ("Accuracy", "MOD, explained class: own", "VID", "Spread", "PSNR"):
        assert title in page
    assert "mean over models" in page
    models, means = 2, 3 + 2
    assert page.count("data:image/jpeg") == models * means + 4  # one image before and after
    assert "random signs of the same size and the attacks" in page


def test_the_page_says_how_it_was_made(finished):
    text = html.unescape(finished.report.read_text())
    for _, part in finished.plan.images:
        assert part.sha256 in text
    for about in finished.store.trained().values():
        assert about.sha256 in text
    for name, version in finished.plan.versions.items():
        assert f"{name} {version}" in text
    assert "arXiv:2204.05427" in text


@pytest.mark.program
def test_the_report_is_made_again_without_torch(grey_run, tmp_path):
    copy = shutil.copytree(grey_run.folder, tmp_path / "out")
    before = grey_run.report.read_text()
    for name in ("report.html", "tables", "figures", "frames"):
        path = copy / name
        path.unlink() if path.is_file() else shutil.rmtree(path)
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import lookaway as la\n"
        "from lookaway.report.page import build_report\n"
        "from lookaway.analysis.intervals import Bootstrap\n"
        f"Bootstrap.__init__.__defaults__ = {Bootstrap.__init__.__defaults__}\n"
        f"build_report(la.open_result({str(copy)!r}).store)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    assert (copy / "report.html").read_text() == before
    assert {path.suffix for path in (copy / "tables").iterdir()} == {".csv", ".md", ".tex"}
    assert {path.stem for path in (copy / "figures").glob("*.svg")} >= {"mod_clean", "accuracy"}


def test_mean_heatmaps_are_the_means_of_the_stored_maps(finished):
    mean = mean_heatmaps.mean_heatmaps(finished.frames, "clean")[1]
    layer = finished.plan.last_layers["two"]
    maps = finished.store.read_maps(finished.store.identity.cell("none", "two", 0))
    clean = maps[map_key("clean", "gradcam", "clean", layer)].astype(float)
    attacked = maps[map_key("attacked", "gradcam", "clean", layer, "fgsm", "two")].astype(float)
    alive = clean.max(axis=(1, 2)) > 0
    np.testing.assert_allclose(mean.clean, clean[alive].mean(axis=0))
    for level in (0, 1):
        alive = attacked[:, level].max(axis=(1, 2)) > 0
        np.testing.assert_allclose(mean.attacked[level], attacked[alive, level].mean(axis=0))
        assert mean.counts[1 + level] == alive.sum()
    difference = mean.differences()[0]
    np.testing.assert_allclose(difference, mean.attacked[0] - mean.clean)


def test_mean_panels_say_how_many_maps_are_alive_and_which_variant_they_show():
    mean = mean_heatmaps.MeanHeatmaps(
        variant="none",
        model=HOSTILE,
        epsilons=(0.1, 0.2),
        clean=np.array([[1.0, 0.0], [1.0, 0.0]]),
        attacked=(np.array([[0.0, 1.0], [0.0, 1.0]]), None),
        counts=(5, 5, 0),
        of=5,
    )
    heatmaps, changes = mean.panels()
    assert [panel.lines for panel in heatmaps] == [
        ("clean",),
        ("ε = 0.1",),
        ("ε = 0.2", "0/5 maps"),
    ]
    left, right = changes[0].pixels[0, 0], changes[0].pixels[0, -1]
    assert (left.argmax(), right.argmax()) == (2, 1)
    for variants in (["none"], ["none", "landmarks"]):
        figure = mean_heatmaps.mean_figure([replace(mean, variant=name) for name in variants])
        words = " ".join(text.get_text() for text in figure.axes[0].texts)
        assert [f"({name})" in words for name in variants] == [len(variants) > 1] * len(variants)
        assert "full colour ±1.00" in words


def test_the_page_draws_in_the_colours_of_the_figures(finished):
    page = finished.report.read_text()
    held = json.loads(re.search(r'id="colours-data">(.*?)</script>', page)[1])
    shades = np.array([*held["turbo"], held["lost"], held["gained"]]) / 255
    turbo = overlays.colour_map("turbo")(np.arange(256))[:, :3]
    np.testing.assert_allclose(
        shades, [*turbo, overlays.LOST, overlays.GAINED], atol=0.5 / 255 + 1e-9
    )
    for name in ("lost", "gained"):
        assert f"rgb({' '.join(map(str, held[name]))})" in page


def test_layers_are_drawn_over_depth_where_there_are_several(layered):
    result = layered
    found = Figures(result.frames).titles()
    assert {"mod_by_depth_clean", "excess_by_depth_clean", "dead_by_depth_own"} <= found.keys()
    depths = result.by_depth().filter(
        pl.col("source") == "one", pl.col("epsilon") == 0.1, pl.col("explained_class") == "clean"
    )
    assert depths["depth"].is_sorted()
    assert depths["depth"].n_unique() == len(result.plan.layers["one"])
    assert depths["attacked_dead"].is_between(0, 1).all()
    assert depths["shuffled"].null_count() == 0
    assert "MOD over depth" in result.report.read_text()
    assert result.compare_models().is_empty()
    assert result.robustness_of_ranking().is_empty()


def test_regions_that_are_given_to_report_reach_page_and_frames(grey_run, tmp_path):
    copy = shutil.copytree(grey_run.folder, tmp_path / "out")
    names = grey_run.rows()["image"].unique().sort().to_list()
    boxes = tmp_path / "boxes.csv"
    lines = [f"{name},0,0,0.5,1" for name in names]
    boxes.write_text("\n".join(["image,left,top,right,bottom", *lines]))
    runner = typer.testing.CliRunner()
    told = runner.invoke(app, ["report", str(copy), "--regions", str(boxes)])
    assert told.exit_code == 0, told.output
    kept = la.open_result(copy)
    assert "inside region, clean" in kept.report.read_text()
    measures = kept.direction()["measure"].unique().to_list()
    assert "left_region" in measures
    each = kept.direction(per="image").drop_nulls("clean_inside")
    assert each["clean_inside"].is_between(0, 1).all()
    asked = grey_run.direction(per="image", regions=boxes).drop_nulls("clean_inside")
    np.testing.assert_allclose(asked["clean_inside"], each["clean_inside"], atol=0.01)

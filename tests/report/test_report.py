"""The page holds everything itself, shows any name as text, and is rebuilt from what is stored."""

import re
import shutil
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

import lookaway as la
from lookaway.report import figures, pictures, tables
from lookaway.report.headline import headline

HOSTILE = '<script>alert("x")</script> & 🙂 \u202eشخص'


@pytest.fixture(scope="module")
def finished(small_study, tmp_path_factory):
    study = {
        **small_study,
        "models": [{**small_study["models"][0], "name": HOSTILE}, small_study["models"][1]],
        "transfer_from": [HOSTILE],
    }
    return la.run_study(study, tmp_path_factory.mktemp("run") / "out", progress=False)


def test_the_page_asks_no_network_for_anything(finished):
    page = finished.report.read_text()
    sources = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)""", page)
    assert sources
    assert all(source.startswith("data:") for source in sources)
    assert "@import" not in page
    assert "url(" not in page


def test_hostile_names_are_text_in_every_format(finished):
    page = finished.report.read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    for path in (finished.folder / "figures").glob("*.svg"):
        assert "<script" not in path.read_text()
    latex = (finished.folder / "tables" / "accuracy.tex").read_text()
    assert r"\&" in latex
    markdown = (finished.folder / "tables" / "accuracy.md").read_text()
    assert r"\<script\>" in markdown


def test_the_page_has_the_tables_the_chart_and_the_strips(finished):
    page = finished.report.read_text()
    for title in ("Accuracy", "MOD, explained class: own", "VID", "Spread", "PSNR"):
        assert title in page
    assert "mean over models" in page
    assert page.count("data:image/svg+xml") == 2
    images, models, tiles = 6, 2, 3 + 2
    assert page.count("data:image/jpeg") == images * models * tiles
    assert "random signs of the same size are the control" in page


def test_the_report_is_made_again_without_torch(finished, tmp_path):
    copy = shutil.copytree(finished.folder, tmp_path / "out")
    before = finished.report.read_text()
    for name in ("report.html", "tables", "figures"):
        path = copy / name
        path.unlink() if path.is_file() else shutil.rmtree(path)
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import lookaway as la\n"
        "from lookaway.report.page import build_report\n"
        f"build_report(la.open_result({str(copy)!r}).store)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    assert (copy / "report.html").read_text() == before
    assert {path.suffix for path in (copy / "tables").iterdir()} == {".csv", ".md", ".tex"}
    assert {path.suffix for path in (copy / "figures").iterdir()} == {".svg", ".png", ".pdf"}


def test_tables_hold_the_frames_numbers(finished):
    frames = finished.frames
    table = next(t for t in tables.all_tables(frames) if t.name == "mod_own")
    row = next(r for r in table.rows if r.names == ("fgsm white-box", "two"))
    expected = finished.mod().filter(
        pl.col("model") == "two",
        pl.col("source") == "two",
        pl.col("explained_class") == "own",
        pl.col("pairs") == "all",
    )
    assert [cell.value for cell in row.cells] == expected["mod"].to_list()
    assert [cell.low for cell in row.cells] == expected["low"].to_list()
    marked = [r.names[1] for r in table.rows if r.names[0].startswith("fgsm from")]
    assert marked == [f"{HOSTILE} (white-box)", "two", "mean over models"]
    read = pl.read_csv(finished.folder / "tables" / "mod_own.csv")
    assert "ε = 0.02 low" in read.columns


def test_the_headline_fits_a_terminal_and_ends_with_noise(finished):
    heads, rows = headline(finished.frames)
    assert len(heads) == 4
    scopes = [row[1] for row in rows]
    assert scopes == ["fgsm white-box", "noise", "fgsm white-box", f"fgsm from {HOSTILE}", "noise"]


def test_turbo_goes_from_blue_to_red():
    low, middle, high = pictures.turbo(np.array([[0.05, 0.5, 0.95]]))[0]
    assert low.argmax() == 2
    assert middle.argmax() == 1
    assert high.argmax() == 0


def test_an_overlay_of_nothing_is_blue_and_keeps_the_image():
    image = np.random.default_rng(0).random((8, 8, 3))
    laid = pictures.overlay(image, np.zeros((2, 2)))
    assert laid[..., 2].mean() > laid[..., 0].mean()
    assert np.corrcoef(laid[..., 1].ravel(), image[..., 1].ravel())[0, 1] > 0.99


def test_a_figure_has_a_line_for_each_scope_and_a_legend(finished):
    frames = finished.frames
    svg = figures.as_svg(figures.mod_over_epsilon(frames, "own"))
    for word in ("fgsm white-box", "noise", "two"):
        assert word in svg

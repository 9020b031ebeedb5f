"""Image panels: safe text, files that are the same each time, and matplotlib as it was."""

import io
import warnings
import xml.etree.ElementTree as ET

import matplotlib
import numpy as np
import pytest
from PIL import Image

from hostile import HOSTILE
from lookaway.report import panels
from lookaway.report.options import Options
from lookaway.report.panels import Panel, fitted, mosaic, panel_rows, saved

NAMES = [HOSTILE, "漢字", "$x^2$ \\frac", "tab\tand\nline\x00", "a" * 300, ""]


def drawn():
    pixels = np.linspace(0, 1, 192).reshape(8, 8, 3)
    return panel_rows([(name, [Panel(pixels, (name,))] * 4) for name in NAMES], Options(columns=1))


def settings():
    return {name: matplotlib.rcParams[name] for name in matplotlib.rcParams if name != "backend"}


@pytest.mark.parametrize("kind", ["svg", "pdf", "png", "webp"])
def test_a_file_has_the_same_bytes_each_time_whatever_its_names(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert saved(drawn(), kind) == saved(drawn(), kind)


def test_names_stand_in_svg_as_text_and_are_cut_to_their_room():
    words = [text.text or "" for text in ET.fromstring(saved(drawn(), "svg")).iter() if text.text]
    assert '<script>alert("x")</script> & 🙂 شخص' in words
    assert {"漢字", "$x^2$ \\frac", "tab and line"} <= set(words)
    long = [word for word in words if word.startswith("aaa")]
    assert {word[-1] for word in long} == {"…"}
    assert 160 < panels._width(fitted("x" * 99, 165)) <= 165
    assert fitted("a\u202eb", 99) == "ab"
    assert fitted("ab", 0) == "…"


def test_the_users_style_is_heeded_and_left_as_it_was():
    odd = {
        "text.color": "#00ff00",
        "text.usetex": True,
        "savefig.bbox": "tight",
        "image.origin": "lower",
        "svg.fonttype": "path",
    }
    with matplotlib.rc_context(odd):
        before = settings()
        top = np.zeros((8, 8, 3))
        top[:4] = 1.0
        rows = [("name", [Panel(top), Panel(top)])]
        figure = panel_rows(rows, Options(columns=1), colour_bar=False)
        svg, png = saved(figure, "svg").decode(), saved(figure, "png")
        assert settings() == before
    assert "#00ff00" in svg
    assert ">name</text>" in svg
    image = np.asarray(Image.open(io.BytesIO(png)).convert("L"))
    assert image.shape[1] == 252 / 72 * 300
    height = len(image)
    assert image[height // 3].mean() > 200 > 50 > image[2 * height // 3].mean()


def test_tiles_stand_in_reading_order_on_white():
    tiles = [np.full((2, 2, 3), shade) for shade in (0.1, 0.2, 0.3)]
    whole = mosaic(tiles, across=2, edge=1)
    assert whole.shape == (6, 6, 3)
    assert whole[[0, 0, 3, 3, 2], [0, 3, 0, 3, 0], 0].tolist() == [0.1, 0.2, 0.3, 1.0, 1.0]

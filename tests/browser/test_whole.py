"""The page on paper, on a phone, in the dark, without scripts, and after it was turned."""

import itertools
import re

import numpy as np
import pytest

from browser_pages import OPEN_ALL
from lookaway.report.distributions import WORD_COLOURS
from lookaway.report.layout import ATTACK, COLOURS

pytestmark = pytest.mark.program  # a browser

A4 = 210 / 25.4 * 96  # px


@pytest.fixture(
    params=[
        "hostile_run",
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("demo_run", "large_run")),
    ]
)
def run(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def page(shared, hostile_run):
    return shared(hostile_run)


def linear(colour):
    """Red, green and blue of a CSS colour as light, each from 0 to 1."""
    if colour.startswith("#"):
        values = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    else:
        values = np.array([float(one) for one in re.findall(r"[\d.]+", colour)[:3]]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    """WCAG's contrast of two colours, from 1 to 21."""
    low, high = sorted(float(linear(each) @ [0.2126, 0.7152, 0.0722]) for each in (one, other))
    return (high + 0.05) / (low + 0.05)


def difference(one, other):
    """CIE 1976's difference of two colours; 2 can just be seen side by side."""
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    labs = []
    for each in (one, other):
        x, y, z = np.cbrt(to_xyz @ linear(each) / [0.9505, 1.0, 1.089])
        labs.append(np.array([116 * y, 500 * (x - y), 200 * (y - z)]))
    return float(np.linalg.norm(labs[0] - labs[1]))


def test_a_print_is_whole_and_of_few_pages(run, open_page):
    """Charts that were never scrolled to are there, as wide as the paper, whatever is chosen."""
    page = open_page(run.report, color_scheme="dark")
    page.select_option("#pick-policy", run.frames.ordered_policies[-1])
    page.settle()
    pdf = page.page.pdf(format="A4", print_background=False)
    pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
    assert 2 <= pages <= 12
    page.page.set_viewport_size({"width": int(A4), "height": 1000})
    page.page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("nav.bar").is_visible()
    assert not page.locator("#explorer").is_visible()
    pictures = page.locator("img.static:visible")
    named = [chart for chart in run.frames.ordered_policies[-1:] if chart]
    assert pictures.count() >= 6
    assert named[0] in page.text("#charts")
    for wide, right, natural in pictures.evaluate_all(
        "all => all.map(one => "
        "[one.clientWidth, one.getBoundingClientRect().right, one.naturalWidth])"
    ):
        assert natural > 0
        assert wide > 0.8 * (A4 - 91)
        assert right <= A4
    for bar in ("shift", "noise"):
        kept = f"getComputedStyle(document.querySelector('.track .{bar}')).printColorAdjust"
        assert page.evaluate(kept) == "exact"
    wider = "[...document.querySelectorAll('body *')].filter(one => one.checkVisibility() && "
    wider += f"one.getBoundingClientRect().right > {A4} && !one.closest('.aside, svg')).length"
    assert page.evaluate(wider) == 0


def test_it_is_short_before_anything_is_opened(run, open_page):
    page = open_page(run.report, width=1440)
    assert page.evaluate("document.documentElement.scrollHeight / innerHeight") <= 10
    for table in ("#strengths", "#models-strip"):
        box = page.locator(table).locator("xpath=..")
        assert box.evaluate("one => one.scrollWidth - one.clientWidth") <= 1


def test_a_models_numbers_stand_under_its_name_on_a_phone(phone, run):
    page = phone(run)
    page.evaluate("scrollTo(0, 0)")
    rows = page.locator(".standings:visible .models li")
    assert rows.count() == len(run.frames.models)
    before = -1
    for place in range(rows.count()):
        boxes = [
            rows.nth(place).locator(part).bounding_box() for part in (".who", ".track", ".figures")
        ]
        tops = [box["y"] for box in boxes]
        assert before < tops[0] < tops[1] < tops[2]
        assert all(box["x"] < 40 and box["width"] > 300 for box in boxes)
        before = boxes[-1]["y"] + boxes[-1]["height"] - 1


def test_colours_can_be_told_apart_in_the_light_and_in_the_dark(page):
    page.evaluate(OPEN_ALL)
    page.charts()
    marks = "document.querySelectorAll('[data-chart=words_clean] .role-legend-symbol path')"
    for _ in ("light", "dark"):
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        found = page.evaluate(f"[...{marks}].map(one => one.getAttribute('fill'))")
        assert len(found) == len(WORD_COLOURS)
        for one, other in itertools.combinations(found, 2):
            assert difference(one, other) > 25, (one, other)
        lines = page.locator("[data-chart=accuracy] .mark-line path").evaluate_all(
            "all => all.map(one => one.getAttribute('stroke'))"
        )
        assert all(contrast(colour, ground) >= 2.2 for colour in lines)
        cells = page.locator("[data-chart^=transfer_]:visible .mark-rect path").evaluate_all(
            "all => all.map(one => one.getAttribute('fill'))"
        )
        assert all(difference(colour, ground) > 5 for colour in cells)
        of_legend = page.locator("[data-chart^=beside_noise_]:visible .role-legend-symbol path")
        of_lines = page.locator("[data-chart^=beside_noise_]:visible .mark-line path")
        strokes = "all => [...new Set(all.map(one => one.getAttribute('stroke')))]"
        assert set(of_lines.evaluate_all(strokes)) <= set(of_legend.evaluate_all(strokes))
        words = page.locator("[data-chart=accuracy] .role-axis-label text").first
        assert contrast(words.get_attribute("fill"), ground) >= 4.5
        page.locator("#theme").click()
        page.wait_for_timeout(50)
        page.charts()
    assert ATTACK not in COLOURS


def test_no_panel_is_bare_and_charts_fit_again_when_the_window_is_turned(hostile_run, open_page):
    page = open_page(hostile_run.report, width=640)
    page.evaluate(OPEN_ALL)
    page.charts()
    chart = "document.querySelector('[data-chart=beside_noise_clean]')"
    models = len(hostile_run.frames.models)
    axes = f"{chart}.querySelectorAll('.role-axis-domain').length"
    assert page.evaluate(axes) == 2 * models  # two in the first row, one in the second
    wide = f"{chart}.querySelector('svg').clientWidth"
    small = page.evaluate(wide)
    page.page.set_viewport_size({"width": 1200, "height": 700})
    page.wait_for_function(f"{wide} > 900 && {small} < 640")
    page.page.set_viewport_size({"width": 400, "height": 700})
    page.wait_for_function(f"{wide} < 380")
    assert page.evaluate(axes) == 2 * models


def test_a_click_on_a_small_picture_brings_what_it_opens_into_sight(page):
    tiles = page.locator("#gallery .tile")
    tiles.nth(2).scroll_into_view_if_needed()
    tiles.nth(2).click()
    page.settle()
    page.wait_for_function(
        "(({ top, bottom }) => top >= 0 && top < innerHeight / 2)"
        "(document.getElementById('stage').getBoundingClientRect())"
    )


def test_back_undoes_choices_and_stays_on_the_page(page):
    first = page.locator("#pick-image").input_value()
    page.locator("#next-image").click()
    page.settle()
    second = page.locator("#pick-image").input_value()
    page.locator("#pick-epsilon").fill("1")  # a slider's move is no step
    page.settle()
    page.wait_for_function("location.hash.includes('epsilon=0.01')")
    assert second != first
    page.page.go_back()
    page.settle()
    assert page.locator("#pick-image").input_value() == first
    page.page.go_forward()
    page.settle()
    assert page.locator("#pick-image").input_value() == second


def test_the_theme_is_kept(hostile_run, open_page):
    page = open_page(hostile_run.report)
    page.locator("#theme").click()
    page.page.reload()
    page.settle()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.text("#theme") == "Light"


def test_without_scripts_charts_are_pictures(hostile_run, chromium):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(hostile_run.report.as_uri())
    assert page.locator("img.static[src]").first.is_visible()
    for empty in ("[data-chart]", "#explorer", "#layers", "#theme"):
        assert not page.locator(empty).first.is_visible()
    context.close()


def test_a_step_of_the_slider_draws_what_can_be_seen_and_makes_nothing_anew(page):
    page.locator("#stage").scroll_into_view_if_needed()
    page.evaluate(
        """() => {
            window.made = 0;
            const before = document.createElement.bind(document);
            document.createElement = (...given) => {
                window.made += given[0] === "canvas";
                return before(...given);
            };
        }"""
    )
    page.locator("#pick-epsilon").fill("2")
    page.settle()
    assert page.evaluate("window.made") == 0


def test_a_bar_opens_its_images(page):
    page.locator("[data-chart=nissim_clean]").scroll_into_view_if_needed()
    page.charts()
    page.locator("[data-chart=nissim_clean] .mark-rect path").last.click(force=True)
    page.settle()
    low, high = map(float, re.findall(r"\d\.\d+", page.text("#shown-range")))
    texts = page.locator("#gallery .tile").all_inner_texts()
    scores = [float(re.search(r"NISSIM (\d\.\d+)", text)[1]) for text in texts]
    assert all(low - 0.001 <= score <= high + 0.001 for score in scores)
    page.locator("#clear-range").click()
    page.settle()
    assert page.locator("#gallery .tile").count() >= len(scores)


def test_a_chart_is_told_in_a_sentence_and_a_table(page):
    said = page.page.locator("#said-accuracy").text_content()
    assert re.search(r"^Accuracy at ε = 0.1: .*\d+ %", said)
    assert page.locator("[data-chart=accuracy] svg.marks").get_attribute("aria-hidden") == "true"
    numbers = page.locator("details[data-numbers=accuracy]")
    numbers.locator("summary").click()
    page.wait_for_selector("details[data-numbers=accuracy] tbody tr")
    assert numbers.locator("tbody tr").count() > 4
    assert "images" in numbers.locator("thead").inner_text()


def test_a_view_is_pinned_beside_the_next_one(page):
    page.locator("#pin").click()
    pinned = page.locator("#pinned").inner_text()
    assert "sees" in pinned
    page.locator("#next-image").click()
    page.settle()
    assert page.locator("#pinned").inner_text() == pinned
    assert page.locator("#pinned canvas").count() >= 6
    page.locator("#unpin").click()
    assert not page.locator("#pinned").is_visible()

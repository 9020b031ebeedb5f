"""The page in a real browser: it opens at once, asks for nothing, and does what it says."""

import csv
import io
import re

import numpy as np
import polars as pl
import pytest

from browser_pages import EPSILONS, HOSTILE, OPEN_ALL, PICTURED, TESTED
from lookaway.analysis.frames import Frames
from lookaway.explainers.base import heatmap
from lookaway.report.overlays import coloured, hatched
from lookaway.report.pictured import PicturedImages

pytestmark = pytest.mark.program  # a browser


@pytest.fixture(
    scope="session",
    params=[
        "hostile_run",
        pytest.param("demo_run", marks=pytest.mark.slow),
        pytest.param("large_run", marks=pytest.mark.slow),
    ],
)
def run(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def page(shared, hostile_run):
    return shared(hostile_run)


def choose(page, control, **option):
    page.select_option(f"#pick-{control}", **option)
    page.settle()


def move(page, control, value):
    page.locator(f"#pick-{control}").fill(str(value))
    page.settle()


def link_of(page, told):
    """The address bar's link, once it tells what was chosen last."""
    page.wait_for_function("told => location.hash.includes(told)", arg=told)
    return page.evaluate("location.hash")


def shown(page):
    """Everything that the explorer says."""
    names = ["#said", "#strengths", "#models-strip", "#gallery", ".stage"]
    values = page.evaluate("[...document.querySelectorAll('[id^=pick-]')].map(one => one.value)")
    return [page.text(name) for name in names], values


# Counts what the page does until it says that it is ready.
COUNT = """
    const done = { decoded: 0, inflated: 0, painted: 0 };
    const counted = (owner, name, word) => {
        const before = owner[name];
        owner[name] = function (...given) { done[word] += 1; return before.apply(this, given); };
    };
    counted(HTMLImageElement.prototype, "decode", "decoded");
    counted(Blob.prototype, "stream", "inflated");
    counted(CanvasRenderingContext2D.prototype, "putImageData", "painted");
    new MutationObserver((_, watch) => {
        if (!document.documentElement?.dataset.ready) return;
        watch.disconnect();
        const drawn = document.querySelectorAll("[data-chart][data-drawn]").length;
        window.untilReady = { ...done, drawn, nodes: document.querySelectorAll("*").length };
    }).observe(document, { attributes: true, subtree: true, attributeFilter: ["data-ready"] });
"""


def test_it_is_small_asks_for_nothing_and_does_little_before_it_is_ready(run, open_page):
    page = open_page(run.report, script=COUNT)
    page.wait_for_function("window.untilReady")
    done = page.evaluate("window.untilReady")
    page.charts()
    assert page.complaints == []
    assert page.requests == []
    assert run.report.stat().st_size <= 25e6
    models, images = len(run.frames.models), page.locator("#pick-image option").count()
    assert 0 < done["decoded"] <= 1 + images  # each picture once
    assert 0 < done["inflated"] <= 4 + images + models  # of charts; maps of a model, of an image
    assert 0 < done["painted"] <= 8 + images + models
    assert done["drawn"] <= 2  # charts that can be seen; the others wait
    assert done["nodes"] < 20_000


@pytest.mark.slow
def test_it_opens_at_once(run, open_page, capsys):
    times = []
    for _ in range(3):
        page = open_page(run.report)
        times.append(int(page.evaluate("document.documentElement.dataset.ready")))
    with capsys.disabled():
        size, models = run.report.stat().st_size / 1e6, len(run.frames.models)
        print(  # noqa: T201
            f"\npage of {models} models: {size:.1f} MB, ready in {min(times)} ms"
        )
    assert min(times) < 2000


def test_every_chart_is_drawn_and_tells_values_on_hover(run, shared):
    page = shared(run)
    page.charts()
    seen = page.locator("[data-chart]:visible")
    assert page.locator("[data-chart]:visible svg.marks").count() == seen.count() >= 3
    point = page.locator("[data-chart=accuracy] .mark-symbol path").first
    point.scroll_into_view_if_needed()
    point.hover(force=True)
    page.wait_for_selector("#vg-tooltip-element.visible")
    told = page.text("#vg-tooltip-element")
    assert any(model in told for model in run.frames.models)  # whose mark lies on top
    assert re.search(r"accuracy\s+\d+\s%\s+95 % from\s+\d+\s%\s+to\s+\d+\s%", told)
    check_tooltip(page, 1280, 900)


def check_tooltip(page, width, height):
    """A tooltip is in the window, no larger than what it says, and its first row is seen."""
    box = page.locator("#vg-tooltip-element").bounding_box()
    assert box["x"] >= 0
    assert box["y"] >= 0
    assert box["x"] + box["width"] <= width
    assert box["y"] + box["height"] <= height
    rows = page.locator("#vg-tooltip-element tr").evaluate_all(
        "all => all.map(one => [one.clientHeight, ...[...one.cells].map(cell => cell.clientWidth)])"
    )
    assert box["height"] <= 40 + sum(high for high, *_ in rows)
    assert all(sum(widths) <= 352 for _, *widths in rows)


def test_a_tap_tells_a_charts_values_on_a_phone(phone, hostile_run):
    page = phone(hostile_run)
    point = page.locator("[data-chart=accuracy] .mark-symbol path").first
    point.scroll_into_view_if_needed()
    point.tap(force=True)
    page.wait_for_selector("#vg-tooltip-element.visible")
    assert "accuracy" in page.text("#vg-tooltip-element")
    check_tooltip(page, 390, 844)


def test_another_explained_class_is_chosen_for_the_whole_page(page):
    before = page.locator(".card:visible h3").all_inner_texts()
    heatmap_before = page.pixels("picture-before")
    choose(page, "policy", value="own")
    after = page.locator(".card:visible h3").all_inner_texts()
    assert before != after
    assert any("own" in title for title in after)
    assert not any("class: clean" in title for title in after)
    assert "class: own" in page.locator(".standings:visible h2").inner_text()
    assert (page.pixels("picture-before") != heatmap_before).any() or (
        page.locator("#figure-class-clean").is_visible()
    )
    assert "class=own" in link_of(page, "class=own")
    page.page.go_back()  # a choice is a step that Back undoes
    page.settle()
    assert page.locator("#pick-policy").input_value() == "clean"
    assert page.locator(".card:visible h3").all_inner_texts() == before


def test_a_legend_dims_the_other_models_in_every_chart(page):
    place = page.locator("[data-chart=accuracy]")
    place.scroll_into_view_if_needed()
    page.wait_for_selector("[data-chart=accuracy][data-drawn=done]")

    dimmed = """[...document.querySelectorAll("[data-chart=accuracy] .mark-line path")]
        .filter(path => Number(getComputedStyle(path).opacity) < 0.5).length"""
    other = dimmed.replace("[data-chart=accuracy]", "[data-chart=excess_clean]")
    page.charts()
    assert page.evaluate(dimmed) == 0
    place.locator(".role-legend-symbol path").first.click(force=True)
    lines = place.locator(".mark-line path").count()
    page.wait_for_function(f"0 < {dimmed} && {dimmed} < {lines}")
    page.wait_for_function(f"0 < {other}")  # in every chart that has these names
    place.locator(".role-legend-symbol path").first.click(force=True)
    page.wait_for_function(f"{dimmed} === 0 && {other} === 0")


def test_the_slider_changes_pictures_numbers_and_sentence(page):
    strongest = page.pixels("picture-attacked")
    assert f"ε = {EPSILONS[-1]}" in page.text("#said")
    move(page, "epsilon", 0)
    np.testing.assert_array_equal(page.pixels("picture-attacked"), page.pixels("picture-clean"))
    assert "NISSIM" not in page.text("#said")
    page.locator("#pick-epsilon").focus()
    page.keyboard.press("ArrowRight")
    page.settle()
    assert page.text("#shown-epsilon") == f"ε = {EPSILONS[0]}"
    assert page.locator("#pick-epsilon").get_attribute("aria-valuetext") == f"ε = {EPSILONS[0]}"
    assert page.text("#strengths tr.chosen button") == f"ε = {EPSILONS[0]}"
    weakest = page.pixels("picture-attacked")
    clean = page.pixels("picture-clean")
    assert np.abs(weakest - clean).max() <= 3
    assert np.abs(strongest - clean).max() >= 25


def test_pictures_are_those_of_the_stored_pixels_signs_and_maps(run, shared):
    check_pictures(run, shared(run))


def test_pictures_of_one_channel_are_grey(grey_run, shared):
    page = shared(grey_run)
    check_pictures(grey_run, page)
    assert np.ptp(page.pixels("picture-perturbation"), axis=2).max() == 0


def check_pictures(run, page):
    frames = Frames(run.store)
    found = PicturedImages(frames)
    image, model = found.images[0], frames.models[0]
    layer = frames.plan.last_layers[model]
    move(page, "epsilon", 2)
    attack = frames.attacks[0]
    epsilon = frames.plan.settings.epsilons[1]
    clean = np.broadcast_to(image.pixels, (*image.pixels.shape[:2], 3))
    np.testing.assert_array_equal(page.pixels("picture-clean"), clean)
    attacked = 255 * found.attacked(image, attack, model, epsilon)
    assert np.abs(page.pixels("picture-attacked") - attacked).max() <= 0.51
    after = found.attacked_maps(image, model, layer, frames.policy, attack, model)[1]
    before = found.clean_map(image, model, layer, frames.policy)
    side = image.pixels.shape[0]
    for name, pixels, native in (("before", clean, before), ("after", attacked, after)):
        expected = 255 * hatched(pixels / 255)
        if native.max() > 0:
            heat = np.asarray(_heatmap(native, side))
            expected = 0.45 * pixels + 0.55 * 255 * coloured(heat, "turbo")
        difference = np.abs(page.pixels(f"picture-{name}") - expected)
        assert difference.max() <= 8  # colours in 256 steps
        assert difference.mean() <= 1.5


def _heatmap(native, side):
    import torch

    return heatmap(torch.from_numpy(native.astype(np.float32))[None], grid=side)[0].numpy()


def test_what_is_said_is_what_was_measured(run, shared):
    page = shared(run)
    model = run.frames.models[0]
    image = page.locator("#pick-image option:checked").inner_text()
    row = run.rows().row(
        by_predicate=(
            pl.col("image")
            == page.evaluate("document.getElementById('pick-image').selectedOptions[0].text")
        )
        & (pl.col("model") == model)
        & (pl.col("source") == model)
        & (pl.col("epsilon") == run.frames.top)
        & (pl.col("layer") == run.plan.last_layers[model])
        & (pl.col("explained_class") == run.frames.policy),
        named=True,
    )
    assert image.strip()
    lines = page.locator("#strengths tr").last.locator("td").all_inner_texts()
    assert lines[2] == f"{100 * row['attacked_confidence']:.1f} %"
    assert float(lines[3]) == pytest.approx(row["nissim"], abs=0.0006)
    assert lines[4] == f"{row['psnr']:.1f} dB"


def test_another_model_perturbation_and_layer_are_shown(page):
    first = shown(page)
    choose(page, "model", index=1)
    second = shown(page)
    assert first != second
    choose(page, "perturbation", index=1)
    assert "from" in page.text("#said")
    choose(page, "perturbation", index=2)
    assert "noise of the same size" in page.text("#said")
    last = page.pixels("picture-before")
    choose(page, "layer", index=0)
    assert (page.pixels("picture-before") != last).any()


def test_a_link_shows_the_same_view_again(page, open_page, hostile_run):
    choose(page, "model", index=2)
    choose(page, "perturbation", index=1)
    choose(page, "image", index=7)
    choose(page, "layer", index=1)
    choose(page, "sort", value="most")
    move(page, "epsilon", 3)
    move(page, "strength", 30)
    link = link_of(page, "strength=30")
    again = open_page(hostile_run.report, link)
    assert shown(again) == shown(page)
    np.testing.assert_array_equal(again.pixels("picture-after"), page.pixels("picture-after"))


def test_a_link_to_what_is_not_there_shows_what_is(page):
    before = shown(page)
    page.follow("#explore&model=none&image=%3Cb%3E&epsilon=7&strength=x&source=y&attack=z")
    assert shown(page) == before


def test_images_are_sorted_by_nissim_and_filtered_by_outcome(page):
    choose(page, "sort", value="most")
    scores = [
        float(found)
        for text in page.locator("#gallery .tile").all_inner_texts()
        for found in re.findall(r"NISSIM (\d\.\d+)", text)
    ]
    assert len(scores) == TESTED  # the pictured ones and those with a small copy
    assert scores == sorted(scores, reverse=True)
    choose(page, "sort", value="class")
    for word, told in (
        ("flipped", "flipped"),
        ("wrong before", "wrong before"),
        ("right", "stayed right"),
    ):
        choose(page, "only", value=word)
        texts = page.locator("#gallery .tile").all_inner_texts()
        assert all(told in text for text in texts)
    choose(page, "only", value="all")
    alive = []
    for which in ("living", "dead"):
        choose(page, "alive", value=which)
        texts = page.locator("#gallery .tile").all_inner_texts()
        assert all(("dead map" in text) == (which == "dead") for text in texts)
        alive += texts
    assert len(alive) == TESTED
    choose(page, "alive", value="all")


def test_an_image_that_is_not_pictured_is_a_small_copy_with_its_heatmaps(page):
    page.locator("#gallery .tile").nth(PICTURED).click()
    page.settle()
    assert "It is not one of the pictured images" in page.text("#said")
    assert not page.locator("#picture-attacked").is_visible()
    assert page.locator("#picture-after").is_visible()
    assert page.pixels("picture-clean").std() > 5
    page.locator("#gallery .tile").nth(0).click()
    page.settle()
    assert page.locator("#picture-attacked").is_visible()


def test_pictures_are_chosen_with_the_mouse_and_the_keyboard(page):
    tiles = page.locator("#gallery .tile")
    tiles.nth(3).click()
    page.settle()
    assert tiles.nth(3).get_attribute("aria-pressed") == "true"
    page.keyboard.press("ArrowRight")
    page.settle()
    assert tiles.nth(4).get_attribute("aria-pressed") == "true"
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    page.locator("#models-strip .tile").nth(2).click()
    page.settle()
    assert page.evaluate("document.getElementById('pick-model').value") == "2"
    page.locator("#next-image").click()
    page.settle()
    assert page.evaluate("document.getElementById('pick-image').value") == "5"


def test_play_goes_through_the_strengths_and_stops(page):
    page.locator("#play").click()
    page.wait_for_function("document.getElementById('shown-epsilon').textContent === 'ε = 0.01'")
    page.locator("#play").click()
    page.settle()
    kept = page.text("#shown-epsilon")
    page.wait_for_timeout(1200)
    assert page.text("#shown-epsilon") == kept


def test_a_tile_of_the_layers_tells_what_it_is_and_opens_in_the_explorer(page):
    page.evaluate(OPEN_ALL)
    page.locator("#layers").scroll_into_view_if_needed()
    page.wait_for_selector("#layer-grid button")
    rows = page.locator("#layer-grid tbody tr")
    layers = page.locator("#pick-layer option").count()
    assert rows.count() == layers > 1
    tile = rows.nth(0).locator("button").nth(2)
    tile.hover()
    told = page.text("#layer-told")
    assert "ε = 0.05" in told
    assert "NISSIM" in told
    tile.focus()
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.title") != told
    tile.click()
    page.settle()
    assert page.evaluate("document.getElementById('pick-layer').value") == "0"
    assert page.text("#shown-epsilon") == "ε = 0.05"


def test_a_table_is_sorted_by_a_click_and_saved_as_its_file(page, hostile_run):
    page.follow("#table-headline")
    table = page.locator("#table-headline ~ .wide table").first
    head = table.locator("thead th").nth(3)
    place = 3

    def column():
        cells = table.locator(f"tbody tr td:nth-child({place + 1})")
        values = cells.evaluate_all("all => all.map(one => one.dataset.value)")
        return [float(value) for value in values if value is not None]

    before = column()
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert column() == sorted(before, reverse=True)
    head.locator("button").click()
    assert column() == sorted(before)
    head.locator("button").click()
    assert column() == before
    with page.expect_download() as download:
        page.locator("[data-csv=headline]").click()
    saved = download.value.path().read_text()
    assert saved == (hostile_run.folder / "tables" / "headline.csv").read_text()
    assert len(list(csv.reader(io.StringIO(saved)))) > 2


def test_a_link_to_a_closed_table_opens_it(page):
    page.locator("a[href='#table-rankings']").first.click()
    assert page.locator("#table-rankings").is_visible()


def test_hostile_names_are_text_and_run_nothing(page, hostile_run):
    page.charts()
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src=x]").count() == 0
    whole = page.evaluate("document.body.textContent")
    for name in HOSTILE.values():
        assert name in whole
    options = page.locator("#pick-model option").all_inner_texts()
    models = hostile_run.frames.models
    assert [" ".join(text.split()) for text in options] == [
        " ".join(name.split()) for name in models
    ]
    for model in range(len(models)):
        choose(page, "model", index=model)
    assert page.evaluate("window.hacked") is None


def test_nothing_keeps_people_on_a_phone_out(run, phone, axe):
    check_access(phone(run), axe)


@pytest.mark.slow
def test_nothing_keeps_people_at_a_desk_out(run, open_page, axe):
    page = open_page(run.report, bypass_csp=True)
    page.locator("#layers").scroll_into_view_if_needed()
    page.charts()
    check_access(page, axe)


def check_access(page, axe):
    page.page.add_script_tag(content=axe)
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    serious = [
        (
            violation["id"],
            violation["nodes"][0]["html"][:200],
            violation["nodes"][0]["failureSummary"],
        )
        for violation in found["violations"]
        if violation["impact"] in ("serious", "critical")
    ]
    assert serious == []
    assert found["passes"]


def test_a_phone_needs_no_scrolling_sideways(run, phone):
    assert phone(run).evaluate("document.scrollingElement.scrollWidth") <= 390


def test_light_and_dark_change_with_the_button(page):
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.locator("#theme").click()
    assert page.evaluate(ground) != light
    page.locator("[data-chart=accuracy]").scroll_into_view_if_needed()
    page.wait_for_selector("[data-chart=accuracy] svg.marks")
    chart = "document.querySelector('[data-chart=accuracy] svg')"
    ink = f"getComputedStyle({chart}.querySelector('.role-axis-label text')).fill"
    assert page.evaluate(f"{chart}.querySelector('.background')?.getAttribute('fill')") is None
    assert page.evaluate(ink) == page.evaluate("getComputedStyle(document.body).color")
    page.locator("#theme").click()
    assert page.evaluate(ground) == light

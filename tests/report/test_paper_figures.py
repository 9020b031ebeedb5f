"""The paper's figures: which a run has, what they hold, and the part of the page."""

import html
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

import lookaway as la
from hostile import HOSTILE
from lookaway.analysis.frames import Frames
from lookaway.report.layout import LAYOUTS
from lookaway.report.options import Options
from lookaway.report.overlays import GAINED, LOST, enlarged, heatmap_on, tinted
from lookaway.report.paper import charts as paper_charts
from lookaway.report.paper import pictures as paper_pictures
from lookaway.report.paper.figures import correspondence, paper_figures
from lookaway.report.paper.form import paper_form
from lookaway.report.pictured import PicturedImages
from lookaway.study.keys import plain
from lookaway.written import percent
from plans import with_settings

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def convs(small_study, tmp_path_factory):
    """A run that explains every convolution, trains nothing and has no source."""
    model = {**small_study["models"][0], "name": HOSTILE, "train": "none"}
    study = {
        **small_study,
        "models": [model],
        "transfer_from": [],
        "explain": {"layers": "convs", "pictured": 2, "explained_class": ["clean"]},
        "report": {"paper": True},
    }
    return la.run_study(study, tmp_path_factory.mktemp("convs") / "out", progress=False)


def values_of(spec):
    (found,) = spec["datasets"].values()
    return found


def here(result):
    return {each.paper: each for each in correspondence(result.frames)}


def words_of(figure):
    root = ET.fromstring(figure.svg())
    return [text.text for text in root.iter(f"{SVG}text")]


# Which a run has


def test_each_of_the_papers_tables_and_figures_is_there_or_its_lack_is_explained(finished, convs):
    expected = [f"Table {number}" for number in (1, 2, 3)] + [f"Fig. {n}" for n in range(1, 6)]
    for result in (finished, convs):
        found = [each.paper for each in correspondence(result.frames) if each.paper]
        assert list(dict.fromkeys(found)) == [*expected, "Figs. 6–10"]
        for each in correspondence(result.frames):
            assert bool(each.name) != bool(each.missing)


def test_what_does_not_apply_is_left_out_with_its_reason(finished, convs):
    assert "no prepared images" in here(finished)["Table 2"].missing
    assert "explain.layers: convs" in here(finished)["Figs. 6–10"].missing
    assert here(finished)["Fig. 5"].name == "paper_fig5_transfer"
    assert "no source" in here(convs)["Fig. 5"].missing
    assert "trains no model" in here(convs)[""].missing
    assert "training" not in convs.figures()
    assert "training" in finished.figures()
    frames = Frames(finished.store)
    frames.plan = with_settings(frames.plan, explain={"pictured": 0})
    lacking = {each.paper for each in correspondence(frames) if "pictures no image" in each.missing}
    assert lacking == {"Fig. 1", "Fig. 2", "Fig. 5", "Figs. 6–10"}
    frames = Frames(finished.store)
    frames.plan = with_settings(frames.plan, data={"variants": ["cascade"]})
    for name in ("accuracy", "mod", "psnr"):
        frame = getattr(finished.frames, name).with_columns(variant=pl.lit("cascade"))
        setattr(frames, name, frame)
    by_number = {each.paper: each for each in correspondence(frames)}
    assert "no unprepared images" in by_number["Table 1"].missing
    assert by_number["Table 2"].name == "paper_table2_accuracy_prepared"


def test_names_say_which_of_the_papers_they_are_and_are_safe_as_files(finished, convs, small_study):
    names = [planned.name for planned in paper_figures(finished.frames)]
    assert names == [
        "paper_fig1_shift",
        "paper_fig2_attack",
        "paper_fig3_psnr",
        "paper_fig4_nissim",
        "paper_fig5_transfer",
        "accuracy_against_mod",
        "training",
    ]
    (layers,) = [each for each in paper_figures(convs.frames) if each.kind == "paper_layers"]
    assert layers.name == f"paper_fig6to10_layers_1_{plain(HOSTILE)}"
    assert re.fullmatch(r"[\w.-]+", layers.name)
    frames = Frames(convs.store)
    other = {"name": HOSTILE, "timm": "legacy_xception.tf_in1k"}
    frames.plan = with_settings(frames.plan, models=[other])
    (layers,) = [each for each in paper_figures(frames) if each.kind == "paper_layers"]
    assert layers.paper == "Fig. 10"
    assert layers.name.startswith("paper_fig10_layers_1_")
    for result in (finished, convs):
        for planned in paper_figures(result.frames):
            assert planned.make(Options()).paper == planned.paper
            assert planned.make(Options()).name == planned.name


def test_the_page_lists_each_with_its_correspondence(finished, convs):
    for result in (finished, convs):
        page = result.report.read_text()
        part = page[page.index('<section id="paper"') : page.index('<section id="method"')]
        ids = set(re.findall(r'id="([^"]+)"', part))
        assert set(re.findall(r'href="#([^"]+)"', part)) <= ids
        text = html.unescape(part)
        for each in correspondence(result.frames):
            place = "tables" if each.table else "figures"
            assert (f"{place}/{each.name}" if each.name else each.missing) in text
            if each.name and each.paper:
                assert f"{each.paper} of the paper:" in text
        stored = {path.stem for path in (result.folder / "figures").glob("*.svg")}
        assert {planned.name for planned in paper_figures(result.frames)} <= stored
        panels = [p for p in paper_figures(result.frames) if p.make(Options()).panels]
        assert part.count('src="data:image/webp;base64,') == len(panels)
        assert HOSTILE not in part


# All layers


def images_of(figure):
    """The figure's images by place: (H, W, 3) in [0, 1], the colour bar left out."""
    return [np.asarray(one.get_array()) / 255 for one in figure.panels.axes[0].images[:-1]]


def test_all_explained_layers_are_numbered_from_the_first_to_the_last(convs):
    frames = convs.frames
    layers = frames.plan.explained_layers(HOSTILE)
    assert set(layers) == {*frames.plan.layers[HOSTILE], frames.plan.last_layers[HOSTILE]}
    assert len(layers) == 16
    for order, numbers in (("last-first", [16, 12, 8, 4]), ("first-last", [1, 5, 9, 13])):
        figure = convs.figure("paper_layers", order=order)
        words = words_of(figure)
        assert [int(word) for word in words if word.isdigit()] == numbers * 3
        heads = [word.partition(":")[0] for word in words if re.match(r"clean:|ε = [\d.]+:", word)]
        assert heads == ["clean", "ε = 0.02", "ε = 0.1"]
        ends = [f"layer {1 + layers.index(name)}, {name}" for name in (layers[0], layers[-1])]
        ends = ends[::-1] if order == "last-first" else ends
        assert f"From top left: {ends[0]}, to {ends[1]}." in " ".join(words)


@pytest.mark.parametrize("order", ["last-first", "first-last"])
def test_the_tiles_are_the_stored_maps_in_the_asked_order(convs, order):
    frames = convs.frames
    found = PicturedImages(frames)
    figure = convs.figure("paper_layers", columns=1, heatmaps="raw", order=order)
    layers = frames.plan.explained_layers(HOSTILE)
    layers = layers[::-1] if order == "last-first" else layers
    images = images_of(figure)
    alive = 0
    for place, layer in enumerate(layers):
        key = found.images[0], HOSTILE, layer, "clean"
        maps = [found.clean_map(*key), *found.attacked_maps(*key, "fgsm", HOSTILE)]
        for image, heat in zip(images, maps, strict=True):
            y, x = (120 * (place // 4), 120 * (place % 4))
            expected = heatmap_on(np.zeros((118, 118, 3)), heat, Options(heatmaps="raw"))
            np.testing.assert_allclose(image[y : y + 118, x : x + 118], expected, atol=0.01)
            alive += heat.max() > 0
    assert alive > 12


def test_a_picture_of_many_layers_stays_small_in_the_page(convs):
    page = convs.report.read_text()
    sizes = [len(source) for source in re.findall(r'src="data:image/webp;base64,([^"]*)"', page)]
    assert len(sizes) == 3
    assert max(sizes) < 300_000


# One image


def test_the_attack_that_is_shown_is_the_first_flip_at_the_smallest_epsilon(finished):
    frames = Frames(finished.store)
    found, form = PicturedImages(frames), paper_form(frames)
    names = [image.image for image in found.images]
    chosen = (pl.col("image") == names[1]) | (pl.col("image") == names[3])
    flips = (chosen & (pl.col("epsilon") == 0.1)) | (
        (pl.col("image") == names[3]) & (pl.col("epsilon") == 0.02)
    )
    rows = finished.frames.pictured_rows.with_columns(clean_class=pl.col("label"))
    frames.pictured_rows = rows.with_columns(
        attacked_class=pl.when(flips).then(pl.lit("other")).otherwise("label")
    )
    shown = paper_pictures.example(frames, found, form, None)
    assert (shown.image.image, shown.epsilon) == (names[3], 0.02)
    assert shown.model == HOSTILE
    assert "the smallest at which it flips" in shown.caption
    shown = paper_pictures.example(frames, found, form, names[1])
    assert (shown.image.image, shown.epsilon) == (names[1], 0.1)
    shown = paper_pictures.example(frames, found, form, names[0])
    assert (shown.image.image, shown.epsilon) == (names[0], 0.1)
    assert "it does not flip" in shown.caption
    frames.pictured_rows = rows.with_columns(attacked_class=pl.col("label"))
    shown = paper_pictures.example(frames, found, form, None)
    assert shown.image.image == names[0]
    assert "no pictured image flips" in shown.caption


def test_the_pictures_of_an_attack_say_what_was_measured(layered):
    frames = layered.frames
    shown = paper_pictures.example(frames, PicturedImages(frames), paper_form(frames), None)
    row = shown.row
    shift = words_of(layered.figure("paper_fig1_shift"))
    attack = words_of(layered.figure("paper_fig2_attack"))
    for words in (shift, attack):
        for which in ("clean", "attacked"):
            told = f"{row[f'{which}_class']} {percent(row[f'{which}_confidence'])}"
            assert any(told in one for one in words)
    assert f"+ {shown.epsilon:g} ×" in attack
    assert f"PSNR {row['psnr']:.1f} dB" in attack
    assert f"ε = {shown.epsilon:g}, NISSIM {row['nissim']:.3f}" in shift
    keys = ("image", "model", "attack", "source", "epsilon", "explained_class")
    look = frames.statistics.filter(pl.col(key) == row[key] for key in keys)
    assert f"{percent(look['lost'][0])} of the clean mass" in shift
    assert f"{percent(look['gained'][0])} of the clean mass" in shift
    assert shown.caption in layered.figure("paper_fig1_shift").note


def test_a_change_that_is_not_along_signs_is_amplified_and_says_how_much(layered, monkeypatch):
    whole = PicturedImages.perturbation

    def halved(self, image, attack, source):
        return replace(whole(self, image, attack, source), scale=np.full((1, 1), 0.5, np.float32))

    monkeypatch.setattr(PicturedImages, "perturbation", halved)
    figure = layered.figure("paper_fig2_attack")
    words = words_of(figure)
    assert "change" in words
    assert not any("signs" in word for word in (*words, figure.note))
    frames = layered.frames
    shown = paper_pictures.example(frames, PicturedImages(frames), paper_form(frames), None)
    assert f"+ {shown.epsilon / 2:.2g} ×" in words
    change = figure.panels.axes[0].images[1].get_array()
    assert (change.min(), change.max()) == (0, 255)


def test_dead_maps_are_said_to_be_dead_and_hostile_names_are_text(finished):
    assert finished.frames.last_rows.filter(pl.col("model") == HOSTILE)["clean_dead"].all()
    words = words_of(finished.figure("paper_fig1_shift"))
    assert sum("dead map" in one for one in words) == 2
    assert "–" in words
    assert any('<script>alert("x")' in one for one in words)


def test_the_shift_shows_what_fell_as_dropped_and_what_rose_as_added(layered):
    frames = layered.frames
    found, form = PicturedImages(frames), paper_form(frames)
    layer = frames.plan.last_layers["one"]
    moved = 0
    for image in found.images:
        shown = paper_pictures.example(frames, found, form, image.image)
        before = found.clean_map(image, "one", layer, "own")
        levels = found.attacked_maps(image, "one", layer, "own", "fgsm", "one")
        after = levels[[0.02, 0.1].index(shown.epsilon)]
        pixels = image.pixels / 255
        change = np.subtract(*(enlarged(heat, pixels.shape[1::-1]) for heat in (after, before)))
        _, _, dropped, added = images_of(layered.figure("paper_fig1_shift", image=image.image))
        np.testing.assert_allclose(dropped, tinted(pixels, -change, LOST), atol=0.003)
        np.testing.assert_allclose(added, tinted(pixels, change, GAINED), atol=0.003)
        moved += abs(change.mean()) > 0.05
    assert moved


def test_titles_and_notes_keep_a_name_that_turns_letters_to_itself(finished):
    for planned in paper_figures(finished.frames):
        figure = planned.make(Options())
        for text in (figure.title, figure.note):
            assert text.count(HOSTILE) == text.count(f"\N{FIRST STRONG ISOLATE}{HOSTILE}")
    assert HOSTILE in finished.figure("paper_fig5_transfer").title


def test_a_transfer_shows_every_model_under_the_sources_perturbations(finished):
    frames = finished.frames
    image = PicturedImages(frames).images[0]
    words = words_of(finished.figure("paper_fig5_transfer"))
    rows = frames.last_rows.filter(
        pl.col("image") == image.image,
        pl.col("source") == HOSTILE,
        pl.col("explained_class") == "own",
    )
    assert rows["model"].to_list() == [HOSTILE] * 2 + ["two"] * 2
    for row in rows.iter_rows(named=True):
        assert f"NISSIM {row['nissim']:.3f}" in words
        assert any(percent(row["attacked_confidence"]) in one for one in words)
    assert sum(one == "clean" for one in words) == 2
    assert any(one.endswith(("white-box)", "…")) for one in words)


def test_colours_are_chosen_and_every_heatmap_figure_says_what_they_mean(finished, convs):
    for result in (finished, convs):
        for name in result.figures():
            figure = result.figure(name)
            if figure.panels is None or "attack" in name:
                continue
            other = result.figure(name, colours="viridis")
            for one, low, high in ((figure, "blue", "red"), (other, "violet", "yellow")):
                words = [text.get_text() for text in one.panels.axes[0].texts]
                assert f"{low}: no participation" in words, name
                assert f"{high}: the highest" in words, name
            if name != "paper_fig1_shift":  # there one run has dead maps alone
                assert any(map(differ, images_of(figure), images_of(other))), name
    plain_one = images_of(finished.figure("paper_fig5_transfer"))
    raw = images_of(finished.figure("paper_fig5_transfer", heatmaps="raw"))
    assert all(map(differ, plain_one, raw))


def differ(one, other):
    return np.abs(one - other).max() > 0.1


# Charts


def test_distributions_are_under_the_source_with_means_and_vid(finished):
    frames = finished.frames
    form = paper_form(frames)
    rows = values_of(paper_charts.nissim(frames, LAYOUTS[2]))
    mod = frames.last(frames.mod).filter(form.rows, form.explained)
    assert mod.height == 4
    for row in mod.iter_rows(named=True):
        its = [
            one
            for one in rows
            if one["panel"] == form.described(row["model"])
            and one.get("level") == f"{row['epsilon']:g}"
        ]
        assert sum(one.get("share", 0) for one in its) == pytest.approx(1, abs=0.01)
        (mean,) = [one["mean"] for one in its if "mean" in one]
        assert mean == pytest.approx(row["mod"])
    said = {one["panel"]: one["said"] for one in rows if "said" in one}
    vid = frames.vid["image"].filter(form.rows, form.explained)
    assert said == {
        form.described(model): f"VID {value:.3f}"
        for model, value in vid.select("model", "vid").iter_rows()
    }


def test_accuracy_stands_against_mod_for_each_epsilon_from_the_clean_images_on(finished):
    frames = finished.frames
    rows = values_of(paper_charts.accuracy_against_mod(frames, LAYOUTS[2]))
    attacked = [row for row in rows if row["kind"] == "attack"]
    assert len(attacked) == 2 * 2 * 3
    panel = f"fgsm from {HOSTILE}"
    for row in attacked:
        source = row["model"] if row["panel"] == "fgsm white-box" else HOSTILE
        keys = pl.col("model") == row["model"], pl.col("source") == source
        same = pl.col("epsilon") == row["epsilon"]
        right = frames.accuracy.filter(*keys, same)["accuracy"][0]
        assert row["accuracy"] == right
        if row["epsilon"] == 0:
            assert row["mod"] == 0
        else:
            found = frames.last(frames.mod).filter(*keys, same, paper_form(frames).explained)
            assert row["mod"] == found["mod"][0]
    assert {row["panel"] for row in attacked} == {"fgsm white-box", panel}
    noise = [row for row in rows if row["kind"] == "noise"]
    assert len(noise) == 2 * 2 * 3
    marks = {row["model"]: row["network"] for row in rows}
    assert marks == {HOSTILE: "deep", "two": "other"}


def test_training_curves_are_the_stored_epochs_with_the_best_marked(finished):
    rows = values_of(paper_charts.training(finished.frames, LAYOUTS[2]))
    for path in (finished.folder / "heads").glob("*.json"):
        about = json.loads(path.read_text())
        for measure in ("loss", "accuracy"):
            its = [row for row in rows if row["panel"] == f"{measure}: {about['model']}"]
            for part, images in (("train", "training"), ("val", "validation")):
                curve = [row["value"] for row in its if row.get("images") == images]
                assert curve == [epoch[f"{part}_{measure}"] for epoch in about["history"]]
            assert [row["best"] for row in its if "best" in row] == [about["best_epoch"]]


def test_psnr_has_a_line_for_the_source_and_one_for_noise(finished):
    rows = values_of(paper_charts.psnr(finished.frames, LAYOUTS[2]))
    names = {row["perturbation"] for row in rows}
    assert names == {f"fgsm from {HOSTILE}", "noise"}
    assert len(rows) == 2 * 2

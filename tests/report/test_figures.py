"""Figures: which a run has, as wide as a paper's columns, the same numbers as the frames."""

import io
import itertools
import re
import xml.etree.ElementTree as ET

import altair as alt
import pytest
from altair.utils.schemapi import validate_jsonschema
from jsonschema import ValidationError
from PIL import Image

from hostile import HOSTILE
from lookaway.analysis.frames import Frames
from lookaway.errors import InputError
from lookaway.report import distributions, image_panels
from lookaway.report.figures import Figures
from lookaway.report.layout import LAYOUTS, styles
from lookaway.report.options import POINTS


@pytest.fixture(scope="module", params=["finished", "layered"])
def run(request):
    return request.getfixturevalue(request.param)


def values_of(spec):
    """The data of a specification."""
    (found,) = spec["datasets"].values()
    return found


def test_every_figure_is_well_formed_as_wide_as_its_columns_and_readable_on_paper(
    run, finished, layered
):
    names = run.figures()
    if run is layered:  # the others are those of the other run
        names = [name for name in names if name not in finished.figures()]
        assert names
    others = [policy for policy in run.frames.policies if policy != run.frames.policy]
    wide = [name for name in names if not name.endswith(tuple(f"_{policy}" for policy in others))]
    for columns, name in [*itertools.product([1], names), *itertools.product([2], wide)]:
        svg = run.figure(name, columns=columns).svg()
        root = ET.fromstring(svg)
        assert root.get("width") == f"{POINTS[columns]}pt"
        _, _, wide, high = map(float, root.get("viewBox").split())
        height = float(root.get("height").removesuffix("pt"))
        assert height == pytest.approx(POINTS[columns] * high / wide, rel=1e-4)
        assert not list(root.iter("{http://www.w3.org/2000/svg}script"))
        sizes = [float(size) for size in re.findall(r'font-size(?:="|: )([\d.]+)', svg)]
        assert sizes
        assert min(sizes) * POINTS[columns] / wide >= 6.5, (name, columns)


def test_every_chart_is_what_vega_lite_allows(run, finished, layered):
    """Altair's own check at every step, which is slow, is left out when charts are made."""
    allowed = alt.load_schema()
    names = set(run.figures()) - (set(finished.figures()) if run is layered else set())
    specs = [found for name in sorted(names) if (found := run.figure(name).spec)]
    assert specs
    for spec in specs:
        validate_jsonschema({**spec, "datasets": {}}, allowed)
    with pytest.raises(ValidationError):
        validate_jsonschema({**specs[0], "columns": "three", "datasets": {}}, allowed)


@pytest.mark.parametrize("name", ["mod", "images"])
def test_a_pdf_has_the_width_of_its_columns_and_a_png_300_dots_per_inch(finished, name):
    for columns in (1, 2):
        figure = finished.figure(name, columns=columns)
        box = re.search(rb"/MediaBox ?\[([^\]]*)\]", figure.pdf())[1].split()
        assert float(box[2]) == pytest.approx(POINTS[columns], abs=0.5)
        png = Image.open(io.BytesIO(figure.png()))
        assert png.width == pytest.approx(POINTS[columns] * 300 / 72, abs=2)


def test_hostile_names_stand_in_charts_as_text(finished):
    for name in ("accuracy", "beside_noise", "transfer"):  # a legend, panels, axes
        root = ET.fromstring(finished.figure(name).svg())
        words = "".join(root.itertext())
        assert '<script>alert("x")' in words


def test_charts_hold_the_frames_numbers(finished):
    frames = finished.frames
    shown = {
        (row["panel"], row["model"], row["epsilon"]): (row["mod"], row["low"], row["high"])
        for row in values_of(finished.figure("mod").spec)
    }
    mod = frames.last(frames.mod)
    for row in mod.iter_rows(named=True):
        if row["explained_class"] != "clean" or row["pairs"] != "all":
            continue
        if row["attack"].endswith(f"of fgsm from {HOSTILE}"):
            continue  # in tables alone
        panel = row["attack"] if row["source"] is None else "fgsm white-box"
        if row["source"] not in (None, row["model"]):
            panel = f"fgsm from {row['source']}"
        expected = (row["mod"], row["low"], row["high"])
        assert shown[panel, row["model"], row["epsilon"]] == expected


def test_a_distribution_is_of_all_images_and_marks_the_mean(finished):
    spec = finished.figure("nissim").spec
    rows = values_of(spec)
    groups = {(row["model"], row["ε"], row["perturbation"]) for row in rows}
    assert len(groups) == 2 * 2 * 2
    for group in groups:
        its = [row for row in rows if (row["model"], row["ε"], row["perturbation"]) == group]
        assert sum(row["share"] for row in its) == pytest.approx(1, abs=0.01)
        assert len({row["mean"] for row in its}) == 1


def test_a_distribution_stays_small_whatever_the_number_of_images(finished):
    spec = distributions.nissim(finished.frames, "clean", LAYOUTS[2])
    assert len(values_of(spec)) == 2 * 2 * 2 * 25


def test_models_are_told_apart_by_more_than_colour():
    for count in (2, 6, 7, 20, 36):
        colours, dashes, shapes = styles(count)
        assert (
            len({(c, tuple(d), s) for c, d, s in zip(colours, dashes, shapes, strict=True)})
            == count
        )
        without_colour = {(tuple(d), s) for d, s in zip(dashes[:6], shapes[:6], strict=True)}
        assert len(without_colour) == min(count, 6)


def test_a_kind_means_the_headlines_explained_class(finished):
    assert finished.figure("mod").name == "mod_clean"
    assert finished.figure("mod_own").policy == "own"
    assert Figures(finished.frames).named("mod") == ["mod_clean", "mod_own"]


def test_an_unknown_figure_image_or_format_is_refused_with_what_is_possible(finished, tmp_path):
    with pytest.raises(InputError, match="beside_noise"):
        finished.figure("zzz")
    with pytest.raises(InputError, match="columns must be 1 or 2"):
        finished.figure("mod", columns=3)
    with pytest.raises(InputError, match="no image 'zzz' is pictured; possible: "):
        finished.figure("images", image="zzz")
    with pytest.raises(InputError, match="pdf, svg, png"):
        finished.figure("mod").save(tmp_path / "mod.gif")
    assert not (tmp_path / "mod.gif").exists()


@pytest.mark.parametrize("name", ["psnr", "images"])
def test_a_saved_figure_is_what_its_ending_says(finished, tmp_path, name):
    figure = finished.figure(name)
    assert figure.save(tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    assert figure.save(tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert figure.save(tmp_path / "a.svg").read_text().startswith("<svg")


def test_a_result_and_its_figures_show_themselves_in_a_notebook(finished):
    shown = finished._repr_html_()
    assert "<svg" in shown
    assert "<table" in shown
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown
    bundle = finished.figure("mod")._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "image/svg+xml", "application/vnd.vegalite.v6+json"}
    assert "application/vnd.vegalite.v6+json" not in finished.figure("images")._repr_mimebundle_()


def test_another_image_gives_another_picture(finished):
    names = finished.samples().filter(finished.samples()["pictured"])["image"].to_list()
    pictures = {finished.figure("images", image=name).svg() for name in names[:2]}
    assert len(pictures) == 2


def test_layers_are_shown_evenly_where_they_are_many(layered, monkeypatch):
    layers = image_panels.shown_layers(layered.frames, "one")
    assert len(layers) > 3
    monkeypatch.setattr(image_panels, "_MOST_LAYERS", 3)
    fewer = image_panels.shown_layers(layered.frames, "one")
    assert len(fewer) == 3
    assert (fewer[0], fewer[-1]) == (layers[0], layers[-1])
    assert f"3 evenly spaced ones of {len(layers)}" in layered.figure("layers").note
    # The last layer counts, also where it is none of those that were asked for.
    frames = Frames(layered.store)
    frames.plan.layers["one"] = [name for name in layers if name != layers[-1]]
    frames.plan.last_layers["one"] = layers[-1]
    monkeypatch.setattr(image_panels, "_MOST_LAYERS", len(layers) - 1)
    told = Figures(frames).figure("layers").note
    assert f"{len(layers) - 1} evenly spaced ones of {len(layers)}." in told

"""With several attacks and methods, whatever shows one alone says so; tables have them all."""

import itertools
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
import torch

import lookaway as la
from lookaway.attacks.base import SignAttack
from lookaway.explainers.cam import CAM
from lookaway.registry import ATTACKS, EXPLAINERS
from lookaway.report.figures import Figures
from lookaway.report.headline import headline, headline_numbers
from lookaway.report.opening import opening
from lookaway.report.options import Options
from lookaway.report.wording import first_attack, first_images, first_method

TOLD = "Shown: QUICK; the study's other attack, BRIGHTER, in the tables."
OTHER = "Shown: BRIGHTER; the study's other attack, QUICK, in the tables."
METHOD = "Heatmaps: hires; those of LayerCAM in the tables."
IMAGES = "Images: none; those of landmarks in the tables."
OF_ALL = {"accuracy_against_mod", "accuracy", "psnr"}
OF_ALL |= {"mod", "excess", "beside_noise", "words"}
OF_ALL |= {"mod_by_depth", "excess_by_depth", "dead_by_depth"}


class Brighter(SignAttack):
    name = "brighter"

    def signs(self, clf, images, labels):
        return torch.ones_like(images, dtype=torch.int8)


class HiRes(CAM):
    name = "hires"

    def weights(self, activations, gradients):
        return gradients


def values_of(spec):
    """The data of a specification."""
    (found,) = spec["datasets"].values()
    return found


@pytest.fixture(scope="module")
def run(small_study, tmp_path_factory):
    """Two attacks, methods and networks, one a source, on images prepared in two ways."""
    folder = tmp_path_factory.mktemp("several")
    images = Path(small_study["data"]["folder"]).rglob("*.png")
    boxes = [f"{path.parent.name}/{path.name},4,2,26,28" for path in images]
    (folder / "boxes.csv").write_text("\n".join(["image,x,y,w,h", *boxes]))
    boxed = {"variants": ["none", "landmarks"], "landmarks": str(folder / "boxes.csv")}
    study = {
        **small_study,
        "data": {**small_study["data"], **boxed},
        "models": [{**spec, "train": "none"} for spec in small_study["models"]],
        "attacks": [{"name": "quick", "fgsm": {}}, "brighter"],
        "explain": {
            "methods": ["hires", "layercam"],
            "pictured": 3,
            "layers": "stages",
            "explained_class": ["clean"],
        },
        "report": {"paper": True},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "of_a_test", SimpleNamespace(Brighter=Brighter, HiRes=HiRes))
        patch.setitem(ATTACKS, "brighter", "of_a_test:Brighter")
        patch.setitem(EXPLAINERS, "hires", "of_a_test:HiRes")
        return la.run_study(study, folder / "out", progress=False)


def test_the_opening_and_each_part_of_the_page_say_which_attack_and_method_they_show(run):
    found = opening(run.frames)
    assert found.notes[-3:] == (TOLD, METHOD, IMAGES)
    page = run.report.read_text().replace("&#39;", "'")
    parts = dict(re.findall(r'<section id="(\w+)"(.*?)(?=<section id="\w+" aria|$)', page, re.S))
    for name in ("answer", "charts", "means", "paper"):
        assert TOLD in parts[name], name
    for name in ("answer", "explorer", "means", "paper"):
        assert METHOD in parts[name], name


def test_the_page_has_an_answer_for_each_attack_and_method_and_each_chart_names_its_own(run):
    page = run.report.read_text().replace("&#39;", "'")
    answer = page[page.index('<section id="answer"') : page.index('<section id="charts"')]
    views = re.findall(r'<div data-attack="(\w+)" data-method="(\w+)">\n<h1', answer)
    assert views == list(itertools.product(["quick", "brighter"], ["hires", "layercam"]))
    for attack, method in views:
        mod = opening(run.frames.of(method, attack)).lead[0]
        assert f" {attack.upper()} moves the heatmaps of " in mod
        assert mod in answer
    cards = re.findall(r'<div class="card"(.*?)>\n<h3 id="chart-(\w+)">(.*?)</h3>', page)
    assert len(cards) == len(set(cards))
    for where, name, title in cards:
        if 'data-method="layercam"' in where:
            assert name.endswith("_layercam")
            assert title.endswith(", method: LayerCAM")
        if 'data-attack="brighter"' in where:
            assert "_brighter" in name
            assert ", attack: brighter," in title


def test_every_frame_table_and_chart_holds_one_method_s_numbers_alone(run):
    """Each method's mean is that of its own rows, in frames, tables, charts and the terminal."""
    for method, called in (("hires", "hires"), ("layercam", "LayerCAM")):
        own = {"method": method, "variant": "none", "model": "two", "attack": "brighter"}
        own |= {"source": "one", "epsilon": 0.1, "explained_class": "clean"}
        last = run.plan.last_layers["two"]
        rows = run.rows().filter(layer=last, **own)
        frame = run.mod().filter(layer=last, pairs="all", **own)
        assert frame["mod"].to_list() == pytest.approx([rows["nissim"].mean()])
        table = (run.folder / "tables" / f"mod_clean_{method}.csv").read_text()
        assert str(frame["mod"][0]) in table
        spec = run.figure(f"mod_clean_{method}").spec
        same = {"model": "two", "epsilon": 0.1}
        (point,) = [
            row
            for row in values_of(spec)
            if same.items() <= row.items()
            and "brighter from one (none)" in row["panel"].split(", ")
        ]
        assert point["mod"] == frame["mod"][0]
        told = {"method": method, "variant": "none", "model": "two"}
        told |= {"perturbation": "brighter from one"}
        (line,) = [row for row in headline_numbers(run.frames) if told.items() <= row.items()]
        assert line["mod"] == frame["mod"][0]
        assert called in headline(run.frames).title + headline(run.frames).left_out
    for name in (
        "mod",
        "spread",
        "excess",
        "by_depth",
        "shuffled",
        "direction",
        "outcomes",
        "dead",
    ):
        assert set(getattr(run, name)()["method"]) == {"hires", "layercam"}, name
    assert set(run.vid()["method"]) == set(run.compare_models()["method"])
    assert set(run.transfer().filter(measure="accuracy")["method"]) == {None}


def test_a_ranking_is_held_against_those_by_the_other_methods(run):
    conventions = run.conventions().filter(scope="quick white-box", variant="none")
    for row in run.robustness_of_ranking().iter_rows(named=True):
        if (row["scope"], row["variant"], row["measure"]) == ("quick white-box", "none", "vid"):
            values = conventions.filter(measure="vid").drop_nulls("value")
            by = ["method", "explained_class", "pairs", "similarity", "resolution"]
            whole = values.group_by(by).agg(pl.col("value").sort_by("model").round(12))
            whole = whole.filter(pl.col("value").list.len() == 2)
            assert row["conventions"] == whole["value"].n_unique()
            assert set(whole["method"]) == {"hires", "layercam"}
            assert all(name.split(", ")[0] in {"hires", "layercam"} for name in row["changed_by"])


def test_the_page_names_the_explainer_that_made_its_heatmaps(run, finished):
    for page, names in ((run.report, ["hires", "LayerCAM"]), (finished.report, ["Grad-CAM"])):
        text = page.read_text()
        assert all(f"attacked {name} heatmap of an image" in text for name in names)
        assert f"<b>Heatmap</b>: {', '.join(names)} of the layer" in text


def test_every_figure_that_shows_the_first_attack_alone_says_so(run):
    figures = Figures(run.frames)
    notes = {name: planned.make(Options()).note for name, planned in figures._planned.items()}
    said = {name: {told for told in (TOLD, OTHER) if told in note} for name, note in notes.items()}
    assert {figures._planned[name].kind for name, told in said.items() if not told} == OF_ALL
    others = {name for name, told in said.items() if told == {OTHER}}
    assert others == {name for name in said if "_brighter" in name} != set()


def test_figures_of_the_first_variant_say_so_those_of_all_do_not(run):
    notes = {name: run.figure(name).note for name in ("nissim", "transfer", "images", "layers")}
    assert all(IMAGES in note for note in notes.values())
    assert IMAGES not in run.figure("mean_heatmaps").note


def test_the_other_attack_is_in_the_tables(run):
    of_methods = "mod_clean", "scale_clean", "direction_clean", "vid"
    for name in ("accuracy", "psnr", *(f"{name}_hires" for name in of_methods)):
        table = (run.folder / "tables" / f"{name}.csv").read_text()
        assert "quick white-box" in table
        assert "brighter white-box" in table
    assert "brighter from one" in (run.folder / "tables" / "mod_clean_layercam.csv").read_text()


def test_with_one_attack_and_variant_nothing_is_said(finished):
    assert first_attack(finished.frames) == first_images(finished.frames) == ""
    assert first_method(finished.frames) == ""
    assert "in the tables." not in " ".join(opening(finished.frames).notes)
    assert "data-method=" not in finished.report.read_text()
    assert "Shown: " not in finished.report.read_text()

"""With several attacks, whatever shows the first alone says so; tables have them all."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import lookaway as la
from lookaway.attacks.base import SignAttack
from lookaway.explainers.cam import CAM
from lookaway.registry import ATTACKS, EXPLAINERS
from lookaway.report.figures import Figures
from lookaway.report.opening import opening
from lookaway.report.options import Options
from lookaway.report.wording import first_attack, first_images

TOLD = "Shown: QUICK; the study's other attack, BRIGHTER, in the tables."
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


@pytest.fixture(scope="module")
def run(small_study, tmp_path_factory):
    """Two attacks on images prepared in two ways, two networks, one a source for the other."""
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
        "explain": {"method": "hires", "pictured": 3, "layers": "stages"},
        "report": {"paper": True},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "of_a_test", SimpleNamespace(Brighter=Brighter, HiRes=HiRes))
        patch.setitem(ATTACKS, "brighter", "of_a_test:Brighter")
        patch.setitem(EXPLAINERS, "hires", "of_a_test:HiRes")
        return la.run_study(study, folder / "out", progress=False)


def test_the_opening_and_each_part_of_the_page_say_which_attack_they_show(run):
    found = opening(run.frames)
    assert found.sentences[-2:] == (TOLD, IMAGES)
    assert all("after Holm" in sentence for sentence in found.sentences[1:3])
    page = run.report.read_text().replace("&#39;", "'")
    parts = dict(re.findall(r'<section id="(\w+)"(.*?)(?=<section id="\w+" aria|$)', page, re.S))
    for name in ("answer", "charts", "means", "paper"):
        assert TOLD in parts[name], name


def test_the_page_names_the_explainer_that_made_its_heatmaps(run, finished):
    for page, name in ((run.report, "hires"), (finished.report, "Grad-CAM")):
        text = page.read_text()
        assert f"attacked {name} heatmap of an image" in text
        assert f"<b>Heatmap</b>: {name} of the layer" in text


def test_every_figure_that_shows_the_first_attack_alone_says_so(run):
    figures = Figures(run.frames)
    told = {
        kind: TOLD in figures._makers[name](Options()).note for name, kind in figures._kinds.items()
    }
    assert {kind for kind, said in told.items() if not said} == OF_ALL


def test_figures_of_the_first_variant_say_so_those_of_all_do_not(run):
    notes = {name: run.figure(name).note for name in ("nissim", "transfer", "images", "layers")}
    assert all(IMAGES in note for note in notes.values())
    assert IMAGES not in run.figure("mean_heatmaps").note


def test_the_other_attack_is_in_the_tables(run):
    for name in ("mod_clean", "accuracy", "psnr", "scale_clean", "direction_clean", "vid"):
        table = (run.folder / "tables" / f"{name}.csv").read_text()
        assert "quick white-box" in table
        assert "brighter white-box" in table
    assert "brighter from one" in (run.folder / "tables" / "mod_clean.csv").read_text()


def test_with_one_attack_and_variant_nothing_is_said(finished):
    assert first_attack(finished.frames) == first_images(finished.frames) == ""
    assert "in the tables." not in " ".join(opening(finished.frames).sentences)
    assert "Shown: " not in finished.report.read_text()

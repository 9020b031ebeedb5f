"""A gallery's study keeps a few comparisons to look at: both sides explained, before and after."""

import numpy as np
import pytest
import torch

import lookaway as la
from galleries import DODGE, TAKEN, embedder
from lookaway.data.folder import FolderSource
from lookaway.data.pixels import as_floats, to_grid
from lookaway.errors import InputError
from lookaway.metrics import verification
from lookaway.report.pair_views import PairViews
from lookaway.study import pair_maps
from lookaway.study.keys import map_key
from lookaway.study.pairs import read_pairs

NAME = "faces <i>&</i>"


def key_in(result):
    return result.store.identity.model("none", NAME)


@pytest.fixture(scope="module")
def study(faces_for_all):
    return {
        "data": {
            "folder": str(faces_for_all),
            "image_size": 64,
            "split": {"train": 0.25, "val": 0, "test": 0.75},
        },
        "models": [{"name": NAME, "train": "enrol"}],
        "attacks": [DODGE, TAKEN],
        "epsilons": [0.02, 0.2],
        "controls": {"shifted": 0},
        "explain": {"explained_class": ["label"], "pictured": 6},
        "measure": {"grid": 32},
    }


@pytest.fixture(scope="module", autouse=True)
def few_people():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verification, "_HITS", 0.02)  # so few people can hold a threshold
        yield


@pytest.fixture(scope="module")
def result(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("pairs") / "run"
    return la.run_study(study, out, models={NAME: embedder()}, progress=False)


def pixels_of(result, image):
    source = FolderSource(result.plan.settings.data.folder)
    record = next(each for each in source.scan().records if each.image == image)
    return torch.from_numpy(as_floats([to_grid(source.open(record), 64)]))


def test_probes_are_explained_as_the_study_explains_them_and_references_as_pairs_are(result):
    rows, maps = read_pairs(result.store, key_in(result))
    assert set(rows["attack"]) == {"dodge", "taken"}
    last = result.plan.last_layers[NAME]
    assert set(rows["layer"]) == {last}
    stored = result.store.read_maps(result.store.identity.cell("none", NAME, 0))
    test = result.samples().filter(part="test")["image"].to_list()
    levels = [0.02, 0.2]
    for place, row in enumerate(rows.iter_rows(named=True)):
        assert maps[place].max() <= 1
        probe, reference = (pixels_of(result, row[name]) for name in ("image", "reference"))
        found = la.similarity_map(embedder(), probe, reference)
        for kind, other in ((0, found.reference), (1, found.reference_unlike)):
            mine, theirs = maps[place, 0, 1, kind].astype(float), other.maps[last][0].numpy()
            np.testing.assert_allclose(mine / mine.max(), theirs / theirs.max(), atol=2e-3)
        if row["attack"] != "dodge":
            assert row["person"] != row["label"]
            continue
        assert row["person"] == row["label"]
        at, level = test.index(row["image"]), levels.index(row["epsilon"])
        clean = stored[map_key("clean", "gradcam", "label", last)][at]
        changed = {
            1: stored[map_key("attacked", "gradcam", "label", last, "noise", None)][at, level],
            2: stored[map_key("attacked", "gradcam", "label", last, "dodge", NAME)][at, level],
        }
        for state, theirs in {0: clean, **changed}.items():
            mine = maps[place, state, 0, 0].astype(float)
            np.testing.assert_allclose(mine / mine.max(), theirs, atol=4e-3)


def test_references_are_enrolled_images_of_the_person_and_outcomes_follow_from_the_threshold(
    result,
):
    rows, _ = read_pairs(result.store, key_in(result))
    parts = dict(result.samples().select("image", "part").iter_rows())
    for row in rows.iter_rows(named=True):
        assert row["reference"].startswith(f"{row['person']}/")
        assert parts[row["reference"]] == "train"
        before, after = (row[state] >= row["threshold"] for state in ("clean", "attacked"))
        expected = {
            "lost": (True, False),
            "held": (True, True),
            "taken": (False, True),
            "kept out": (False, False),
        }
        assert (before, after) == expected[row["outcome"]]


def test_pairs_that_are_there_are_not_explained_again(result, study, monkeypatch):
    monkeypatch.setattr(pair_maps, "_Pairs", None)
    la.run_study(study, result.folder, models={NAME: embedder()}, progress=False)


def test_pairs_stand_on_the_page_and_in_a_figure_with_names_as_text(result):
    page = result.report.read_text()
    assert NAME not in page.partition('id="charts-data"')[0]
    rows, _ = read_pairs(result.store, key_in(result))
    assert page.count('<section class="pair"') == rows.height
    assert page.count("what speaks against it") == rows.height * 6
    views = PairViews(result.frames).of(NAME, "dodge")
    state = views[0].states[2]
    assert state.title == f"dodge, ε = {rows['epsilon'][0]:g}"
    assert f"cosine {rows['attacked'][0]:.3f}" in state.told
    assert state.told.endswith("accepted" if views[0].outcome == "held" else "refused")
    figure = result.figure("pairs", image=views[0].image)
    assert figure.svg().startswith("<svg")
    with pytest.raises(InputError, match=r"no pair under dodge has the probe 'x'; possible: '"):
        result.figure("pairs", image="x")


def test_a_study_that_fixes_no_threshold_shows_pairs_without_an_outcome(
    study, tmp_path, monkeypatch
):
    monkeypatch.setattr(verification, "_HITS", 10)
    small = {**study, "epsilons": [0.02], "attacks": [DODGE]}
    found = la.run_study(small, tmp_path / "run", models={NAME: embedder()}, progress=False)
    rows, _ = read_pairs(found.store, key_in(found))
    assert rows["outcome"].to_list() == [None, None]
    assert (
        "refused" not in found.report.read_text().partition('id="charts"')[0].rpartition("pair")[2]
    )

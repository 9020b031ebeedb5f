"""A study in bfloat16 measures how far it is from float32; one in float32 has no drift."""

import json
import re
import shutil

import numpy as np
import pytest

import lookaway as la
from lookaway.kernel import Key, Measured
from lookaway.report.tables import all_tables
from lookaway.study import drift as drift_module
from lookaway.study import prepare
from lookaway.study.drift import drift


def output(scores, classes, heat):
    """Two images at two levels."""
    maps = np.full((2, 11, 11), 0.5, dtype=np.float32)
    maps[:, 0, 0] = 1.0
    maps[:, 5, 5] = heat
    arrays = {
        Key("clean_class"): np.array([0, 1]),
        Key("attacked_class"): np.array(classes).reshape(2, 2).T[:, None],
        Key("nissim", "gradcam", "own", "l"): np.array(scores).reshape(2, 2).T[:, None],
        Key("clean_maps", "gradcam", "own", "l"): maps,
    }
    return [Measured((("fgsm", "m"),), arrays, {})]


def test_drift_is_measured_by_ε_in_mod_in_predictions_and_in_heatmaps(monkeypatch):
    monkeypatch.setattr(drift_module, "heatmap", lambda maps: maps)
    exact = output([0.1, 0.3, 0.2, 0.2], [0, 1, 0, 1], 0.5)
    coarse = output([0.3, 0.1, 0.2, 0.3], [0, 1, 1, 1], 0.75)
    found = drift(exact, coarse)
    # MOD goes from 0.2 to 0.2 at the first ε, from 0.2 to 0.25 at the second.
    assert found["mod"] == pytest.approx(0.025)
    assert found["largest"] == pytest.approx(0.05)
    assert found["classes"] == pytest.approx(7 / 8)
    assert found["heatmaps"] == pytest.approx(0.25 / 121)
    assert drift(exact, exact) == {"mod": 0, "largest": 0, "classes": 1, "heatmaps": 0}


@pytest.fixture(scope="module")
def coarse_study(quick_study):
    return {**quick_study, "run": {"precision": "bfloat16"}}


@pytest.fixture(scope="module")
def coarse(coarse_study, tmp_path_factory):
    """The study in bfloat16, run once; ``looked`` is the same in float32."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "SHARD", 4)
        patch.setattr("lookaway.run.build_report", lambda *_a, **_k: None)
        return la.run_study(coarse_study, tmp_path_factory.mktemp("coarse") / "out", progress=False)


def test_a_study_in_bfloat16_runs_keeps_its_drift_and_shows_it(coarse, looked):
    stored = [json.loads(path.read_text()) for path in (coarse.folder / "drift").iterdir()]
    stored.sort(key=lambda found: found["model"])
    assert [found["model"] for found in stored] == ["one", "two"]
    assert all(0 < found["mod"] <= found["largest"] < 0.2 for found in stored)
    first_cell = coarse.rows()["image"].unique(maintain_order=True)[: drift_module.IMAGES]
    assert {found["images"] for found in stored} <= set(range(2, len(first_cell) + 1))
    assert [found.largest for found in coarse.store.drifts()] == [s["largest"] for s in stored]
    (table,) = [table for table in all_tables(coarse.frames) if table.name == "drift"]
    assert "Drift of bfloat16 from float32" in table.title
    assert re.search(rf"one.*{stored[0]['largest']:.4f}", table.markdown())
    assert not (looked.folder / "drift").exists()
    assert "drift" not in [table.name for table in all_tables(looked.frames)]
    keys = ["image", "model", "attack", "source", "epsilon", "explained_class"]
    both = looked.rows().join(coarse.rows(), on=keys, nulls_equal=True)
    assert both.height == looked.rows().height
    assert 0 < (both["nissim"] - both["nissim_right"]).abs().mean() < 0.1


def test_drift_that_is_stored_is_not_measured_again(
    coarse, coarse_study, run_quickly, tmp_path, monkeypatch
):
    copy = shutil.copytree(coarse.folder, tmp_path / "out")
    monkeypatch.setattr(drift_module, "drift", None)
    run_quickly(coarse_study, copy)
    (next((copy / "drift").iterdir())).unlink()
    with pytest.raises(TypeError):
        run_quickly(coarse_study, copy)

"""A study in bfloat16 measures how far it is from float32; one in float32 has no drift."""

import json
import re

import numpy as np
import pytest

import lookaway as la
from lookaway.kernel import Key, Measured
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


def test_a_study_in_bfloat16_runs_keeps_its_drift_and_shows_it(quick_study, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "SHARD", 8)
    study = {**quick_study, "run": {"precision": "bfloat16"}, "transfer_from": []}
    result = la.run_study(study, tmp_path / "out", progress=False)
    stored = [json.loads(path.read_text()) for path in sorted((tmp_path / "out/drift").iterdir())]
    assert [found["model"] for found in stored] == ["one", "two"]
    assert all(0 < found["mod"] <= found["largest"] < 0.2 for found in stored)
    first_cell = result.rows()["image"].unique(maintain_order=True)[: drift_module.IMAGES]
    assert {found["images"] for found in stored} <= set(range(2, len(first_cell) + 1))
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert sum(name.startswith("drift/") for name in manifest["files"]) == 2
    page = result.report.read_text()
    assert "Drift of bfloat16 from float32" in page
    table = (tmp_path / "out/tables/drift.md").read_text()
    assert re.search(rf"one.*{stored[0]['largest']:.4f}", table)
    exact = la.run_study({**study, "run": {}}, tmp_path / "exact", progress=False)
    assert not (tmp_path / "exact/drift").exists()
    assert "Drift of bfloat16" not in exact.report.read_text()
    both = exact.rows().join(
        result.rows(), on=["image", "model", "attack", "epsilon", "explained_class"]
    )
    assert 0 < (both["nissim"] - both["nissim_right"]).abs().mean() < 0.1


def test_drift_that_is_stored_is_not_measured_again(
    quick_study, run_quickly, tmp_path, monkeypatch
):
    study = {**quick_study, "run": {"precision": "bfloat16"}}
    run_quickly(study, tmp_path / "out")
    monkeypatch.setattr(drift_module, "drift", None)
    run_quickly(study, tmp_path / "out")
    (next((tmp_path / "out/drift").iterdir())).unlink()
    with pytest.raises(TypeError):
        run_quickly(study, tmp_path / "out")

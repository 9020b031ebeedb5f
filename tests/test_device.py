"""Everything is made where the model works: the same rows on any device.

Where there is no CUDA, a default device that holds no numbers stands for "elsewhere": whatever is
made without saying where cannot meet the model's own tensors.
"""

import pytest
import torch
from lookaway.study.cell import run_cell

import lookaway as la
from cells import a_cell
from lookaway.metrics import map_nissim as map_nissim_module
from lookaway.metrics import ssim as ssim_module
from lookaway.metrics.map_nissim import nissim_of_maps
from lookaway.models.folding import compute_in
from oracles import pixels

CUDA = pytest.param(
    "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
)


@pytest.fixture
def forget():
    """Filters are kept for the next call; make them anew."""
    for kept in (ssim_module.band, ssim_module._bands, map_nissim_module._bands):
        kept.cache_clear()
    yield
    for kept in (ssim_module.band, ssim_module._bands, map_nissim_module._bands):
        kept.cache_clear()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("device", [pytest.param("cpu", id="cpu beside another default"), CUDA])
def test_a_cell_gives_the_same_rows_wherever_the_model_works(device, precision, forget):
    clf, shard, settings, _, _ = a_cell()
    if precision == "bfloat16":
        compute_in(clf, "bfloat16")
    expected = run_cell(clf, "m", shard, settings)
    clf.to(device)
    with torch.device("meta" if device == "cpu" else "cpu"):
        found = run_cell(clf, "m", shard, settings)
    tolerance = 1e-3 if precision == "float32" else 5e-2
    assert found.rows.keys() == expected.rows.keys()
    assert found.rows["attacked_class"] == expected.rows["attacked_class"]
    assert found.rows["nissim"] == pytest.approx(expected.rows["nissim"], abs=tolerance)
    assert found.shuffled["nissim"] == pytest.approx(expected.shuffled["nissim"], abs=tolerance)


@pytest.mark.parametrize("device", [pytest.param("cpu", id="cpu beside another default"), CUDA])
def test_heatmaps_are_compared_where_they_are(device, forget):
    a, b = pixels(3, 7, 9, seed=1).to(device), pixels(3, 7, 9, seed=2).to(device)
    with torch.device("meta" if device == "cpu" else "cpu"):
        found = nissim_of_maps(a, b, 32)
        direct = la.nissim(la.heatmap(a, 32), la.heatmap(b, 32))
    assert found.device == direct.device == a.device
    torch.testing.assert_close(found, direct, rtol=0, atol=2e-6)

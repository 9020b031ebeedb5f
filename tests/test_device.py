"""Everything is made where the model works: the same rows on any device.

Where there is no CUDA, a default device that holds no numbers stands for "elsewhere": whatever is
made without saying where cannot meet the model's own tensors.
"""

import numpy as np
import pytest
import torch

import lookaway as la
from cells import a_batch
from lookaway.kernel import Key, measure_images
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
def test_images_are_measured_alike_wherever_the_model_works(device, precision, forget):
    clf, images, labels, settings = a_batch()
    if precision == "bfloat16":
        compute_in(clf, "bfloat16")
    given = images, labels, settings, [la.FGSM()], [la.GradCAM()]
    expected = measure_images(clf, *given)
    clf.to(device)
    with torch.device("meta" if device == "cpu" else "cpu"):
        found = measure_images(clf, *given)
    tolerance = 1e-3 if precision == "float32" else 5e-2
    assert found.arrays.keys() == expected.arrays.keys()
    np.testing.assert_array_equal(
        found.arrays[Key("attacked_class")], expected.arrays[Key("attacked_class")]
    )
    for key, values in expected.arrays.items():
        if key.name in ("nissim", "lost", "uniform7@common"):
            np.testing.assert_allclose(found.arrays[key], values, atol=tolerance)


@pytest.mark.parametrize("device", [pytest.param("cpu", id="cpu beside another default"), CUDA])
def test_heatmaps_are_compared_where_they_are(device, forget):
    a, b = pixels(3, 7, 9, seed=1).to(device), pixels(3, 7, 9, seed=2).to(device)
    with torch.device("meta" if device == "cpu" else "cpu"):
        found = nissim_of_maps(a, b, 32)
        direct = la.nissim(la.heatmap(a, 32), la.heatmap(b, 32))
    assert found.device == direct.device == a.device
    torch.testing.assert_close(found, direct, rtol=0, atol=2e-6)

"""Evidence apart from place: how much there is, and how far it moved."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance_nd

import lookaway as la
from lookaway.errors import InputError
from lookaway.metrics.ssim import band
from lookaway.metrics.transport import log_mass_ratio, moved, sliced_wasserstein
from oracles import sliced_wasserstein_of_points


def blobs(count, height, width, seed=0):
    """Smooth maps of one or two blobs, as heatmaps are."""
    random = np.random.default_rng(seed)
    y, x = ((np.arange(side) + 0.5) / side for side in (height, width))
    found = np.zeros((count, height, width))
    for each in found:
        for _ in range(random.integers(1, 3)):
            down, right, wide = random.random(), random.random(), random.uniform(0.1, 0.3)
            far = (y[:, None] - down) ** 2 + (x - right) ** 2
            each += random.random() * np.exp(-far / 2 / wide**2)
    return torch.from_numpy(found).float()


@pytest.mark.parametrize("size", [(7, 7), (9, 5), (1, 6), (14, 14)])
def test_it_is_the_mean_over_directions_of_exact_distances(size):
    clean, attacked = blobs(4, *size), torch.rand(4, *size, generator=torch.manual_seed(1))
    expected = [sliced_wasserstein_of_points(*pair) for pair in zip(clean, attacked, strict=True)]
    np.testing.assert_allclose(sliced_wasserstein(clean, attacked), expected, atol=3e-6)


def test_it_is_a_lower_bound_of_the_distance_in_the_plane_and_mostly_close():
    clean, attacked = blobs(6, 7, 7), blobs(6, 7, 7, seed=1)
    down, right = np.divmod(np.arange(49), 7)
    cells = (np.stack([down, right], axis=1) + 0.5) / 7
    exact = [
        wasserstein_distance_nd(cells, cells, first.flatten(), second.flatten())
        for first, second in zip(clean, attacked, strict=True)
    ]
    share = sliced_wasserstein(clean, attacked).numpy() / exact
    assert share.max() <= 1 + 1e-9
    assert share.min() > 0.8
    assert np.median(share) > 0.95


@pytest.mark.parametrize("angle", np.linspace(0, 2 * np.pi, 7))
def test_what_moves_as_a_whole_has_the_length_of_its_way(angle):
    clean, attacked = torch.zeros(2, 1, 14, 14)
    clean[0, 6, 6] = 2.0
    to = 6 + round(5 * math.sin(angle)), 6 + round(5 * math.cos(angle))
    attacked[0, to[0], to[1]] = 0.1
    way = math.dist((6, 6), to) / 14
    assert 0.98 * way <= float(sliced_wasserstein(clean, attacked)) <= way + 2e-6


def test_it_does_not_depend_on_the_size_of_the_maps():
    pairs = [(blobs(5, side, side), blobs(5, side, side, seed=1)) for side in (7, 14, 56, 149)]
    coarse, *finer = [sliced_wasserstein(*pair) for pair in pairs]
    for each in finer:
        np.testing.assert_allclose(each, coarse, atol=0.012)


def test_it_is_zero_for_the_same_place_whatever_the_evidence_and_symmetric():
    clean, attacked = blobs(3, 7, 7), blobs(3, 7, 7, seed=1)
    assert torch.equal(sliced_wasserstein(clean, clean), torch.zeros(3).double())
    assert float(sliced_wasserstein(clean, clean / 16).max()) < 1e-6
    both = sliced_wasserstein(clean, attacked), sliced_wasserstein(attacked, clean)
    assert torch.equal(*both)


@pytest.mark.parametrize("side", [7, 14, 31])
def test_it_is_the_same_number_whatever_is_beside_it(side):
    clean, attacked = blobs(9, side, side), blobs(9, side, side, seed=1)
    alone = torch.cat([sliced_wasserstein(clean[[n]], attacked[[n]]) for n in range(9)])
    assert torch.equal(sliced_wasserstein(clean, attacked), alone)


def test_the_mass_of_raw_maps_is_told_apart_from_their_place():
    clean = blobs(3, 20, 30)
    assert torch.allclose(log_mass_ratio(clean, clean / 20), torch.tensor(-math.log(20)).double())
    assert float(la.nissim(la.heatmap(clean), la.heatmap(clean / 20)).max()) < 1e-6


def test_nearly_all_of_nissim_of_enlarged_maps_is_the_luminance_term():
    pair = la.heatmap(blobs(20, 7, 7)), la.heatmap(blobs(20, 7, 7, seed=1))
    window = band(224, "gaussian11", torch.device("cpu"))
    means = [window @ each.double() @ window.T for each in pair]
    variance = window @ pair[0].double() ** 2 @ window.T - means[0] ** 2
    both = 2 * means[0] * means[1] + 0.01**2
    luminance = both / (means[0] ** 2 + means[1] ** 2 + 0.01**2)
    alone, whole = (1 - luminance.mean(dim=(1, 2))) / 2, la.nissim(*pair)
    assert float((variance < 0.03**2).double().mean()) > 0.98
    assert 0.85 < float(alone.mean() / whole.mean()) < 0.95
    assert np.corrcoef(alone, whole)[0, 1] > 0.97


def test_a_dead_map_has_neither_and_is_refused_alone():
    clean, attacked = blobs(2, 7, 7), blobs(2, 7, 7, seed=1)
    attacked[0] = 0.0
    found = moved(clean, attacked)
    assert found["log_mass_ratio"].isnan().tolist() == [True, False]
    assert found["sliced_wasserstein"].isnan().tolist() == [True, False]
    for one in (sliced_wasserstein, log_mass_ratio):
        assert torch.allclose(one(clean[1:], attacked[1:]), found[one.__name__][1:])
        with pytest.raises(InputError, match="leave dead maps out"):
            one(clean, attacked)
        with pytest.raises(InputError, match="two of"):
            one(clean, attacked[:1])

"""Parts of an aligned face: every place belongs to one, and shares are counted where they lie."""

import numpy as np
import pytest

from lookaway.analysis.face_regions import REGIONS, layout, shares
from lookaway.analysis.regions import GRID
from lookaway.data.pose import TEMPLATE, TEMPLATE_SIZE

CASCADE = {"aligner": "cascade", "margin": 0.0}
LANDMARKS = {"aligner": "landmarks", "margin": 0.1}


def at(covered, x, y):
    """The region that most of a place's cell belongs to."""
    return REGIONS[int(covered[:, int(y * GRID), int(x * GRID)].argmax())]


@pytest.mark.parametrize("aligner", [CASCADE, {**CASCADE, "margin": 0.25}, LANDMARKS])
def test_every_place_belongs_to_regions_that_add_up_to_one_and_lie_as_on_a_face(aligner):
    covered = layout(aligner)
    np.testing.assert_allclose(covered.sum(axis=0), 1.0)
    np.testing.assert_allclose(covered, covered[:, :, ::-1], atol=0.26)  # left as right
    rows = [(covered[k].sum(axis=1) * np.arange(GRID)).sum() / covered[k].sum() for k in range(4)]
    eyes, nose, mouth, forehead = rows
    assert forehead < eyes < nose < mouth
    assert at(covered, 0.01, 0.99) == "background"


def test_the_template_s_points_lie_in_their_regions():
    points = np.array(TEMPLATE) / TEMPLATE_SIZE
    found = [at(layout(LANDMARKS), x, y) for x, y in points]
    assert found == ["eyes", "eyes", "nose", "mouth", "mouth"]


def test_a_margin_of_the_square_moves_no_region_on_the_face():
    tight, wide = layout(CASCADE), layout({**CASCADE, "margin": 0.25})
    for x, y in [(0.32, 0.38), (0.5, 0.6), (0.5, 0.76), (0.5, 0.1), (0.25, 0.65)]:
        assert at(tight, x, y) == at(wide, (x + 0.25) / 1.5, (y + 0.25) / 1.5)


def test_shares_are_those_of_a_heatmap_s_mass_and_none_of_a_dead_one():
    covered = layout(CASCADE)
    maps = np.random.default_rng(0).random((2, GRID, GRID))
    maps[1] = 0.0
    found = shares(maps, covered)
    for region in range(len(REGIONS)):
        slow = sum(
            maps[0, row, column] * covered[region, row, column]
            for row in range(GRID)
            for column in range(GRID)
        )
        assert found[0, region] == pytest.approx(slow / maps[0].sum())
    assert np.isnan(found[1]).all()
    corner = np.zeros((1, 8, 8))
    corner[0, 0, 0] = 1.0
    assert shares(corner, covered)[0, REGIONS.index("background")] == pytest.approx(1.0, abs=0.05)


def test_images_that_are_not_aligned_have_no_layout():
    assert layout({}) is None

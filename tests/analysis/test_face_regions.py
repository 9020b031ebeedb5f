"""Parts of an aligned face: every place belongs to one, and shares are counted where they lie."""

import numpy as np
import pytest

from lookaway.analysis.face_regions import REGIONS, Faces, layout, layout_of_points, shares
from lookaway.analysis.regions import GRID
from lookaway.data.pose import TEMPLATE, TEMPLATE_SIZE, Pose

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
    each = shares(maps[[0, 0]], np.stack([covered, covered[::-1]]))
    np.testing.assert_allclose(each[1], each[0][::-1])
    corner = np.zeros((1, 8, 8))
    corner[0, 0, 0] = 1.0
    assert shares(corner, covered)[0, REGIONS.index("background")] == pytest.approx(1.0, abs=0.05)


def test_the_template_s_points_give_its_standard_layout_and_others_move_their_region():
    points = np.array(TEMPLATE) / TEMPLATE_SIZE
    standard, own = layout(LANDMARKS), layout_of_points(points)
    np.testing.assert_allclose(own.sum(axis=0), 1.0)
    np.testing.assert_allclose(own.mean(axis=(1, 2)), standard.mean(axis=(1, 2)), atol=0.01)
    wide = points + np.array([[0, 0], [0, 0], [0.1, 0], [-0.08, 0], [0.08, 0]])
    moved = layout_of_points(wide)
    for place, region in ((2, "nose"), (3, "mouth"), (4, "mouth")):
        x, y = wide[place]
        assert at(moved, x, y) == region
        assert at(standard, x, y) != region
    # Turned and shrunk points turn and shrink the layout: the same region at the same place.
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    turned = layout_of_points((points - 0.5) * 0.8 @ turn.T + 0.5)
    for x, y in [(0.33, 0.46), (0.5, 0.6), (0.5, 0.83), (0.5, 0.2), (0.25, 0.7), (0.02, 0.98)]:
        there = (np.array([x, y]) - 0.5) * 0.8 @ turn.T + 0.5
        assert at(turned, *there) == at(own, x, y)


def test_points_that_span_no_face_have_no_layout():
    points = np.array(TEMPLATE) / TEMPLATE_SIZE
    profile = points.copy()
    profile[1] = profile[0] + np.array([0.01, 0.0])
    assert layout_of_points(profile) is None
    assert layout_of_points(points + 1.0) is None


def test_points_count_before_the_standard_layout_and_a_box_alone_has_none():
    points = 100 * np.array(TEMPLATE) / TEMPLATE_SIZE + np.array([50, 20])
    pose = Pose(50.0, 20.0, 100.0, 0.0)
    poses = {"own": pose, "plain": pose, "beside": pose, "none": None}
    given = {"own": points, "beside": points + 500, "none": points}
    standard = layout(CASCADE)
    found = Faces(standard, poses, given, boxed=False).layouts(poses)
    np.testing.assert_allclose(found["own"], layout_of_points(pose.seen(points)))
    assert found["plain"] is found["beside"] is standard
    assert "none" not in found
    assert {*Faces(standard, poses, given, boxed=True).layouts(poses)} == {"own"}


def test_images_that_are_not_aligned_have_no_layout():
    assert layout({}) is None

"""Five points meet the template, and the square is cut out as its pose says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage.transform import SimilarityTransform

from lookaway.data.pixels import to_grid
from lookaway.data.pose import MARGIN, TEMPLATE, Pose, aligned, around, fitted

RNG = np.random.default_rng(0)
CORNERS = np.array(TEMPLATE) / 112


def placed(pose, points):
    """Points of the square, in the image."""
    u, v = np.asarray(points, dtype=float).T
    x = pose.x + pose.across * u - pose.down * v
    y = pose.y + pose.down * u + pose.across * v
    return np.stack([x, y], axis=1)


def fit(points):
    return Pose(*fitted(np.array([points], dtype=float))[0])


def noise(height, width):
    return Image.fromarray(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8))


@settings(deadline=None)
@given(st.floats(-np.pi, np.pi), st.floats(5, 3000), st.floats(-4000, 4000), st.floats(-4000, 4000))
def test_points_turned_scaled_and_shifted_are_found_again(angle, scale, x, y):
    true = Pose(x, y, scale * np.cos(angle), scale * np.sin(angle))
    points = placed(true, CORNERS)
    np.testing.assert_allclose(placed(fit(points), CORNERS), points, atol=1e-6)


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_points_that_fit_badly_are_met_as_scikit_image_meets_them(seed):
    points = np.random.default_rng(seed).uniform(0, 200, (5, 2))
    transform = SimilarityTransform()
    if hasattr(SimilarityTransform, "from_estimate"):  # 0.26
        transform = SimilarityTransform.from_estimate(points, np.array(TEMPLATE))
    else:
        transform.estimate(points, np.array(TEMPLATE))
    theirs = transform.inverse(np.array([[0, 0], [112, 0], [0, 112], [112, 112]]))
    ours = placed(fit(points), [[0, 0], [1, 0], [0, 1], [1, 1]])
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


def test_points_that_coincide_or_are_not_finite_fit_nothing():
    good = CORNERS * 100
    nan, huge = good.copy(), good.copy()
    nan[2, 1], huge[2, 1] = np.nan, np.inf
    same = np.full((5, 2), 1234.567)
    poses = fitted(np.array([good, nan, huge, same]))
    assert np.isfinite(poses[0]).all()
    assert np.isnan(poses[1:]).all()


@pytest.mark.parametrize("margin", [MARGIN, 0.0, 0.25])
def test_the_square_around_a_box_has_its_centre_and_the_margin_on_each_side(margin):
    left, top, side = around(10.0, 20.0, 40.0, 100.0, margin)
    assert side == pytest.approx(100 * (1 + 2 * margin))
    assert (left + side / 2, top + side / 2) == pytest.approx((30, 70))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 200), st.integers(1, 120))
def test_the_whole_of_a_square_image_is_what_the_grid_has(side, size):
    image = noise(side, side)
    mine = aligned(image, Pose(0.0, 0.0, float(side), 0.0), size)
    np.testing.assert_allclose(mine.astype(int), to_grid(image, size).astype(int), atol=1)


@pytest.mark.parametrize("side", [40, 120])
def test_an_unturned_square_inside_is_what_pillow_resizes(side):
    image = noise(300, 200)
    box = (31.25, 77.5, 31.25 + side, 77.5 + side)
    theirs = image.resize((40, 40), Image.Resampling.BILINEAR, box=box)
    mine = aligned(image, Pose(box[0], box[1], float(side), 0.0), 40)
    np.testing.assert_allclose(mine.astype(int), np.asarray(theirs).astype(int), atol=1)


def test_a_quarter_turn_turns_the_pixels():
    image = noise(24, 24)
    mine = aligned(image, Pose(24.0, 0.0, 0.0, 24.0), 24)  # its upper edge is the right one
    np.testing.assert_array_equal(mine, np.rot90(np.asarray(image)))


@pytest.mark.parametrize("size", [10, 20, 50])
def test_what_lies_outside_repeats_the_edge(size):
    image = noise(20, 20)
    wide = Image.fromarray(np.pad(np.asarray(image), ((20, 20), (20, 20), (0, 0)), mode="edge"))
    mine = aligned(image, Pose(-20.0, -20.0, 60.0, 0.0), 60)
    np.testing.assert_array_equal(mine, np.asarray(wide))
    corner = aligned(image, Pose(-900.0, -900.0, 100.0, 0.0), size)
    assert np.ptp(corner.reshape(-1, 3), axis=0).max() == 0


@pytest.mark.parametrize("angle", [0, 0.3, np.pi / 4])
def test_a_fine_checkerboard_shrinks_to_grey(angle):
    board = np.indices((400, 400)).sum(axis=0) % 2 * 255
    image = Image.fromarray(np.repeat(board[..., None], 3, axis=2).astype(np.uint8))
    pose = Pose(150.0, 120.0, 200 * np.cos(angle), 200 * np.sin(angle))
    small = aligned(image, pose, 40).astype(int)
    assert np.abs(small - 127.5).max() < 12


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.tuples(*[st.floats(-1e9, 1e9)] * 4),
    st.integers(1, 40),
)
def test_any_finite_pose_gives_pixels_of_the_image(width, height, numbers, size):
    image = Image.new("RGB", (width, height), (10, 200, 90))
    cut = aligned(image, Pose(*numbers), size)
    assert cut.shape == (size, size, 3)
    assert (cut == (10, 200, 90)).all()

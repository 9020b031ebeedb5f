"""Boxes and masks become coverage; participation inside them is that of the heatmap."""

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from corpus import tiff
from lookaway.analysis.regions import (
    BOX,
    GRID,
    inside,
    inside_frame,
    pack,
    read_regions,
    unpack,
)
from lookaway.errors import DataError
from lookaway.rows import ROW_SCHEMA, SAMPLE_SCHEMA, SHUFFLED_SCHEMA
from lookaway.study.keys import map_key
from lookaway.study.store import CellResult, Store
from plans import a_plan

IMAGES = ["ann/0.png", "ann/1.jpg", "bob/0.png"]
FRACTION = st.floats(0, 1)


def boxes(**named):
    """A frame of boxes: ``boxes(ann0=(left, top, right, bottom))``."""
    names = dict(zip(("ann0", "ann1", "bob0"), IMAGES, strict=True))
    rows = [(names.get(name, name), *sides) for name, sides in named.items()]
    return pl.DataFrame(rows, schema=["image", *BOX], orient="row")


def save(path, mask):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


# Boxes


def test_a_box_covers_its_columns_from_the_left_and_its_rows_from_the_top():
    (found,) = read_regions(boxes(ann0=(0.25, 0.5, 0.5, 1.0)), IMAGES).values()
    expected = np.zeros((GRID, GRID))
    expected[GRID // 2 :, GRID // 4 : GRID // 2] = 1.0
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_cell_that_a_box_cuts_is_covered_in_part():
    (found,) = read_regions(boxes(ann0=(1.5 / GRID, 0.25 / GRID, 2.25 / GRID, 1)), IMAGES).values()
    np.testing.assert_allclose(found[0, :4], [0, 0.75 * 0.5, 0.75 * 0.25, 0], atol=1e-12)
    np.testing.assert_allclose(found[1:, 1], 0.5, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(FRACTION, FRACTION, FRACTION, FRACTION)
def test_coverage_adds_up_to_the_box(left, top, width, height):
    right, bottom = left + width * (1 - left), top + height * (1 - top)
    if left < right and top < bottom and left < 1 and top < 1:
        (found,) = read_regions(boxes(ann0=(left, top, right, bottom)), IMAGES).values()
        assert found.shape == (GRID, GRID)
        assert found.min() >= 0
        assert found.max() <= 1 + 1e-9
        assert found.mean() == pytest.approx((right - left) * (bottom - top), abs=1e-9)


def test_a_box_that_reaches_beyond_the_picture_ends_at_its_edge():
    beyond = read_regions(boxes(ann0=(-0.2, -3.0, 0.5, 1.25)), IMAGES)
    within = read_regions(boxes(ann0=(0.0, 0.0, 0.5, 1.0)), IMAGES)
    np.testing.assert_allclose(beyond["ann/0.png"], within["ann/0.png"], atol=1e-12)


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_a_csv_is_read_as_the_frame_that_it_holds(tmp_path, kind):
    frame = boxes(ann0=(0.0, 0.125, 0.5, 1.0), bob0=(0.5, 0.25, 0.75, 0.5))
    frame = frame.select("bottom", "image", "left", "top", "right").with_columns(note=pl.lit("x"))
    frame.write_csv(tmp_path / "boxes.csv")
    found, expected = (read_regions(s, IMAGES) for s in (kind(tmp_path / "boxes.csv"), frame))
    assert list(found) == list(expected) == ["ann/0.png", "bob/0.png"]
    for image in found:
        np.testing.assert_array_equal(found[image], expected[image])
    assert found["bob/0.png"].mean() == pytest.approx(0.25 * 0.25)


def test_boxes_of_other_images_are_left_alone_even_broken_ones():
    frame = boxes(ann1=(0.0, 0.0, 1.0, 1.0), elsewhere=(0.9, 0.0, 0.1, 1.0))
    assert list(read_regions(frame, IMAGES)) == ["ann/1.jpg"]


@pytest.mark.parametrize(
    "box",
    [
        (0.5, 0.0, 0.5, 1.0),
        (0.6, 0.0, 0.5, 1.0),
        (0.0, 0.7, 1.0, 0.7),
        (0.0, 0.8, 1.0, 0.7),
        (1.0, 0.0, 1.5, 1.0),
        (0.0, 1.0, 1.0, 1.5),
        (-1.0, 0.0, 0.0, 1.0),
        (0.0, -1.0, 1.0, 0.0),
        (float("nan"), 0.0, 1.0, 1.0),
        (0.0, 0.0, 1.0, float("nan")),
        (None, 0.0, 1.0, 1.0),
        ("wide", "0", "1", "1"),
    ],
)
def test_a_box_that_is_none_is_told_with_its_image_and_sides(box):
    with pytest.raises(DataError) as caught:
        read_regions(boxes(ann1=box), IMAGES)
    told = str(caught.value)
    assert "'ann/1.jpg'" in told
    assert str(list(box)) in told
    assert "left < right and top < bottom are needed" in told


def test_missing_columns_are_told_beside_those_that_are_there(tmp_path):
    frame = boxes(ann0=(0.0, 0.0, 1.0, 1.0)).drop("top", "bottom")
    frame.write_csv(tmp_path / "boxes.csv")
    for source, name in ((frame, "the frame"), (tmp_path / "boxes.csv", "boxes.csv")):
        with pytest.raises(DataError, match=rf"{name} has no column top, bottom; it has .*left"):
            read_regions(source, IMAGES)


def test_regions_of_no_image_of_the_run_are_an_error_that_names_one(tmp_path):
    (tmp_path / "masks").mkdir()
    for source in (boxes(elsewhere=(0.0, 0.0, 1.0, 1.0)), tmp_path / "masks"):
        with pytest.raises(DataError, match=r"no region .* such as 'ann/0\.png'"):
            read_regions(source, IMAGES)


@pytest.mark.parametrize("content", [None, b"", b"\x89PNG\r\n\x1a\n\x00\xff"])
def test_a_file_that_holds_no_table_is_an_error_that_says_what_one_is(tmp_path, content):
    path = tmp_path / "boxes.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"boxes\.csv.*image, left, top, right, bottom"):
        read_regions(path, IMAGES)


@pytest.mark.parametrize("name", ["faces [v2].csv", "all*.csv", "what?.csv"])
def test_no_name_of_a_file_is_a_pattern(tmp_path, name):
    boxes(ann0=(0.0, 0.0, 0.5, 1.0)).write_csv(tmp_path / name)
    boxes(ann0=(0.0, 0.0, 1.0, 1.0)).write_csv(tmp_path / "allx.csv")
    assert read_regions(tmp_path / name, IMAGES)["ann/0.png"].mean() == pytest.approx(0.5)


def test_what_stands_in_the_first_rows_decides_nothing(tmp_path):
    names = [f"a/{place:04d}.png" for place in range(1200)]
    rows = [f"{name},0,0,1,1,7\n" for name in names[:-1]] + [f"{names[-1]},0.25,0,0.75,5e-1,x\n"]
    (tmp_path / "late.csv").write_text("image,left,top,right,bottom,note\n" + "".join(rows))
    found = read_regions(tmp_path / "late.csv", names)
    assert found[names[0]].mean() == pytest.approx(1.0)
    assert found[names[-1]].mean() == pytest.approx(0.25)
    (tmp_path / "numbers.csv").write_text("image,left,top,right,bottom\n007,0,0,1,1\n")
    assert list(read_regions(tmp_path / "numbers.csv", ["007"])) == ["007"]


COMPOSED, APART = "zo\u00eb/1.png", "zoe\u0308/1.png"


@pytest.mark.parametrize(
    ("image", "given"), [(COMPOSED, APART), (APART, COMPOSED), ("a/b.png", "a\\b.png")]
)
def test_names_in_another_unicode_form_or_with_backslashes_are_those_of_the_images(
    tmp_path, image, given
):
    assert list(read_regions(boxes(**{given: (0.0, 0.0, 0.5, 1.0)}), [image, "c/d.png"])) == [image]
    save(tmp_path / given, np.full((8, 8), 255, dtype=np.uint8))
    found = read_regions(tmp_path, [image, "c/d.png"])
    assert list(found) == [image]
    np.testing.assert_allclose(found[image], 1.0)


def test_a_name_that_may_be_several_images_is_refused_unless_it_is_exactly_one(tmp_path):
    images = [COMPOSED, APART]
    assert list(read_regions(boxes(**{APART: (0.0, 0.0, 1.0, 1.0)}), images)) == [APART]
    with pytest.raises(DataError, match=r"may be .* or .*Unicode form or slashes alone"):
        read_regions(boxes(**{COMPOSED.replace("/", "\\"): (0.0, 0.0, 1.0, 1.0)}), images)
    white = np.full((8, 8), 255, dtype=np.uint8)
    save(tmp_path / APART, white)
    assert list(read_regions(tmp_path, images)) == [APART]
    for name in (APART, COMPOSED.replace("/", "\\")):
        save(tmp_path / "two" / name, white)
    with pytest.raises(DataError, match=r"either may be the mask of 'zoë/1'; remove one"):
        read_regions(tmp_path / "two", [COMPOSED])


# Masks


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "tiff"])
def test_a_mask_stands_at_its_image_s_path_and_is_white_inside(tmp_path, ending):
    mask = np.zeros((112, 112), dtype=np.uint8)
    mask[28:56, 56:] = 255
    save(tmp_path / "ann" / f"1.{ending}", mask)
    found = read_regions(tmp_path, IMAGES)
    assert list(found) == ["ann/1.jpg"]
    box = read_regions(boxes(ann1=(0.5, 0.25, 1.0, 0.5)), IMAGES)
    np.testing.assert_allclose(found["ann/1.jpg"], box["ann/1.jpg"], atol=1e-12)


@pytest.mark.parametrize("wide", [True, False])
def test_the_centre_of_a_mask_is_cut_out_as_that_of_its_image(tmp_path, wide):
    mask = np.zeros((100, 200), dtype=np.uint8)
    mask[:, 50:75] = 255  # the first quarter of the square in the middle
    save(tmp_path / "bob" / "0.png", mask if wide else mask.T)
    found = read_regions(str(tmp_path), IMAGES)["bob/0.png"]
    box = (0.0, 0.0, 0.25, 1.0) if wide else (0.0, 0.0, 1.0, 0.25)
    expected = read_regions(boxes(bob0=box), IMAGES)["bob/0.png"]
    np.testing.assert_allclose(found, expected, atol=1 / 255)


def test_a_grey_or_coloured_mask_covers_in_part(tmp_path):
    save(tmp_path / "ann" / "0.png", np.full((20, 30), 51, dtype=np.uint8))
    save(tmp_path / "ann" / "1.png", np.full((20, 30, 3), 255, dtype=np.uint8))
    save(tmp_path / "bob" / "0.png", np.ones((20, 30), dtype=bool))
    found = read_regions(tmp_path, IMAGES)
    for image, expected in zip(IMAGES, (0.2, 1.0, 1.0), strict=True):
        np.testing.assert_allclose(found[image], expected, atol=1e-12)


def test_a_broken_mask_is_told_by_its_path(tmp_path):
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"ann/0\.png.*folder of masks"):
        read_regions(tmp_path, IMAGES)


def test_packed_regions_come_back_to_one_part_in_255():
    given = {"a": np.random.default_rng(0).random((GRID, GRID)), "b": np.eye(GRID)}
    packed = pack(given)
    assert {region.dtype for region in packed.values()} == {np.dtype(np.uint8)}
    back = unpack(packed)
    assert list(back) == ["a", "b"]
    np.testing.assert_array_equal(back["b"], given["b"])
    np.testing.assert_allclose(back["a"], given["a"], atol=0.5 / 255 + 1e-12)


# Participation inside


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 56), st.integers(1, 56), st.integers(0, 99))
def test_the_share_inside_is_that_of_the_enlarged_map(height, width, seed):
    random = np.random.default_rng(seed)
    maps, coverage = random.random((3, height, width)), random.random((3, GRID, GRID))
    heat = F.interpolate(
        torch.from_numpy(maps)[:, None], size=(GRID, GRID), mode="bilinear", align_corners=False
    )[:, 0].numpy()
    expected = (heat * coverage).sum(axis=(1, 2)) / heat.sum(axis=(1, 2))
    np.testing.assert_allclose(inside(maps, coverage), expected, rtol=1e-9)


def test_everything_lies_in_the_whole_picture_nothing_in_no_region_and_a_half_in_a_half():
    maps = np.stack([np.random.default_rng(0).random((7, 7))] * 2 + [np.ones((7, 7))])
    half = read_regions(boxes(ann0=(0.0, 0.0, 0.5, 1.0)), IMAGES)["ann/0.png"]
    coverage = np.stack([np.ones((GRID, GRID)), np.zeros((GRID, GRID)), half])
    np.testing.assert_allclose(inside(maps, coverage), [1, 0, 0.5], atol=1e-12)


def test_a_dead_map_lies_nowhere_and_its_scale_does_not_matter():
    maps = np.zeros((3, 4, 4), dtype=np.float16)
    maps[1, 0, 3] = 1.0
    maps[2, 0, 3] = 0.125
    coverage = np.zeros((3, GRID, GRID))
    coverage[:, :28, 28:] = 1.0
    found = inside(maps, coverage)
    assert np.isnan(found[0])
    np.testing.assert_allclose(found[1:], 1.0)


# A stored run


def one_cell(key, images, policies, settings, epsilons, spot):
    """Rows and 8×8 maps of one bright cell: ``spot(image, policy, setting, epsilon)`` or None."""
    rows, maps = [], {}

    def picture(*about):
        heat = np.zeros((8, 8), dtype=np.float16)
        if spot(*about) is not None:
            heat[spot(*about)] = 1.0
        return heat

    for attack, source in settings:
        for epsilon in epsilons:
            for layer in ("early", "late"):
                for policy in policies:
                    rows += [
                        {
                            **dict.fromkeys(ROW_SCHEMA),
                            "image": image,
                            "variant": "none",
                            "model": key.model,
                            "attack": attack,
                            "source": source,
                            "epsilon": epsilon,
                            "method": "gradcam",
                            "layer": layer,
                            "explained_class": policy,
                        }
                        for image in images
                    ]
    for policy in policies:
        maps[map_key("clean", "gradcam", policy, "late")] = np.stack(
            [picture(image, policy, None, 0.0) for image in images]
        )
        for setting in settings:
            maps[map_key("attacked", "gradcam", policy, "late", *setting)] = np.stack(
                [[picture(image, policy, setting, e) for e in epsilons] for image in images]
            )
    rows = pl.DataFrame(rows, ROW_SCHEMA)
    shuffled = pl.DataFrame(schema=SHUFFLED_SCHEMA)
    return key, CellResult(rows, rows.clear(), shuffled, maps, {})


@pytest.fixture
def store(tmp_path):
    """Two models; spots in the corners of 8×8 maps that tell each pair from every other."""
    store = Store(tmp_path / "run")
    policies, epsilons = ["own", "clean"], [0.2, 0.5]
    settings = {"epsilons": epsilons, "explain": {"explained_class": policies}}
    images = ["x", "y", "dead", "dies", "unknown"]
    samples = [(name, "a", "test", False, str(at), ["none"], []) for at, name in enumerate(images)]
    store.begin(
        a_plan(
            "ab",
            len(images),
            layers=["early", "late"],
            settings=settings,
            weights={"a": "0", "b": "1"},  # else they were one network, whose results are shared
        ),
        pl.DataFrame(samples, SAMPLE_SCHEMA, orient="row"),
    )

    def spot(image, policy, setting, epsilon):
        if image == "dead" or (image == "dies" and epsilon == 0.5):
            return None
        if setting is None:
            return (1, 1)
        leaves = {
            ("x", "own", "fgsm", 0.2),
            ("y", "own", "fgsm", 0.5),
            ("y", "clean", "fgsm", 0.2),
            ("x", "own", "noise", 0.5),
        }
        return (6, 6) if (image, policy, setting[0], epsilon) in leaves else (1, 1)

    for model in "ab":
        part = images if model == "a" else images[1::-1]
        key, result = one_cell(
            store.identity.cell("none", model, 0),
            part,
            policies,
            [("fgsm", model), ("noise", None)],
            epsilons,
            spot,
        )
        store.write_cell(key, result)
    return store


def test_each_stored_pair_is_measured_in_its_own_image_s_region(store):
    corner = np.zeros((GRID, GRID))
    corner[: GRID // 2, : GRID // 2] = 1.0
    regions = {"x": corner, "y": 1 - corner, "dead": corner, "dies": corner}
    found = inside_frame(store, regions)
    keys = ["image", "variant", "model", "attack", "source", "epsilon", "method"]
    keys += ["explained_class"]
    assert found.columns == [*keys, "clean_inside", "attacked_inside"]
    assert found.height == (5 + 2) * 2 * 2 * 2
    assert not found.select(keys).is_duplicated().any()
    assert set(found.filter(pl.col("model") == "b")["image"]) == {"x", "y"}
    for row in found.iter_rows(named=True):
        about = row["image"], row["explained_class"], row["attack"], row["epsilon"]
        left = about in {
            ("x", "own", "fgsm", 0.2),
            ("y", "own", "fgsm", 0.5),
            ("y", "clean", "fgsm", 0.2),
            ("x", "own", "noise", 0.5),
        }
        clean = {"x": 1.0, "y": 0.0, "dies": 1.0}.get(row["image"])
        attacked = 1.0 - clean if clean is not None and left else clean
        if row["image"] == "dies" and row["epsilon"] == 0.5:
            attacked = None
        expected = [None if v is None else pytest.approx(v, abs=1e-12) for v in (clean, attacked)]
        assert [row["clean_inside"], row["attacked_inside"]] == expected, row
    assert not found["attacked_inside"].is_nan().any()


def test_boxes_in_pixels_are_told_and_not_taken_for_the_whole_picture():
    with pytest.raises(DataError, match="looks like pixels"):
        read_regions(boxes(ann0=(0, 0, 112, 112)), IMAGES)


def test_all_boxes_of_an_image_count():
    two = pl.concat([boxes(ann0=(0.0, 0.0, 0.5, 1.0)), boxes(ann0=(0.25, 0.0, 0.75, 1.0))])
    (found,) = read_regions(two, IMAGES).values()
    (whole,) = read_regions(boxes(ann0=(0, 0, 0.75, 1)), IMAGES).values()
    np.testing.assert_allclose(found, whole)


@pytest.mark.parametrize(
    ("white", "kind"), [(1, np.uint8), (255, np.uint8), (65535, np.uint16), (1, bool)]
)
def test_white_is_inside_however_a_mask_is_coded(tmp_path, white, kind):
    mask = np.zeros((GRID, GRID), dtype=kind)
    mask[:, : GRID // 2] = white
    save(tmp_path / "ann" / "0.png", mask)
    (found,) = read_regions(tmp_path, IMAGES).values()
    np.testing.assert_allclose(found, mask > 0)


def test_a_mask_whose_white_is_the_smallest_number_is_turned_round(tmp_path):
    mask = np.full((GRID, GRID), 65535, dtype=np.uint16)
    mask[:, : GRID // 2] = 0
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "0.tif").write_bytes(tiff(mask, photometric=0))
    (found,) = read_regions(tmp_path, IMAGES).values()
    np.testing.assert_allclose(found, mask == 0)


def test_a_mask_of_too_many_pixels_is_an_error_of_the_user_s(tmp_path, monkeypatch):
    save(tmp_path / "ann" / "0.png", np.zeros((64, 64), dtype=np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match="cannot be read"):
        read_regions(tmp_path, IMAGES)


def test_a_map_larger_than_the_coverage_is_shrunk_not_sampled():
    corner = np.zeros((1, 224, 224))
    corner[0, 0, 0] = 1.0
    assert inside(corner, np.ones((1, GRID, GRID))).tolist() == [pytest.approx(1.0)]

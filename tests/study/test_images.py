"""A study's images: whose parts are kept, what is told of the files, and how many channels."""

import shutil

import numpy as np
import pytest
from PIL import Image

from corpus import tiff
from lookaway.cost.counts import imagined, listed
from lookaway.errors import DataError, InputError
from lookaway.progress import Silent
from lookaway.study.images import Grids, find_images
from lookaway.study.plan import parse_study, write_study
from lookaway.study.prepare import prepare
from lookaway.study.yaml_lines import read_yaml

TINY = {"timm": "test_resnet", "pretrained": False, "input_size": 64}


class Told(Silent):
    """Keeps what it is told."""

    def __init__(self):
        self.lines = []

    def warn(self, line):
        self.lines.append(line)


def a_study(folder, train="none", **data):
    data = {"folder": str(folder), "image_size": 32, **data}
    return parse_study({"data": data, "models": [{**TINY, "train": train}]})


def found(study, told=None):
    return find_images(study, None, told or Silent())


def parts_of(images):
    return {part: {r.image for r in records} for part, records in images.parts.items()}


@pytest.fixture
def parted(faces):
    """Three classes in train, valid and test: four, two and two images of each."""
    for label in ("ann", "bob", "cy"):
        for part, some in {"train": "0123", "valid": "45", "test": "67"}.items():
            (faces / part / label).mkdir(parents=True)
            for name in some:
                (faces / label / f"{name}.png").rename(faces / part / label / f"{name}.png")
        (faces / label).rmdir()
    return faces


@pytest.mark.parametrize("train", ["none", "head"])
@pytest.mark.parametrize("split", ["folders", {"by": "folders", "seed": 3}])
def test_the_folder_s_own_parts_are_kept_where_the_study_says_so(parted, train, split):
    study = a_study(parted, train, split=split)
    images = found(study)
    assert parts_of(images) == {
        part: {f"{folder}/{label}/{n}.png" for label in ("ann", "bob", "cy") for n in some}
        for part, folder, some in (
            ("train", "train", "0123"),
            ("val", "valid", "45"),
            ("test", "test", "67"),
        )
    }
    assert dict(images.samples().group_by("part").len().iter_rows()) == {
        "train": 12,
        "val": 6,
        "test": 6,
    }
    assert study.data.split.seed == (0 if split == "folders" else 3)
    again = parse_study(read_yaml(write_study(study), "x")[0])
    assert again == study


def test_parts_of_the_same_classes_need_a_word_and_fractions_divide_them_anew(parted):
    for said in ({}, {"split": {"seed": 7}}):
        with pytest.raises(DataError, match=r"split: folders keeps these parts; split: \{train"):
            found(a_study(parted, **said))
        with pytest.raises(DataError, match="split: folders keeps"):
            listed(a_study(parted, **said), None, 4)
    images = found(a_study(parted, split={"train": 0.5, "val": 0.25, "test": 0.25}))
    assert any(name.startswith("train/") for name in parts_of(images)["test"])


def test_parts_that_are_missing_are_told_where_something_is_trained(parted):
    shutil.rmtree(parted / "valid")
    assert not found(a_study(parted, split="folders")).parts["val"]
    with pytest.raises(DataError, match="needs images in val, and the folders are"):
        found(a_study(parted, "head", split="folders"))


def test_a_folder_without_parts_cannot_keep_them(faces):
    with pytest.raises(DataError, match="do not lie in folders of parts"):
        found(a_study(faces, split="folders"))


def test_classes_are_drawn_among_those_that_each_part_has(parted):
    shutil.rmtree(parted / "test" / "bob")
    for seed in range(4):
        study = a_study(parted, "head", split={"by": "folders", "seed": seed}, classes=2)
        images = found(study)
        assert images.classes == ["ann", "cy"]
        counts = listed(study, None, 4)
        assert counts.parts == {part: len(some) for part, some in images.parts.items()}


def test_images_cannot_be_imagined_in_folders_of_parts(parted):
    with pytest.raises(InputError, match="split: folders keeps; give a study with split:"):
        imagined(a_study(parted, split="folders"), 100, 4, 4)


def test_a_leak_between_given_parts_is_reported(parted):
    shutil.copy(parted / "train/ann/0.png", parted / "test/ann/6.png")
    twice = found(a_study(parted, split="folders")).plan()["duplicates"]["across_parts"]
    assert twice.images == [{"train": "train/ann/0.png", "test": "test/ann/6.png"}]


def test_files_that_are_set_aside_are_told_by_kind_in_a_line(faces):
    told = Told()
    found(a_study(faces), told)
    assert not told.lines
    for number in range(3):
        (faces / "ann" / f"notes-{number}.txt").write_text("x")
    (faces / "ann" / "cut\x1b[2J\n.png").write_bytes((faces / "ann/0.png").read_bytes()[:60])
    (faces / "bob" / "ct.tif").write_bytes(tiff(np.array([[-1000, 3000]], np.int32)))
    found(a_study(faces), told)
    (line,) = told.lines
    assert line.startswith(
        "5 files are set aside; the page lists them: 3 as 'ann/notes-0.txt' (not"
    )
    assert "'bob/ct.tif' (integer pixels whose range is not known: " in line
    assert "cannot be decoded" in line
    assert line.isprintable()


def test_a_range_makes_wide_images_usable_and_differing_ranges_of_files_are_told(faces):
    for number, highest in enumerate((2000, 3000)):
        row = np.array([[-1000, highest]], np.int32)
        (faces / "ann" / f"{number}.tif").write_bytes(tiff(row, smin=-1000, smax=highest))
    told = Told()
    apart = found(a_study(faces), told)
    (line,) = told.lines
    assert "state 2 different ranges of their pixels (-1000 to 2000, -1000 to 3000)" in line
    given, told = a_study(faces, range=[-1000, 3000]), Told()
    for images, white in ((apart, 255), (found(given, told), 191)):
        record = next(r for part in images.parts.values() for r in part if r.image == "ann/0.tif")
        assert np.asarray(images.source.open(record)).max() == white
    assert not told.lines


@pytest.mark.parametrize("variant", ["none", "landmarks"])
def test_grey_pixels_are_the_luminance_of_the_coloured_ones(faces, tmp_path, variant):
    colours = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(colours).save(faces / "ann" / "0.png")
    (tmp_path / "boxes.csv").write_text(
        "image,x,y,w,h\n"
        + "".join(f"{n}/{i}.png,5,5,20,20\n" for n in ("ann", "bob", "cy") for i in range(8))
    )
    more = {} if variant == "none" else {"landmarks": str(tmp_path / "boxes.csv")}
    grids = []
    for channels in (3, 1):
        study = a_study(faces, channels=channels, variants=[variant], **more)
        images = found(study)
        record = next(r for part in images.parts.values() for r in part if r.image == "ann/0.png")
        grids.append(images.grid(variant, record, 32))
        pixels, _ = Grids(images, variant, [record], 32)[0]
        assert pixels.shape == (channels, 32, 32)
    assert grids[1].shape == (32, 32, 1)
    luminance = grids[0].astype(float) @ (0.299, 0.587, 0.114)
    np.testing.assert_allclose(grids[1][..., 0], luminance, atol=2)


def numbered(faces, names):
    for old, new in zip(("ann", "bob", "cy"), names, strict=True):
        (faces / old).rename(faces / new)


@pytest.mark.parametrize(
    ("names", "spec", "warned"),
    [
        (("2", "10", "1"), {"train": "none"}, True),
        (("2", "10", "1"), {"train": "head"}, False),
        (("02", "10", "01"), {"train": "none"}, False),
        (("2", "10", "one"), {"train": "none"}, False),
    ],
)
def test_a_loaded_network_is_warned_of_where_folders_are_numbers_in_another_order(
    faces, tmp_path, names, spec, warned
):
    import timm
    import torch

    numbered(faces, names)
    weights = tmp_path / "mine.pth"
    torch.save(timm.create_model("test_resnet", num_classes=3).state_dict(), weights)
    study = parse_study(
        {
            "data": {"folder": str(faces), "image_size": 32},
            "models": [{**TINY, "name": "mine", "checkpoint": str(weights), **spec}],
        }
    )
    told = Told()
    prepare(study, None, None, told, "x")
    assert [line for line in told.lines if "sorted names (1, 10, 2" in line] == told.lines
    assert len(told.lines) == warned

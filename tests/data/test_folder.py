"""A folder becomes records; nothing in it is silently dropped."""

import shutil

import pytest
from PIL import Image

from lookaway.data.folder import FolderSource
from lookaway.data.samples import open_source
from lookaway.errors import DataError


def test_classes_and_records_are_sorted_and_hidden_files_are_left_out(faces):
    (faces / ".DS_Store").write_bytes(b"x")
    (faces / "ann" / ".hidden.png").write_bytes(b"x")
    scan = FolderSource(faces).scan()
    assert scan.classes == ["ann", "bob", "cy"]
    assert [r.image for r in scan.records] == sorted(r.image for r in scan.records)
    assert {r.label for r in scan.records if r.image.startswith("bob/")} == {"bob"}
    assert not scan.set_aside


def test_broken_and_foreign_files_are_set_aside_with_a_reason(faces):
    (faces / "ann" / "broken.jpg").write_bytes(b"\xff\xd8 no more")
    (faces / "ann" / "notes.txt").write_text("hello")
    (faces / "bob" / "empty.png").write_bytes(b"")
    scan = FolderSource(faces).scan()
    assert set(scan.set_aside) == {"ann/broken.jpg", "ann/notes.txt", "bob/empty.png"}
    assert scan.set_aside["bob/empty.png"] == "an empty file"
    assert "not named as an image" in scan.set_aside["ann/notes.txt"]


def test_files_beside_the_class_folders_and_empty_classes_are_told(faces):
    (faces / "list.csv").write_text("x")
    (faces / "dan").mkdir()
    (faces / "eve").mkdir()
    (faces / "eve" / "x.png").write_bytes(b"broken")
    scan = FolderSource(faces).scan()
    assert scan.set_aside["list.csv"] == "beside the class folders, not in one"
    assert scan.empty == ["dan", "eve"]


def test_images_in_deeper_folders_belong_to_the_class_above(faces):
    (faces / "cy" / "2024").mkdir()
    Image.new("RGB", (20, 20), (1, 2, 3)).save(faces / "cy" / "2024" / "x.png")
    found = {r.image: r.label for r in FolderSource(faces).scan().records}
    assert found["cy/2024/x.png"] == "cy"


def in_parts(faces):
    """The same images as VGGFace2 lays them out; one class lies in both parts."""
    for part, labels in {"test": ["bob"], "train": ["ann", "cy"]}.items():
        (faces / part).mkdir()
        for label in labels:
            (faces / label).rename(faces / part / label)
    (faces / "test" / "ann").mkdir()
    first = sorted((faces / "train" / "ann").iterdir())[0]
    first.rename(faces / "test" / "ann" / first.name)
    (faces / "bb_landmark").mkdir()
    (faces / "bb_landmark" / "loose_bb_train.csv").write_text("NAME_ID,X,Y,W,H\n")


def test_vggface2_s_parts_are_no_classes(faces):
    plain = FolderSource(faces).scan()
    in_parts(faces)
    source = FolderSource(faces)
    scan = source.scan()
    assert scan.classes == ["ann", "bob", "cy"]
    assert sorted(r.sha256 for r in scan.records) == sorted(r.sha256 for r in plain.records)
    assert [r.label for r in scan.records] == [r.label for r in plain.records]
    assert {r.image.split("/")[0] for r in scan.records if r.label == "ann"} == {"test", "train"}
    assert scan.set_aside == {"bb_landmark": "beside the class folders, not in one"}
    assert source.open(scan.records[0]).size == (40, 32)


@pytest.mark.parametrize("there", ["train/0.png", "more/ann/0.png", "more/0.png"])
def test_folders_called_train_are_classes_where_images_lie_in_them_or_beside_them(faces, there):
    in_parts(faces)
    (faces / there).parent.mkdir(parents=True, exist_ok=True)
    (faces / there).write_bytes((faces / "test/bob/0.png").read_bytes())
    classes = FolderSource(faces).scan().classes
    assert {"test", "train"} <= {*classes}


def in_roboflow_s_parts(faces, names):
    """The same classes in each part, a list in one of them, notes beside."""
    for place, part in enumerate(names):
        for label in ("ann", "bob"):
            (faces / part / label).mkdir(parents=True)
            for image in sorted((faces / label).iterdir())[2 * place : 2 * place + 2]:
                (faces / part / label / image.name).write_bytes(image.read_bytes())
    for label in ("ann", "bob", "cy"):
        shutil.rmtree(faces / label)
    (faces / names[0] / "labels.csv").write_text("x")
    (faces / "README.roboflow.txt").write_text("x")


@pytest.mark.parametrize(
    "names",
    [("train", "valid", "test"), ("Training", "eval", "testing"), ("train_set", "dev", "test-set")],
)
def test_each_image_knows_its_part_however_it_is_called_and_whatever_lies_beside(faces, names):
    in_roboflow_s_parts(faces, names)
    source = FolderSource(faces)
    scan = source.scan()
    assert scan.classes == ["ann", "bob"]
    parts = dict(zip(names, ("train", "val", "test"), strict=True))
    assert {(r.image.split("/")[0], r.part) for r in scan.records} == {*parts.items()}
    assert [(r.image, r.part) for r in source.listed()] == [(r.image, r.part) for r in scan.records]
    beside = "beside the class folders, not in one"
    assert scan.set_aside == dict.fromkeys(
        (f"{names[0]}/labels.csv", "README.roboflow.txt"), beside
    )


def test_images_of_a_folder_without_parts_have_none(faces):
    (faces / "train").mkdir()
    (faces / "train" / "0.png").write_bytes((faces / "ann" / "0.png").read_bytes())
    scan = FolderSource(faces).scan()
    assert "train" in scan.classes
    assert {record.part for record in scan.records} == {None}


SYSTEM = [
    ".ipynb_checkpoints",
    ".Trash-1000",
    "__MACOSX",
    "lost+found",
    "$RECYCLE.BIN",
    "System Volume Information",
    "@eaDir",
    "#recycle",
    "__pycache__",
]


@pytest.mark.parametrize("name", SYSTEM)
@pytest.mark.parametrize("parted", [False, True])
def test_hidden_and_system_folders_are_left_out_at_any_depth(faces, name, parted):
    if parted:
        in_parts(faces)
    plain = FolderSource(faces).scan()
    ann = faces / ("train/ann" if parted else "ann")
    for place in (faces, ann.parent, ann, ann / "deep", *faces.glob("bb_landmark")):
        (place / name / "deeper").mkdir(parents=True, exist_ok=True)
        for file in ("x.png", "deeper/y.png"):
            (place / name / file).write_bytes((ann / "1.png").read_bytes())
    source = FolderSource(faces)
    assert source.scan() == plain
    assert [record.image for record in source.listed()] == [r.image for r in plain.records]


def test_an_image_that_changes_after_the_scan_is_noticed(faces):
    source = FolderSource(faces)
    record = source.scan().records[0]
    assert source.open(record).size == (40, 32)
    (faces / record.image).write_bytes((faces / "bob" / "0.png").read_bytes())
    with pytest.raises(DataError, match="changed while the study ran"):
        source.open(record)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path, "does not exist"),
        (lambda path: path.write_text("x") and path, "is a file"),
        (lambda path: path.mkdir() or path, "holds no class folders"),
    ],
)
def test_a_folder_that_cannot_be_used_says_why(tmp_path, make, message):
    with pytest.raises(DataError, match=message):
        FolderSource(make(tmp_path / "here"))


def test_the_sample_holds_a_hundred_faces_and_a_hundred_others():
    source = open_source("sample:lfw_subset")
    records = source.scan(lambda _: None).records
    assert [r.label for r in records].count("face") == 100
    assert [r.label for r in records].count("no face") == 100
    assert len({r.sha256 for r in records}) > 190
    assert source.open(records[7]).size == (25, 25)
    with pytest.raises(DataError, match="lfw_subset"):
        open_source("sample:nothing")


def test_images_are_listed_by_their_names_without_being_read(faces, monkeypatch):
    (faces / "ann" / "notes.txt").write_text("hello")
    (faces / "ann" / ".hidden.png").write_bytes(b"x")
    scanned = FolderSource(faces).scan().records
    monkeypatch.setattr(FolderSource, "_read", lambda *_: pytest.fail("read"))
    found = FolderSource(faces).listed()
    assert [(r.image, r.label) for r in found] == [(r.image, r.label) for r in scanned]
    assert {record.sha256 for record in found} == {""}


def test_a_class_in_several_parts_is_listed_as_one(faces, tmp_path):
    for part in ("train", "test"):
        (tmp_path / "whole" / part).mkdir(parents=True)
    (faces / "ann").rename(tmp_path / "whole" / "train" / "ann")
    (faces / "bob").rename(tmp_path / "whole" / "test" / "ann")
    found = FolderSource(tmp_path / "whole").listed()
    assert len(found) == 16
    assert {record.label for record in found} == {"ann"}

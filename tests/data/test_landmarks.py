"""A detector's CSV files, VGGFace2's among them, give each image's face."""

import hashlib
import json

import numpy as np
import pytest

from lookaway.data.align import open_aligner
from lookaway.data.pose import TEMPLATE, Pose
from lookaway.errors import DataError

POINTS = ",".join(f"P{i}{axis}" for i in range(1, 6) for axis in "XY")
LOWER = ",".join(f"{axis}{i}" for i in range(1, 6) for axis in "xy")


def face(x=0.0, y=0.0, scale=1.0):
    """A row's ten numbers: the template, shifted and scaled."""
    return ",".join(f"{x + scale * u},{y + scale * v}" for u, v in TEMPLATE)


def opened(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return open_aligner("landmarks", path)


def same(pose, *numbers):
    assert isinstance(pose, Pose)
    np.testing.assert_allclose((pose.x, pose.y, pose.across, pose.down), numbers, atol=1e-6)


@pytest.fixture
def vggface2(tmp_path):
    """VGGFace2's bb_landmark: names in quotation marks, without part and ending."""
    folder = tmp_path / "bb_landmark"
    folder.mkdir()
    for part, person in {"train": "n000002", "test": "n000001"}.items():
        names = [f"{person}/000{i}_01" for i in range(3)]
        boxes = [f'"{name}",10,20,{100 + i},110' for i, name in enumerate(names)]
        points = [f'"{name}",{face(10 * i, 5)}' for i, name in enumerate(names)]
        for kind, header, rows in (("bb", "X,Y,W,H", boxes), ("landmark", POINTS, points)):
            lines = [f"NAME_ID,{header}", *rows]
            (folder / f"loose_{kind}_{part}.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_vggface2_s_folder_gives_points_and_its_boxes_alone_give_squares(vggface2):
    both = open_aligner("landmarks", vggface2)
    assert not both.needs_pixels
    same(both.find("train/n000002/0002_01.jpg", None), 20, 5, 112, 0)
    same(both.find("test/n000001/0001_01.jpg", None), 10, 5, 112, 0)
    boxes = open_aligner("landmarks", vggface2 / "loose_bb_train.csv")
    same(boxes.find("train/n000002/0000_01.jpg", None), 60 - 66, 75 - 66, 132, 0)
    assert boxes.find("test/n000001/0000_01.jpg", None) is None
    tight = open_aligner("landmarks", vggface2 / "loose_bb_train.csv", margin=0.0)
    same(tight.find("train/n000002/0000_01.jpg", None), 60 - 55, 75 - 55, 110, 0)
    assert tight.about != boxes.about


@pytest.mark.parametrize(
    ("listed", "image", "found"),
    [
        ("test/a/1.jpg", "test/a/1.jpg", True),
        ("test/a/1", "test/a/1.jpg", True),
        ("a/1.jpg", "test/a/1.jpg", True),
        ("a/1", "TRAIN/a/1.jpg", True),
        ("a/1", "val/a/1.png", True),
        ("a/1.b", "a/1.b.jpg", True),
        ("a/1", "b/a/1.jpg", False),
        ("a/1.png", "a/1.jpg", False),
        ("a/1", "a/10.jpg", False),
        ("A/1", "a/1.jpg", False),
        ("\u00e9/1", "\u00e9/1.jpg", True),
        ("\u00e9/1", "e\u0301/1.jpg", True),
        ("e\u0301/1.jpg", "train/\u00e9/1.jpg", True),
        ("train\\a\\1.jpg", "train/a/1.jpg", True),
        ("a\\1", "valid/a/1.jpg", True),
        ("a\\1", "a\\1.jpg", True),
        ("face/007", "face/007", True),
    ],
)
def test_names_match_with_or_without_part_and_ending(tmp_path, listed, image, found):
    aligner = opened(tmp_path / "x.csv", "NAME_ID,X,Y,W,H", f'"{listed}",1,2,3,4', "z,1,2,3,4")
    assert (aligner.find(image, None) is not None) == found


def test_a_name_in_two_unicode_forms_is_refused_unless_one_is_exact(tmp_path):
    rows = ["\u00e9/1,0,0,10,10", "e\u0301/1,0,0,20,20"]
    aligner = opened(tmp_path / "x.csv", "image,x,y,w,h", *rows)
    assert aligner.find("e\u0301/1.jpg", None).across == pytest.approx(24)
    assert aligner.find("\u00e9/1.jpg", None).across == pytest.approx(12)
    rows = ["\u00e9\\1,0,0,10,10", "e\u0301\\1,0,0,20,20"]
    aligner = opened(tmp_path / "x.csv", "image,x,y,w,h", *rows)
    with pytest.raises(DataError, match=r"either may be 'é/1.jpg'; give one of them its name"):
        aligner.find("\u00e9/1.jpg", None)


def test_files_that_macos_leaves_beside_are_no_landmarks(vggface2):
    (vggface2 / "._loose_bb_train.csv").write_bytes(b"\x00\x05\x16\x07")
    assert open_aligner("landmarks", vggface2).find("train/n000002/0000_01.jpg", None) is not None


def test_the_most_exact_name_wins(tmp_path):
    rows = ["a/1,0,0,10,10", "a/1.jpg,0,0,20,20", "test/a/1,0,0,30,30", "test/a/1.jpg,0,0,40,40"]
    sides = []
    while rows:
        aligner = opened(tmp_path / "x.csv", "image,x,y,w,h", *rows)
        sides.append(round(aligner.find("test/a/1.jpg", None).across / 1.2))
        rows.pop()
    assert sides == [40, 30, 20, 10]


@pytest.mark.parametrize("header", [POINTS, LOWER, LOWER.replace(",", ", ")])
def test_the_largest_face_wins_by_its_points_then_the_first(tmp_path, header):
    rows = [
        f"a,{face(scale=1)}",
        f"a,{face(7, scale=2)}",
        f"a,{face(9, scale=2)}",
        f"b,{face(3)}",
    ]
    aligner = opened(tmp_path / "x.csv", f"image,{header}", *rows)
    same(aligner.find("a.jpg", None), 7, 0, 224, 0)
    same(aligner.find("b.jpg", None), 3, 0, 112, 0)


def test_where_rows_have_boxes_too_they_say_which_face_is_largest(tmp_path):
    rows = [f"a,{face(5, scale=2)},0,0,10,10", f"a,{face(7, scale=1)},0,0,20,20"]
    aligner = opened(tmp_path / "x.csv", f"image,{POINTS},X,Y,W,H", *rows, "b" + "," * 14)
    same(aligner.find("a.jpg", None), 7, 0, 112, 0)
    assert aligner.find("b.jpg", None) is None


def test_a_turned_face_is_brought_upright(tmp_path):
    turned = ",".join(f"{300 - v},{40 + u}" for u, v in TEMPLATE)
    aligner = opened(tmp_path / "x.csv", f"image,{POINTS}", f"a,{turned}")
    same(aligner.find("a.png", None), 300, 40, 0, 112)


@pytest.mark.parametrize("points", [",".join(["5"] * 10), face().replace("38.2946", "nan")])
def test_degenerate_points_are_no_face_also_where_there_is_a_box(tmp_path, points):
    (tmp_path / "boxes.csv").write_text("image,X,Y,W,H\na,1,2,3,4\nb,1,2,3,4\n")
    (tmp_path / "points.csv").write_text(f"image,{POINTS}\na,{points}\nc,{points}\nc,{face()}\n")
    aligner = open_aligner("landmarks", tmp_path)
    assert aligner.find("a.jpg", None) is None
    assert aligner.find("b.jpg", None) is not None
    same(aligner.find("c.jpg", None), 0, 0, 112, 0)


@pytest.mark.parametrize("box", ["1,2,0,4", "1,2,3,-4", "nan,2,3,4", "1,2,inf,4", ",,,"])
def test_a_box_without_area_is_no_face(tmp_path, box):
    aligner = opened(tmp_path / "x.csv", "image,X,Y,W,H", f"a,{box}", "b,1,2,3,4")
    assert aligner.find("a.jpg", None) is None
    assert aligner.find("b.jpg", None) is not None


def test_a_mark_at_the_beginning_blank_lines_and_windows_line_ends_are_read(tmp_path):
    path = tmp_path / "x[1]*.csv"
    path.write_bytes(
        b"\xef\xbb\xbfimage,x,y,w,h,score\r\n\r\na,1,2,10,4,0.9\r\n\r\nb,0,0,5,5,high\r\n"
    )
    aligner = open_aligner("landmarks", path)
    same(aligner.find("a.jpg", None), 0, -2, 12, 0)
    same(aligner.find("b.jpg", None), -0.5, -0.5, 6, 0)


def test_what_it_is_about_follows_the_content_not_the_place(tmp_path):
    first = opened(tmp_path / "x.csv", "image,x,y,w,h", "a,1,2,3,4")
    (tmp_path / "below").mkdir()
    moved = opened(tmp_path / "below" / "y.csv", "image,x,y,w,h", "a,1,2,3,4")
    other = opened(tmp_path / "z.csv", "image,x,y,w,h", "a,1,2,3,5")
    assert json.loads(json.dumps(first.about)) == first.about == moved.about
    assert first.about["sha256"] == [hashlib.sha256((tmp_path / "x.csv").read_bytes()).hexdigest()]
    assert other.about != first.about


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,x,y,w,h\na,1,2,3,4\nb,1,2,oops,4\n", r"x\.csv, line 3: w is 'oops', not a number"),
        ("image,x,y,w,h\n\na,1,2,3,1_0\n", r"line 3: h is '1_0', not a number"),
        ("image,x,y,w,h\na,1,2,3\n", "line 2: no number in the column h"),
        ("image,x,y,w,h\n\n\na,1,,3,4\n", "line 4: no number in the column y"),
        ("image,x,y,w,h\na,1,2,3,4,5\n", "line 2: 6 cells, but 5 columns"),
        ("image,x,y,w,h\n,1,2,3,4\n", "line 2: no name in the column image"),
        ("x,y,w,h,image\n1,2\n", "line 2: no name in the column image"),
        ('image,x,y,w,h\n"a,1,2,3,4\n', r"x\.csv"),
        (
            "file,x,y,w,h\na,1,2,3,4\n",
            "line 1: the columns are 'file, x, y, w, h'; a column NAME_ID",
        ),
        ("image,x,y\na,1,2\n", "line 1: .* X,Y,W,H"),
        ("image;x;y;w;h\na;1;2;3;4\n", "line 1: .* NAME_ID or image is expected"),
        ("image,x,X,y,w,h\na,1,1,2,3,4\n", "line 1: more than one column 'x'"),
        (f"image,{POINTS}\na,{face()}x\n", "line 2: P5Y is '.*x', not a number"),
        ("image,x,y,w,h\n", "no rows"),
        ("image,x,y,w,h\n\n\n", "no rows"),
        ("", "line 1: the columns are ''"),
        (b"image,x,y,w,h\nn\xff,1,2,3,4\n", "line 2: the name .* is not UTF-8"),
        (b"\x89PNG\r\n\x00\x00", r"x\.csv"),
    ],
)
def test_what_cannot_be_read_is_told_with_file_and_line(tmp_path, content, message):
    path = tmp_path / "x.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message):
        open_aligner("landmarks", path)


def test_missing_files_and_folders_without_any_say_what_to_give(tmp_path):
    with pytest.raises(DataError, match="do not exist; give a CSV file, or a folder"):
        open_aligner("landmarks", tmp_path / "none.csv")
    with pytest.raises(DataError, match="holds no CSV file; give a CSV file, or a folder"):
        open_aligner("landmarks", tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        open_aligner("landmarks", tmp_path / ("x" * 300))
    (tmp_path / "x.csv").mkdir()
    with pytest.raises(DataError, match=r"x\.csv cannot be read"):
        open_aligner("landmarks", tmp_path)

"""Faces are found in images, several at once, and the search goes on where it stopped."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lookaway.data import align
from lookaway.data.align import ALIGNERS, Pose, check_found, find_faces, open_aligner
from lookaway.data.folder import FolderSource
from lookaway.data.samples import LfwPatches
from lookaway.errors import DataError, InputError

ORL = Path(
    os.environ.get("LOOKAWAY_ORL", Path(__file__).parents[2].parent / "shared/data/orl-faces")
)


@pytest.fixture(scope="module")
def cascade():
    return open_aligner("cascade")


def ignore(_):
    pass


def astronaut():
    from skimage.data import astronaut

    return astronaut()


@pytest.mark.parametrize("scale", [1, 3])
def test_the_cascade_finds_the_astronaut_s_face(cascade, scale):
    image = Image.fromarray(astronaut())
    image = image.resize((512 * scale, 512 * scale))
    pose = cascade.find("x", np.asarray(image))
    assert pose.down == 0
    centre = np.array([pose.x, pose.y]) / scale + pose.across / scale / 2
    np.testing.assert_allclose(centre, (225, 115), atol=15)
    assert 90 < pose.across / scale < 150


def test_the_cascade_finds_the_larger_of_two_faces_wherever_it_stands(cascade):
    large = astronaut()[40:200, 140:300]
    small = np.asarray(Image.fromarray(large).resize((100, 100)))
    canvas = np.full((200, 400, 3), 90, dtype=np.uint8)
    canvas[20:180, 220:380] = large
    canvas[50:150, 30:130] = small
    right = cascade.find("x", canvas)
    left = cascade.find("x", np.ascontiguousarray(canvas[:, ::-1]))
    assert right.x + right.across / 2 > 200 > left.x + left.across / 2


def test_the_cascade_tells_faces_of_25_pixels_from_other_patches(cascade):
    source = LfwPatches()
    records = source.scan().records[::8]
    found = [cascade.find(r.image, np.asarray(source.open(r))) is not None for r in records]
    assert sum(found[:13]) >= 12
    assert sum(found[13:]) <= 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (3000, 2), (24, 24)])
def test_the_cascade_takes_any_shape(cascade, shape):
    assert cascade.find("x", np.zeros((*shape, 3), dtype=np.uint8)) is None


def test_the_cascade_needs_pixels_and_says_what_it_is_about(cascade):
    assert cascade.needs_pixels
    assert json.loads(json.dumps(cascade.about)) == cascade.about
    with pytest.raises(InputError, match="needs the pixels of 'x'"):
        cascade.find("x", None)


@pytest.mark.skipif(not ORL.is_dir(), reason=f"the ORL faces are not at {ORL}")
@pytest.mark.slow
def test_the_cascade_finds_nearly_every_face_of_orl(cascade):
    source = FolderSource(ORL)
    records = source.scan().records
    found = find_faces(cascade, source, records, {}, ignore, ignore)
    sides = [pose.across for pose in found.values() if pose]
    assert len(sides) >= 0.98 * len(records)
    assert 80 < np.median(sides) < 120


class Widths:
    """Finds a face in images wider than 30 px, and counts what it was asked."""

    name = "widths"
    needs_pixels = True

    def __init__(self, fails_at=None):
        self.about = {}
        self.asked = []
        self.fails_at = fails_at

    def find(self, image_name, pixels):
        if image_name == self.fails_at:
            raise KeyboardInterrupt
        self.asked.append(image_name)
        assert pixels.dtype == np.uint8
        width = pixels.shape[1]
        return Pose(0.0, 0.0, float(width), float(pixels[0, 0, 0])) if width > 30 else None


@pytest.fixture
def source(faces):
    Image.new("RGB", (20, 20)).save(faces / "bob" / "small.png")
    return FolderSource(faces)


@pytest.fixture
def records(source):
    return source.scan().records


def test_every_image_gets_its_pose_whatever_the_number_of_workers(source, records, monkeypatch):
    results = []
    for workers in (1, 2, 5):
        monkeypatch.setattr(align.os, "cpu_count", lambda count=workers: count)
        told = []
        found = find_faces(Widths(), source, records, {}, told.append, ignore)
        assert list(found) == [r.image for r in records]
        assert sum(told) == len(records)
        results.append(found)
    assert results[0] == results[1] == results[2]
    assert [name for name, pose in results[0].items() if pose is None] == ["bob/small.png"]


def test_the_cascade_gives_the_same_with_one_worker_and_two(cascade, tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    for shift in range(4):
        face = astronaut()[40 : 180 + 9 * shift, 150 - shift : 290 + 7 * shift]
        Image.fromarray(face).save(tmp_path / "a" / f"{shift}.png")
    source = FolderSource(tmp_path)
    records = source.scan().records
    results = []
    for workers in (1, 2):
        monkeypatch.setattr(align.os, "cpu_count", lambda count=workers: count)
        results.append(find_faces(cascade, source, records, {}, ignore, ignore))
    assert results[0] == results[1]
    assert None not in results[0].values()


def test_what_is_known_is_not_looked_for_again(source, records):
    known = {records[0].image: None, records[2].image: Pose(1, 2, 3, 4), "gone.png": None}
    aligner, told = Widths(), []
    found = find_faces(aligner, source, records, known, told.append, ignore)
    assert found[records[0].image] is None
    assert found[records[2].image] == Pose(1, 2, 3, 4)
    assert set(aligner.asked) == {r.image for r in records} - set(known)
    assert set(found) == {r.image for r in records}
    assert sum(told) == len(records)


def test_an_interrupted_search_has_kept_what_it_found_and_goes_on(source, records, monkeypatch):
    monkeypatch.setattr(align.os, "cpu_count", lambda: 1)
    whole = find_faces(Widths(), source, records, {}, ignore, ignore)
    kept = []
    stopped = records[4].image
    with pytest.raises(KeyboardInterrupt):
        find_faces(Widths(stopped), source, records, {}, ignore, kept.append)
    assert kept[-1] == {r.image: whole[r.image] for r in records[:4]}
    later = Widths()
    assert find_faces(later, source, records, kept[-1], ignore, ignore) == whole
    assert sorted(later.asked) == sorted(r.image for r in records[4:])


def test_it_is_kept_from_time_to_time_and_each_time_whole(source, records, monkeypatch):
    monkeypatch.setattr(align, "_KEEP_EVERY", 0.0)
    kept = []
    found = find_faces(Widths(), source, records, {}, ignore, kept.append)
    assert [len(some) for some in kept] == [*range(1, len(records) + 1), len(records)]
    assert kept[-1] == found


def test_landmarks_are_looked_up_without_opening_an_image(tmp_path, source, records):
    csv = tmp_path / "x.csv"
    csv.write_text("image,x,y,w,h\n" + "".join(f"{r.image},1,2,3,4\n" for r in records[1:]))
    source.open = None
    found = find_faces(open_aligner("landmarks", csv), source, records, {}, ignore, ignore)
    assert [name for name, pose in found.items() if pose is None] == [records[0].image]


def test_names_that_are_no_aligner_and_landmarks_without_a_file_say_what_to_do(tmp_path):
    assert open_aligner("none") is None
    assert {"cascade", "landmarks", "none"} == {*ALIGNERS}
    with pytest.raises(DataError, match=r"'cascde'; possible: .*landmarks\. Nearest: cascade"):
        open_aligner("cascde")
    with pytest.raises(DataError, match=r"needs a CSV file .* as data\.landmarks"):
        open_aligner("landmarks")


def test_no_face_in_more_than_half_of_the_images_stops_and_says_so(cascade):
    pose = Pose(0, 0, 1, 0)
    check_found(cascade, {"a": None, "b": None, "c": pose, "d": pose})
    check_found(cascade, {})
    with pytest.raises(DataError, match=r"in 4 of 5 images, such as 'a', 'b', 'c'; .*landmarks"):
        check_found(cascade, {"a": None, "b": None, "c": None, "d": None, "e": pose})


def test_landmarks_of_other_names_show_a_name_of_each_side(tmp_path):
    (tmp_path / "x.csv").write_text("image,x,y,w,h\nn1/0001,1,2,3,4\n")
    aligner = open_aligner("landmarks", tmp_path / "x.csv")
    with pytest.raises(DataError, match=r"has 'n1/0001', the images have 'faces/n1/0001\.jpg'"):
        check_found(aligner, {"faces/n1/0001.jpg": None})


def test_the_search_needs_no_torch():
    code = "import sys; sys.modules['torch'] = None; import lookaway.data.align as a; "
    code += "a.open_aligner('cascade')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr

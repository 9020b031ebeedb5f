"""A bucket becomes the records that the same folder becomes, and nothing of it is kept."""

import pickle
import threading

import pytest

from buckets import upload
from lookaway.data.folder import FolderSource
from lookaway.data.remote import RemoteSource
from lookaway.data.samples import open_source
from lookaway.errors import DataError
from lookaway.places import RemotePath


def plain(_faces):
    pass


def strange(faces):
    """Hidden, foreign, broken, empty and stray files, an empty class, folders in folders."""
    (faces / ".DS_Store").write_bytes(b"x")
    (faces / "list.csv").write_text("x")
    (faces / "dan").mkdir()
    (faces / "ann" / ".hidden.png").write_bytes(b"x")
    (faces / "ann" / "notes.txt").write_text("hello")
    (faces / "ann" / "broken.jpg").write_bytes(b"\xff\xd8 no more")
    (faces / "bob" / "empty.png").write_bytes(b"")
    hidden = ("cy/.old/x.png", "cy/a/__MACOSX/x.png", "@eaDir/x.png", "cy/lost+found/a/x.png")
    for deep in ("cy/2024/b #1?.png", "cy/2024/a/[x].png", "cy/2.png.d/x.png", *hidden):
        (faces / deep).parent.mkdir(parents=True, exist_ok=True)
        (faces / deep).write_bytes((faces / "cy/0.png").read_bytes())


def in_parts(faces):
    """As VGGFace2 lays them out; one class lies in both parts, lists beside them."""
    for part, labels in {"test": ["bob"], "train": ["ann", "cy"]}.items():
        (faces / part).mkdir()
        for label in labels:
            (faces / label).rename(faces / part / label)
    (faces / "test" / "ann").mkdir()
    (faces / "train/ann/3.png").rename(faces / "test/ann/3.png")
    (faces / "bb_landmark").mkdir()
    (faces / "bb_landmark" / "loose_bb_train.csv").write_text("NAME_ID,X,Y,W,H\n")
    (faces / "train" / "labels.csv").write_text("x")
    (faces / "train" / "#recycle").mkdir()
    (faces / "train" / "#recycle" / "x.png").write_bytes((faces / "test/bob/0.png").read_bytes())


def not_quite_in_parts(faces):
    in_parts(faces)
    (faces / "bb_landmark" / "x.png").write_bytes((faces / "test/bob/0.png").read_bytes())


@pytest.mark.parametrize("layout", [plain, strange, in_parts, not_quite_in_parts])
def test_a_bucket_is_scanned_as_the_same_folder_is(faces, bucket, layout):
    layout(faces)
    source = open_source(str(upload(faces, bucket / "faces")))
    assert isinstance(source, RemoteSource)
    read = []
    scan = source.scan(read.append)
    local = FolderSource(faces)
    assert scan == local.scan()
    assert source.listed() == local.listed()
    assert sum(read) > len(scan.records) - 1
    record = scan.records[-1]
    assert pickle.loads(pickle.dumps(source)).open(record) == local.open(record)


def test_keys_that_are_no_paths_are_set_aside(faces, bucket):
    place = upload(faces / "ann", bucket / "faces" / "ann").parent
    for key in ("ann//x.png", "ann/../x.png"):
        place._files.pipe_file(f"{place.key}/{key}", (faces / "ann/0.png").read_bytes())
    scan = open_source(str(place)).scan(lambda _: None)
    assert scan.set_aside == dict.fromkeys(
        ("ann//x.png", "ann/../x.png"), "a key that is no path; rename it"
    )
    assert len(scan.records) == 8


def test_few_images_are_in_memory_at_once(faces, bucket, monkeypatch):
    source = RemoteSource(upload(faces, bucket))
    lock, now, most = threading.Lock(), 0, 0
    read = RemotePath.read_bytes

    def counted(path):
        nonlocal now, most
        with lock:
            now, most = now + 1, max(most, now + 1)
        try:
            return read(path)
        finally:
            with lock:
                now -= 1

    monkeypatch.setattr(RemotePath, "read_bytes", counted)
    assert len(source.scan().records) == 24
    assert 1 < most <= source._readers


def test_an_image_that_changes_or_goes_after_the_scan_is_noticed(faces, bucket):
    source = RemoteSource(upload(faces, bucket))
    first, second = source.scan().records[:2]
    (bucket / first.image).write_bytes((faces / "bob" / "0.png").read_bytes())
    (bucket / second.image).unlink()
    with pytest.raises(DataError, match="changed while the study ran"):
        source.open(first)
    with pytest.raises(DataError, match=r"cannot be read now: .*No such object"):
        source.open(second)


def test_a_bucket_that_cannot_be_used_says_why(bucket):
    (bucket / "a.png").write_bytes(b"x")
    (bucket / "flat" / "a.png").write_bytes(b"x")
    for name, message in {
        "none": "does not exist",
        "a.png": "is a file; give a folder",
        "flat": "holds no class folders",
    }.items():
        with pytest.raises(DataError, match=message):
            open_source(str(bucket / name))

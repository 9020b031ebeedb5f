"""Paths of this machine and of an object store: named by users, read, written, listed, told."""

import pickle
import sys
import time
from pathlib import Path

import pytest
from moto.core import set_initial_no_auth_action_count

from lookaway.errors import InputError, RemoteError
from lookaway.places import RemotePath, files_in, is_remote, lies_in, local_path, to_path


@pytest.mark.parametrize(
    "given", ["runs/first", "/a/b", Path("a"), "C:/faces", "a:b", "s3:", "x//y"]
)
def test_what_is_no_url_is_a_path_of_this_machine(given):
    assert to_path(given) == Path(given)
    assert not is_remote(given)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("s3://bucket/runs/first", "s3://bucket/runs/first"),
        ("s3://bucket/runs//first/", "s3://bucket/runs/first"),
        ("S3://Bucket", "s3://Bucket"),
        ("gs://b/x y#?[1]", "gs://b/x y#?[1]"),
    ],
)
def test_a_url_is_a_remote_path_and_says_so_again(given, told):
    path = to_path(given)
    assert isinstance(path, RemotePath)
    assert str(path) == told
    assert to_path(path) is path
    assert to_path(str(path)) == pickle.loads(pickle.dumps(path)) == path


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("http://host/x", r"possible: s3://, gs://, az://"),
        ("file:///tmp/x", "unknown kind"),
        ("s3://", "must name a bucket, as in s3://bucket"),
        ("s3:///key", "must name a bucket"),
        ("s3://bucket/a/../../other", "must name a bucket"),
        (Path("s3://bucket/runs"), "was a URL before it became a Path; give it as text"),
    ],
)
def test_a_url_that_names_nothing_is_told(given, message):
    with pytest.raises(InputError, match=message):
        to_path(given)


def test_what_must_lie_on_this_machine_says_so():
    assert local_path("a/b.csv", "landmarks") == Path("a/b.csv")
    with pytest.raises(
        InputError, match=r"landmarks must lie on this machine; copy 's3://b/l.csv'"
    ):
        local_path("s3://b/l.csv", "landmarks")


@pytest.mark.parametrize(
    ("inner", "outer", "expected"),
    [
        ("s3://b/faces/out", "s3://b/faces", True),
        ("s3://b/faces", "s3://b/faces", True),
        ("s3://b/faces-2/out", "s3://b/faces", False),
        ("s3://b/out", "s3://b/faces", False),
        ("gs://b/faces/out", "s3://b/faces", False),
        ("b/faces/out", "s3://b/faces", False),
        ("s3://b/faces/out", "faces", False),
        ("faces/../out", "faces", False),
        ("faces/out", "faces", True),
    ],
)
def test_what_lies_in_a_folder(inner, outer, expected):
    assert lies_in(to_path(inner), to_path(outer)) is expected


def test_a_path_that_leaves_its_folder_does_not_lie_in_it():
    place = to_path("s3://b/out")
    assert lies_in(place / "a/b.png", place)
    assert not lies_in(place / "../b.png", place)
    assert not lies_in(place / "/b.png", place)


ODD_NAMES = ["plain", "a b", "[x]*?", "#1", "50%", "é ü", "a+b&c=d", "'\"<b>", "x.part"]


def test_what_was_written_is_listed_and_read_at_once_whatever_its_name(bucket):
    folder = bucket / "runs" / "[first] #1?"
    assert not folder.exists()
    for done, name in enumerate(ODD_NAMES, 1):
        (folder / name).write_bytes(name.encode())
        assert sorted(ODD_NAMES[:done]) == [path.name for path in folder.iterdir()]
        assert (folder / name).read_text() == name
    assert (folder / name).is_file()
    assert not (folder / name).is_dir()
    assert folder.is_dir()
    assert not folder.is_file()
    for name in ODD_NAMES:
        (folder / name).unlink()
    (folder / name).unlink(missing_ok=True)
    assert not folder.exists()
    assert list(folder.iterdir()) == []


def test_listings_hold_neither_neighbours_nor_markers(bucket):
    for name in ("run/rows/b.parquet", "run/rows/a.parquet", "run/plan.json", "run-2/plan.json"):
        (bucket / name).write_bytes(b"x")
    bucket._files.pipe_file(f"{bucket.key}/run/rows/", b"")
    bucket._files.pipe_file(f"{bucket.key}/run/empty/", b"")
    run = bucket / "run"
    assert run.entries() == [("empty", True), ("plan.json", False), ("rows", True)]
    assert run.below() == ["plan.json", "rows/a.parquet", "rows/b.parquet"]
    assert files_in(run, "*") == [run / "plan.json"]
    assert [path.stem for path in files_in(run / "rows", "*.parquet")] == ["a", "b"]
    assert (run / "plan.json").entries() == (run / "plan.json").below() == []


def test_an_object_that_is_not_there_is_no_error_of_the_store(bucket):
    with pytest.raises(FileNotFoundError, match="none"):
        (bucket / "none").read_bytes()
    assert (bucket / "none").below() == (bucket / "none").entries() == []


def test_of_two_that_create_an_object_the_first_one_s_stays(bucket):
    assert (bucket / "x").create(b"first")
    assert not (bucket / "x").create(b"second")
    assert (bucket / "x").read_bytes() == b"first"


def test_an_object_is_replaced_only_while_it_is_what_was_read(bucket, monkeypatch):
    path = bucket / "x"
    assert not path.replace_as(b"old", b"new")
    path.write_bytes(b"old")
    assert not path.replace_as(b"other", b"new")
    assert path.replace_as(b"old", b"new")
    read = RemotePath.read_bytes

    def read_and_changed_by_another(self):
        raw = read(self)
        self.write_bytes(b"another's")
        return raw

    monkeypatch.setattr(RemotePath, "read_bytes", read_and_changed_by_another)
    assert not path.replace_as(b"new", b"mine")
    monkeypatch.undo()
    assert path.read_bytes() == b"another's"


ASK = {
    "exists": lambda path: path.exists(),
    "list": lambda path: path.entries(),
    "below": lambda path: path.below(),
    "read": lambda path: path.read_bytes(),
    "write": lambda path: path.write_bytes(b"x"),
    "create": lambda path: path.create(b"x"),
    "remove": lambda path: path.unlink(),
}


def test_a_bucket_that_is_not_there_is_told(s3_server):
    for ask in ASK.values():
        with pytest.raises(RemoteError, match="there is no bucket 'no-such-bucket'; make it"):
            ask(to_path("s3://no-such-bucket/runs/first"))


@set_initial_no_auth_action_count(0)
def test_wrong_credentials_are_told(s3_server):
    for ask in ASK.values():
        with pytest.raises(RemoteError, match=r"check the credentials .*AWS_ACCESS_KEY_ID"):
            ask(to_path("s3://some-bucket/x"))


def test_missing_credentials_are_told(bucket, connect_anew, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(RemoteError, match="Unable to locate credentials; check the credentials"):
        bucket.exists()


@pytest.mark.parametrize(
    "attempts", ["1", pytest.param(None, id="as usual", marks=pytest.mark.slow)]
)
def test_a_server_that_is_not_there_is_told(bucket, connect_anew, monkeypatch, attempts):
    if attempts is not None:
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", attempts)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(
        RemoteError, match=r"Could not connect.*check the network, and AWS_ENDPOINT"
    ):
        bucket.exists()
    if attempts is None:
        assert time.monotonic() - began < 60


def test_an_address_that_is_none_is_told(bucket, connect_anew, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "nowhere")
    with pytest.raises(RemoteError, match="Invalid endpoint: nowhere"):
        bucket.exists()


@pytest.mark.parametrize("bug", [TypeError("x"), AttributeError("x"), KeyError("x")], ids=repr)
def test_a_bug_inside_a_call_of_the_store_stays_one(bucket, monkeypatch, bug):
    class Files:
        def __getattr__(self, _name):
            def fail(*_given, **_named):
                raise bug

            return fail

    monkeypatch.setattr(RemotePath, "_files", Files())
    for ask in ASK.values():
        with pytest.raises(type(bug)):
            ask(bucket / "x")


def test_fsspec_s_own_setting_of_the_endpoint_counts_too(bucket, connect_anew, monkeypatch):
    import fsspec.config

    (bucket / "x").write_bytes(b"x")
    connect_anew()
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": "http://127.0.0.1:9"})
    with pytest.raises(RemoteError, match=r"127\.0\.0\.1:9"):
        bucket.exists()


def test_without_its_package_a_url_says_what_to_install(connect_anew, monkeypatch):
    import fsspec  # noqa: F401  whose module is hidden by a name of its own

    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(RemoteError, match=r"not installed .*pip install 'lookaway\[s3\]'"):
        to_path("s3://bucket/x").exists()

"""A file that differs in one bit, is cut or misnamed is never taken for what was written."""

import io

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import plans
from lookaway.errors import StoreError
from lookaway.study.checksum import embed, is_whole, placeholder
from lookaway.study.files import Files
from lookaway.study.json_files import Drift

DRIFT = Drift(
    model="m", variant="none", weights="", images=2, mod=0.5, largest=0.5, classes=1.0, heatmaps=0.1
)
ARRAYS = {"map": np.arange(12, dtype=np.float16).reshape(2, 2, 3)}
FRAME = pl.DataFrame({"image": ["a/1", "b/2"], "nissim": [0.25, 0.5], "dead": [True, False]})


def write_json(files):
    files.write_model("x", DRIFT)
    return lambda name: files.read_model(name, Drift)


def write_arrays(files):
    files.write_arrays("x", ARRAYS, {"weights": "w"})
    return lambda name: files.read_arrays(files.folder / name)


def write_frame(files):
    files.write_frame("x", FRAME, {"weights": "w"})
    return lambda name: files.read_frame(files.folder / name)


@pytest.mark.parametrize("write", [write_json, write_arrays, write_frame])
def test_every_flipped_byte_and_every_cut_is_noticed(tmp_path, write):
    read = write(Files(tmp_path))
    raw = (tmp_path / "x").read_bytes()
    read("x")
    others = [raw[:cut] for cut in range(len(raw))] + [raw + b"\n"]
    others += [
        raw[:place] + bytes([byte ^ flip]) + raw[place + 1 :]
        for place, byte in enumerate(raw)
        for flip in (0x01, 0x20, 0x80)
    ]
    assert not any(is_whole(other, "x") for other in others)
    for other in others[:: len(others) // 25]:
        (tmp_path / "x").write_bytes(other)
        with pytest.raises(StoreError, match="checksum"):
            read("x")


@pytest.mark.parametrize("write", [write_json, write_arrays, write_frame])
def test_a_file_under_another_s_name_is_noticed(tmp_path, write):
    read = write(Files(tmp_path))
    (tmp_path / "x").rename(tmp_path / "y")
    with pytest.raises(StoreError, match="checksum"):
        read("y")


def test_what_was_written_comes_back_with_what_was_kept_beside_it(tmp_path):
    files = Files(tmp_path)
    write_json(files)
    assert files.read_model("x", Drift) == DRIFT
    files.write_arrays("x.safetensors", ARRAYS, {"weights": "w"})
    found = files.read_arrays(tmp_path / "x.safetensors")
    np.testing.assert_array_equal(found["map"], ARRAYS["map"])
    assert files.read_metadata(tmp_path / "x.safetensors")["weights"] == "w"
    files.write_frame("x.parquet", FRAME, {"weights": "w"})
    assert files.read_frame(tmp_path / "x.parquet").equals(FRAME)
    assert files.read_metadata(tmp_path / "x.parquet")["weights"] == "w"


def test_any_library_reads_the_files_and_the_same_content_gives_the_same_bytes(tmp_path):
    from safetensors.numpy import load_file

    files, raws = Files(tmp_path), []
    for _ in range(2):
        write_frame(files)
        assert pl.read_parquet(tmp_path / "x").equals(FRAME)
        raws.append((tmp_path / "x").read_bytes())
    assert raws[0] == raws[1]
    write_arrays(files)
    assert load_file(tmp_path / "x")["map"].shape == (2, 2, 3)


@given(st.binary(max_size=60), st.lists(st.text("0123456789abcdef", min_size=64, max_size=64)))
def test_text_that_looks_like_a_checksum_does_no_harm(raw, others):
    place = placeholder()
    strange = raw + b"".join(b"lookaway:" + other.encode() for other in others)
    whole = embed(strange + place.encode() + strange, place, "x")
    assert is_whole(whole, "x")
    assert strange in whole
    assert not is_whole(strange, "x")
    assert not is_whole(whole + b"0", "x")


def test_damage_that_is_mended_is_told_once_by_its_name(tmp_path):
    told = []
    files = Files(tmp_path, told.append)
    files.write_model("manifest.json", DRIFT)
    assert files.sound_model("manifest.json", Drift) == DRIFT
    (tmp_path / "manifest.json").write_text("{}")
    assert files.sound_model("manifest.json", Drift) is None
    assert files.sound_model("manifest.json", Drift) is None
    assert files.sound_model("nothing.json", Drift) is None
    assert files.damaged == ["manifest.json"]
    assert len(told) == 1
    assert "manifest.json" in told[0]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda held: held.pop("mod"), "mod"),
        (lambda held: held.update(images="2"), "images"),
        (lambda held: held.update(more=2), "more"),
    ],
)
def test_a_whole_file_that_holds_something_else_is_refused_with_the_place(tmp_path, change, place):
    files, held = Files(tmp_path), DRIFT.model_dump()
    change(held)
    plans.write_json(files, "drift.json", held)
    with pytest.raises(StoreError, match=rf"drift\.json' is not what lookaway .* at {place}"):
        files.read_model("drift.json", Drift)


def test_a_picture_is_written_where_it_is_missing_or_another(tmp_path):
    def save(buffer: io.BytesIO) -> None:
        buffer.write(b"picture")

    told = []
    files = Files(tmp_path, told.append)
    files.keep_with("a.png", save)
    before = (tmp_path / "a.png").stat().st_mtime_ns
    files.keep_with("a.png", save)
    assert (tmp_path / "a.png").stat().st_mtime_ns == before
    assert not told
    (tmp_path / "a.png").write_bytes(b"picturf")
    files.keep_with("a.png", save)
    assert (tmp_path / "a.png").read_bytes() == b"picture"
    assert "a.png" in told[0]

"""Every file of the corpus is used rightly, or set aside with its reason; none stops a study."""

import os
from html import escape

import numpy as np
import pytest

import lookaway as la
from corpus import DAMAGED, NAMES, PLAIN, USED, encoded, make, noise, turned
from lookaway.data.folder import FolderSource
from lookaway.data.pixels import decode, to_grid
from machine import without_rights


@pytest.fixture
def corpus(tmp_path):
    return tmp_path / "corpus", make(tmp_path / "corpus")


def test_each_file_is_used_or_set_aside_with_its_reason(corpus):
    root, expected = corpus
    source = FolderSource(root)
    scan = source.scan()
    assert len(expected) >= 40
    assert {r.image for r in scan.records} == {n for n, told in expected.items() if told == USED}
    assert set(scan.set_aside) == {name for name, told in expected.items() if told != USED}
    for name, reason in scan.set_aside.items():
        assert expected[name] in reason, name
    assert scan.classes == sorted([PLAIN, NAMES, DAMAGED, "Ann", "ann"])
    assert not scan.empty
    for record in scan.records:
        assert to_grid(source.open(record), 32).shape == (32, 32, 3)


def test_what_may_not_be_read_is_set_aside(tmp_path):
    root = tmp_path / "corpus"
    make(root)
    (root / PLAIN / "shut").mkdir()
    (root / PLAIN / "shut" / "x.png").write_bytes(encoded(noise(0), "PNG"))
    (root / PLAIN / "shut").chmod(0)
    with without_rights(root):
        scan = FolderSource(root).scan()
    (root / PLAIN / "shut").chmod(0o755)
    assert scan.set_aside[f"{DAMAGED}/locked.png"] == "cannot be read: Permission denied"
    assert scan.set_aside[f"{PLAIN}/shut"] == "a folder that cannot be read: Permission denied"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_upright_however_the_camera_was_held(orientation):
    found = np.asarray(decode(turned(orientation)))
    np.testing.assert_array_equal(found, np.asarray(noise(8)))


@pytest.mark.parametrize("name", ["moving.gif", "moving.webp", "pages.tif"])
def test_of_several_pictures_the_first_counts(corpus, name):
    found = np.asarray(decode((corpus[0] / PLAIN / name).read_bytes())).astype(int)
    apart = [abs(found - np.asarray(noise(seed)).astype(int)).mean() for seed in (3, 4, 5)]
    assert apart[0] == min(apart)
    assert apart[0] < 40 < apart[1]


@pytest.mark.parametrize("name", ["grey.png", "grey-alpha.png", "alpha.png", "palette.png"])
def test_modes_keep_their_colours(corpus, name):
    found = np.asarray(decode((corpus[0] / PLAIN / name).read_bytes())).astype(int)
    original = noise(1).convert("L").convert("RGB") if name.startswith("grey") else noise(1)
    limit = 40 if name.startswith("palette") else 0
    assert abs(found - np.asarray(original).astype(int)).mean() <= limit


def test_a_study_of_the_corpus_runs_to_its_page_and_reports_what_is_twice(
    corpus, small_study, tmp_path, capsys
):
    root, expected = corpus
    study = {
        **small_study,
        "data": {**small_study["data"], "folder": str(root)},
        "models": small_study["models"][:1],
        "transfer_from": [],
        "training": {"epochs": 1},
        "epsilons": [0.1],
        "explain": {"pictured": 5},
    }
    result = la.run_study(study, tmp_path / "out")
    told = capsys.readouterr().err
    samples = result.samples()
    assert set(samples["image"]) == {name for name, outcome in expected.items() if outcome == USED}
    assert set(result.plan.set_aside) == {n for n, o in expected.items() if o != USED}
    assert set(result.rows()["label"]) == {PLAIN, NAMES, DAMAGED, "Ann", "ann"}
    twice = result.plan.duplicates
    parts = dict(samples.select("image", "part").iter_rows())
    for leak in twice["across_parts"].images:
        assert {part: parts[name] for part, name in leak.items()} == {part: part for part in leak}
        assert len(leak) > 1
    (same,) = [images for images in twice["across_classes"].images if "ann" in images]
    assert same == {"Ann": "Ann/same.png", "ann": same["ann"]}
    assert twice["across_classes"].count == 2  # and a link to another class's image
    assert "models are measured on what they learnt from" in told
    aside = sum(outcome != USED for outcome in expected.values())
    assert f"{aside} files are set aside; the page lists them: " in told
    assert "one of its labels is wrong" in told
    page = result.report.read_text()
    assert "The same content in more than one of train, val and test" in page
    assert "The same content in more than one class" in page
    assert "Ann/same.png" in page
    assert escape("<script>alert(1)</script>") in page
    assert "<script>alert" not in page
    assert "<b>&\n" not in page
    for name in expected:
        if expected[name] != USED:
            assert escape(name) in page.replace("&#34;", "&quot;").replace("&#39;", "&#x27;"), name
    assert not list(tmp_path.rglob("lookaway-was-here"))
    assert not os.path.lexists("lookaway-was-here")
    inside = {path.parent.name for path in tmp_path.iterdir() if path.name not in ("corpus", "out")}
    assert not inside


def test_contents_that_are_twice_are_counted_and_the_first_ones_named():
    from lookaway.data.duplicates import Duplicates, duplicates, warnings
    from lookaway.data.folder import Record

    def records(part, label, contents):
        return [Record(f"{label}/{part}-{c}", label, str(c)) for c in contents]

    clean = {"train": records("train", "a", [1, 2, 3, 3]), "test": records("test", "a", [4])}
    assert not warnings(duplicates(clean))
    leaky = {
        "train": records("train", "a", range(30)),
        "val": records("val", "a", [90]),
        "test": records("test", "a", range(25)) + records("test", "b", [90, 91, 91]),
    }
    found = duplicates(leaky)
    assert found["across_parts"].count == 26
    assert len(found["across_parts"].images) == 20
    assert found["across_parts"].images[0] == {"train": "a/train-0", "test": "a/test-0"}
    assert found["across_classes"] == Duplicates(1, [{"a": "a/val-90", "b": "b/test-90"}])
    parts, classes = warnings(found)
    assert "(26): 'a/train-0' (train) = 'a/test-0' (test);" in parts
    assert parts.endswith("; …")
    assert classes.endswith("(1): 'a/val-90' (a) = 'b/test-90' (b)")

"""A study of images prepared in several ways: the same split, rows that say which, and resumes."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

import lookaway as la
from growth import results_in
from lookaway.errors import StudyError
from lookaway.export import export
from lookaway.study import images
from lookaway.study.keys import picture_name
from shared_runs import run_bare

POINTS = [f"P{place}{axis}" for place in range(1, 6) for axis in "XY"]
FACE = np.array([[20, 20], [44, 20], [32, 32], [23, 44], [41, 44]], dtype=float)


def write_landmarks(path, names, shift=0.0):
    rows = [[name, *(FACE + shift).ravel().tolist()] for name in names]
    frame = pl.DataFrame(rows, schema=["NAME_ID", *POINTS], orient="row")
    frame.write_csv(path)
    return path


def all_names(study):
    source = images.open_source(study["data"]["folder"])
    return [record.image for record in source.scan(lambda _: None).records]


def with_data(study, **data):
    return {**study, "data": {**study["data"], **data}}


@pytest.fixture(scope="module")
def unseen(small_study):
    """Names of two images without a row: one of a test part, one of a train part."""
    folder = small_study["data"]["folder"]
    samples = _prepared(small_study).samples()
    assert folder
    return [
        samples.filter(pl.col("part") == part)["image"].to_list()[1] for part in ("test", "train")
    ]


def _prepared(study):
    from lookaway.progress import Silent
    from lookaway.study.plan import parse_study

    return images.find_images(parse_study(study), None, Silent())


@pytest.fixture(scope="module")
def landmarks(small_study, unseen, tmp_path_factory):
    names = [name for name in all_names(small_study) if name not in unseen]
    return write_landmarks(tmp_path_factory.mktemp("points") / "points.csv", names)


@pytest.fixture(scope="module")
def cropped(small_study, landmarks, tmp_path_factory):
    """Both variants; images without a face are cropped in the centre."""
    study = with_data(small_study, variants=["none", "landmarks"], landmarks=str(landmarks))
    return run_bare(study, tmp_path_factory.mktemp("variants") / "out")


@pytest.fixture(scope="module")
def dropping(small_study, landmarks):
    """One model on both variants; images without a face are set aside."""
    points = {"landmarks": str(landmarks), "without_face": "drop"}
    study = with_data(small_study, variants=["landmarks", "none"], **points)
    return {**study, "models": study["models"][:1]}


@pytest.fixture(scope="module")
def dropped(dropping, tmp_path_factory):
    return la.run_study(dropping, tmp_path_factory.mktemp("variants") / "out", progress=False)


def of(result, variant):
    return result.rows().filter(pl.col("variant") == variant)


@pytest.mark.parametrize(
    "name", ["accuracy", "psnr", "mod", "spread", "excess", "by_depth", "direction", "transfer"]
)
def test_variants_stand_in_the_study_s_order(cropped, name):
    """That is not the order of their names, in which files stand."""
    variants = cropped.plan.settings.data.variants
    assert variants != sorted(variants)
    frame = getattr(cropped, name)()
    for model in frame.partition_by("model"):
        assert model["variant"].unique(maintain_order=True).to_list() == variants


def test_every_variant_has_the_same_images_in_the_same_parts(cropped, unseen):
    rows = cropped.rows()
    counts = rows.group_by("variant").len()["len"].to_list()
    assert len(counts) == 2
    assert counts[0] == counts[1]
    assert set(of(cropped, "none")["image"]) == set(of(cropped, "landmarks")["image"])
    samples = cropped.samples()
    assert set(samples.filter(pl.col("no_face").list.contains("landmarks"))["image"]) == set(unseen)
    assert samples["variants"].list.len().to_list() == [2] * samples.height


def test_a_variant_beside_another_changes_nothing(cropped, small_study, tmp_path):
    alone = run_bare({**small_study, "models": small_study["models"][:1]}, tmp_path / "out")
    assert alone.rows().equals(of(cropped, "none").filter(model="one"))


def test_models_learn_from_each_variant_and_see_other_images(cropped):
    heads = {path.stem for path in (cropped.folder / "heads").glob("*.safetensors")}
    assert heads == {key.head for key in cropped.store.identity.models()}
    assert len(heads) == 2 * 2
    kept = [(cropped.folder / f"heads/{head}.safetensors").read_bytes() for head in heads]
    assert len(set(kept)) == 2 * 2
    assert set(cropped.store.trained()) == {"one", "one / landmarks", "two", "two / landmarks"}
    panels = cropped.figure("training").svg()
    for name in cropped.store.trained():
        assert f"accuracy: {name}" in panels
    keys = ["image", "model", "attack", "source", "epsilon", "layer", "explained_class"]
    both = of(cropped, "none").join(of(cropped, "landmarks"), on=keys, nulls_equal=True)
    assert both.height == of(cropped, "none").height
    assert (both["psnr"] - both["psnr_right"]).abs().max() > 0


def test_images_without_a_face_are_set_aside_and_numbers_are_on_those_that_all_have(
    dropped, unseen
):
    lost = set(of(dropped, "none")["image"]) - set(of(dropped, "landmarks")["image"])
    assert lost == {unseen[0]}
    samples = dropped.samples().filter(pl.col("image").is_in(unseen))
    assert samples["variants"].to_list() == [["none"]] * 2
    assert dropped.plan.variants["landmarks"].without_face == 2
    told = (
        dropped.report.read_text().partition("No face found by landmarks")[2].partition("</p>")[0]
    )
    assert "in 2 images, not used with it" in told
    assert all(f"<bdi>{name}</bdi>" in told for name in unseen)
    each, shared = (
        dict(frame.group_by("variant").agg(pl.col("n").unique()).iter_rows())
        for frame in (dropped.accuracy(), dropped.accuracy(shared=True))
    )
    whole = of(dropped, "none")["image"].n_unique()
    assert each == {"none": [whole], "landmarks": [whole - 1]}
    assert shared == {"none": [whole - 1], "landmarks": [whole - 1]}
    by_hand = (
        of(dropped, "none")
        .filter(pl.col("image") != unseen[0], explained_class="clean", source="one")
        .group_by("model", "epsilon", maintain_order=True)
        .agg(pl.col("nissim").mean())
    )
    told = dropped.mod(shared=True).filter(
        variant="none", explained_class="clean", source="one", pairs="all"
    )
    joined = by_hand.join(told, on=["model", "epsilon"])
    assert joined.height == by_hand.height
    assert (joined["nissim"] - joined["mod"]).abs().max() < 1e-12


def test_the_page_counts_faces_and_gives_numbers_on_the_shared_images(dropped):
    page = dropped.report.read_text()
    assert "Faces found" in page
    assert "test images that every variant has" in page
    table = (dropped.folder / "tables/preparation.csv").read_text().splitlines()
    assert table[1].startswith("landmarks,")


def test_pictured_images_are_those_that_every_variant_has(dropped, unseen):
    shown = dropped.samples().filter("pictured")
    assert unseen[0] not in set(shown["image"])
    for variant in ("none", "landmarks"):
        prepared = dropped.store.identity.preparation(variant)
        for sha in shown["sha256"]:
            with Image.open(dropped.folder / picture_name(prepared, sha)) as picture:
                assert picture.size == (64, 64)


def test_exported_test_sets_stand_below_their_variant(dropped, tmp_path):
    places = export(dropped.folder, tmp_path, kind="png")
    assert [str(place.relative_to(tmp_path).parts[0]) for place in places] == [
        "landmarks",
        "landmarks",
        "none",
        "none",
    ]
    counts = [len(list(place.rglob("*.png"))) for place in places]
    assert counts[0] + 1 == counts[2]


def test_a_run_that_goes_on_does_not_search_again(dropped, dropping, tmp_path):
    copy = shutil.copytree(dropped.folder, tmp_path / "out")
    before = (copy / "faces/landmarks.parquet").stat().st_mtime_ns
    (copy / "manifest.json").unlink()
    assert run_bare(dropping, copy).rows().equals(dropped.rows())
    assert (copy / "faces/landmarks.parquet").stat().st_mtime_ns == before


def test_other_landmarks_are_another_study(cropped, small_study, tmp_path):
    other = write_landmarks(tmp_path / "other.csv", all_names(small_study), shift=3.0)
    study = with_data(small_study, variants=["none", "landmarks"], landmarks=str(other))
    before = results_in(shutil.copytree(cropped.folder, tmp_path / "out"))
    beside = run_bare(study, tmp_path / "out")
    after, identity = results_in(tmp_path / "out"), beside.store.identity
    # What stands beside is of the landmarks alone: the images as they are stay as they were.
    ids = {key.id for key in identity.cells("landmarks")}
    ids |= {key.head for key in identity.models() if key.variant == "landmarks"}
    assert {Path(name).stem for name in after.keys() - before.keys()} == ids
    assert before.items() <= after.items()
    assert of(beside, "none").equals(of(cropped, "none"))


def test_a_variant_that_takes_a_class_s_whole_part_is_refused(small_study, tmp_path):
    samples = _prepared(small_study).samples()
    gone = samples.filter(pl.col("part") == "test")["label"][0]
    names = samples.filter((pl.col("part") != "test") | (pl.col("label") != gone))["image"]
    points = write_landmarks(tmp_path / "points.csv", names.to_list())
    study = with_data(
        small_study, variants=["landmarks"], landmarks=str(points), without_face="drop"
    )
    with pytest.raises(StudyError, match="without_face: crop"):
        la.run_study(study, tmp_path / "out", progress=False)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"variants": ["landmarks"]}, "needs landmarks"),
        ({"landmarks": "points.csv"}, "no variant uses it"),
        ({"variants": ["none", "none"]}, "given twice"),
        ({"variants": ["faces"]}, "possible: none, cascade or landmarks"),
        ({"variants": ["landmarks"], "landmarks": "nowhere.csv"}, "nowhere.csv"),
    ],
)
def test_settings_that_do_not_fit_are_told_before_anything_runs(small_study, tmp_path, data, told):
    with pytest.raises(StudyError, match=told):
        la.run_study(with_data(small_study, **data), tmp_path / "out", progress=False)

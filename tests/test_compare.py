"""Two runs on the same images: paired differences, and limits below the whole interval."""

import re
import shutil
from html import escape

import polars as pl
import pytest
import typer.testing

import lookaway as la
from lookaway.cli import app
from lookaway.compare import compare, what_differs
from lookaway.errors import InputError, StoreError
from lookaway.study.store import Store
from plans import a_manifest, with_settings
from shared_runs import run_bare
from stored import write_run


@pytest.fixture(scope="module")
def finished(small_study, tmp_path_factory):
    split = {"train": 0.25, "val": 0.125, "test": 0.625, "seed": 0}
    study = {**small_study, "data": {**small_study["data"], "split": split}}
    study["controls"] = {"shifted": 1}
    return run_bare(study, tmp_path_factory.mktemp("run") / "out")


def altered(finished, folder, **columns):
    """The same run with other numbers in its rows."""
    copy = shutil.copytree(finished.folder, folder)
    store = Store(copy)
    for path in (copy / "rows").glob("*.parquet"):
        rows, about = store.read_frame_with(path)
        kept = {name: about[name] for name in ("weights", "units")}  # which rows are of what
        store.write_frame(f"rows/{path.name}", rows.with_columns(**columns), kept)
    return copy


ATTACKED = pl.col("source").is_not_null()


@pytest.fixture(scope="module")
def worse(finished, tmp_path_factory):
    """Under attack, not under noise, every heatmap is 0.1 further off."""
    shifted = pl.col("nissim") + pl.when(ATTACKED).then(0.1).otherwise(0.0)
    return altered(finished, tmp_path_factory.mktemp("worse") / "out", nissim=shifted)


def made_up(folder, models=("one",), **settings):
    """A finished run of a few images, of made-up numbers, with some settings of its own."""
    store = write_run(folder, images=4, models=models, settings=settings)
    store.write_model("manifest.json", a_manifest())
    return folder


def run(*arguments):
    return typer.testing.CliRunner().invoke(app, ["compare", *map(str, arguments)])


def test_a_run_and_itself_differ_by_nothing_and_pass_no_limit(finished):
    found = compare(finished.folder, finished.folder, max_mod_rise=0.0, max_excess_rise=0.0)
    assert found.passed == ()
    assert set(found.differences["difference"].drop_nulls()) == {0.0}
    told = run(finished.folder, finished.folder, "--max-mod-rise", 0)
    assert told.exit_code == 0
    assert "Nothing differs clearly" in told.stdout


def test_a_rise_beyond_the_limit_is_named_and_exits_with_1(finished, worse):
    found = compare(finished.folder, worse, 0.05, 0.05, 0.05)
    rises = found.headline.filter(pl.col("measure") != "accuracy", pl.col("scope") != "noise")
    assert rises["difference"].to_list() == pytest.approx([0.1] * rises.height)
    assert len(found.passed) == rises.height
    assert any("the excess of two" in sentence for sentence in found.passed)
    told = run(finished.folder, worse, "--max-excess-rise", 0.05)
    assert told.exit_code == 1
    assert "rose by +0.100" in told.stderr
    assert "MOD of" not in told.stderr
    first = what_differs(found.headline, 1)
    assert re.fullmatch(
        r"Clearly different: .* of (two|one) under .* \+0\.100; and \d+ more\.", first
    )
    assert first.split(";")[0] in told.stdout


def test_a_page_says_what_fails_its_limit_and_what_passes(finished, worse, tmp_path):
    page = tmp_path / "<b>compared.html"
    told = run(finished.folder, worse, "--max-mod-rise", 0.05, "--page", page)
    assert told.exit_code == 1
    text = page.read_text()
    found = compare(finished.folder, worse, 0.05)
    judged = found.headline.filter(measure="mod").height
    assert f"<h1>Fails: {len(found.passed)} of {judged} rises clearly above" in text
    assert text.count('class="fails">fails') == len(found.passed) < judged
    assert text.count('class="passes">passes') == judged - len(found.passed)
    names = la.open_result(worse).frames.models
    assert all(escape(name) in text for name in names)
    passed = compare(finished.folder, finished.folder, max_excess_rise=0.01).page()
    assert "<h1>Passes: none of " in passed
    assert "above its limit: excess 0.01." in passed
    assert "<h1>What changed</h1>" in compare(finished.folder, worse).page()


def test_a_page_shows_names_as_they_are(tmp_path):
    bad = "<script>alert(1)</script>"
    for name in ("first", "second"):
        made_up(tmp_path / name, (bad,))
    text = compare(tmp_path / "first", tmp_path / "second").page()
    assert bad not in text
    assert escape(bad) in text


def test_a_rise_of_what_is_aimed_has_a_limit_of_its_own(finished, tmp_path):
    aimed = pl.col("attack").str.starts_with("shifted") | ATTACKED
    both = altered(finished, tmp_path / "both", nissim=pl.col("nissim") + 0.1 * aimed)
    assert compare(finished.folder, both, max_aimed_rise=0.05).passed == ()
    alone = altered(finished, tmp_path / "alone", nissim=pl.col("nissim") + 0.1 * ATTACKED)
    passed = compare(finished.folder, alone, max_aimed_rise=0.05).passed
    assert passed
    assert all(sentence.startswith("the aimed excess of") for sentence in passed)
    told = run(finished.folder, alone, "--max-aimed-rise", 0.05)
    assert told.exit_code == 1
    assert "the aimed excess of" in told.output


def test_a_limit_on_what_a_run_did_not_measure_is_refused(finished, tmp_path):
    bare = shutil.copytree(finished.folder, tmp_path / "bare")
    plan = with_settings(finished.plan, controls={"shifted": 0})
    Store(bare).write_model("plan.json", plan)
    measured = la.open_result(bare).rows()["attack"]
    assert measured.len()
    assert not measured.str.starts_with("shifted").any()
    with pytest.raises(StoreError, match="max_aimed_rise needs an aimed excess in both runs"):
        compare(finished.folder, bare, max_aimed_rise=0.05)


def test_a_fall_and_a_rise_within_the_limit_pass(finished, worse):
    assert compare(worse, finished.folder, 0.0, 0.0).passed == ()
    assert compare(finished.folder, worse, 0.11, 0.11).passed == ()
    assert run(finished.folder, worse).exit_code == 0


def test_a_rise_that_is_in_doubt_passes(finished, tmp_path):
    far = pl.col("image").hash(0) % 2 == 0
    doubtful = altered(
        finished,
        tmp_path / "out",
        nissim=pl.col("nissim") + pl.when(ATTACKED & far).then(0.3).otherwise(-0.28),
    )
    found = compare(finished.folder, doubtful, max_mod_rise=0.0)
    rises = found.headline.filter(pl.col("measure") == "mod", pl.col("scope") == "fgsm white-box")
    assert (rises["low"] < 0).all()
    assert (rises["high"] > 0).all()
    assert found.passed == ()


def test_runs_of_other_images_or_measures_are_refused(finished, small_study, tmp_path):
    other = run_bare(small_study, tmp_path / "images")
    with pytest.raises(StoreError, match="not made on the same test images"):
        compare(finished.folder, other.folder)
    others = {
        "channels": ("data", 3, 1),
        "range": ("data", None, [0, 9]),
        "grid": ("measure", 32, 64),
    }
    first = made_up(tmp_path / "first")
    assert compare(first, made_up(tmp_path / "same")).passed == ()
    for name, (section, old, new) in others.items():
        second = made_up(tmp_path / name, **{section: {name: new}})
        with pytest.raises(StoreError, match=f"{name} is {old} in"):
            compare(first, second)
    told = run(first, second)
    assert told.exit_code == 2 or isinstance(told.exception, StoreError)


def test_runs_without_a_common_model_are_refused(tmp_path):
    for models in (("one", "two"), ("other-0", "other-1")):
        made_up(tmp_path / models[0], models)
    with pytest.raises(StoreError, match="no model in common: one, two and other-0, other-1"):
        compare(tmp_path / "one", tmp_path / "other-0")


@pytest.mark.parametrize("limit", [float("nan"), float("inf")])
def test_a_limit_that_is_no_number_is_an_error(finished, limit):
    with pytest.raises(InputError, match="max_mod_rise must be a finite number"):
        compare(finished.folder, finished.folder, max_mod_rise=limit)

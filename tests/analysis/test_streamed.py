"""Frames that are made a part at a time are those of the whole run."""

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from lookaway.analysis import (
    aimed,
    beside_nissim,
    by_class,
    comparison,
    conventions,
    dead,
    decomposition,
    direction,
    equal_accuracy,
    failing,
    outcomes,
    parts,
    place,
    scale,
    summary,
)
from lookaway.analysis.frames import Frames
from lookaway.analysis.grouped import SETTING
from lookaway.analysis.parts import Parts
from lookaway.analysis.summary import VID_WAYS, vid
from lookaway.errors import InputError
from lookaway.result import Result
from lookaway.study.store import Store
from resamples import few_resamples
from stored import write_run

RUN = {
    "variants": ("cascade", "none"),
    "models": ("one", "two"),
    "sources": ("one",),
    "layers": ("first", "last"),
    "methods": ("gradcam", "layercam"),
    "lost": 5,
    "shifted": 2,
}


@pytest.fixture(autouse=True, scope="module")
def fewer_resamples():
    with few_resamples():
        yield


@pytest.fixture(scope="module", params=["all", "pictured"])
def store(request, tmp_path_factory):
    """A run whose layers before the last are of all images, or of the pictured alone."""
    folder = tmp_path_factory.mktemp(request.param) / "run"
    return write_run(folder, 45, layers_of=request.param, **RUN)


of_all_images = pytest.mark.parametrize("store", ["all"], indirect=True)


@pytest.fixture(scope="module")
def of_layers(store):
    """The frames that tell of every layer: the whole run's rows, given to the formulas."""
    every, compared = store.frame("rows"), store.frame("shuffled")
    rows = aimed.without_shaped(every)
    excess = scale.excess(rows, compared)
    made = {
        "mod": summary.mod(every),
        "spread": summary.spread(rows),
        "shuffled": scale.shuffled(compared),
        "excess": excess,
        "by_depth": scale.by_depth(rows, excess).sort("depth", maintain_order=True),
    }
    found = {name: _of_variants(frame) for name, frame in made.items()}
    return found | {"by_depth": found["by_depth"].sort("model", "variant", maintain_order=True)}


@pytest.fixture(scope="module")
def kept(store, of_layers):
    """Every frame, made in the same way."""
    frames = Frames(store)
    every, all_last = frames.rows, frames.last_rows
    rows, last = aimed.without_shaped(every), aimed.without_shaped(all_last)
    measured = conventions.measured(last, frames.statistics, "gaussian11", 32)
    made = {
        "accuracy": summary.accuracy(every),
        "psnr": summary.psnr(rows),
        "reached": summary.reached(every),
        "unattacked": summary.unattacked(rows),
        "aimed": aimed.aimed(all_last),
        "place": place.place(all_last, None),
        "beside_nissim": beside_nissim.beside_nissim(all_last),
        "direction": direction.direction(frames.statistics),
        "by_class": by_class.by_class(last),
        "outcomes": outcomes.outcomes(last),
        "failing": failing.with_holm(failing.failing(last)),
        "decomposition": decomposition.decomposition(all_last),
        "equal_accuracy": equal_accuracy.equal_accuracy(all_last),
        "dead": dead.dead(all_last),
        "transfer": outcomes.transfer(scale.beside_noise(last)),
        "compare_models": comparison.compare_models(all_last),
    }
    found = {name: _of_variants(frame) for name, frame in made.items()} | of_layers
    found["conventions"] = conventions.with_scopes(_of_variants(measured))
    found["vid"] = pl.concat(_of_variants(vid(last, way, False)) for way in VID_WAYS)
    return found


def _of_variants(frame):
    """In the study's order of variants, which the run has sorted."""
    return frame.sort("variant", maintain_order=True)


def in_parts(store, monkeypatch, rows=100, only=None):
    monkeypatch.setattr(parts, "ROWS_AT_ONCE", rows)
    frames = Frames(store, only)
    assert len(frames.parts.split("variant", "model")) > 1
    return frames


def refuse(*_):
    raise AssertionError("the whole run was read")


@of_all_images
def test_every_frame_is_that_of_the_whole_run_row_by_row(store, kept, monkeypatch):
    frames = in_parts(store, monkeypatch, 1500)
    monkeypatch.setattr(store, "frame", refuse)
    made = frames.to_keep()
    assert set(made) == set(kept) | {"robustness_of_ranking", "loaded"}
    for name, frame in kept.items():
        assert_frame_equal(made[name], frame, rel_tol=1e-5, abs_tol=1e-7)


@pytest.mark.parametrize("store", ["pictured"], indirect=True)
def test_frames_of_layers_of_the_pictured_are_those_of_the_whole_run(store, of_layers, monkeypatch):
    frames = in_parts(store, monkeypatch, 100)
    for name, frame in of_layers.items():
        assert_frame_equal(frames.whole(name), frame, rel_tol=1e-5, abs_tol=1e-7)


@of_all_images
def test_a_result_s_vid_is_that_of_the_kept_frame_and_reads_no_large_run_whole(
    store, kept, monkeypatch
):
    last = aimed.without_shaped(store.frame("rows").filter(pl.col("layer") == "last"))
    order = [*SETTING, "method", "explained_class", "pairs"]
    ways = [*((way, False) for way in VID_WAYS), ("image", True)]
    small, result = {}, Result(store.folder)
    for way in ways:
        small[way] = result.vid(*way)
        assert_frame_equal(small[way].sort(order), vid(last, *way).sort(order))
        if way[1] is False:
            assert_frame_equal(small[way], kept["vid"].filter(per=way[0]))
    monkeypatch.setattr(parts, "ROWS_AT_ONCE", 100)
    monkeypatch.setattr(Store, "frame", refuse)
    result = Result(store.folder)
    for way in ways:
        assert_frame_equal(result.vid(*way), small[way], rel_tol=1e-5, abs_tol=1e-7)
    with pytest.raises(InputError, match="possible: image, level, pooled"):
        result.vid("median")


@of_all_images
def test_frames_of_the_shared_images_are_those_of_the_whole_run(store, monkeypatch):
    shared = Frames(store).shared
    whole = {"accuracy": shared.accuracy, "mod": shared.mod}
    assert set(whole["accuracy"]["n"]) == {40}
    frames = in_parts(store, monkeypatch, 1000).shared
    for name, frame in whole.items():
        assert_frame_equal(getattr(frames, name), frame, rel_tol=1e-5, abs_tol=1e-7)


def test_parts_hold_each_row_once_and_are_no_larger_than_need_be(store, monkeypatch):
    monkeypatch.setattr(parts, "ROWS_AT_ONCE", 100)
    found = Parts(store, store.read_plan())
    dimensions = ("variant", "model", "method", "layer", "explained_class", "epsilon")
    every = [found.read("rows", (), part) for part in found.split(*dimensions[:2])]
    last = aimed.without_shaped(store.frame("rows").filter(pl.col("layer") == "last"))
    assert sum(part.height for part in every) == last.height
    assert len(found.split(*dimensions, last=False)) == 2 * 2 * 2 * 2 * 2 * 2
    images = found.images()
    read = pl.concat(every)
    assert [images[place] for place in read["image"]] == last["image"].to_list()
    for name in ("label", "model", "source", "attacked_class", "explained_class"):
        assert read[name].cast(pl.String).equals(last[name])
    few = store.read_plan().settings.explain.layers_of == "pictured"
    monkeypatch.setattr(parts, "ROWS_AT_ONCE", 2000 if few else 4000)
    assert found.split(*dimensions, last=False) == [
        {"variant": variant, "model": model}
        for variant in ("cascade", "none")
        for model in ("one", "two")
    ]


@of_all_images
def test_nissim_comes_in_parts_with_each_number_once(store, monkeypatch):
    one = Frames(store).of("layercam")
    (whole,) = one.last_parts("none", "own")
    rows = aimed.without_shaped(one.last(one.rows)).filter(
        variant="none", explained_class="own", method="layercam"
    )
    assert whole["nissim"].equals(rows["nissim"])
    every = list(in_parts(store, monkeypatch).of("layercam").last_parts("none", "own"))
    assert len(every) == 2 * 2
    keys = ["model", "attack", "source", "epsilon"]
    found = pl.concat(every).with_columns(pl.col("model", "attack", "source").cast(pl.String))
    found, whole = (frame.select(*keys, "nissim").sort(pl.all()) for frame in (found, whole))
    assert found.equals(whole)

"""A study on a small folder: its rows are right, the same every time, and survive interruption."""

import json
import shutil

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal
from safetensors.torch import save_file

import lookaway as la
from lookaway.analysis.frames import Frames
from lookaway.data.folder import FolderSource
from lookaway.data.pixels import as_floats, to_grid
from lookaway.errors import StoreError, StudyError
from lookaway.models import zoo
from lookaway.report.pictured import PicturedImages
from lookaway.rows import ROW_SCHEMA
from lookaway.study import prepare, worker
from lookaway.study.plan import parse_study
from lookaway.study.store import Store
from shared_runs import run_bare


@pytest.fixture(autouse=True, scope="module")
def small_cells():
    """Cells of four images, so that a study has several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "SHARD", 4)
        yield


@pytest.fixture(scope="module")
def finished(small_study, tmp_path_factory):
    """A study that ran once; tests read it and change nothing."""
    return again(small_study, tmp_path_factory.mktemp("run") / "out")


@pytest.fixture(scope="module")
def bare(small_study, faces_for_all, tmp_path_factory):
    """A page without pictures, of a run with a broken image, in cells of an image each."""
    place = tmp_path_factory.mktemp("bare")
    shutil.copytree(faces_for_all, place / "faces")
    (place / "faces" / "ann" / "<b>broken.jpg").write_bytes(b"no image")
    few = {"models": small_study["models"][:1], "epsilons": [0.1], "explain": {"pictured": 0}}
    study = {**of_folder(small_study, place / "faces"), **few}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "SHARD", 1)
        return la.run_study(study, place / "out", progress=False)


def again(study, out, *, progress=False, **changes):
    """Run a study with changed settings, without its page."""
    return run_bare({**study, **changes}, out, progress=progress)


@pytest.fixture
def light(small_study):
    """One untrained model and one ε, for what no model has a part in."""
    models = [{**small_study["models"][0], "train": "none"}]
    return {**small_study, "models": models, "transfer_from": [], "epsilons": [0.1]}


def of_folder(study, folder):
    """A study of other images."""
    return {**study, "data": {**study["data"], "folder": str(folder)}}


def test_a_row_for_each_image_attack_source_epsilon_layer_and_policy(finished):
    rows = finished.rows()
    assert dict(rows.schema) == ROW_SCHEMA
    keys = ["image", "model", "attack", "source", "epsilon", "layer", "explained_class"]
    assert rows.select(keys).is_duplicated().sum() == 0
    test = finished.samples().filter(pl.col("part") == "test")["image"].to_list()
    sources = rows.select("model", "attack", "source").unique(maintain_order=True).rows()
    assert sources == [
        ("one", "fgsm", "one"),
        ("one", "noise", None),
        ("two", "fgsm", "two"),
        ("two", "fgsm", "one"),
        ("two", "noise", None),
    ]
    assert rows["epsilon"].unique().sort().to_list() == [0.02, 0.1]
    assert rows.height == len(test) * len(sources) * 2 * 2
    assert set(rows["image"]) == set(test)
    assert rows["nissim"].is_between(0, 1).all()
    assert (rows["linf"] <= rows["epsilon"] + 1e-6).all()
    dead = rows["clean_dead"] | rows["attacked_dead"]
    apart = ["log_mass_ratio", "sliced_wasserstein"]
    assert rows.select(pl.col(apart).is_null() == dead).min_horizontal().all()
    assert rows.drop("source", *apart).null_count().sum_horizontal()[0] == 0


def test_every_row_is_what_the_public_calls_give(finished, small_study, faces_for_all):
    """The whole way again for each test image, by hand, from the stored heads."""
    rows = finished.rows()
    records = {record.image: record for record in FolderSource(faces_for_all).scan().records}
    classes = sorted({record.label for record in records.values()})
    models = {}
    for spec in small_study["models"]:
        head = finished.store.identity.model("none", spec["name"]).head
        weights = finished.folder / "heads" / f"{head}.safetensors"
        models[spec["name"]] = stored_model(spec, len(classes), weights)
    source = FolderSource(faces_for_all)
    for image in rows["image"].unique(maintain_order=True).to_list()[:3]:
        grid = to_grid(source.open(records[image]), 64)
        pixels = torch.from_numpy(as_floats([grid]))
        label = torch.tensor([classes.index(records[image].label)])
        for row in rows.filter(pl.col("image") == image).iter_rows(named=True):
            clf = models[row["model"]]
            attack = la.FGSM() if row["attack"] == "fgsm" else la.SignNoise(seed=0)
            attacked = attack(models.get(row["source"], clf), pixels, label, [row["epsilon"]])[0]
            before = la.GradCAM()(clf, pixels)
            held = before.classes if row["explained_class"] == "clean" else None
            after = la.GradCAM()(clf, attacked, classes=held)
            heats = [la.heatmap(e.maps[row["layer"]], 32) for e in (before, after)]
            assert row["nissim"] == pytest.approx(float(la.nissim(*heats)), abs=2e-3)
            assert row["clean_class"] == classes[int(before.logits.argmax())]
            assert row["attacked_class"] == classes[int(after.logits.argmax())]
            chance = float(after.logits.softmax(1).max())
            assert row["attacked_confidence"] == pytest.approx(chance, abs=1e-4)
            assert row["psnr"] == pytest.approx(float(la.psnr(pixels, attacked)), abs=1e-3)
            assert row["linf"] == pytest.approx(float((attacked - pixels).abs().max()), abs=1e-6)


def stored_model(spec, count, weights):
    from safetensors.torch import load_file

    from lookaway.hashing import seed_from

    clf = la.load_classifier(
        spec["timm"],
        num_classes=count,
        pretrained=False,
        input_size=spec["input_size"],
        seed=seed_from(0, "weights", spec["name"]),
    )
    missing = clf.module.load_state_dict(load_file(weights), strict=False)
    assert not missing.unexpected_keys
    return clf


def test_batch_sizes_agree_on_classes_and_mod(finished, small_study, tmp_path):
    one = again(small_study, tmp_path / "out", run={"batch_size": 1})
    for column in ("image", "clean_class", "attacked_class"):
        assert one.rows()[column].to_list() == finished.rows()[column].to_list()
    np.testing.assert_allclose(one.mod()["mod"], finished.mod()["mod"], atol=1e-3)


def test_a_finished_study_computes_nothing_again(finished, small_study, tmp_path, monkeypatch):
    copy = shutil.copytree(finished.folder, tmp_path / "out")
    monkeypatch.setattr(worker, "do_cell", None)
    monkeypatch.setattr("lookaway.study.trainings.train", None)
    assert_frame_equal(again(small_study, copy).rows(), finished.rows(), check_exact=True)


def test_an_interrupted_study_goes_on_and_ends_with_the_same_rows_to_the_bit(
    finished, small_study, tmp_path, monkeypatch
):
    done = []
    real = worker.do_cell

    def unplugged(*arguments):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return real(*arguments)

    monkeypatch.setattr(worker, "do_cell", unplugged)
    with pytest.raises(KeyboardInterrupt):
        again(small_study, tmp_path / "out")
    assert len(list((tmp_path / "out" / "rows").iterdir())) == 2
    with pytest.raises(StoreError, match="not finished"):
        la.open_result(tmp_path / "out")
    counted = []
    monkeypatch.setattr(worker, "do_cell", lambda *a: counted.append(1) or real(*a))
    result = again(small_study, tmp_path / "out")
    assert len(counted) == 2 * 2 - 2
    assert_frame_equal(result.rows(), finished.rows(), check_exact=True)


def test_a_run_of_another_version_in_the_same_folder_is_refused(
    finished, small_study, tmp_path, monkeypatch
):
    copy = shutil.copytree(finished.folder, tmp_path / "out")
    before = sorted(path.name for path in copy.rglob("*"))
    monkeypatch.setattr(prepare, "versions", lambda _: {**finished.plan.versions, "torch": "9"})
    with pytest.raises(StoreError, match=r"versions\.torch: .* → .9."):
        again(small_study, copy)
    assert sorted(path.name for path in copy.rglob("*")) == before


def test_another_image_in_the_same_folder_is_told_by_name(light, faces, tmp_path, capsys):
    study = of_folder(light, faces)
    again(study, tmp_path / "out")
    (faces / "ann" / "0.png").write_bytes((faces / "bob" / "0.png").read_bytes())
    again(study, tmp_path / "out", progress=True)
    assert "of other content: ann/0.png" in capsys.readouterr().err


def test_the_folder_may_move_between_runs(finished, small_study, faces, tmp_path, monkeypatch):
    copy = shutil.copytree(finished.folder, tmp_path / "out")
    monkeypatch.setattr(worker, "do_cell", None)
    monkeypatch.setattr("lookaway.study.trainings.train", None)
    assert again(of_folder(small_study, faces), copy).rows().equals(finished.rows())


def test_broken_images_are_set_aside_and_listed_in_plan_and_page(bare):
    assert bare.plan.set_aside == {"ann/<b>broken.jpg": "not an image file"}
    page = bare.report.read_text()
    assert "ann/&lt;b&gt;broken.jpg" in page
    assert "<b>broken" not in page


def test_the_plan_holds_settings_versions_and_hashes(finished, small_study):
    plan = finished.plan
    packages = {"lookaway", "torch", "timm", "pillow", "numpy", "scikit-image"}
    assert set(plan.versions) == packages
    assert plan.settings == parse_study(small_study)
    assert set(plan.weights) == {"one", "two"}
    assert all(len(sha) == 64 for sha in plan.weights.values())
    assert {f"rows/{key.id}.parquet" for key in finished.store.identity.cells()} == {
        path.relative_to(finished.folder).as_posix() for path in finished.folder.rglob("rows/*")
    }
    assert finished.manifest.rows == finished.rows().height
    assert finished.store.trained()["one"].best_epoch >= 1
    log = [json.loads(path.read_text()) for path in (finished.folder / "log").iterdir()]
    assert {"host", "seconds"} <= set(log[0])
    assert "host" not in (finished.folder / "plan.json").read_text()


def test_maps_of_all_test_images_are_stored_as_they_were_compared(finished):
    from lookaway.study.keys import map_key

    rows = finished.rows().filter(
        pl.col("model") == "two", pl.col("source") == "one", pl.col("explained_class") == "own"
    )
    maps = finished.store.read_maps(finished.store.identity.cell("none", "two", 0))
    layer = finished.plan.last_layers["two"]
    clean = maps[map_key("clean", "gradcam", "own", layer)]
    shard = rows["image"].unique(maintain_order=True)[: len(clean)].to_list()
    rows = rows.filter(pl.col("image").is_in(shard))
    attacked = maps[map_key("attacked", "gradcam", "own", layer, "fgsm", "one")]
    assert attacked.shape[:2] == (clean.shape[0], 2)
    for place, epsilon in enumerate([0.02, 0.1]):
        heats = [
            la.heatmap(torch.from_numpy(part.astype(np.float32)), 32)
            for part in (clean, attacked[:, place])
        ]
        stored = rows.filter(pl.col("epsilon") == epsilon)["nissim"]
        np.testing.assert_allclose(la.nissim(*heats).numpy(), stored.to_numpy(), atol=2e-3)


def test_all_layers_and_the_label_policy_and_quantized_images(small_study, tmp_path):
    result = again(
        small_study,
        tmp_path / "out",
        models=small_study["models"][:1],
        transfer_from=[],
        quantize=True,
        explain={"layers": "convs", "explained_class": ["label", "clean", "own"], "pictured": 3},
    )
    rows = result.rows()
    clf = la.load_classifier("test_resnet", pretrained=False, input_size=64)
    assert set(rows["layer"]) == {*clf.layer_names("convs"), *clf.layer_names("last")}
    assert set(rows["explained_class"]) == {"label", "clean", "own"}
    assert rows["depth"].is_between(0, 1).all()
    assert rows.filter(pl.col("layer") == clf.layer_names("last")[0])["depth"].unique()[0] == 1.0
    steps = rows["linf"] * 255
    assert ((steps - steps.round()).abs() < 1e-4).all()
    same = rows.filter(pl.col("clean_class") == pl.col("attacked_class")).pivot(
        "explained_class",
        index=["image", "attack", "epsilon", "layer"],
        values="nissim",
    )
    assert (same["own"] == same["clean"]).all()


def test_a_trained_checkpoint_is_measured_without_training(light, tmp_path):
    clf = la.load_classifier("test_resnet", num_classes=3, pretrained=False, seed=5)
    path = tmp_path / "mine.pt"
    torch.save({"model": clf.module.state_dict()}, path)
    data = {**light["data"], "split": {"train": 0.0, "val": 0.0, "test": 1.0}}
    spec = {"name": "mine", "timm": "test_resnet", "checkpoint": str(path), "train": "none"}
    models = [{**spec, "input_size": 64}]
    result = again(light, tmp_path / "out", data=data, models=models)
    assert not (result.folder / "heads").exists()
    assert result.rows()["image"].n_unique() == 24
    clf = la.load_classifier("test_resnet", checkpoint=path, input_size=64)
    assert clf.num_classes == 3


def test_problems_of_images_and_models_are_told_together_before_anything_is_computed(
    small_study, faces, tmp_path, monkeypatch
):
    for extra in ("1", "2", "3", "4", "5", "6", "7"):
        (faces / "bob" / f"{extra}.png").unlink()
    trained = la.load_classifier("test_resnet", num_classes=4, pretrained=False)
    save_file(trained.module.state_dict(), tmp_path / "four.safetensors")
    save_file({"fc.weight": torch.zeros(3, 4)}, tmp_path / "odd.safetensors")
    monkeypatch.setattr(
        zoo,
        "_check_hub",
        lambda name, _: (_ for _ in ()).throw(zoo._no_weights(name, "no network")),
    )
    tiny = {"timm": "test_resnet", "input_size": 64}
    study = {
        **of_folder(small_study, faces),
        "models": [
            {
                **tiny,
                "name": "four",
                "checkpoint": str(tmp_path / "four.safetensors"),
                "train": "none",
            },
            {**tiny, "name": "odd", "checkpoint": str(tmp_path / "odd.safetensors")},
            {"name": "far", "timm": "resnet18"},
        ],
        "transfer_from": [],
        "explain": {"layers": ["layer9"]},
    }
    with pytest.raises(StudyError) as caught:
        again(study, tmp_path / "out")
    told = str(caught.value)
    assert "'bob' (1)" in told
    assert "models[1] (odd)" in told
    assert "missing" in told
    assert "models[2] (far)" in told
    assert "checkpoint: FILE" in told
    assert "there is no layer 'layer9'" in told
    assert not (tmp_path / "out").exists()


def test_a_model_with_another_number_of_classes_is_an_error(small_study, tmp_path):
    trained = la.load_classifier("test_resnet", num_classes=4, pretrained=False)
    save_file(trained.module.state_dict(), tmp_path / "four.safetensors")
    spec = {
        "name": "four",
        "timm": "test_resnet",
        "train": "none",
        "input_size": 64,
        "checkpoint": str(tmp_path / "four.safetensors"),
    }
    with pytest.raises(StudyError, match=r"'four' tells 4 classes apart, but the images have 3"):
        again(small_study, tmp_path / "out", models=[spec], transfer_from=[])


def test_a_layer_without_spatial_maps_is_an_error_that_names_some(small_study, tmp_path):
    with pytest.raises(StudyError, match=r"(?s)'fc' gives no spatial maps.*layer4"):
        again(small_study, tmp_path / "out", explain={"layers": ["fc"]})


def test_a_class_without_a_usable_image_is_an_error_not_a_smaller_study(
    small_study, faces, tmp_path
):
    (faces / "dan").mkdir()
    with pytest.raises(StudyError, match="hold no usable image: 'dan'"):
        again(of_folder(small_study, faces), tmp_path / "out")


def test_a_study_without_pictures_has_a_page(bare):
    means = 2 + 1  # clean and at ε, and what changed
    page = bare.report.read_text()
    assert page.count("data:image/jpeg") == means
    assert "Drift of" not in page


def test_drawn_classes_are_stored(light, tmp_path):
    result = again(light, tmp_path / "out", data={**light["data"], "classes": 2})
    assert len(result.plan.classes) == 2
    assert set(result.samples()["label"]) == set(result.plan.classes)


def test_all_weights_can_be_trained_from_scratch(light, tmp_path):
    training = {"epochs": 2, "batch_size": 8, "learning_rate": 0.001}
    models = [{**light["models"][0], "train": "all"}]
    again(light, tmp_path / "out", models=models, training=training)
    stored = next((tmp_path / "out" / "heads").glob("*.json"))
    assert len(json.loads(stored.read_text())["history"]) == 2


def test_damaged_signs_of_a_source_are_made_again(finished, small_study, tmp_path):
    copy = shutil.copytree(finished.folder, tmp_path / "out")
    keys = [Store(copy).identity.cell("none", "one", shard) for shard in (0, 1)]
    path = copy / "signs" / f"{keys[0].id}.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    assert again(small_study, copy).rows().equals(finished.rows())
    weights = Store(copy).trained()["one"].sha256
    missing = [
        Store(copy).missing(key, made_of, scored=False, source=True)
        for made_of in (weights, "other weights")
        for key in keys
    ]
    assert [(each.units > 0, each.signs) for each in missing] == [(False, False)] * 2 + [
        (True, False)
    ] * 2


def test_a_run_s_folder_inside_the_images_is_refused(small_study, faces):
    with pytest.raises(StoreError, match="inside the image folder"):
        again(of_folder(small_study, faces), faces / "runs" / "first")


def test_a_finished_run_with_a_missing_row_file_is_not_summed_up(finished, tmp_path):
    copy = shutil.copytree(finished.folder, tmp_path / "out")
    next((copy / "rows").iterdir()).unlink()
    with pytest.raises(StoreError, match="damaged"):
        la.open_result(copy)


def test_missing_pictures_are_a_clear_error(finished, tmp_path):
    copy = shutil.copytree(finished.folder, tmp_path / "out")
    next((copy / "images").iterdir()).unlink()
    with pytest.raises(StoreError, match="pictures"):
        PicturedImages(Frames(Store(copy)))


def test_a_network_that_fails_on_its_own_is_told_before_training(small_study, tmp_path):
    spec = {"name": "v", "timm": "inception_v3", "pretrained": False, "input_size": 16}
    with pytest.raises(StudyError, match=r"models\[0\] \(v\): .*input_size"):
        again(small_study, tmp_path / "out", models=[spec], transfer_from=[])


def test_a_head_that_is_not_linear_is_told_before_training(small_study, tmp_path):
    spec = {"name": "d", "timm": "dla34", "pretrained": False, "input_size": 64}
    with pytest.raises(StudyError, match="use train: fully_connected"):
        again(small_study, tmp_path / "out", models=[spec], transfer_from=[])


def test_images_too_small_for_a_network_are_told_before_training(small_study, tmp_path):
    spec = {"name": "i", "timm": "inception_v3.tv_in1k", "pretrained": False, "input_size": 96}
    with pytest.raises(StudyError, match="give larger images"):
        again(small_study, tmp_path / "out", models=[spec], transfer_from=[])


def test_sources_may_need_each_other_s_perturbations_and_give_the_whole_matrix(
    small_study, tmp_path, monkeypatch
):
    untrained = [{**spec, "train": "none"} for spec in small_study["models"]]
    small_study = {**small_study, "models": untrained, "epsilons": [0.1]}
    # Stopped between the two sources' cells, it goes on.
    both, done = {**small_study, "transfer_from": ["one", "two"]}, []
    real = worker.do_cell

    def once(*given, **named):
        if done:
            raise KeyboardInterrupt
        done.append(1)
        return real(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(worker, "do_cell", once)
        with pytest.raises(KeyboardInterrupt):
            again(both, tmp_path / "whole")
    whole = again(both, tmp_path / "whole").rows()
    sources = whole.select("model", "source").drop_nulls().unique().sort("model", "source").rows()
    assert sources == [("one", "one"), ("one", "two"), ("two", "one"), ("two", "two")]
    shared = ["model", "source", "epsilon", "explained_class", "image"]
    for source in ("one", "two"):
        alone = again({**small_study, "transfer_from": [source]}, tmp_path / source).rows()
        assert_frame_equal(
            *(
                found.filter(source=source).sort(shared).select(*shared, "nissim", "linf")
                for found in (whole, alone)
            )
        )


def test_images_that_have_no_partner_have_no_shuffled_level_and_the_page_says_so(bare):
    assert bare.shuffled().is_empty()
    assert bare.excess()["excess"].null_count() == 0
    reason = "not resolvable: no image of another class to compare with"
    assert set(bare.excess()["share_reason"]) == {reason}
    assert "not resolvable" in bare.report.read_text()

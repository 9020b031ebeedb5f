"""People are enrolled for a study: templates of their train images, kept as heads are."""

import shutil

import numpy as np
import polars as pl
import pytest
import timm
import torch
from PIL import Image
from polars.testing import assert_frame_equal
from safetensors.torch import load_file, save_file
from torch import nn

import lookaway as la
from galleries import DODGE, TAKEN, embedder, grids_of, study_of
from growth import check_beside, results_in
from lookaway.errors import ModelError, StudyError
from lookaway.models.gallery import Embedder
from lookaway.study.enrolled import enrolled
from lookaway.study.images import Variant
from oracles import enliven

FACES = {"name": "faces", "timm": "test_resnet", "pretrained": False, "input_size": 64}
ENROL = {**FACES, "train": "enrol"}
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.fixture(scope="module")
def network():
    return embedder()


def test_templates_are_those_of_the_train_images_and_confidences_cosines_with_them(
    quick_study, run_quickly, network, tmp_path
):
    study = study_of(
        quick_study,
        {"name": "faces", "train": "enrol"},
        attacks=[DODGE, TAKEN],
        explain={"explained_class": ["own", "clean", "label"], "pictured": 0},
    )
    result = run_quickly(study, tmp_path / "out", models={"faces": network})
    train, pixels = grids_of(result, "train")
    with torch.no_grad():
        each = network(pixels).double().numpy()
    people = result.plan.classes
    means = np.stack([each[(train["label"] == name).to_numpy()].mean(axis=0) for name in people])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    (path,) = (tmp_path / "out/heads").glob("*.safetensors")
    np.testing.assert_allclose(load_file(path)["templates"], means, atol=1e-6)
    test, probes = grids_of(result, "test")
    with torch.no_grad():
        cosines = network(probes).numpy() @ means.T
    rows = result.rows().filter(attack="dodge", explained_class="label")
    joined = test.join(rows, on="image", maintain_order="left")
    np.testing.assert_allclose(joined["clean_confidence"], cosines.max(axis=1), atol=1e-5)
    names = np.array(result.plan.classes)
    assert joined["clean_class"].to_list() == names[cosines.argmax(axis=1)].tolist()
    assert result.plan.aims == {"dodge": "dodging", "taken": "impersonation"}
    assert set(rows["source"]) == {"faces"}
    assert result.store.trained()["faces"].trained == "enrol"


def test_a_run_goes_on_with_the_same_templates_and_makes_damaged_ones_again(
    quick_study, run_quickly, network, tmp_path
):
    study = study_of(quick_study, {"name": "faces", "train": "enrol", "enrol": 2})
    out, given = tmp_path / "out", {"models": {"faces": network}}
    rows = run_quickly(study, out, **given).rows()
    next((out / "rows").glob("*")).unlink()
    next((out / "scores").glob("*")).unlink()
    (head,) = (out / "heads").glob("*.safetensors")
    before = head.read_bytes()
    head.write_bytes(before[:-1])
    again = run_quickly(study, out, **given)
    assert head.read_bytes() == before
    assert_frame_equal(again.rows(), rows)
    assert len(list((out / "scores").glob("*"))) == len(list((out / "rows").glob("*")))
    stored, more = results_in(out), study_of(quick_study, {"name": "faces", "enrol": 3})
    beside, alone = (run_quickly(more, folder, **given) for folder in (out, tmp_path / "new"))
    check_beside(stored, beside, alone)
    assert len(list((out / "heads").glob("*.safetensors"))) == 2


@pytest.mark.program
def test_workers_of_ray_measure_enrolled_people_alike(quick_study, run_quickly, tmp_path):
    pytest.importorskip("ray")
    trunk = enliven(timm.create_model("test_resnet", num_classes=0), 0)
    save_file(trunk.state_dict(), tmp_path / "trunk.safetensors")
    spec = {**ENROL, "checkpoint": str(tmp_path / "trunk.safetensors")}
    study = study_of(quick_study, spec, attacks=[DODGE, TAKEN])
    here = run_quickly(study, tmp_path / "here")
    ray = {**study, "run": {"engine": "ray", "workers": 1}}
    there = run_quickly(ray, tmp_path / "there")
    assert_frame_equal(there.rows(), here.rows(), abs_tol=1e-3)
    assert_frame_equal(there.verification(), here.verification(), abs_tol=1e-2)


def test_people_are_enrolled_with_a_number_of_images_drawn_by_their_names(faces_for_all):
    from lookaway.data.folder import FolderSource

    records = FolderSource(str(faces_for_all)).scan().records
    variant = Variant("none", {"train": records, "val": [], "test": []}, {}, {})
    two = enrolled(variant, 2, seed=0)
    assert [[r.label for r in two].count(name) for name in ("ann", "bob", "cy")] == [2, 2, 2]
    fewer = Variant("none", {"train": [r for r in records if r.label == "bob"]}, {}, {})
    assert enrolled(fewer, 2, seed=0) == [record for record in two if record.label == "bob"]
    assert enrolled(variant, 2, seed=1) != two
    assert enrolled(variant, None, seed=0) == records


MODULE = """
from torch import nn


def small():
    trunk = [nn.Conv2d(3, 6, 3, stride=2), nn.Tanh(), nn.AdaptiveAvgPool2d(2)]
    return nn.Sequential(*trunk, nn.Flatten())
"""


def test_embedders_of_a_zoo_of_own_code_and_of_python_are_enrolled(
    quick_study, run_quickly, tmp_path, monkeypatch
):
    (tmp_path / "own_faces.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    own = {"name": "own", "module": "own_faces:small", "mean": 0.5, "std": 0.5, "input_size": 32}
    trunk = enliven(timm.create_model("test_resnet", num_classes=0), 0)
    save_file(trunk.state_dict(), tmp_path / "trunk.safetensors")
    zoo = {**ENROL, "checkpoint": str(tmp_path / "trunk.safetensors"), "mean": MEAN, "std": STD}
    given = {"mine": la.Embedder(trunk, mean=MEAN, std=STD, input_size=64)}
    study = study_of(quick_study, zoo, {**own, "train": "enrol"}, {"name": "mine", "enrol": 4})
    result = run_quickly(study, tmp_path / "out", trust_code=True, models=given)
    assert [about.trained for about in result.store.trained().values()] == ["enrol"] * 3
    assert result.rows()["clean_confidence"].is_between(-1, 1).all()
    rows = result.rows().drop("source")
    same = [rows.filter(model=name).drop("model") for name in ("faces", "mine")]
    assert_frame_equal(*same)
    assert rows.filter(model="own")["nissim"].max() > 0


def test_a_gallery_and_probes_in_folders_stay_divided(
    quick_study, run_quickly, network, faces, tmp_path
):
    for person in ("ann", "bob", "cy"):
        for place in range(8):
            part = "gallery" if place < 3 else "probe"
            (tmp_path / f"divided/{part}/{person}").mkdir(parents=True, exist_ok=True)
            shutil.copy(faces / f"{person}/{place}.png", tmp_path / f"divided/{part}/{person}")
    data = {**quick_study["data"], "folder": str(tmp_path / "divided"), "split": "folders"}
    study = study_of(quick_study, {"name": "mine", "train": "enrol"}, data=data)
    result = run_quickly(study, tmp_path / "out", models={"mine": network})
    samples = result.samples()
    assert samples.filter(part="train")["image"].str.starts_with("gallery/").all()
    assert dict(samples.group_by("part").len().iter_rows()) == {"train": 9, "test": 15}


def test_what_cannot_be_enrolled_is_told_before_work(
    quick_study, run_quickly, network, faces, tmp_path
):
    def told(match, *models, data=None, given=None, files=()):
        root = tmp_path / "some"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(faces, root)
        for name in files:
            (root / name).unlink()
        section = {**quick_study["data"], "folder": str(root), **(data or {})}
        study = study_of(quick_study, *models, data=section)
        with pytest.raises(StudyError, match=match):
            run_quickly(study, tmp_path / "none", models=given or {})

    halves = {"split": {"train": 0.5, "val": 0, "test": 0.5}}
    alone = [f"bob/{place}.png" for place in range(1, 8)]
    told("1 of 3 classes have too few images.*'bob' \\(1\\)", ENROL, data=halves, files=alone)
    told(r"and 3 of 3 people have fewer: ann \(4\), bob \(4\)", {**ENROL, "enrol": 5})
    nobody = {"split": {"train": 0, "val": 0, "test": 1.0}}
    told("enrol needs images to enrol, but split gives none to train", ENROL, data=nobody)
    told(
        "gives embeddings, not classes; use train: enrol",
        {"name": "dlib_face_resnet", "train": "head"},
    )
    told("enrol is for train: enrol", {**FACES, "train": "head", "enrol": 2})
    told("outputs: cannot stand beside train: enrol", {**ENROL, "outputs": "binary"})
    mine = {"name": "mine"}
    told("gives embeddings, not classes; use train: enrol", mine, given={"mine": network})
    gallery = la.Gallery(network, torch.eye(24)[:3])
    told(
        "is a gallery, which has its templates", {**mine, "train": "enrol"}, given={"mine": gallery}
    )
    for image in range(1, 8):
        shutil.copy(faces / "cy/0.png", faces / f"cy/{image}.png")
    told("test images are the only content that their person's template", ENROL)


def test_images_that_have_no_direction_are_named(quick_study, run_quickly, faces, tmp_path):
    class Red(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 1, bias=False)
            with torch.no_grad():
                self.conv.weight.copy_(torch.tensor([[1.0, 0, 0], [2.0, 0, 0]])[..., None, None])

        def forward(self, x):
            return self.conv(x).relu().mean(dim=(2, 3))

    root = tmp_path / "divided"
    for person in ("ann", "bob"):
        for part, place in (("gallery", 0), ("gallery", 1), ("probe", 2), ("probe", 3)):
            (root / part / person).mkdir(parents=True, exist_ok=True)
            shutil.copy(faces / f"{person}/{place}.png", root / part / person)
    data = {**quick_study["data"], "folder": str(root), "split": "folders"}
    study = study_of(quick_study, {"name": "red", "train": "enrol"}, data=data)
    for name, told in (("probe/bob/3.png", "compare"), ("gallery/ann/1.png", "enrol")):
        Image.new("RGB", (40, 32), (0, 0, 90)).save(root / name)
        many = rf"'red' gives no direction for 1 of 4 images to {told}: {name}; remove them"
        with pytest.raises(ModelError, match=many):
            run_quickly(study, tmp_path / "out", models={"red": Embedder(Red())})


def test_vggface2_s_test_people_are_enrolled_with_its_landmarks(
    quick_study, run_quickly, network, tmp_path
):
    root = tmp_path / "VGGFace2"
    (root / "bb_landmark").mkdir(parents=True)
    rows, random = [], np.random.default_rng(0)
    for person in ("n000001", "n000009", "n000029"):
        (root / "test" / person).mkdir(parents=True)
        for place in range(4):
            pixels = random.integers(0, 255, (60, 60, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / f"test/{person}/000{place}_01.jpg")
            points = "20,22,38,22,29,33,21,43,37,43" if place else "5,5,5,5,5,5,5,5,5,5"
            rows.append(f'"{person}/000{place}_01",{points}')
    points = ",".join(f"P{i}{axis}" for i in range(1, 6) for axis in "XY")
    lines = "\n".join([f"NAME_ID,{points}", *rows])
    (root / "bb_landmark/loose_landmark_test.csv").write_text(lines)
    data = {
        **quick_study["data"],
        "folder": str(root / "test"),
        "variants": ["landmarks"],
        "landmarks": str(root / "bb_landmark"),
        "without_face": "drop",
        "split": {"train": 0.5, "val": 0, "test": 0.5},
    }
    study = study_of(quick_study, {"name": "mine", "enrol": 1}, data=data, attacks=[DODGE])
    result = run_quickly(study, tmp_path / "out", models={"mine": network})
    assert result.plan.variants["landmarks"].without_face == 3
    aside = result.samples().filter(pl.col("variants").list.len() == 0)["image"].to_list()
    assert sorted(aside) == [f"{name}/0000_01.jpg" for name in ("n000001", "n000009", "n000029")]
    assert result.verification().filter(measure="eer")["value"].is_not_null().all()
    assert result.face_regions().height


def test_dlib_s_network_has_a_name_of_its_own():
    from lookaway.models.zoo import list_models
    from lookaway.study.plan import parse_study

    ((name, where),) = list_models("dlib*")
    assert name == "dlib_face_resnet"
    assert where in ("on this machine", "bundled: pip install 'lookaway[faces]'")
    with pytest.raises(la.LookawayError, match="gives embeddings, not classes"):
        la.load_classifier("dlib_face_resnet")
    study = parse_study({"data": {"folder": "sample:lfw_subset"}, "models": ["dlib_face_resnet"]})
    assert study.models[0].train == "enrol"

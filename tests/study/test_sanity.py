"""A study measures its networks again with weights drawn anew, and says what that shows."""

import polars as pl
import pytest
import torch
from torch import nn

import lookaway as la
from lookaway.analysis.sanity import TRAINED
from lookaway.models.randomise import randomise, refit
from lookaway.report.conclusions import conclusions
from lookaway.report.tables import all_tables
from oracles import pixels


def small():
    torch.manual_seed(0)
    trunk = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return la.Classifier(nn.Sequential(*trunk, nn.Linear(4, 3)).eval(), input_size=16)


@pytest.mark.parametrize(("part", "changed"), [("head", {"5"}), ("all", {"0", "5"})])
def test_the_weights_of_a_part_are_drawn_anew_by_the_seed_alone(part, changed):
    images = pixels(6, 3, 16, 16)
    made = []
    for seed, caller in ((1, 0), (1, 5), (2, 0)):
        clf = small()
        before = {name: value.clone() for name, value in clf.module.state_dict().items()}
        torch.manual_seed(caller)
        state = torch.get_rng_state()
        randomise(clf, part, images, seed)
        assert torch.equal(state, torch.get_rng_state())
        assert not any(each.training for each in clf.modules())
        after = clf.module.state_dict()
        others = {
            name.split(".")[0]
            for name in before
            if name.endswith(".weight") and not torch.equal(before[name], after[name])
        }
        assert others == changed
        made.append(after)
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])
    assert not torch.equal(made[0]["5.weight"], made[2]["5.weight"])
    if part == "all":  # the norm's statistics are those of the images
        entered = nn.functional.conv2d(images, made[0]["0.weight"], made[0]["0.bias"])
        assert torch.allclose(made[0]["1.running_mean"], entered.mean((0, 2, 3)), atol=1e-5)


def test_statistics_of_images_keep_an_untrained_network_in_range():
    clf = la.load_classifier("resnet26", num_classes=5, pretrained=False, input_size=64)
    refit(clf, clf.module, pixels(4, 3, 64, 64))
    assert not any(part.training for part in clf.module.modules())
    seen = []
    clf.module.layer4.register_forward_hook(lambda _m, _i, output: seen.append(output))
    with torch.no_grad():
        clf(pixels(4, 3, 64, 64, seed=2))
    assert 0.1 < float(seen[0].std()) < 10


@pytest.fixture(scope="module")
def run(quick_study, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lookaway.run.build_report", lambda *_a, **_k: None)
        study = {**quick_study, "transfer_from": [], "controls": {"shifted": 0, "sanity": True}}
        return la.run_study(study, tmp_path_factory.mktemp("sanity") / "out", progress=False)


def test_each_model_stands_beside_itself_image_by_image(run):
    found = run.frames.sanity
    assert (
        found.group_by("model", maintain_order=True)
        .agg("weights")["weights"]
        .list.unique(maintain_order=True)
        .to_list()
        == [[TRAINED, "head", "all"]] * 2
    )
    drawn, _ = run.store.sanity()
    where = {"model": "two", "explained_class": "clean", "epsilon": 0.1, "attack": "fgsm"}
    own = run.rows().filter(source="two", **where).select("image", own="nissim")
    both = drawn.filter(weights="all", **where).join(own, on="image")
    row = found.filter(weights="all", **where).row(0, named=True)
    assert row["n"] == both.height > 0
    assert row["mod"] == pytest.approx(both["nissim"].mean())
    assert row["less"] == pytest.approx((both["own"] - both["nissim"]).mean())
    assert row["low"] <= row["less"] <= row["high"]
    assert found.filter(pl.col("weights") == TRAINED)["less"].null_count() > 0


def test_the_verdict_names_networks_whose_shift_needs_no_learning(run):
    frames = run.frames
    same = frames.sanity.filter(
        pl.col("low") <= 0, pl.col("high") >= 0, epsilon=0.1, explained_class="clean"
    )
    assert same.height  # the study's networks have learnt nothing either
    said = conclusions(frames)[0].closing
    assert "has learnt nothing" in said
    for row in same.iter_rows(named=True):
        assert f"{row['mod']:.3f}" in said
    assert any(table.name == "sanity_clean" for table in all_tables(frames))


def test_what_is_stored_is_not_measured_again_and_the_setting_can_be_added(
    run, quick_study, monkeypatch
):
    monkeypatch.setattr("lookaway.run.build_report", lambda *_a, **_k: None)
    files = {path: path.stat().st_mtime_ns for path in (run.folder / "sanity").iterdir()}
    study = {**quick_study, "transfer_from": [], "controls": {"shifted": 0, "sanity": True}}
    la.run_study(study, run.folder, progress=False)
    assert files == {path: path.stat().st_mtime_ns for path in (run.folder / "sanity").iterdir()}
    assert len(files) == 8

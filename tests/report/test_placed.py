"""What the page says of MOD's place between floor and ceiling, and at a common resolution."""

from types import SimpleNamespace

import polars as pl
import pytest
import torch

import lookaway as la
from lookaway.analysis.beside_nissim import beside_nissim
from lookaway.report.placed import ceiling, common, placed_tables
from lookaway.written import percent
from rows import labels_of, line, measured


@pytest.fixture(scope="module")
def found():
    clf = la.load_classifier("test_resnet", num_classes=3, pretrained=False, input_size=64)
    images = torch.rand(6, 3, 64, 64, generator=torch.manual_seed(0))
    attacks = [la.FGSM(), la.ExplanationAttack(steps=3)]
    labels = torch.arange(6) % 3
    return la.measure(clf, images, labels, attacks=attacks, epsilons=[0.05], grid=32)


def test_the_verdict_says_how_far_a_network_can_be_made_to_look_elsewhere(found):
    frames = found.frames
    row = line(found.place(), explained_class="clean", floor="noise", pairs="all")
    text = ceiling(frames, frames.models[0])
    assert f"made to move to MOD {row['ceiling_mod']:.3f} at ε = 0.05" in text
    if row["place"] is None:
        assert "not clearly further than random signs" in text
    else:
        assert f"FGSM stands at {percent(row['place'])} " in text
    tables = {table.name for policy in frames.policies for table in placed_tables(frames, policy)}
    assert tables == {"place_own", "place_clean", "beside_nissim_own", "beside_nissim_clean"}


def test_nothing_is_said_of_a_ceiling_that_was_not_run(found):
    frames = found.frames.of("gradcam")
    without = SimpleNamespace(settings=SimpleNamespace(attacks=[]), method=frames.method)
    assert ceiling(without, "m") == ""


def test_models_of_other_map_sizes_are_told_at_a_common_one():
    labels = labels_of(2, 10)
    rows = pl.concat(
        measured(model, [level] * 20, labels, source=model)
        for model, level in (("wide", 0.4), ("deep", 0.2))
    )
    frames = SimpleNamespace(
        plan=SimpleNamespace(last_sizes={"wide": [14, 14], "deep": [7, 8]}),
        models=["wide", "deep"],
        beside_nissim=beside_nissim(rows),
        attack="fgsm",
        variants=["none"],
        policy="clean",
        top=0.1,
    )
    assert common(frames) == (
        "The last maps differ in size, and NISSIM with it. With all brought to 7×8 first, MOD is: "
        "wide 0.200 (14×14), deep 0.100 (7×8)."
    )
    frames.plan.last_sizes["wide"] = [7, 8]
    assert common(frames) == ""

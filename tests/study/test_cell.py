"""A cell's policies differ exactly where an attack changes the predicted class."""

from dataclasses import replace

import numpy as np
import pytest
from lookaway.study.cell import attack_signs, run_cell

import lookaway as la
from cells import a_cell
from oracles import Passes


@pytest.mark.parametrize("epsilons", [(0.1,), (0.01, 0.05, 0.1)])
@pytest.mark.parametrize("layers", ["last", "convs"])
def test_each_image_passes_once_clean_and_once_for_each_attacked_copy(epsilons, layers):
    clf, shard, settings, _, _ = a_cell()
    settings = replace(
        settings, epsilons=epsilons, batch_size=6, layers=tuple(clf.layer_names(layers))
    )
    with Passes(clf.module) as passes:
        run_cell(clf, "m", shard, settings)
    assert passes.images == 6 * (1 + 2 * len(epsilons))  # the attack and the noise
    # Where no layer of the trunk needs a graph, all ε go together.
    assert passes.count == 1 + 2 * (1 if layers == "last" else len(epsilons))


def test_signs_are_those_that_other_models_get():
    clf, shard, settings, _, _ = a_cell()
    made = attack_signs(clf, shard, settings)
    np.testing.assert_array_equal(run_cell(clf, "m", shard, settings).signs["fgsm"], made["fgsm"])


def test_clean_holds_the_clean_image_s_class_fixed_and_own_follows_the_prediction():
    clf, shard, settings, pixels, clean = a_cell()
    layer = settings.last
    rows = run_cell(clf, "m", shard, settings).rows
    attacked = la.FGSM()(clf, pixels, clean.classes, [0.1])[0]
    before = la.heatmap(clean.maps[layer], 32)
    flips = 0
    for policy, classes in (("own", None), ("clean", clean.classes)):
        after = la.GradCAM()(clf, attacked, classes=classes)
        expected = la.nissim(before, la.heatmap(after.maps[layer], 32)).tolist()
        mine = [
            place
            for place, found in enumerate(rows["explained_class"])
            if found == policy and rows["attack"][place] == "fgsm"
        ]
        np.testing.assert_allclose([rows["nissim"][place] for place in mine], expected, atol=2e-3)
        flips = sum(rows["clean_class"][p] != rows["attacked_class"][p] for p in mine)
    assert flips >= 2, "the attack must change some classes for this test to mean anything"

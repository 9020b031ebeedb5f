"""A cell's policies differ exactly where an attack changes the predicted class."""

import numpy as np
import torch

import lookaway as la
from lookaway.data.pixels import as_floats
from lookaway.study.cell import CellSettings, Shard, run_cell
from oracles import enliven


def test_clean_holds_the_clean_image_s_class_fixed_and_own_follows_the_prediction():
    clf = la.load_classifier("test_resnet", num_classes=4, pretrained=False, input_size=64)
    enliven(clf.module)
    random = np.random.default_rng(0)
    grids = random.integers(0, 255, (6, 64, 64, 3), dtype=np.uint8)
    pixels = torch.from_numpy(as_floats(list(grids)))
    clean = la.GradCAM()(clf, pixels)
    layer = clf.layer_names("last")[0]
    names = tuple("abcd")
    shard = Shard(
        variant="none",
        images=tuple(map(str, range(6))),
        grids=grids,
        labels=clean.classes.numpy(),
        classes=names,
        pictured=np.zeros(6, dtype=bool),
    )
    settings = CellSettings(
        attacks=("fgsm",),
        epsilons=(0.1,),
        quantize=False,
        method="gradcam",
        layers=(layer,),
        last=layer,
        explained_class=("own", "clean"),
        ssim="gaussian11",
        grid=32,
        noise_seed=0,
        batch_size=4,
    )
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

"""A cell of a tiny network, small enough to run in a moment."""

import numpy as np
import torch
from lookaway.study.cell import CellSettings, Shard

import lookaway as la
from lookaway.data.pixels import as_floats
from oracles import enliven


def a_cell():
    """A network, a shard of six images with the network's own predictions as labels, settings."""
    clf = la.load_classifier("test_resnet", num_classes=4, pretrained=False, input_size=64)
    enliven(clf.module)
    random = np.random.default_rng(0)
    grids = random.integers(0, 255, (6, 64, 64, 3), dtype=np.uint8)
    pixels = torch.from_numpy(as_floats(list(grids)))
    clean = la.GradCAM()(clf, pixels)
    layer = clf.layer_names("last")[0]
    shard = Shard(
        variant="none",
        images=tuple(map(str, range(6))),
        grids=grids,
        labels=clean.classes.numpy(),
        classes=tuple("abcd"),
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
    return clf, shard, settings, pixels, clean

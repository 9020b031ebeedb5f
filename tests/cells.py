"""A few images for a tiny network, small enough to be measured in a moment."""

import numpy as np
import torch

import lookaway as la
from lookaway.data.pixels import as_floats
from lookaway.kernel import MeasureSettings
from oracles import enliven


def a_batch():
    """A network, six images, the network's own predictions as labels, and settings."""
    clf = la.load_classifier("test_resnet", num_classes=4, pretrained=False, input_size=64)
    enliven(clf.module)
    grids = np.random.default_rng(0).integers(0, 255, (6, 64, 64, 3), dtype=np.uint8)
    images = torch.from_numpy(as_floats(list(grids)))
    clean = la.GradCAM()(clf, images)
    (layer,) = clf.layer_names("last")
    settings = MeasureSettings(epsilons=(0.1,), layers=(layer,), last=layer, grid=32, batch_size=4)
    return clf, images, clean.classes, settings

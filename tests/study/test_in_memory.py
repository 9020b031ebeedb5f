"""What is measured in memory is summed up as a study of the same images is."""

import numpy as np
import pytest
import torch
from polars.testing import assert_frame_equal
from torch import nn
from torch.utils.data import Dataset

import lookaway as la
from lookaway.data.pixels import as_floats, to_grid
from lookaway.data.samples import open_source
from lookaway.errors import InputError
from lookaway.report.mean_heatmaps import mean_heatmaps
from oracles import enliven

SUMS = ["accuracy", "psnr", "unattacked", "mod", "spread", "vid", "shuffled", "excess", "by_depth"]
SUMS += [
    "direction",
    "outcomes",
    "failing",
    "decomposition",
    "equal_accuracy",
    "dead",
    "transfer",
    "conventions",
    "robustness_of_ranking",
]


class Items(Dataset):
    """A Dataset of given items."""

    def __init__(self, items):
        self.items = list(items)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, place):
        return self.items[place]


@pytest.fixture(scope="module")
def clf():
    layers = [nn.Conv2d(3, 6, 5, 2), nn.ReLU(), nn.Conv2d(6, 8, 3, 2), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    return la.Classifier(enliven(network.eval(), seed=2), mean=0.5, std=0.25, name="mine")


@pytest.fixture(scope="module")
def grids(faces_for_all):
    """The faces on a grid, with their classes in order."""
    source = open_source(faces_for_all)
    records = source.scan().records
    return [to_grid(source.open(each), 48) for each in records], [each.label for each in records]


def test_sums_and_charts_are_those_of_a_study_of_the_same_images(
    clf, grids, quick_study, run_quickly, tmp_path
):
    pixels, labels = grids
    split = {"train": 0, "val": 0, "test": 1}
    study = {
        "data": {"image_size": 48, "split": split},
        "epsilons": [0.02, 0.1],
        "explain": {"layers": "convs", "pictured": 0},
        "measure": {"grid": 32},
    }
    dataset = Items(zip(pixels, labels, strict=True))
    stored = run_quickly(study, tmp_path / "out", 64, models={"mine": clf}, data=dataset)
    classes = ["ann", "bob", "cy"]
    found = la.measure(
        clf,
        torch.from_numpy(as_floats(pixels)),
        torch.tensor([classes.index(label) for label in labels]),
        epsilons=[0.02, 0.1],
        layers=["0", "2", "3"],
        grid=32,
        classes=classes,
    )
    assert found.rows()["nissim"].max() > 0.01
    for name in SUMS:
        there = getattr(stored, name)()
        here = getattr(found, name)().select(there.columns)
        here = here.filter(layer="3") if name == "vid" else here  # here of every layer
        assert_frame_equal(here, there, abs_tol=1e-4)
    assert found.figures() == stored.figures()
    ours, theirs = (each.figure("mod").spec for each in (found, stored))
    assert {**ours, "datasets": None} == {**theirs, "datasets": None}
    (mean,), (other,) = (mean_heatmaps(each.frames, "clean") for each in (found, stored))
    np.testing.assert_allclose(mean.attacked, other.attacked, atol=1e-3)
    assert found.samples()["part"].to_list() == ["test"] * len(pixels)
    # What a study takes as a dataset is measured here too.
    alone = la.measure(clf, dataset, epsilons=[0.02], grid=32, classes=classes)
    mod = found.mod().filter(layer="3", epsilon=0.02)
    assert_frame_equal(alone.mod(), mod, abs_tol=1e-4)


def test_a_dataset_s_names_are_places_of_logits_by_its_classes_alone(clf):
    grid = np.zeros((48, 48, 3), np.uint8)
    named = Items([(grid, "b"), (grid + 9, "a")])
    given = {"epsilons": [0.1], "grid": 32}
    named.classes = ["c", "b", "a"]
    found = la.measure(clf, named, **given)
    assert found.rows()["label"].unique(maintain_order=True).to_list() == ["b", "a"]
    assert set(found.rows()["clean_class"]) <= set(named.classes)
    for items, classes, told in (
        ([(grid, "b")], None, "item 0 of the dataset is 'b', and classes are None"),
        ([(grid, 0), (grid[:40], 1)], None, r"differ in shape: \(3, 40, 48\), \(3, 48, 48\)"),
        ([(grid - 1.0, 0)], None, "item 0 of the dataset is float pixels from -1 to -1"),
        ([grid], None, "item 0 of the dataset is a ndarray; give pairs"),
    ):
        with pytest.raises(InputError, match=told):
            la.measure(clf, Items(items), classes=classes, **given)


def test_what_noise_would_tell_is_not_made_up_and_several_explainers_are_summed_up_alone(
    clf, grids
):
    images = torch.from_numpy(as_floats(grids[0][:4]))
    given = {"labels": torch.tensor([0, 1, 2, 0]), "epsilons": [0.1], "grid": 32}
    without = la.measure(clf, images, **given, noise_seed=None)
    assert without.excess()["excess"].null_count() == without.excess().height
    several = la.measure(clf, images, **given, explainers=[la.GradCAM(), la.LayerCAM()])
    assert set(several.mod()["method"]) == {"gradcam", "layercam"}
    alone = [
        la.measure(clf, images, **given, explainers=[kind()]) for kind in (la.GradCAM, la.LayerCAM)
    ]
    for one in alone:
        mine = several.direction().filter(method=one.rows()["method"][0])
        assert_frame_equal(mine, one.direction())
    np.testing.assert_array_equal(several.sources, [("fgsm", "mine"), ("noise", None)])

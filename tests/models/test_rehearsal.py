"""Operations are counted as a hand counts them, and a rehearsed training is the real one."""

import pytest
import torch
from torch import nn

import lookaway as la
from cells import a_batch
from lookaway.kernel import measure_images
from lookaway.models.folding import compute_in
from lookaway.models.rehearsal import Rehearsal, Work, counted, rehearse, settle
from lookaway.models.training import Recipe, train


def by_hand(clf, images):
    """A forward pass: two operations for each weight at each place of a layer's output."""
    found = []

    def note(layer, _inputs, output):
        places = output[0].numel() if isinstance(layer, nn.Linear) else output[0, 0].numel()
        weights = layer.in_features if isinstance(layer, nn.Linear) else layer.weight.numel()
        found.append(2 * len(output) * places * weights)

    handles = [
        layer.register_forward_hook(note)
        for layer in clf.module.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    with torch.no_grad():
        clf(images)
    for handle in handles:
        handle.remove()
    return sum(found)


@pytest.mark.parametrize("kind", ["float32", "channels last", "bfloat16"])
def test_a_pass_there_and_one_back_to_the_pixels_are_counted(kind):
    clf = la.load_classifier("test_resnet", num_classes=5, pretrained=False, input_size=64)
    assert clf.num_classes == 5  # its first pass finds out what its outputs mean
    clf.module.requires_grad_(False)
    if kind == "channels last":
        clf.to(memory_format=torch.channels_last)
    if kind == "bfloat16":
        compute_in(clf, "bfloat16")
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    def both():
        pixels = images.clone().requires_grad_()
        torch.autograd.grad(clf(pixels).sum(), pixels)

    assert counted(lambda: clf(images)) == by_hand(clf, images)
    assert counted(both) == 2 * by_hand(clf, images)


def test_measuring_is_a_pass_for_each_perturbation_and_one_back():
    clf, pixels, labels, settings = a_batch()
    given = clf, pixels, labels, settings, [la.FGSM()], [la.GradCAM()]
    flops = counted(lambda: measure_images(*given))
    passes = 1 + 1 + 2  # clean, its gradient, and FGSM and noise at one ε
    assert flops == pytest.approx(passes * by_hand(clf, pixels), rel=0.1)
    assert flops > passes * by_hand(clf, pixels)


class Few:
    """Noise of two classes."""

    def __init__(self, count):
        self.pixels = torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(1))
        self.labels = torch.arange(count) % 2

    def __len__(self):
        return len(self.labels)

    def load(self, indices):
        return self.pixels[indices], self.labels[indices]


def classifier():
    clf = la.load_classifier("test_resnet", num_classes=5, pretrained=False, input_size=64)
    settle(clf)
    assert clf.num_classes == 5  # its first pass finds out what its outputs mean
    return clf


@pytest.mark.parametrize("part", ["head", "fully_connected", "all"])
def test_a_training_takes_what_its_rehearsal_says(part):
    """Ten images, four to validate, three epochs: operations as counted in the real one."""
    recipe = Recipe(epochs=3, batch_size=5, learning_rate=0.001, seed=0)
    found = rehearse(classifier(), part, Few(8), recipe)
    clf = classifier()
    real = counted(lambda: train(clf, part, Few(10), Few(4), recipe))
    if part == "fully_connected":  # and one image's pass to find what stands behind the trunk
        real -= by_hand(clf, Few(1).pixels)
    assert found.total(10, 4, 3).flops == pytest.approx(real, rel=0.05)
    assert found.total(10, 4, 3).seconds > 0
    assert (found.trunk.seconds > 0) == (part != "all")


def test_it_weighs_what_training_keeps_and_stores():
    recipe = Recipe(epochs=1, batch_size=4, learning_rate=0.001, seed=0)
    clf = classifier()
    head, whole, every = (
        rehearse(classifier(), part, Few(8), recipe) for part in ("head", "fully_connected", "all")
    )
    width = clf.module.num_features
    assert head.kept_bytes == whole.kept_bytes == 4 * width  # one layer: its input, a vector
    assert every.kept_bytes == 0
    assert head.weight_bytes == whole.weight_bytes == 4 * 5 * (width + 1)
    assert every.weight_bytes == sum(value.nbytes for value in clf.module.state_dict().values())


def test_several_fully_connected_layers_keep_the_trunk_s_whole_map():
    recipe = Recipe(epochs=1, batch_size=4, learning_rate=0.001, seed=0)
    clf = la.load_classifier(
        "mobilenetv3_small_050", num_classes=5, pretrained=False, input_size=64
    )
    features = clf.module.forward_features(clf.prepare(Few(1).pixels))
    found = rehearse(clf, "fully_connected", Few(8), recipe)
    assert found.kept_bytes == 4 * features.numel()


def test_the_whole_is_the_parts_times_images_and_epochs():
    found = Rehearsal(Work(2.0, 20.0), Work(0.3, 3.0), Work(0.1, 1.0), 0, 0)
    assert found.total(10, 5, 4) == Work(30 + 4 * 3.5, 300 + 4 * 35.0)


def test_settled_activations_stay_in_range():
    clf = la.load_classifier("resnet26", num_classes=5, pretrained=False, input_size=64)
    before = clf.module.training
    settle(clf)
    assert clf.module.training == before
    assert not any(part.training for part in clf.module.modules())
    seen = []
    clf.module.layer4.register_forward_hook(lambda _m, _i, output: seen.append(output))
    with torch.no_grad():
        clf(torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(2)))
    assert 0.1 < float(seen[0].std()) < 10

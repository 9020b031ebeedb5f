"""The attack on the explanation: what it keeps, what it moves, and the smoothing of its steps."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lookaway as la
from lookaway.errors import InputError
from lookaway.models.smoothing import Smoothed
from networks import TinyNet
from oracles import enliven, pixels

IMAGES, LABELS = pixels(6, 3, 24, 24, seed=3), torch.tensor([0, 3, 1, 2, 0, 1])


@pytest.fixture(scope="module")
def clf():
    return la.Classifier(enliven(TinyNet()), input_size=24)


def nissim_of(clf, images, changed, classes):
    before, after = (la.GradCAM()(clf, each, classes).maps for each in (images, changed))
    return torch.cat(
        [la.nissim(la.heatmap(before[name]), la.heatmap(after[name])) for name in before]
    )


def test_heatmaps_move_further_than_under_an_attack_on_the_class_and_the_prediction_stays(clf):
    classes = clf(IMAGES).argmax(1)
    before = clf.outputs.confidence(clf(IMAGES).detach(), classes)
    (found,) = la.ExplanationAttack(steps=20)(clf, IMAGES, LABELS, [0.1])
    logits = clf(found).detach()
    assert torch.equal(logits.argmax(1), classes)
    assert float((clf.outputs.confidence(logits, classes) - before).abs().max()) <= 0.05
    moved = nissim_of(clf, IMAGES, found, classes).mean()
    for other in (la.FGSM(), la.SignNoise()):
        (changed,) = other(clf, IMAGES, LABELS, [0.1])
        assert float(moved) > 1.5 * float(nissim_of(clf, IMAGES, changed, classes).mean())


def test_it_does_not_depend_on_the_batch_or_on_labels_and_the_codes_keep_the_prediction(clf):
    attack = la.ExplanationAttack(steps=3)
    (together,) = attack(clf, IMAGES, LABELS, [0.05])
    (alone,) = attack(clf, IMAGES[2:3], LABELS[:1], [0.05])
    assert torch.allclose(together[2:3], alone, atol=1e-6)
    found = la.measure(
        clf, IMAGES, LABELS, attacks=[attack], epsilons=[0.05, 0.2], explained_class=["own"]
    ).rows()
    rows = found.filter(attack="explanation")
    assert (rows["clean_class"] == rows["attacked_class"]).all()
    apart = (rows["clean_confidence"] - rows["attacked_confidence"]).abs().max()
    assert apart is not None
    assert apart <= 0.05


def test_maps_of_tokens_move_too():
    torch.manual_seed(0)
    clf = la.load_classifier("test_vit", num_classes=4, pretrained=False)
    images = pixels(2, 3, 160, 160, seed=1)
    (found,) = la.ExplanationAttack(steps=4)(clf, images, torch.tensor([0, 1]), [0.1])
    assert float(nissim_of(clf, images, found, clf(images).argmax(1)).min()) > 0.01


def test_activations_keep_their_values_and_get_a_second_derivative():
    layers = {
        "relu": (nn.ReLU(), torch.relu),
        "in place": (nn.ReLU(inplace=True), torch.relu),
        "relu6": (nn.ReLU6(), lambda x: x.clamp(0, 6)),
        "leaky": (nn.LeakyReLU(0.2), lambda x: torch.where(x > 0, x, 0.2 * x)),
        "method": (torch.Tensor.relu_, torch.relu),
    }
    x = 4 * torch.randn(2, 5, generator=torch.Generator().manual_seed(0)).double()
    for name, (layer, formula) in layers.items():
        given = x.clone().requires_grad_()
        with Smoothed():
            found = layer(given * 1.0)
        assert torch.equal(found, formula(x)), name
        (first,) = torch.autograd.grad(found.sum(), given, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), given)
        assert float(second.abs().max()) > 0, name
        if name == "relu":
            width = 0.1 * x.square().mean(dim=1, keepdim=True).sqrt()
            chance = torch.sigmoid(x / width)
            assert torch.allclose(first, chance)
            assert torch.allclose(second, chance * (1 - chance) / width)
    assert F.relu(x.requires_grad_()).grad_fn.name() == "ReluBackward0"  # outside, as ever


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be"),
        ({"within": 0.0}, "within must be in"),
        ({"grid": 3}, "at least 11"),
        ({"method": "eigencam"}, "no map of one class"),
        ({"layer": "convs"}, "give one"),
    ],
)
def test_options_that_make_no_sense_are_refused(clf, options, message):
    with pytest.raises(InputError, match=message):
        la.ExplanationAttack(**options)(clf, IMAGES, LABELS, [0.1])


def test_networks_for_several_labels_are_refused():
    clf = la.Classifier(TinyNet().eval(), input_size=24, outputs="multilabel")
    with pytest.raises(InputError, match="one predicted class"):
        la.ExplanationAttack(steps=1)(clf, IMAGES, LABELS, [0.1])

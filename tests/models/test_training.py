"""Heads learn on features computed once; the best validation epoch is kept."""

import copy

import pytest
import torch

import lookaway as la
from lookaway.errors import ModelError
from lookaway.models.stages import LabelledImages, augment
from lookaway.models.training import Recipe, train
from lookaway.models.weights import weights_hash
from networks import narrow_vgg

RECIPE = Recipe(epochs=8, batch_size=4, learning_rate=0.01, seed=3)


class Colours(LabelledImages):
    """Images of one colour with noise; the colour is the class."""

    def __init__(self, count, seed):
        random = torch.Generator().manual_seed(seed)
        self.labels = torch.arange(count) % 3
        self.grids = (76 * torch.rand(count, 3, 64, 64, generator=random)).byte()
        self.grids[torch.arange(count), self.labels] += 153
        self.pixels = self.grids / 255
        self.loads = 0

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        self.loads += 1
        return self.grids[index], int(self.labels[index])


def classifier(name="test_resnet", classes=3):
    clf = la.load_classifier(name, num_classes=classes, pretrained=False, input_size=64)
    assert clf.num_classes == classes  # its first pass finds out what its outputs mean
    return clf


@pytest.mark.parametrize("part", ["head", "fully_connected"])
def test_a_frozen_trunk_sees_each_image_once_whatever_the_number_of_epochs(part):
    images, validation, clf = Colours(19, 0), Colours(6, 1), classifier()
    seen = []
    clf.module.conv1.register_forward_hook(lambda _m, inputs, _o: seen.append(len(inputs[0])))
    train(clf, part, images, validation, RECIPE)
    assert images.loads == 19
    assert sum(seen) in (19 + 6, 19 + 6 + 1)  # one more to find what stands behind the trunk


def test_a_head_learns_and_the_logits_are_the_features_through_it():
    clf = classifier()
    result = train(clf, "head", Colours(24, 0), Colours(9, 1), RECIPE)
    assert set(result.weights) == {"fc.weight", "fc.bias"}
    assert result.history[result.best - 1].val_accuracy == 1.0
    images = Colours(30, 2)
    assert (clf(images.pixels).argmax(1) == images.labels).float().mean() > 0.8


def test_only_the_asked_part_changes():
    before = classifier().module.state_dict()
    clf = classifier()
    result = train(clf, "head", Colours(12, 0), Colours(6, 1), RECIPE)
    for name, value in clf.module.state_dict().items():
        assert torch.equal(value, before[name]) != (name in result.weights)


def test_fully_connected_takes_vgg_s_two_wide_layers_too():
    clf = la.Classifier(narrow_vgg(11, 3), input_size=64)
    recipe = Recipe(epochs=1, batch_size=4, learning_rate=0.001, seed=0)
    result = train(clf, "fully_connected", Colours(6, 0), Colours(3, 1), recipe)
    kinds = {name.rpartition(".")[0] for name in result.weights}
    assert kinds == {"pre_logits.fc1", "pre_logits.fc2", "head.fc"}


def test_the_best_validation_epoch_is_kept():
    clf = classifier()
    result = train(clf, "head", Colours(12, 0), Colours(6, 1), RECIPE)
    ranks = [(-e.val_accuracy, e.val_loss, e.epoch) for e in result.history]
    assert result.best == min(ranks)[2]
    check = Colours(6, 1)
    accuracy = (clf(check.pixels).argmax(1) == check.labels).float().mean()
    assert float(accuracy) == pytest.approx(result.history[result.best - 1].val_accuracy)
    assert torch.equal(clf.module.state_dict()["fc.bias"], result.weights["fc.bias"])


def test_the_same_seed_gives_the_same_weights_and_leaves_the_flags():
    hashes = set()
    for noise in (1, 2):
        torch.manual_seed(noise)
        clf = classifier()
        flags = [(name, p.requires_grad) for name, p in clf.module.named_parameters()]
        train(clf, "all", Colours(9, 0), Colours(3, 1), Recipe(2, 4, 0.001, 0))
        assert flags == [(name, p.requires_grad) for name, p in clf.module.named_parameters()]
        assert not any(part.training for part in clf.module.modules())
        assert all(p.grad is None for p in clf.module.parameters())
        hashes.add(weights_hash(clf.module))
    assert len(hashes) == 1


def test_a_loss_that_explodes_is_an_error_not_a_result():
    with pytest.raises(ModelError, match="learning_rate"):
        train(classifier(), "all", Colours(9, 0), Colours(3, 1), Recipe(4, 4, 1e30, 0))


def test_images_are_flipped_and_shifted_and_nothing_else():
    ramp = torch.arange(32.0).expand(3, 32, 32) + 100 * torch.arange(32.0)[:, None]
    torch.manual_seed(0)
    varied = torch.stack([augment(ramp) for _ in range(64)])
    assert varied.shape == (64, 3, 32, 32)
    steps = varied[:, 0, 16].diff(dim=1)[:, 8:24]  # inside, away from the repeated border
    flipped = steps[:, 0] < 0
    assert 16 < int(flipped.sum()) < 48
    assert bool((steps == torch.where(flipped, -1.0, 1.0)[:, None]).all())
    down = (varied[:, 0, 16, 16] // 100 - 16).long()
    right = torch.where(flipped, 31 - varied[:, 0, 16, 16] % 100, varied[:, 0, 16, 16] % 100) - 16
    assert set(down.tolist()) == set(right.long().tolist()) == set(range(-2, 3))


def test_only_images_to_learn_from_are_varied_and_only_where_all_is_trained(monkeypatch):
    seen = []
    monkeypatch.setattr("lookaway.models.stages.augment", lambda image: seen.append(1) or image)
    recipe = Recipe(epochs=2, batch_size=4, learning_rate=0.001, seed=0)
    train(classifier(), "head", Colours(9, 0), Colours(3, 1), recipe)
    assert not seen
    train(classifier(), "all", Colours(9, 0), Colours(3, 1), recipe)
    assert sum(seen) == 2 * 9


class LostMachineError(Exception):
    """Stands for a lost machine."""


def run_until(epoch, part, recipe, saved=None):
    """Train anew, or from a state, and be interrupted after an epoch; the last state kept."""
    states, done = [saved], []

    def advance(count):
        done.append(count)
        if sum(done) == epoch:
            raise LostMachineError

    clf = with_dropout()
    try:
        result = train(
            clf,
            part,
            Colours(13, 0),
            Colours(6, 1),
            recipe,
            advance,
            saved,
            lambda state: states.append(copy.deepcopy(state)),
        )
    except LostMachineError:
        return clf, None, states[-1]
    return clf, result, states[-1]


def with_dropout():
    clf = classifier()
    clf.module.layer4.append(torch.nn.Dropout(0.3))
    return clf


@pytest.mark.parametrize("part", ["head", "fully_connected", "all"])
def test_an_interrupted_training_ends_with_the_same_weights(part, monkeypatch):
    monkeypatch.setattr("lookaway.models.training.KEEP_EVERY", 0.0)
    monkeypatch.setattr("lookaway.models.training.KEEP_SHARE", 0)
    recipe = Recipe(epochs=5, batch_size=4, learning_rate=0.003, seed=3)
    whole, expected, last = run_until(None, part, recipe)
    _, stopped, state = run_until(2, part, recipe)
    assert stopped is None
    _, stopped, state = run_until(4, part, recipe, state)
    assert stopped is None
    again, found, last_again = run_until(None, part, recipe, state)
    assert found.history == expected.history
    assert found.best == expected.best
    random = [[state.tolist() for state in each["random"]] for each in (last, last_again)]
    assert random[0] == random[1]
    assert all(torch.equal(value, found.weights[name]) for name, value in expected.weights.items())
    assert weights_hash(again.module) == weights_hash(whole.module)


def test_states_are_not_kept_more_often_than_needed():
    recipe = Recipe(epochs=5, batch_size=4, learning_rate=0.003, seed=3)
    assert run_until(None, "head", recipe)[2] is None

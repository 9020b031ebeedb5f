"""Networks learn from attacked images; the epoch that withstands PGD best is kept."""

import copy

import pytest
import torch
import torch.nn.functional as F

import lookaway as la
from lookaway.attacks.adversarial import AdversarialTraining
from lookaway.errors import InputError, ModelError
from lookaway.models.provenance import Epoch
from lookaway.models.randomness import seeded
from lookaway.models.stages import LabelledImages
from lookaway.models.training import Recipe, train
from lookaway.models.weights import weights_hash
from lookaway.study.json_files import TrainedModel
from lookaway.study.overfitting import doubts

FAST = AdversarialTraining(epsilon=8 / 255, check_every=2, check_steps=2)


class Colours(LabelledImages):
    """Images of one colour with noise; the colour is the class."""

    def __init__(self, count, seed=0):
        random = torch.Generator().manual_seed(seed)
        self.labels = torch.arange(count) % 3
        self.grids = (76 * torch.rand(count, 3, 32, 32, generator=random)).byte()
        self.grids[torch.arange(count), self.labels] += 100
        self.loads = 0

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        self.loads += 1
        return self.grids[index], int(self.labels[index])


def classifier():
    clf = la.load_classifier("test_resnet", num_classes=3, pretrained=False, input_size=32)
    assert clf.num_classes == 3  # its first pass finds out what its outputs mean
    return clf


def fgsm_from_a_random_start(clf, x, y, epsilon, seed):
    """Wong et al. 2020, algorithm 3, line by line."""
    with seeded(seed):
        delta = epsilon * (2 * torch.rand_like(x) - 1)
    delta = ((x + delta).clamp(0, 1) - x).requires_grad_()
    F.cross_entropy(clf(x + delta), y).backward()
    delta = delta.detach() + 1.25 * epsilon * delta.grad.sign()
    clf.module.zero_grad(set_to_none=True)
    return (x + delta.clamp(-epsilon, epsilon)).clamp(0, 1)


def test_the_fast_attack_is_algorithm_3_of_its_paper():
    images, clf = Colours(5), classifier()
    pixels = images.grids / 255
    pixels[0] = 0.0  # at the border
    with seeded(7):
        found = FAST.attacked(clf, pixels, images.labels)
    expected = fgsm_from_a_random_start(clf, pixels, images.labels, 8 / 255, 7)
    assert torch.allclose(found, expected, atol=1e-6)
    with seeded(8):
        assert not torch.equal(found, FAST.attacked(clf, pixels, images.labels))


def test_a_step_is_taken_on_images_attacked_in_eval_mode(monkeypatch):
    monkeypatch.setattr("lookaway.models.stages.augment", lambda image: image)
    images = Colours(6)
    clf, twin = classifier(), classifier()
    adversary = AdversarialTraining(epsilon=0.1, random_start=False, check_steps=1)
    train(clf, "all", images, Colours(3), Recipe(1, 6, 0.01, 0), adversary=adversary)

    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    pixels, labels = images.grids[order] / 255, images.labels[order]
    attacked = la.FGSM()(twin, pixels, labels, epsilons=[0.1])[0]
    optimizer = torch.optim.AdamW(twin.module.parameters(), lr=0.01)
    F.cross_entropy(twin.module.train()(twin.prepare(attacked)), labels).backward()
    optimizer.step()
    for name, value in twin.module.state_dict().items():
        assert torch.allclose(clf.module.state_dict()[name], value, atol=1e-5), name


def test_a_share_of_each_batch_is_learnt_from_as_it_is():
    images, clf = Colours(8), classifier()
    pixels = images.grids / 255
    mixed = AdversarialTraining(epsilon=0.1, clean=0.25).attacked(clf, pixels, images.labels)
    same = (mixed == pixels).flatten(1).all(dim=1)
    assert same.tolist() == [True] * 2 + [False] * 6
    assert float((mixed - pixels).abs().max()) <= 0.1 + 1e-6


def test_a_head_learns_from_attacked_images_with_its_trunk_run_anew():
    images, validation, clf = Colours(9), Colours(6, 1), classifier()
    before = copy.deepcopy(clf.module.state_dict())
    flags = [p.requires_grad for p in clf.module.parameters()]
    result = train(clf, "head", images, validation, Recipe(4, 4, 0.01, 3), adversary=FAST)
    assert images.loads == 9 * 4
    assert validation.loads == 6 + 6 * 2 * 2  # its features once, and two checks under two attacks
    assert set(result.weights) == {"fc.weight", "fc.bias"}
    for name, value in clf.module.state_dict().items():
        assert torch.equal(value, before[name]) != (name in result.weights)
    assert flags == [p.requires_grad for p in clf.module.parameters()]
    assert all(p.grad is None for p in clf.module.parameters())


def test_the_epoch_that_withstands_pgd_best_is_kept_of_those_that_were_checked():
    clf, validation = classifier(), Colours(9, 1)
    result = train(clf, "all", Colours(12), validation, Recipe(5, 4, 0.01, 3), adversary=FAST)
    checked = [epoch for epoch in result.history if epoch.robust_accuracy is not None]
    assert [epoch.epoch for epoch in checked] == [2, 4, 5]
    best = min(checked, key=lambda e: (-e.robust_accuracy, e.robust_loss, e.epoch))
    assert result.best == best.epoch
    pixels = validation.grids / 255
    attacked = la.PGD(2)(clf, pixels, validation.labels, epsilons=[8 / 255])[0]
    accuracy = float((clf(attacked).argmax(1) == validation.labels).float().mean())
    assert accuracy == pytest.approx(best.robust_accuracy)


class LostMachineError(Exception):
    """Stands for a lost machine."""


@pytest.mark.parametrize(("part", "precision"), [("head", "float32"), ("all", "bfloat16")])
def test_an_interrupted_adversarial_training_ends_with_the_same_weights(
    part, precision, monkeypatch
):
    monkeypatch.setattr("lookaway.models.training.KEEP_EVERY", 0.0)
    monkeypatch.setattr("lookaway.models.training.KEEP_SHARE", 0)
    recipe = Recipe(4, 4, 0.003, 3, precision)

    def run(until=None, saved=None):
        states, done, clf = [], [], classifier()

        def advance(count):
            done.append(count)
            if sum(done) == until:
                raise LostMachineError

        def keep(state):
            states.append(copy.deepcopy(state))

        data = Colours(9), Colours(4, 1)
        try:
            train(clf, part, *data, recipe, advance, saved, keep, adversary=FAST)
        except LostMachineError:
            return states[-1]
        return weights_hash(clf.module), states[-1]["history"]

    assert run(saved=run(until=3)) == run()


def test_a_training_that_explodes_under_attack_is_told_with_what_to_do():
    with pytest.raises(ModelError, match="learning_rate"):
        train(classifier(), "all", Colours(9), Colours(3), Recipe(4, 4, 1e30, 0), adversary=FAST)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"attack": "cw"}, "fgsm, pgd"),
        ({"attack": "fgsm", "steps": 3}, "one step"),
        ({"epsilon": 8.0}, "8/255"),
        ({"clean": 1.0}, "below 1"),
        ({"attack": "pgd", "steps": 0}, "steps"),
    ],
)
def test_an_adversary_that_is_none_is_refused(wrong, told):
    with pytest.raises(InputError, match=told):
        AdversarialTraining(**wrong)


def trained(*epochs):
    history = [
        Epoch(
            epoch=number,
            train_loss=1.0,
            train_accuracy=0.9,
            val_loss=1.0,
            val_accuracy=0.5,
            met_accuracy=met,
            robust_loss=None if robust is None else 1.0,
            robust_accuracy=robust,
        )
        for number, (met, robust) in enumerate(epochs, start=1)
    ]
    about = {"model": "a", "variant": "none", "trained": "all", "sha256": ""}
    return TrainedModel(**about, best_epoch=1, history=history)


def test_catastrophic_overfitting_is_to_withstand_the_one_attack_and_not_pgd():
    assert trained((0.3, 0.2), (None, None), (0.5, 0.35)).overfitted is None
    fallen = trained((0.3, 0.2), (None, None), (0.9, 0.1), (0.95, 0.0))
    assert fallen.overfitted.epoch == 3
    (line,) = doubts(fallen, 10)
    assert "90.0 % of the validation images" in line
    assert "10.0 % under PGD" in line
    assert "Epoch 1 is kept" in line
    # What fails under every attack has not overfitted to one; it withstands nothing.
    (line,) = doubts(trained((0.1, 0.05)), 10)
    assert "guessing" in line

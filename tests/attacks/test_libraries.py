"""Attacks of torchattacks and foolbox do here what they do there, and leave no trace."""

import random
import warnings

import foolbox
import numpy as np
import pytest
import torch

import lookaway as la
from lookaway.attacks.libraries import library_attack
from lookaway.errors import AttackError, InputError
from lookaway.models.randomness import seeded
from oracles import pixels, state_of

LABELS = torch.tensor([0, 3, 1])
LEVELS = [0.02, 0.1]


@pytest.fixture
def images():
    return pixels(3, 3, 16, 16, seed=2)


class StepsLike:
    """An attack with torchattacks' face: its base class asks for no more of a model."""

    def __init__(self, model, eps=8 / 255, alpha=2 / 255, steps=2, n_classes=10, norm="Linf"):
        self.model, self.eps, self.alpha, self.steps = model, eps, alpha, steps
        self.n_classes, self.targeted, self.supported_mode = n_classes, False, ["default"]

    def __call__(self, images, labels):
        warnings.warn("noisy", stacklevel=1)
        assert not self.model.training
        assert self.n_classes == 4
        adv = images + self.eps * (2 * torch.rand_like(images) - 1)
        random.random()
        np.random.rand()
        for _ in range(self.steps):
            adv.requires_grad_()
            cost = torch.nn.functional.cross_entropy(self.model(adv), labels)
            step = self.alpha * torch.autograd.grad(cost, adv)[0].sign()
            adv = (images + (adv.detach() + step - images).clamp(-self.eps, self.eps)).clamp(0, 1)
        return adv


def drawn(seed=None, count=1):
    """What the global generators give next, from a seed where one is given."""
    if seed is not None:
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
    return [(float(torch.rand(1)), random.random(), np.random.rand()) for _ in range(count)]


class Outside(StepsLike):
    def __call__(self, images, _labels):
        return (images + 2 * self.eps).clamp(0, 1)


def test_each_epsilon_is_its_eps_and_nothing_is_left_changed(tiny, images, recwarn):
    tiny.train()
    tiny.module.trunk.eval()
    before = state_of(tiny)
    attack = la.from_torchattacks(StepsLike, alpha=0.01)
    expected = drawn(5)
    found = attack(tiny, images, LABELS, LEVELS)
    assert drawn() != expected
    drawn(5, count=0)
    assert torch.equal(found, attack(tiny, images, LABELS, LEVELS))
    assert drawn() == expected
    assert (attack.name, attack.norm) == ("stepslike", "linf")
    assert [round(float((each - images).abs().max()), 3) for each in found] == [0.02, 0.1]
    assert state_of(tiny) == before
    assert not list(recwarn)


@pytest.mark.parametrize(
    ("name", "norm"),
    [("LinfPGD", "linf"), ("L2FastGradientAttack", "l2"), ("LinfDeepFoolAttack", "linf")],
)
def test_foolboxs_attacks_are_those_called_there(tiny, images, name, norm):
    options = {"steps": 3}
    if name == "LinfPGD":
        options["random_start"] = False
    if name == "L2FastGradientAttack":
        options = {}
    levels = LEVELS if norm == "linf" else [0.5, 2.0]
    attack = library_attack("foolbox", name, options)
    assert (attack.name, attack.norm) == (name.lower(), norm)
    ours = attack(tiny, images, LABELS, levels)
    peer = foolbox.PyTorchModel(tiny.eval(), bounds=(0, 1), device="cpu")
    make = getattr(foolbox.attacks, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = make(**options)(peer, images, LABELS, epsilons=levels)[1]
    same = (ours - torch.stack(theirs)).abs() <= 1e-5
    assert same.double().mean() > 0.99


def test_they_are_measured_beside_our_own(tiny, images):
    attacks = [la.FGSM(), la.from_torchattacks(StepsLike)]
    rows = la.measure(
        tiny, images, LABELS, attacks=attacks, epsilons=LEVELS, controls={"shifted": 0}
    ).rows()
    assert set(rows["attack"]) == {"fgsm", "stepslike", "noise", "own-size noise of stepslike"}
    assert rows.filter(attack="stepslike", epsilon=0.1)["linf"].max() < 0.1 + 1e-6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: la.from_torchattacks(StepsLike, step=3), "step: unknown; possible: alpha, steps"),
        (lambda: la.from_torchattacks(StepsLike, eps=0.1), "the epsilons of the call are its eps"),
        (lambda: la.from_torchattacks(lambda model, c=1: None), "has no eps"),
        (lambda: library_attack("foolbox", "LinfPgd", {}), "Nearest: LinfPGD"),
        (lambda: library_attack("foolbox", "L1PGD", {}), "neither in L∞ nor in L2"),
        (lambda: library_attack("foolbox", "LinfPGD", {"step": 1}), "step: unknown; possible: "),
    ],
)
def test_what_they_do_not_have_is_refused_with_what_they_have(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_targets_are_gone_to_or_refused(tiny, images):
    targets = torch.tensor([1, 0, 2])
    for attack in (
        library_attack("foolbox", "LinfDeepFoolAttack", {}),
        la.from_torchattacks(StepsLike),
    ):
        with pytest.raises(InputError, match=f"{attack.name} is untargeted; leave targets out"):
            attack(tiny, images, LABELS, LEVELS, targets=targets)
    (changed,) = library_attack("foolbox", "LinfPGD", {})(
        tiny, images, LABELS, [0.3], targets=targets
    )
    before, after = (tiny(each).gather(1, targets[:, None]) for each in (images, changed))
    assert bool((after > before).all())


def test_one_that_leaves_the_ball_is_refused(tiny, images):
    with pytest.raises(AttackError, match=r"outside at epsilon 0\.02"):
        la.from_torchattacks(Outside)(tiny, images, LABELS, LEVELS)


def test_a_library_that_is_not_there_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torchattacks", None)
    with pytest.raises(InputError, match=r"torchattacks is not installed: pip install --no-deps"):
        library_attack("torchattacks", "DIFGSM", {})


@pytest.mark.parametrize("steps", [1, 5])
def test_ours_are_torchattacks_for_the_same_start(tiny, images, steps):
    torchattacks = pytest.importorskip("torchattacks")
    for level in LEVELS:
        size = 0.4 * level
        pairs = [
            (la.PGD(steps, 0.4, random_start=False), "PGD", {"random_start": False}),
            (la.MIFGSM(steps, rel_stepsize=0.4), "MIFGSM", {}),
        ]
        for ours, name, options in pairs:
            make = getattr(torchattacks, name)
            theirs = la.from_torchattacks(make, alpha=size, steps=steps, **options)
            one, other = (each(tiny, images, LABELS, [level]) for each in (ours, theirs))
            assert ((one - other).abs() <= 1e-5).double().mean() > 0.99


@pytest.mark.slow
def test_autoattack_leaves_the_accuracy_that_it_leaves_there():
    torchattacks = pytest.importorskip("torchattacks")
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(160) % 4
    images = 0.5 + 0.12 * torch.randn(160, 3, 16, 16, generator=random)
    for place, label in enumerate(labels):  # a brighter quarter, more so in some images
        top, left = divmod(int(label), 2)
        lift = 0.05 + 0.2 * float(torch.rand(1, generator=random))
        images[place, :, 8 * top : 8 * top + 8, 8 * left : 8 * left + 8] += lift
    images = images.clamp(0, 1)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(4),
        torch.nn.Flatten(), torch.nn.Linear(128, 4),
    )  # fmt: skip
    with seeded(1):
        for layer in (network[0], network[4]):
            layer.reset_parameters()
    clf = la.Classifier(network, mean=0.5, std=0.25)
    step = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(150):
        step.zero_grad()
        torch.nn.functional.cross_entropy(clf(images[:120]), labels[:120]).backward()
        step.step()
    images, labels, epsilon = images[120:], labels[120:], 0.04
    ours = la.from_torchattacks(torchattacks.AutoAttack)(clf, images, labels, [epsilon])[0]
    theirs = torchattacks.AutoAttack(clf.eval(), eps=epsilon, n_classes=4, seed=0)(images, labels)
    clean, one, other = (
        (clf(each).argmax(1) == labels).float().mean().item() for each in (images, ours, theirs)
    )
    assert clean > 0.9
    assert 0.1 < one < 0.9
    assert one == pytest.approx(other, abs=1 / 40 + 1e-6)  # of 40 images, with other random starts

"""PGD and MI-FGSM, FGSM in L2, targets: formulas, the libraries that people trust, what is kept."""

import warnings

import foolbox
import numpy as np
import pytest
import torch

import lookaway as la
from lookaway.attacks.norms import random_in_ball
from lookaway.attacks.targets import chosen
from lookaway.errors import InputError
from lookaway.perturbation import Perturbation
from oracles import loss_gradient, pixels

LEVELS = [0.02, 0.1]
LABELS = torch.tensor([0, 3, 1])


@pytest.fixture
def images():
    """Some pixels are at 0 or 1, so that clipping acts."""
    return (pixels(3, 3, 16, 16, seed=2) * 1.2 - 0.1).clamp(0, 1)


def by_loop(clf, image, label, epsilon, start, steps, size, norm, decay=None, sign=1):
    """One image, one step after the other, in float64 but for the gradient."""
    attacked = (image + start).clamp(0, 1)
    momentum = 0.0
    for _ in range(steps):
        gradient = sign * loss_gradient(clf, attacked[None].float(), label[None])[0].double()
        if decay is not None:
            momentum = decay * momentum + gradient / gradient.abs().mean()
            gradient = momentum
        step = gradient.sign() if norm == "linf" else gradient / gradient.norm()
        change = attacked + size * step - image
        if norm == "linf":
            change = change.clamp(-epsilon, epsilon)
        elif change.norm() > epsilon:
            change = change * (epsilon / change.norm())
        attacked = (image + change).clamp(0, 1)
    return attacked


CASES = {
    "pgd": (la.PGD(4), 2.5 / 4, None),
    "pgd l2": (la.PGD(4, norm="l2"), 2.5 / 4, None),
    "from the image": (la.PGD(3, 0.5, random_start=False), 0.5, None),
    "momentum": (la.MIFGSM(4, decay=0.9), 1 / 4, 0.9),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("targeted", [False, True])
def test_each_image_is_stepped_as_the_formula_says(tiny, images, case, targeted):
    attack, rel_stepsize, decay = CASES[case]
    levels = LEVELS if attack.norm == "linf" else [0.5, 2.0]
    targets = torch.tensor([1, 0, 2]) if targeted else None
    found = attack(tiny, images, LABELS, levels, targets=targets)
    starts = torch.zeros_like(images)
    if attack.random_start:
        starts = random_in_ball(images, attack.seed, attack.norm)
        assert not starts.eq(0).all()
    for level, changed in zip(levels, found, strict=True):
        for place, image in enumerate(images.double()):
            expected = by_loop(
                tiny,
                image,
                (LABELS if targets is None else targets)[place],
                level,
                level * starts[place].double(),
                attack.steps,
                rel_stepsize * level,
                attack.norm,
                decay,
                -1 if targeted else 1,
            )
            same = (changed[place] - expected).abs() < 1e-4 * level
            assert same.double().mean() > 0.99


def test_they_are_foolboxs_for_the_same_start(tiny, images):
    peer = foolbox.PyTorchModel(tiny, bounds=(0, 1), device="cpu")
    pairs = [
        (la.PGD(5, 0.4, random_start=False), foolbox.attacks.LinfPGD, {"random_start": False}),
        (la.PGD(5, 0.4, "l2", random_start=False), foolbox.attacks.L2PGD, {"random_start": False}),
        (la.FGSM("l2"), foolbox.attacks.L2FastGradientAttack, {}),
    ]
    for attack, their_class, options in pairs:
        if attack.name == "pgd":
            options = {**options, "steps": 5, "rel_stepsize": 0.4}
        levels = LEVELS if attack.norm == "linf" else [0.5, 2.0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = their_class(**options)(peer, images, LABELS, epsilons=levels)[1]
        for ours, one, level in zip(
            attack(tiny, images, LABELS, levels), theirs, levels, strict=True
        ):
            # FGSM in L2 is rebuilt from its codes; they are rounded to a 254th of the largest.
            near = 1e-4 if attack.name == "pgd" else 0.1
            assert ((ours - one).abs() <= near * level).double().mean() > 0.99


def test_pgd_finds_more_errors_than_fgsm_and_targets_are_reached(tiny, images):
    clean = tiny(images).argmax(dim=1)
    with torch.no_grad():
        after = [
            tiny(attack(tiny, images, clean, [0.05])[0]).softmax(dim=1).gather(1, clean[:, None])
            for attack in (la.FGSM(), la.PGD(20))
        ]
    assert bool((after[1] <= after[0] + 1e-4).all())
    targets = (clean + 1) % 4
    towards = la.PGD(20, targets="next")(tiny, images, clean, [0.5])[0]
    before, reached = (tiny(each).gather(1, targets[:, None]) for each in (images, towards))
    assert bool((reached > before).all())


def test_targets_are_chosen_as_they_say_and_are_never_the_label():
    logits = torch.tensor([[0.0, 2.0, 1.0], [0.0, 2.0, 1.0]]).repeat(20, 1)
    labels = torch.tensor([0, 1]).repeat(20)
    images = pixels(40, 1, 4, 4, seed=3)
    assert chosen("least_likely", logits, labels, images, 0).tolist() == [2, 0] * 20
    assert chosen("next", logits, labels, images, 0).tolist() == [1, 2] * 20
    drawn = [chosen("random", logits, labels, images, seed) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert not drawn[0].eq(labels).any()
    assert set((drawn[0] - labels).remainder(3).tolist()) == {1, 2}
    assert chosen("random", logits[3:4], labels[3:4], images[3:4], 0) == drawn[0][3]
    with pytest.raises(InputError, match="needs a second class"):
        chosen("next", logits[:, :1], labels, images, 0)


@pytest.mark.parametrize("attack", [la.PGD(3), la.PGD(3, norm="l2", targets="random"), la.FGSM()])
def test_an_image_s_perturbation_does_not_depend_on_its_batch(tiny, images, attack):
    together = attack.find(tiny, images, LABELS, LEVELS)
    alone = [
        attack.find(tiny, images[place : place + 1], LABELS[place : place + 1], LEVELS)
        for place in range(3)
    ]
    apart = torch.cat([each.codes for each in alone]).int() - together.codes.int()
    assert apart.ne(0).double().mean() < 0.01


def test_another_seed_is_another_start_and_the_ball_is_filled_evenly(images):
    one, same, other = (random_in_ball(images, seed, "linf") for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(random_in_ball(images[1:2], 0, "linf")[0], one[1])
    assert one.abs().max() <= 1
    assert abs(float(one.abs().mean()) - 0.5) < 0.02
    lengths = random_in_ball(pixels(50, 1, 2, 2), 0, "l2").flatten(1).norm(dim=1)
    assert lengths.max() <= 1
    assert abs(float(lengths.mean()) - 4 / 5) < 0.08  # d / (d + 1) in d dimensions


def test_codes_of_l2_keep_the_length_and_stay_within(tiny, images):
    for attack in (la.FGSM("l2"), la.PGD(5, norm="l2"), la.SignNoise(norm="l2")):
        found = attack.find(tiny, images, LABELS, [0.5, 2.0])
        again = Perturbation.from_arrays(found.in_memory().arrays(), (3, 16, 16))
        for level, epsilon in enumerate([0.5, 2.0]):
            changed = found.attacked(images, level, epsilon)
            length = (changed - images).flatten(1).norm(dim=1)
            assert bool((length <= epsilon * (1 + 1e-5)).all())
            assert bool((length > 0.7 * epsilon).all())  # but for what was clipped
            stored = again.attacked(images.numpy(), level, epsilon)
            np.testing.assert_allclose(stored, changed.numpy(), atol=1e-6)


def test_a_zero_gradient_moves_nothing_and_gives_no_nan(images):
    flat = la.Classifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 3)))
    with torch.no_grad():
        flat.module[1].weight.zero_()
    for attack in (
        la.PGD(2, random_start=False),
        la.PGD(2, norm="l2", random_start=False),
        la.MIFGSM(2),
        la.FGSM("l2"),
    ):
        assert torch.equal(attack(flat, images, torch.zeros(3).long(), [0.1])[0], images)
        assert attack.find(flat, images, torch.zeros(3).long(), [0.1]).codes.eq(0).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: la.PGD(steps=0), "steps must be a whole number of at least 1; got 0"),
        (lambda: la.PGD(steps=2.5), "steps must be a whole number"),
        (lambda: la.MIFGSM(rel_stepsize=0), "rel_stepsize is a part of ε, above 0; got 0"),
        (lambda: la.PGD(norm="l1"), "norm='l1' is unknown; possible: linf, l2"),
        (lambda: la.FGSM(targets="least"), "possible: least_likely, nearest, next, random"),
    ],
)
def test_options_that_make_no_sense_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_targets_are_refused_where_they_cannot_be(tiny, images):
    with pytest.raises(InputError, match="noise is untargeted"):
        la.SignNoise()(tiny, images, LABELS, [0.1], targets=LABELS)
    with pytest.raises(InputError, match="targets"):
        la.PGD()(tiny, images, LABELS, [0.1], targets=torch.tensor([9, 0, 1]))


def test_a_study_in_memory_measures_them_beside_noise_of_the_same_norm(tiny, images):
    for norm in ("linf", "l2"):
        attacks = [la.FGSM(norm), la.PGD(2, norm=norm)]
        found = la.measure(
            tiny, images, LABELS, attacks=attacks, epsilons=[0.05, 0.3], controls={"shifted": 0}
        )
        rows = found.rows()
        assert set(rows["attack"]) == {"fgsm", "pgd", "noise", "own-size noise of pgd"} | (
            {"own-size noise of fgsm"} if norm == "l2" else set()
        )
        if norm == "l2":
            assert rows.filter(attack="noise")["linf"].max() < 0.3 / 27  # √768 places
    with pytest.raises(InputError, match="different norms"):
        la.measure(tiny, images, LABELS, attacks=[la.FGSM(), la.PGD(norm="l2")])


@pytest.mark.parametrize("make", [la.FGSM, la.PGD, la.MIFGSM])
@pytest.mark.parametrize("targets", [None, "nearest"])
def test_of_the_predicted_class_no_label_plays_a_part(tiny, images, make, targets):
    predicted = tiny(images).argmax(dim=1)
    count = tiny(images).shape[1]
    expected = make(targets=targets)(tiny, images, predicted, [0.05])
    for labels in (predicted, (predicted + 1) % count):
        found = make(targets=targets, of="predicted")(tiny, images, labels, [0.05])
        assert torch.equal(found, expected)
    other = make(targets=targets)(tiny, images, (predicted + 1) % count, [0.05])
    assert not torch.equal(other, expected)


def test_of_a_class_that_is_not_known_is_refused_with_what_is():
    with pytest.raises(InputError, match="possible: label, predicted"):
        la.FGSM(of="guess")
    logits, several = torch.zeros(2, 3), torch.ones(2, 3)
    with pytest.raises(InputError, match="one label an image"):
        la.FGSM(of="predicted").truth(logits, several)

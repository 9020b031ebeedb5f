import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lookaway.attacks.base import Attack, SignAttack, attack_of
from lookaway.attacks.fgsm import FGSM
from lookaway.attacks.noise import SignNoise
from lookaway.errors import AttackError, InputError
from lookaway.metrics.dissimilarity import psnr
from lookaway.models.classifier import Classifier
from lookaway.registry import ATTACKS
from oracles import pixels

IMAGES, LABELS = pixels(2, 3, 8, 8), torch.tensor([0, 2])


def _clf():
    layers = nn.Conv2d(3, 3, 3), nn.Softplus(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    torch.manual_seed(0)
    return Classifier(nn.Sequential(*layers), input_size=8)


CLF = _clf()


@pytest.fixture(params=[FGSM(), SignNoise()], ids=lambda attack: attack.name)
def attack(request):
    return request.param


@pytest.mark.parametrize(
    ("epsilons", "said"),
    [
        ([0.0], "epsilon 0 "),
        ([-0.1], r"-0\.1"),
        ([0.1, 1.5], r"1\.5"),
        ([8], "epsilon 8 .*8/255"),
        ([float("nan")], "nan"),
        ([float("inf")], "inf"),
        ([0.1, 0.05, 0.1], r"repeats.*0\.1, 0\.05, 0\.1"),
        ([], r"at least one.*\[\]"),
        (0.1, r"got 0\.1"),
        (1, "got 1"),
        (np.float32(0.5), r"0\.5"),
        (np.float64(0.5), r"0\.5"),
        (torch.tensor(0.5), r"0\.5"),
        ("0.1", r"0\.1"),
        (None, "None"),
        ([None], "None"),
        (["0.1"], r"\['0\.1'\]"),
        (["8/255"], r"\['8/255'\]"),
    ],
)
def test_epsilons_that_are_not_levels_in_0_to_1_are_refused(epsilons, said):
    with pytest.raises(InputError, match=said):
        FGSM()(CLF, IMAGES, LABELS, epsilons)


@pytest.mark.parametrize(
    "epsilons", [(0.1, 1.0), np.array([0.1, 1.0]), torch.tensor([0.1, 1.0]), [0.1, 1]]
)
def test_any_list_of_levels_will_do(attack, epsilons):
    adv = attack(CLF, IMAGES, LABELS, epsilons)
    assert torch.allclose(adv, attack(CLF, IMAGES, LABELS, [0.1, 1.0]))


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (IMAGES * 255, r"to 25\d.*divide"),
        (IMAGES - 0.5, r"-0\.\d+ to 0\.\d+"),
        (IMAGES.log(), r"inf|-\d"),
        (IMAGES * float("nan"), "nan"),
        ((IMAGES * 255).to(torch.uint8), "uint8"),
        (IMAGES[0], r"\(3, 8, 8\)"),
        (IMAGES[:, :1], r"\(2, 1, 8, 8\)"),
        (IMAGES.permute(0, 2, 3, 1), r"\(2, 8, 8, 3\)"),
        (IMAGES[:0], "empty"),
        (IMAGES.numpy(), "ndarray"),
    ],
    ids=["255", "centred", "log", "nan", "uint8", "one", "grey", "nhwc", "empty", "numpy"],
)
def test_images_that_are_not_pixels_in_0_to_1_are_refused(images, said):
    labels = LABELS[:0] if len(images) == 0 else LABELS
    with pytest.raises(InputError, match=said):
        FGSM()(CLF, images, labels, [0.1])


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (torch.tensor([0, 3]), "0…2; got 0 to 3"),
        (torch.tensor([-1, 0]), "got -1 to 0"),
        (torch.tensor([0]), "1 entries for 2 images"),
        (torch.tensor([0.0, 1.0]), r"integer tensor \(2,\)"),
        (torch.tensor([[0], [1]]), r"integer tensor \(2,\)"),
        ([0, 1], r"integer tensor \(2,\)"),
    ],
    ids=["above", "below", "few", "float", "2-d", "list"],
)
def test_labels_that_do_not_fit_are_refused(labels, said):
    with pytest.raises(InputError, match=f"labels .*{said}"):
        FGSM()(CLF, IMAGES, labels, [0.1])


@pytest.mark.parametrize("arguments", [([0.0],), ([0.1], IMAGES * 255), ([0.1], IMAGES, -LABELS)])
def test_every_attack_refuses_them(attack, arguments):
    epsilons, images, labels = [*arguments, *(None, IMAGES, LABELS)[len(arguments) :]]
    with pytest.raises(InputError):
        attack(CLF, images, labels, epsilons)


def test_a_full_change_of_mid_grey_has_the_psnr_of_epsilon(attack):
    grey, epsilons = torch.full((2, 3, 8, 8), 0.5), [0.01, 0.075, 0.5]
    for epsilon, changed in zip(epsilons, attack(CLF, grey, LABELS, epsilons), strict=True):
        assert psnr(grey, changed).tolist() == pytest.approx(
            [-20 * np.log10(epsilon)] * 2, abs=1e-3
        )


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    epsilons=st.lists(st.floats(1e-4, 1.0, exclude_min=True), min_size=1, max_size=4, unique=True),
    seed=st.integers(0, 100),
)
def test_every_change_stays_in_the_ball_and_in_the_pixels(epsilons, seed):
    images = (pixels(2, 3, 8, 8, seed=seed) * 1.4 - 0.2).clamp(0, 1)
    for attack in (FGSM(), SignNoise()):
        adv = attack(CLF, images, LABELS, epsilons)
        assert adv.shape == (len(epsilons), 2, 3, 8, 8)
        assert float(adv.min()) >= 0
        assert float(adv.max()) <= 1
        for epsilon, changed in zip(epsilons, adv, strict=True):
            assert float((changed.double() - images.double()).abs().max()) <= epsilon + 1e-7


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_pixels_in_half_precision_are_refused_or_attacked_but_no_fault_of_the_attack(attack, dtype):
    images = IMAGES.to(dtype)
    try:
        (adv,) = attack(CLF, images, LABELS, [0.1])
    except InputError:
        return
    change = (adv.double() - images.double()).abs().max()
    assert 0.09 < float(change) <= 0.1 + torch.finfo(dtype).eps


class Foreign(Attack):
    """An attack of somebody else."""

    name = "foreign"

    def __init__(self, change):
        self.change = change

    def perturb(self, clf, images, labels, epsilons):
        return torch.stack([self.change(images, epsilon) for epsilon in epsilons])


def test_an_attack_of_somebody_else_that_keeps_its_promise_is_let_through():
    attack = Foreign(lambda images, epsilon: (images + epsilon).clamp(0, 1))
    adv = attack(CLF, IMAGES, LABELS, [0.1, 0.2])
    assert torch.equal(adv[1], (IMAGES + 0.2).clamp(0, 1))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda images, epsilon: (images * 0.5 + 1.01 * epsilon).clamp(0, 1), "from the image"),
        (lambda images, epsilon: images + 0.9 * epsilon, r"to 1\.\d+"),
        (lambda images, epsilon: images - 0.9 * epsilon, r"from -0\.\d+"),
        (lambda images, epsilon: images * float("nan"), "nan"),
        (lambda images, epsilon: images[:1], r"\(2, 1, 3, 8, 8\).*\(2, 2, 3, 8, 8\)"),
        (lambda images, epsilon: (images + 0.1001).clamp(0, 1), r"epsilon 0\.1 .*0\.1001"),
    ],
    ids=["far", "above-1", "below-0", "nan", "shape", "just-outside"],
)
def test_an_attack_of_somebody_else_that_leaves_the_ball_is_an_attack_error(change, said):
    with pytest.raises(AttackError, match=f"foreign.*{said}"):
        Foreign(change)(CLF, IMAGES, LABELS, [0.5, 0.1])


def test_the_ball_is_checked_at_every_epsilon_not_only_the_first():
    attack = Foreign(lambda images, _epsilon: (images + 0.2).clamp(0, 1))
    with pytest.raises(AttackError, match=r"epsilon 0\.1 "):
        attack(CLF, IMAGES, LABELS, [0.2, 0.1])


def test_attacks_are_made_by_name():
    for name in ATTACKS:
        assert attack_of(name).name == name


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (torch.ones_like, "int8 is needed"),
        (lambda images: 3 * torch.ones_like(images, dtype=torch.int8), "other than"),
        (lambda images: torch.ones_like(images[:, :1], dtype=torch.int8), "signs"),
    ],
    ids=["floats", "not-signs", "one-channel"],
)
def test_signs_that_are_none_are_refused(make, said):
    class Rough(SignAttack):
        name = "rough"

        def signs(self, clf, images, labels):
            return make(images)

    with pytest.raises(AttackError, match=f"rough.*{said}"):
        Rough()(CLF, IMAGES, LABELS, [0.1])


def test_a_network_without_an_input_size_is_asked_at_the_size_of_the_images():
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(4 * 30 * 30, 3)
    )
    clf = Classifier(net)
    images = torch.rand(2, 3, 32, 32)
    assert FGSM()(clf, images, torch.tensor([0, 2]), [0.1]).shape == (1, 2, 3, 32, 32)

import warnings

import foolbox
import pytest
import timm
import torch
from captum import robust
from torch import nn

from lookaway.attacks.fgsm import FGSM
from lookaway.errors import ModelError
from lookaway.models.classifier import Classifier
from oracles import Passes, enliven, fgsm_by_formula, loss_gradient, pixels, within_one_step

EPSILONS = [0.01, 0.05, 0.075, 0.1, 8 / 255, 1.0]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(params=["tiny", "test_resnet", "test_efficientnet", "test_convnext"])
def case(request, tiny_net):
    """A classifier, and images some pixels of which are at 0 or 1, so that clipping acts."""
    if request.param == "tiny":
        net, size = tiny_net(), 16
    else:
        net, size = enliven(timm.create_model(request.param, num_classes=4)), 64
        with torch.no_grad():
            net.get_classifier().weight.mul_(0.05)  # so that no softmax saturates
    images = (pixels(3, 3, size, size, seed=2) * 1.2 - 0.1).clamp(0, 1)
    clf = Classifier(net.eval(), mean=MEAN, std=STD, input_size=size)
    return clf, images, torch.tensor([0, 3, 1])


def _clear(gradient):
    """Where the sign is beyond rounding."""
    return gradient.abs() > 1e-5 * gradient.abs().amax(dim=(1, 2, 3), keepdim=True)


def _signs(clf, images, labels):
    """The direction that serves every ε."""
    return FGSM().find(clf, images, labels, EPSILONS).codes[:, 0].sign()


def test_it_is_the_formula_at_every_epsilon(case):
    clf, images, labels = case
    adv = FGSM()(clf, images, labels, EPSILONS)
    assert adv.shape == (len(EPSILONS), *images.shape)
    gradient = loss_gradient(clf, images, labels)
    clear = _clear(gradient)
    assert clear.float().mean() > 0.95
    for epsilon, changed in zip(EPSILONS, adv, strict=True):
        expected = fgsm_by_formula(images, gradient, epsilon)
        assert bool(within_one_step(changed, expected)[clear].all())


def test_it_equals_foolbox_at_every_epsilon(case):
    clf, images, labels = case
    # Foolbox normalises by itself, so our classifier has no part in its numbers.
    peer = foolbox.PyTorchModel(
        clf.module,
        bounds=(0, 1),
        device="cpu",
        preprocessing={"mean": list(MEAN), "std": list(STD), "axis": -3},
    )
    attack = foolbox.attacks.LinfFastGradientAttack(random_start=False)
    _, clipped, _ = attack(peer, images, labels, epsilons=EPSILONS)
    adv = FGSM()(clf, images, labels, EPSILONS)
    clear = _clear(loss_gradient(clf, images, labels))
    for ours, theirs in zip(adv, clipped, strict=True):
        assert bool(within_one_step(ours, theirs)[clear].all())


def test_it_equals_captum_at_every_epsilon(case):
    clf, images, labels = case
    peer = robust.FGSM(clf, nn.CrossEntropyLoss(reduction="none"), lower_bound=0, upper_bound=1)
    adv = FGSM()(clf, images, labels, EPSILONS)
    gradient = loss_gradient(clf, images, labels)
    clear = _clear(gradient) & (gradient.abs() > 2e-6)  # Captum leaves pixels below 1e-6 alone
    assert clear.float().mean() > 0.9
    for epsilon, ours in zip(EPSILONS, adv, strict=True):
        theirs = peer.perturb(images.clone(), epsilon, labels).detach()
        assert bool(within_one_step(ours, theirs)[clear].all())


def test_its_signs_are_those_worked_out_on_paper(on_paper, paper_image):
    # ∂J/∂logits for label 0 is (−p₁, p₁), so ∂J/∂m = p₁ · (−3, 4): where red is above green, red
    # goes down and green up; where the ReLU is shut, neither moves; blue goes up where its ReLU is
    # open and stays where it is 0.
    signs = _signs(on_paper, paper_image, torch.tensor([0]))
    assert signs.tolist() == [[[[-1, 0], [-1, 0]], [[1, 0], [1, 0]], [[1, 1], [1, 0]]]]
    assert _signs(on_paper, paper_image, torch.tensor([1])).tolist() == (-signs).tolist()


def test_its_pixels_are_those_worked_out_on_paper(on_paper, paper_image):
    (adv,) = FGSM()(on_paper, paper_image, torch.tensor([0]), [0.25])
    expected = [[[0.65, 0.1], [0.25, 0.4]], [[0.35, 0.6], [0.35, 0.4]], [[0.45, 1.0], [1.0, 0.0]]]
    assert torch.allclose(adv[0], torch.tensor(expected), atol=1e-6)


class CountsBackward(torch.autograd.Function):
    calls = 0

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        CountsBackward.calls += 1
        return gradient


class Counting(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(CountsBackward.apply(x))


def test_one_forward_and_one_backward_pass_serve_every_epsilon(tiny_net):
    net = Counting(tiny_net())
    clf = Classifier(net, input_size=16)
    images, labels = pixels(3, 3, 16, 16), torch.tensor([0, 1, 2])
    assert clf.num_classes == 4  # costs a pass once
    CountsBackward.calls = 0
    with Passes(net) as passes:
        FGSM()(clf, images, labels, EPSILONS)
    assert (passes.count, CountsBackward.calls) == (1, 1)


def test_an_image_that_the_model_gets_wrong_is_attacked_with_its_true_label(tiny):
    images = pixels(6, 3, 16, 16, seed=4)
    predicted = tiny(images).argmax(dim=1)
    wrong = (predicted + 1) % 4
    (adv,) = FGSM()(tiny, images, wrong, [0.05])
    gradient = loss_gradient(tiny, images, wrong)
    clear = _clear(gradient)
    assert bool(within_one_step(adv, fgsm_by_formula(images, gradient, 0.05))[clear].all())
    (of_prediction,) = FGSM()(tiny, images, predicted, [0.05])
    assert not torch.equal(adv, of_prediction)


def test_an_image_is_attacked_the_same_alone_and_in_a_batch(tiny):
    images, labels = pixels(5, 3, 16, 16, seed=6), torch.tensor([0, 1, 2, 3, 0])
    clear = _clear(loss_gradient(tiny, images, labels))
    (together,) = FGSM()(tiny, images, labels, [0.1])
    alone = torch.cat([FGSM()(tiny, images[i, None], labels[i, None], [0.1])[0] for i in range(5)])
    assert torch.equal(together[clear], alone[clear])


def test_images_larger_than_the_network_takes_are_attacked_at_their_own_size(tiny):
    images, labels = pixels(2, 3, 40, 24, seed=7), torch.tensor([1, 2])
    (adv,) = FGSM()(tiny, images, labels, [0.03])
    assert adv.shape == images.shape
    gradient = loss_gradient(tiny, images, labels)
    clear = _clear(gradient)
    assert bool(within_one_step(adv, fgsm_by_formula(images, gradient, 0.03))[clear].all())


def test_frozen_networks_are_attacked_the_same(tiny, tiny_net):
    images, labels = pixels(2, 3, 16, 16), torch.tensor([0, 1])
    expected = FGSM()(tiny, images, labels, [0.1])
    tiny.module.requires_grad_(False)
    assert torch.equal(FGSM()(tiny, images, labels, [0.1]), expected)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("made_inside", ["nothing", "images", "labels", "classifier"])
def test_it_works_where_the_caller_has_turned_autograd_off(tiny, mode, made_inside):
    images, labels, clf = pixels(2, 3, 16, 16), torch.tensor([0, 1]), tiny
    expected = FGSM()(tiny, images, labels, [0.1])
    with mode():
        if made_inside == "images":
            images = images.clone()
        elif made_inside == "labels":
            labels = labels.clone()
        elif made_inside == "classifier":  # around a network of before
            clf = Classifier(tiny.module, mean=MEAN, std=STD, input_size=16)
        assert torch.equal(FGSM()(clf, images, labels, [0.1]), expected)


@pytest.fixture
def every_warning_is_an_error():
    torch.set_warn_always(True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    torch.set_warn_always(False)


@pytest.mark.usefixtures("every_warning_is_an_error")
def test_images_that_ask_for_gradients_are_left_alone(tiny):
    images, labels = pixels(2, 3, 16, 16).requires_grad_(), torch.tensor([0, 1])
    copy = images.detach().clone()
    adv = FGSM()(tiny, images, labels, [0.1])
    assert torch.equal(images.detach(), copy)
    assert images.grad is None
    assert images.requires_grad
    assert not adv.requires_grad


class NoGrad(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        with torch.no_grad():
            return self.net(x)


def test_a_network_without_a_gradient_by_the_pixels_is_a_model_error(tiny_net):
    clf = Classifier(NoGrad(tiny_net()), input_size=16, name="mine")
    with pytest.raises(ModelError, match=r"mine.*gradient"):
        FGSM()(clf, pixels(1, 3, 16, 16), torch.tensor([0]), [0.1])


class RootAtZero(nn.Module):
    def forward(self, x):
        return (x - x.detach()).sqrt().mean(dim=(2, 3))


def test_a_gradient_that_is_not_finite_is_a_model_error():
    clf = Classifier(RootAtZero(), input_size=8)
    with pytest.raises(ModelError, match="NaN or infinite"):
        FGSM()(clf, pixels(1, 3, 8, 8), torch.tensor([0]), [0.1])

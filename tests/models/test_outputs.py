"""What a network's outputs mean: its logits, its loss and its predictions follow from that."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lookaway as la
from lookaway.errors import InputError, ModelError
from lookaway.models.outputs import Outputs
from networks import TinyNet
from oracles import enliven, pixels

IMAGES = pixels(4, 3, 16, 16)


class Ends(nn.Module):
    """A tiny network whose raw numbers (N, k) go through something at the end."""

    def __init__(self, columns, end=lambda raw: raw, last=None, scale=1.0):
        super().__init__()
        self.net, self.end, self.scale = enliven(TinyNet(columns)), end, scale
        self.last = last or nn.Identity()

    def forward(self, x):
        return self.end(self.last(self.scale * self.net(x)))


def logits_of(module, **said):
    return la.Classifier(module, input_size=16, name="mine", **said)(IMAGES)


# One number for two classes.


@pytest.mark.parametrize("end", [lambda z: z, lambda z: z[:, 0]], ids=["column", "vector"])
@pytest.mark.parametrize("said", [None, "binary"])
def test_one_number_is_two_classes_whose_softmax_is_its_sigmoid(end, said):
    z = Ends(1).eval()(IMAGES)[:, 0]
    found = logits_of(Ends(1, end), outputs=said)
    torch.testing.assert_close(found, torch.stack([-z / 2, z / 2], dim=1))
    torch.testing.assert_close(found.softmax(dim=1)[:, 1], z.sigmoid())


def test_fgsm_on_one_number_follows_binary_cross_entropy():
    net, labels = Ends(1), torch.tensor([0, 1, 1, 0])
    clf = la.Classifier(net, input_size=16)
    pixel = IMAGES.clone().requires_grad_()
    loss = F.binary_cross_entropy_with_logits(net.eval()(pixel)[:, 0], labels.float())
    (gradient,) = torch.autograd.grad(loss, pixel)
    (attacked,) = la.FGSM()(clf, IMAGES, labels, [0.1])
    assert torch.equal(attacked, (IMAGES + 0.1 * gradient.sign()).clamp(0, 1))
    found = la.GradCAM()(clf, IMAGES)
    assert found.classes.tolist() == (net(IMAGES)[:, 0] > 0).long().tolist()


def test_several_numbers_are_not_binary_and_one_is_no_choice():
    with pytest.raises(ModelError, match='mine has 4 outputs; outputs="binary" is for one'):
        logits_of(Ends(4), outputs="binary")
    with pytest.raises(ModelError, match=r'mine has one output.*outputs="binary"'):
        logits_of(Ends(1), outputs="logits")
    with pytest.raises(InputError, match="outputs='sigmoid' is unknown; possible: logits, binary"):
        logits_of(Ends(1), outputs="sigmoid")


# Probabilities: their gradients vanish where the network is sure.

PROBABILITIES = {
    "softmax": (4, lambda raw: raw.softmax(1), None),
    "softmax-module": (4, lambda raw: raw, nn.Softmax(dim=1)),
    "softmax-rounded": (4, lambda raw: raw.half().softmax(1), None),
    "two-by-hand": (1, lambda z: torch.cat([1 - z.sigmoid(), z.sigmoid()], 1), None),
    "sigmoid": (1, lambda z: z.sigmoid(), None),
    "sigmoid-vector": (1, lambda z: z.sigmoid().squeeze(1), None),
    "sigmoid-module": (1, lambda z: z[:, 0], nn.Sigmoid()),
    "sigmoids": (4, lambda raw: raw.sigmoid(), None),
}


@pytest.mark.parametrize("call", ["classifier", "fgsm", "gradcam", "num_classes"])
@pytest.mark.parametrize("kind", PROBABILITIES)
def test_probabilities_that_nobody_announced_are_refused_with_the_remedy(kind, call):
    columns, end, last = PROBABILITIES[kind]
    clf = la.Classifier(Ends(columns, end, last, scale=30), input_size=16, name="mine")
    labels = torch.zeros(4, dtype=torch.long)
    calls = {
        "classifier": lambda: clf(IMAGES),
        "fgsm": lambda: la.FGSM()(clf, IMAGES, labels, [0.1]),
        "gradcam": lambda: la.GradCAM()(clf, IMAGES),
        "num_classes": lambda: clf.num_classes,
    }
    with pytest.raises(ModelError, match=r'mine gives probabilities.*outputs="probabilities"'):
        calls[call]()


@pytest.mark.parametrize(
    "kind", ["softmax", "softmax-module", "sigmoid", "sigmoid-module", "sigmoids"]
)
def test_logarithms_of_probabilities_are_the_logits_but_for_a_constant(kind):
    columns, end, last = PROBABILITIES[kind]
    found = logits_of(Ends(columns, end, last), outputs="probabilities")
    raw = Ends(columns).eval()(IMAGES)
    right = torch.cat([-raw / 2, raw / 2], 1) if columns == 1 else raw
    if kind == "softmax":
        right = right.log_softmax(1)
    torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-5)


def test_where_the_softmax_is_a_module_its_input_is_attacked_however_sure_the_network_is():
    labels = torch.zeros(4, dtype=torch.long)
    plain = la.Classifier(Ends(4, scale=30), input_size=16)
    expected = la.FGSM()(plain, IMAGES, labels, [0.1])
    sure = la.Classifier(
        Ends(4, last=nn.Softmax(dim=1), scale=30), input_size=16, outputs="probabilities"
    )
    assert torch.equal(la.FGSM()(sure, IMAGES, labels, [0.1]), expected)
    maps = [la.GradCAM()(each, IMAGES).maps for each in (sure, plain)]
    (ours,), (theirs,) = (found.values() for found in maps)
    assert torch.equal(ours, theirs)
    assert not sure.module.last._forward_hooks


def test_what_is_no_probability_is_refused_where_probabilities_were_announced():
    with pytest.raises(ModelError, match=r"mine gives numbers from .* which are no probabilities"):
        logits_of(Ends(4), outputs="probabilities")


def test_logits_within_0_and_1_and_gates_inside_are_no_probabilities():
    near = Ends(4, lambda raw: 0.1 + 0.01 * raw.tanh())
    gated = Ends(1, lambda z: z * z.sigmoid())
    assert logits_of(near).shape == (4, 4)
    assert logits_of(gated).shape == (4, 2)


# Several labels at once.


def test_several_labels_are_attacked_by_binary_cross_entropy():
    net, truth = Ends(4), torch.tensor([[1, 0, 1, 0]] * 4)
    clf = la.Classifier(net, input_size=16, outputs="multilabel")
    net.eval()
    for labels, target in ((truth, truth.float()), (torch.tensor([2, 0, 1, 3]), None)):
        pixel = IMAGES.clone().requires_grad_()
        raw = net(pixel)
        if target is None:  # the other labels of an image are not known
            chosen = raw[torch.arange(4), labels]
            loss = F.binary_cross_entropy_with_logits(chosen, torch.ones(4), reduction="sum")
        else:
            loss = F.binary_cross_entropy_with_logits(raw, target, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, pixel)
        (attacked,) = la.FGSM()(clf, IMAGES, labels, [0.1])
        assert torch.equal(attacked, (IMAGES + 0.1 * gradient.sign()).clamp(0, 1))
    with pytest.raises(InputError, match=r"labels must be \(4,\) indices or \(4, 4\) of 0 and 1"):
        la.FGSM()(clf, IMAGES, truth[:, :3], [0.1])


def test_an_image_s_own_label_is_predicted_where_it_is_likelier_than_not():
    several, one = Outputs(task="labels"), Outputs()
    logits = torch.tensor([[3.0, 0.5, -1.0], [-0.5, -1.0, -2.0]])
    labels = torch.tensor([1, 0])
    assert several.predicted(logits, labels).tolist() == [1, 1]
    assert several.predicted(logits).tolist() == one.predicted(logits, labels).tolist() == [0, 0]
    chances = several.confidence(logits, labels)
    torch.testing.assert_close(chances, torch.tensor([0.5, -0.5]).double().sigmoid())
    torch.testing.assert_close(
        one.confidence(logits, labels), logits.double().softmax(1)[[0, 1], labels]
    )

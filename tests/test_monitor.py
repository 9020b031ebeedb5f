"""A training that is watched: right numbers, and nothing that shows it was."""

import gc
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lookaway as la
from lookaway.errors import InputError, ModelError
from networks import MEAN, STD
from oracles import pixels, state_of
from two_processes import in_two_processes, watched_training

IMAGES, LABELS = pixels(8, 3, 16, 16), torch.tensor([0, 1, 2, 3] * 2)
READ = {"mean": MEAN, "std": STD, "grid": 32, "batch_size": 4}
LIKE_A_STUDY = {"epsilons": [0.05], "grid": 32, "batch_size": 4, "explained_class": ["clean"]}


def normalised(images):
    return (images - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def step(net, optimizer):
    """One step of a training, whose network has dropout and batch norm."""
    net.train()
    optimizer.zero_grad()
    loss = F.cross_entropy(net(normalised(IMAGES)), LABELS)
    loss.backward()
    optimizer.step()


@pytest.mark.parametrize(
    ("attack", "control"),
    [(la.FGSM(), "noise"), (la.PGD(steps=2), "own-size noise of pgd")],
    ids=["fgsm", "pgd"],
)
def test_its_numbers_are_those_of_a_measurement(tiny_net, attack, control):
    net = tiny_net()
    found = la.ShiftMonitor((IMAGES, LABELS), attack, 0.05, **READ)(net, 0)
    clf = la.Classifier(net, mean=MEAN, std=STD)
    study = la.measure(
        clf, IMAGES, LABELS, attacks=[attack], controls={"shifted": 0}, **LIKE_A_STUDY
    )
    mod = {(row["attack"], row["pairs"]): row["mod"] for row in study.mod().iter_rows(named=True)}
    assert found["mod"] == pytest.approx(mod[attack.name, "all"], rel=1e-12)
    assert found["mod_living"] == pytest.approx(mod[attack.name, "alive"], rel=1e-12)
    assert found["noise"] == pytest.approx(mod[control, "all"], rel=1e-12)
    excess = study.excess().filter(attack=attack.name, pairs="all")["excess"].item()
    assert found["excess"] == pytest.approx(excess, abs=1e-15)
    right = {
        (row["attack"], row["epsilon"]): row["accuracy"]
        for row in study.accuracy().iter_rows(named=True)
    }
    assert found["clean_accuracy"] == right[attack.name, 0.0]
    assert found["robust_accuracy"] == right[attack.name, 0.05]
    dead = study.dead().filter(attack=attack.name, measure="dead")["value"].item()
    assert found["dead"] == dead
    assert (found.step, found.images, found.missing) == (0, 8, {})


def test_a_watched_training_ends_as_one_that_nobody_watched(tiny_net):
    class Drawing(TensorDataset):
        def __getitem__(self, place):
            random.random(), np.random.rand(), torch.rand(1)
            return super().__getitem__(place)

    def trained(watch):
        random.seed(0), np.random.seed(0), torch.manual_seed(0)
        drawn = torch.Generator().manual_seed(1)
        loader = DataLoader(Drawing(IMAGES, LABELS), batch_size=3, shuffle=True, generator=drawn)
        net = tiny_net()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        monitor = la.ShiftMonitor(loader, la.PGD(steps=2), 0.05, every=2, **READ)
        for number in range(4):
            step(net, optimizer)
            if watch:
                assert (monitor(net, number) is None) == (number % 2 == 1)
        left = random.random(), np.random.rand(), torch.rand(3).tolist(), drawn.get_state().tolist()
        return [value.tolist() for value in net.state_dict().values()], left

    assert trained(watch=True) == trained(watch=False)


def test_it_leaves_the_network_as_it_was_between_forward_and_backward(tiny_net):
    net = tiny_net()
    net.drop.eval()  # as one who freezes a part would
    net.fc.weight.requires_grad_(False)
    step_one = torch.optim.SGD([each for each in net.parameters() if each.requires_grad], lr=0.1)
    step(net, step_one)
    before = state_of(net)
    monitor = la.ShiftMonitor((IMAGES, LABELS), la.FGSM(), 0.05, **READ)
    loss = F.cross_entropy(net(normalised(IMAGES)), LABELS)
    expected = torch.autograd.grad(loss, net.fc.bias, retain_graph=True)[0]
    before = state_of(net)
    monitor.measure(net)
    assert state_of(net) == before
    assert torch.equal(torch.autograd.grad(loss, net.fc.bias)[0], expected)
    nn.init.constant_(net.fc.bias, float("nan"))
    with pytest.raises(ModelError, match="NaN"):
        monitor.measure(net)
    assert all(part.training for part in net.modules() if part is not net.drop)


def test_no_tensor_is_left_after_a_reading(tiny_net):
    net = tiny_net()
    monitor = la.ShiftMonitor((IMAGES[:2], LABELS[:2]), la.FGSM(), 0.05, **{**READ, "grid": 16})

    def tensors():
        gc.collect()
        kinds = torch.Tensor, np.ndarray
        return sum(issubclass(type(each), kinds) for each in gc.get_objects())

    for _ in range(2):
        monitor.measure(net)
    before = tensors()
    for _ in range(20):
        monitor.measure(net)
    assert tensors() == before


@pytest.mark.parametrize(
    "around",
    [
        torch.no_grad,
        torch.inference_mode,
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    ],
    ids=["no_grad", "inference_mode", "autocast"],
)
def test_what_is_around_the_call_changes_no_number(tiny_net, around):
    net = tiny_net()
    expected = dict(la.ShiftMonitor((IMAGES, LABELS), la.FGSM(), 0.05, **READ).measure(net))
    with around():
        monitor = la.ShiftMonitor((IMAGES + 0, LABELS), la.FGSM(), 0.05, **READ)
        assert dict(monitor.measure(net)) == expected
    assert dict(monitor.measure(net)) == expected


def test_a_training_in_bfloat16_goes_on_after_a_reading_within(tiny_net):
    def gradients(watch):
        net = tiny_net()
        net.eval()
        monitor = la.ShiftMonitor((IMAGES, LABELS), la.FGSM(), 0.05, **READ)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            first = F.cross_entropy(net(normalised(IMAGES)), LABELS)
            if watch:
                monitor.measure(net)
            second = F.cross_entropy(net(normalised(IMAGES.flip(3))), LABELS)
        (first + second).backward()
        return [each.grad.tolist() for each in net.parameters()]

    assert gradients(watch=True) == gradients(watch=False)


def test_bfloat16_is_the_user_s_choice_and_near(tiny_net):
    net = tiny_net()
    exact = la.ShiftMonitor((IMAGES, LABELS), la.FGSM(), 0.05, **READ).measure(net)
    fast = la.ShiftMonitor((IMAGES, LABELS), la.FGSM(), 0.05, precision="bfloat16", **READ).measure(
        net
    )
    assert fast["mod"] != exact["mod"]
    assert fast["mod"] == pytest.approx(exact["mod"], abs=0.02)


@pytest.mark.parametrize("how", ["whole", "in place", "a part"])
def test_a_compiled_network_is_measured_beneath_and_not_compiled_again(tiny_net, how):
    compiled = []

    def backend(graph, _inputs):
        compiled.append(graph)
        return graph.forward

    net, twin = tiny_net().train(), tiny_net().train()
    torch._dynamo.reset()
    if how == "whole":
        net = torch.compile(net, backend=backend)
    elif how == "in place":
        net.compile(backend=backend)
    else:
        net.trunk = torch.compile(net.trunk, backend=backend)
    net(IMAGES)
    twin(IMAGES)  # batch norm counts it
    expected = dict(la.ShiftMonitor((IMAGES, LABELS), la.FGSM(), 0.05, **READ).measure(twin))
    count = len(compiled)
    assert count > 0
    monitor = la.ShiftMonitor((IMAGES, LABELS), la.FGSM(), 0.05, **READ)
    assert dict(monitor.measure(net)) == expected
    net(IMAGES)
    assert len(compiled) == count
    torch._dynamo.reset()


def test_the_same_first_images_are_measured_whatever_the_loader_gives_later(tiny_net):
    net = tiny_net()
    shuffled = DataLoader(TensorDataset(IMAGES, LABELS), batch_size=3, shuffle=True)
    monitor = la.ShiftMonitor(shuffled, la.FGSM(), 0.05, images=5, **READ)
    first, second = monitor(net, 0), monitor(net, 1)
    assert dict(first) == dict(second)
    assert first.images == second.images == 5


def test_a_dataset_of_pictures_and_a_classifier_will_do(tiny):
    from PIL import Image

    grids = (255 * IMAGES).round().byte()
    given = [Image.fromarray(grid.permute(1, 2, 0).numpy()) for grid in grids]

    class Pictures(torch.utils.data.Dataset):
        def __len__(self):
            return len(given)

        def __getitem__(self, place):
            return given[place], int(LABELS[place])

    found = la.ShiftMonitor(Pictures(), la.FGSM(), 0.05, grid=32).measure(tiny)
    same = la.ShiftMonitor((grids / 255, LABELS), la.FGSM(), 0.05, grid=32).measure(tiny)
    assert dict(found) == dict(same)
    monitor = la.ShiftMonitor((IMAGES, LABELS), la.FGSM(), 0.05, mean=0.5, precision="tf32")
    with pytest.raises(InputError, match="leave out mean, precision"):
        monitor.measure(tiny)


def test_the_picture_has_three_rows_and_frames_where_it_is_wrong(tiny_net):
    net = tiny_net()
    with torch.no_grad():
        own = net.eval()(normalised(IMAGES)).argmax(dim=1)
    monitor = la.ShiftMonitor((IMAGES, own), la.FGSM(), 1e-6, pictured=2, **READ)
    right = np.asarray(monitor.measure(net).picture)
    assert right.shape == (3 * 132 - 4, 2 * 132 - 4, 3)
    wrong = la.ShiftMonitor((IMAGES, (own + 1) % 4), la.FGSM(), 1e-6, pictured=2, **READ)
    framed = np.asarray(wrong.measure(net).picture)
    assert (framed[132, :128] == (213, 94, 0)).all()
    assert not (right[132, :128] == (213, 94, 0)).all()
    assert np.array_equal(framed[:128], right[:128])
    none = la.ShiftMonitor((IMAGES, own), la.FGSM(), 0.05, pictured=0, **READ)
    assert none.measure(net).picture is None


def test_what_cannot_be_told_is_left_out_with_the_reason(tiny_net):
    net = tiny_net()
    with torch.no_grad():
        net.trunk[4].bias.fill_(-100.0)  # no activation, so every map is dead
    monitor = la.ShiftMonitor((IMAGES, LABELS), la.FGSM(), 0.05, noise_seed=None, **READ)
    found = monitor.measure(net)
    assert set(found.missing) == {"mod_living", "noise", "excess"}
    assert not set(found.missing) & set(found)
    assert (found["dead"], found["mod"]) == (1.0, 0.0)
    assert "dead" in found.missing["mod_living"]


def test_its_share_of_the_time_is_told(tiny_net):
    monitor = la.ShiftMonitor((IMAGES, LABELS), la.FGSM(), 0.05, **READ)
    assert monitor.share is None
    found = monitor.measure(tiny_net())
    assert found.seconds > 0
    assert 0 < monitor.share < 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"attack": la.SignNoise()}, "no control"),
        ({"every": 0}, "every must be a whole number of at least 1"),
        ({"grid": 5}, "at least 11"),
        ({"epsilon": 0.0}, "0"),
        ({"explained_class": "other"}, "own, clean, label"),
        ({"precision": "half"}, "float32, tf32, bfloat16"),
        ({"means": 0.5}, "no option means"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_at_once(options, told):
    given = {"loader": (IMAGES, LABELS), "attack": la.FGSM(), "epsilon": 0.05, **options}
    with pytest.raises(InputError, match=told):
        la.ShiftMonitor(**given)


@pytest.mark.parametrize(
    ("loader", "told"),
    [
        ((2 * IMAGES - 1, LABELS), r"pixels must lie in \[0, 1\]"),
        ((IMAGES, LABELS + 4), "labels must lie in"),
        ([], "no images"),
        ([(IMAGES[:2], LABELS[:2]), (IMAGES[:2, :, :8], LABELS[:2])], "differ in shape"),
        ([{"image": IMAGES}], "pair of images and labels"),
    ],
)
def test_images_that_do_not_fit_are_refused_at_the_first_reading(tiny_net, loader, told):
    with pytest.raises(InputError, match=told):
        la.ShiftMonitor(loader, la.FGSM(), 0.05, **READ).measure(tiny_net())


@pytest.mark.program
def test_two_processes_get_the_numbers_of_all_images(tiny_net, tmp_path):
    expected = la.ShiftMonitor((IMAGES, LABELS), la.FGSM(), 0.05, **READ).measure(tiny_net())
    for found in in_two_processes(watched_training, tmp_path, tiny_net(), IMAGES, LABELS, READ):
        assert found["both"] == pytest.approx(dict(expected), abs=1e-12)
        assert found["images"] == [8, 4, 4]  # of both; of the one that has some; its own alone
        assert found["of one"] == pytest.approx(found["expected of one"], abs=1e-12)
        assert found["weights"] == found["gathered weights"]
        kind = "InputError" if found["rank"] == 1 else "ModelError"
        assert found["failure"].startswith(kind), found["failure"]

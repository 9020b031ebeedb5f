"""What draws random numbers leaves the caller's generators as they were, on every device."""

import pytest
import torch

import lookaway as la
from lookaway.models.randomness import seeded
from lookaway.models.stages import LabelledImages
from lookaway.models.training import Recipe, train

RECIPE = Recipe(epochs=1, batch_size=4, learning_rate=0.001, seed=3)


class Noise(LabelledImages):
    """Six images."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return torch.zeros(3, 32, 32, dtype=torch.uint8), index % 3


def network(classes=3):
    return la.load_classifier("test_resnet", num_classes=classes, pretrained=False, seed=1)


DRAWING = {
    "a new network": network,
    "a training": lambda: train(network(), "all", Noise(), Noise(), RECIPE),
    "a head's training": lambda: train(network(), "head", Noise(), Noise(), RECIPE),
}


@pytest.fixture
def cuda(monkeypatch):
    """A generator of a CUDA device that is in use, as far as PyTorch tells."""
    generator = torch.Generator()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "default_generators", (generator,))
    monkeypatch.setattr(torch.cuda, "manual_seed_all", generator.manual_seed)
    return generator


@pytest.mark.parametrize("draw", DRAWING.values(), ids=DRAWING)
def test_the_caller_s_random_numbers_go_on_as_if_nothing_had_been_drawn(draw, cuda):
    expected = [torch.get_rng_state(), cuda.get_state()]
    draw()
    assert all(map(torch.equal, [torch.get_rng_state(), cuda.get_state()], expected))


@pytest.mark.parametrize("draw", DRAWING.values(), ids=DRAWING)
def test_the_caller_s_seed_of_a_device_that_is_not_in_use_yet_stays(draw, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    for name in ("manual_seed", "manual_seed_all"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: pytest.fail("CUDA was seeded"))
    draw()


def drawn(generator):
    with seeded(7):
        return [torch.rand(3), torch.rand(3, generator=generator)]


def test_inside_every_device_that_is_in_use_follows_the_seed(cuda):
    assert all(map(torch.equal, drawn(cuda), drawn(cuda)))


def fail():
    with seeded(7):
        raise ZeroDivisionError


def test_generators_are_put_back_also_after_an_error(cuda):
    expected = [torch.get_rng_state(), cuda.get_state()]
    with pytest.raises(ZeroDivisionError):
        fail()
    assert all(map(torch.equal, [torch.get_rng_state(), cuda.get_state()], expected))

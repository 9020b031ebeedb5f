"""What a training costs, from a few images: the real steps, timed and counted one by one."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from lookaway.models.classifier import Classifier
from lookaway.models.randomness import seeded
from lookaway.models.training import (
    LabelledImages,
    Recipe,
    Stage,
    one_pass,
    optimizer_of,
    stages,
)

_CHECKED_AT_ONCE = 8  # as in training
_STEPS = 4  # of a head, timed; a whole network's step takes long enough alone


@dataclass(frozen=True)
class Work:
    """What something takes for one image.

    Attributes:
        seconds: on this machine.
        flops: floating-point operations of its convolutions and matrix products, a multiplication
            and its addition counted as two.
    """

    seconds: float
    flops: float

    def __add__(self, other: "Work") -> "Work":
        return Work(self.seconds + other.seconds, self.flops + other.flops)

    def __mul__(self, times: float) -> "Work":
        return Work(self.seconds * times, self.flops * times)


@dataclass(frozen=True)
class Rehearsal:
    """What a training takes for one image.

    Attributes:
        trunk: the frozen trunk's one pass, reading included; nothing where all is trained.
        step: learning from an image, in each epoch.
        check: predicting a validation image, in each epoch.
        kept_bytes: of memory that hold the trunk's output for an image.
        weight_bytes: of the trained weights.
    """

    trunk: Work
    step: Work
    check: Work
    kept_bytes: int
    weight_bytes: int

    def total(self, images: int, validation: int, epochs: int) -> Work:
        """A whole training."""
        passes = self.step * images + self.check * validation
        return self.trunk * (images + validation) + passes * epochs


def counted(work: Callable[[], object]) -> int:
    """The floating-point operations of some work, as in ``Work.flops``."""
    with _Counter() as counter:
        work()
    return int(counter.flops)


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts by the formulas of PyTorch's ``FlopCounterMode``.

    That one follows modules too, by hooks that make ``autograd.grad`` fail.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0
        self._formulas = FlopCounterMode(display=False).flop_registry

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        formula = self._formulas.get(func._overloadpacket)
        if formula is not None:
            self.flops += int(formula(*args, **(kwargs or {}), out_val=given))
        return given


def timed(work: Callable[[], object]) -> float:
    """The seconds that some work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def settle(clf: Classifier) -> None:
    """Make the statistics of batch norm those of a batch of noise, in place.

    An untrained network's activations grow or vanish from layer to layer otherwise, and numbers
    near zero are slow.
    """
    norms = [part for part in clf.module.modules() if isinstance(part, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    sides = clf.input_size or (224, 224)
    noise = torch.rand(4, clf.channels, *sides, generator=torch.Generator().manual_seed(0))
    if not norms:
        return
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        clf.module(clf.prepare(noise))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval()
        norm.momentum = momentum


def rehearse(clf: Classifier, part: str, few: LabelledImages, recipe: Recipe) -> Rehearsal:
    """Take a training's steps on a few images, over and over.

    Args:
        clf: the classifier, as ``train`` gets it; it is spoilt.
        part: ``head``, ``fully_connected`` or ``all``.
        few: images, at least 2.
        recipe: the training's own.

    Raises:
        ModelError: the network has no such part.
    """
    with seeded(), torch.enable_grad():
        return _rehearse(clf, part, few, recipe)


def _rehearse(clf: Classifier, part: str, few: LabelledImages, recipe: Recipe) -> Rehearsal:
    clf.module.requires_grad_(True)
    clf.classes_at(None)  # its first pass finds out what its outputs mean
    loads = _Loads(few)
    pixels, _ = few.load(list(range(len(few))))
    with torch.no_grad():
        forward = counted(lambda: clf.module(clf.prepare(pixels))) / len(few)
    learning, fit, check = stages(clf, part, loads, loads, recipe.precision)
    for name, parameter in clf.module.named_parameters():
        parameter.requires_grad_(name in learning)
    parameters = [value for value in clf.module.parameters() if value.requires_grad]
    whole = part == "all"
    optimizer = optimizer_of(parameters, recipe)

    def learn(steps: int) -> None:
        clf.module.train(whole)
        size = steps * recipe.batch_size
        one_pass(_repeated(fit), list(range(size)), recipe.batch_size, optimizer)

    def look(steps: int) -> None:
        clf.module.eval()
        size = steps * _CHECKED_AT_ONCE
        with torch.no_grad():
            one_pass(_repeated(check), list(range(size)), _CHECKED_AT_ONCE, None)

    steps = 1 if whole else _STEPS
    learnt, looked = (
        Work(seconds / (steps * size), flops / size)
        for size, flops, seconds in (  # counted first, which warms up
            (size, counted(lambda: work(1)), timed(lambda: work(steps)))  # noqa: B023  at once
            for work, size in ((learn, recipe.batch_size), (look, _CHECKED_AT_ONCE))
        )
    )
    kept = fit.inputs([0])[0].nbytes
    weights = clf.module.state_dict().values() if whole else parameters
    return Rehearsal(
        trunk=Work(0.0, 0.0) if whole else Work(loads.seconds_between / len(few), forward),
        step=learnt,
        check=looked,
        kept_bytes=0 if whole else kept,
        weight_bytes=sum(value.nbytes for value in weights),
    )


class _Loads:
    """Images, and when they were asked for: a trunk's pass lies between two loads."""

    def __init__(self, images: LabelledImages) -> None:
        self._images = images
        self._times: list[float] = []

    def __len__(self) -> int:
        return len(self._images)

    def load(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # what was asked for before is done
        self._times.append(time.perf_counter())
        return self._images.load(indices)

    @property
    def seconds_between(self) -> float:
        """From the first load of the images to learn from to the first of those to check by."""
        return self._times[len(self._times) // 2] - self._times[0]


def _repeated(stage: Stage) -> Stage:
    return replace(
        stage, inputs=lambda indices: stage.inputs([index % stage.count for index in indices])
    )

"""Training of a classifier's fully connected layers, or of all of it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lookaway.errors import ModelError
from lookaway.models.classifier import Classifier
from lookaway.models.outputs import as_columns
from lookaway.models.provenance import Epoch
from lookaway.models.randomness import generators, seeded
from lookaway.models.stages import (
    AT_ONCE,
    Adversary,
    LabelledImages,
    Stage,
    Stages,
    batches,
    stages,
)

PARTS = ("head", "fully_connected", "all")
KEEP_EVERY = 10.0  # seconds between two states kept: an epoch of a head takes far less
KEEP_SHARE = 20  # of the time goes to keeping them, at most one part in so many


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        epochs: passes over the training images.
        batch_size: images a step.
        learning_rate: of AdamW.
        seed: of the order of images.
        precision: float32, or bfloat16 for a network that is trained whole.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    precision: str = "float32"


@dataclass(frozen=True)
class Training:
    """What training gave.

    Attributes:
        weights: the trained tensors of the best epoch, by their names in the network.
        history: every epoch.
        best: the number of the best epoch: highest validation accuracy, then lowest validation
            loss, then the earliest; under attack, where there is an adversary.
    """

    weights: dict[str, Tensor]
    history: list[Epoch]
    best: int


class _Keeping:
    """Hands out where a training stands, not too often."""

    def __init__(self, keep: Callable[[dict[str, Any]], None]) -> None:
        self._keep, self._next = keep, time.monotonic() + KEEP_EVERY

    def __call__(self, state: Callable[[], dict[str, Any]]) -> None:
        began = time.monotonic()
        if began >= self._next:
            self._keep(state())
            done = time.monotonic()
            self._next = done + max(KEEP_EVERY, KEEP_SHARE * (done - began))


def train(
    clf: Classifier,
    part: str,
    images: LabelledImages,
    validation: LabelledImages,
    recipe: Recipe,
    advance: Callable[[int], None] = lambda _: None,
    saved: dict[str, Any] | None = None,
    keep: Callable[[dict[str, Any]], None] = lambda _: None,
    adversary: Adversary | None = None,
) -> Training:
    """Train a part of a classifier in place and leave it with the best epoch's weights.

    ``head`` (the linear classification layer) and ``fully_connected`` (all behind the trunk, so
    VGG16's two wide layers too) run the frozen trunk once over the images, whatever the number of
    epochs. ``all`` trains every weight on the images themselves, flipped and shifted at random.

    Of a network that is not timm's, ``head`` is the linear layer whose output is the logits, and
    where ``fully_connected`` is more than that, its trunk runs in every epoch. So does every trunk
    where an adversary attacks the images, anew at each step; it finds the network in eval mode, so
    that batch norm's statistics follow from what is learnt from alone (T. Pang et al., Bag of
    Tricks for Adversarial Training, 2021), and leaves it as it was.

    Args:
        clf: a classifier; its weights change.
        part: ``head``, ``fully_connected`` or ``all``.
        images: to learn from.
        validation: to choose the epoch by.
        recipe: how.
        advance: told of each epoch done.
        saved: the state of the same training when it was interrupted, on the CPU; it ends with the
            same weights as if it had not been. It is emptied.
        keep: given the state after an epoch, but not more often than every few seconds: tensors
            and plain data, to be copied or stored at once, for the next epoch changes them.
        adversary: whose attacked images are learnt from; None: the images as they are.

    Raises:
        ModelError: the loss became NaN or infinite, or the network has no such part.
    """
    module = clf.module
    flags = {name: parameter.requires_grad for name, parameter in module.named_parameters()}
    try:
        module.requires_grad_(True)
        found = stages(clf, part, images, validation, recipe.precision, adversary)
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(name in found.learning)
        every = adversary.check_every if adversary is not None else 1
        keeping = _Keeping(keep)
        return _run(clf, found, every, recipe, advance, saved, keeping, whole=part == "all")
    finally:
        module.zero_grad(set_to_none=True)
        module.eval()
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(flags[name])


def _run(
    clf: Classifier,
    found: Stages,
    every: int,
    recipe: Recipe,
    advance: Callable[[int], None],
    saved: dict[str, Any] | None,
    keeping: _Keeping,
    *,
    whole: bool,
) -> Training:
    module, fit, check = clf.module, found.fit, found.check
    learning = {name: p for name, p in module.named_parameters() if name in found.learning}
    optimizer = optimizer_of(list(learning.values()), recipe)
    order = torch.Generator().manual_seed(recipe.seed)
    module.eval()
    history: list[Epoch] = []
    best: tuple[float, float, int] | None = None
    weights: dict[str, Tensor] = {}
    with seeded(recipe.seed), torch.enable_grad():  # augmentation, and dropout where there is any
        random = [order, *generators()]
        if saved is not None:
            module.load_state_dict(saved["module"])
            optimizer.load_state_dict(saved["optimizer"])
            for generator, state in zip(random, saved["random"], strict=False):
                generator.set_state(state)
            history = [Epoch(**epoch) for epoch in saved["history"]]
            best, weights = saved["best"], saved["weights"]
            saved.clear()  # what the module holds now need not lie in memory twice
            advance(len(history))
        for number in range(len(history) + 1, recipe.epochs + 1):
            if whole:  # to walk through all of a network takes longer than to train its head
                module.train()
            shuffled = torch.randperm(fit.count, generator=order).tolist()
            loss, accuracy = one_pass(fit, shuffled, recipe.batch_size, optimizer)
            if whole:
                module.eval()
            with torch.no_grad():
                val_loss, val_accuracy = one_pass(check, list(range(check.count)), AT_ONCE, None)
                under = _under_attack(found, number, every, recipe.epochs)
            if not loss + val_loss < float("inf"):
                raise ModelError(
                    f"training {clf.name} gave a loss of {loss:g} in epoch {number}; a lower "
                    "learning_rate may help"
                )
            history.append(Epoch(number, loss, accuracy, val_loss, val_accuracy, *under))
            rank = history[-1].rank if found.robust is None or under else None
            if rank is not None and (best is None or rank < best):
                best, weights = rank, _copied(module.state_dict() if whole else learning)
            keeping(partial(_state, module, optimizer, random, history, best, weights))
            advance(1)
    module.load_state_dict(weights, strict=False)
    return Training(weights, history, best[2] if best else 0)


def _under_attack(found: Stages, number: int, every: int, last: int) -> tuple[float, ...]:
    """What an epoch's check under attack gives; empty in one that is not checked.

    Returns:
        Accuracy on validation images attacked as those learnt from, then loss and accuracy on such
        that are attacked more strongly.
    """
    if found.met is None or found.robust is None or (number % every and number != last):
        return ()
    count = list(range(found.check.count))
    _, met = one_pass(found.met, count, AT_ONCE, None)
    return (met, *one_pass(found.robust, count, AT_ONCE, None))


def optimizer_of(parameters: list[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """What changes the parameters."""
    return torch.optim.AdamW(parameters, lr=recipe.learning_rate, fused=True)


def one_pass(
    stage: Stage, indices: list[int], size: int, optimizer: torch.optim.Optimizer | None
) -> tuple[float, float]:
    """One pass over images, by index; with an optimizer they are learnt from.

    Returns:
        The mean loss and the accuracy.
    """
    total, right = 0.0, 0
    for inputs, labels in stage.load(batches(indices, size)):
        if stage.attack is not None:
            inputs = stage.attack(inputs, labels)
        logits = stage.outputs.logits(as_columns(stage.predict(inputs)))
        truth = labels = labels.to(logits.device)
        if stage.outputs.task == "labels":  # a folder says of each image that it has no other
            truth = F.one_hot(labels, logits.shape[1])
        loss = stage.outputs.loss(logits, truth, "mean")
        if optimizer is not None:
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
        total += float(loss.detach()) * len(labels)
        right += int((stage.outputs.predicted(logits.detach(), labels) == labels).sum())
    return total / len(indices), right / len(indices)


def _state(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    random: Sequence[torch.Generator],
    history: Sequence[Epoch],
    best: tuple[float, float, int] | None,
    weights: Mapping[str, Tensor],
) -> dict[str, Any]:
    """Where a training stands; it goes on from there."""
    return {
        "module": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": [generator.get_state() for generator in random],
        "history": [asdict(epoch) for epoch in history],
        "best": best,
        "weights": weights,
    }


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}

"""Training of a classifier's fully connected layers, or of all of it."""

import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset, default_collate
from torchvision.transforms import v2

from lookaway.errors import ModelError
from lookaway.models.classifier import Classifier
from lookaway.models.hooks import evaluating
from lookaway.models.outputs import Outputs, as_columns, output_tensor
from lookaway.models.randomness import generators, seeded
from lookaway.models.zoo import classifier_name

PARTS = ("head", "fully_connected", "all")
KEEP_EVERY = 10.0  # seconds between two states kept: an epoch of a head takes far less
KEEP_SHARE = 20  # of the time goes to keeping them, at most one part in so many
_AT_ONCE = 8  # images in one pass without gradients
_ASIDE = torch.Generator()  # loaders draw a seed for workers: not from the training's numbers


class LabelledImages(Dataset[tuple[Tensor, int]]):
    """Images of one size, each (C, H, W) uint8 with its label, loaded when they are asked for."""

    @abstractmethod
    def __len__(self) -> int: ...


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
class Epoch:
    """Loss (cross-entropy, mean) and accuracy (0 to 1) of one epoch."""

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float


@dataclass(frozen=True)
class Training:
    """What training gave.

    Attributes:
        weights: the trained tensors of the best epoch, by their names in the network.
        history: every epoch.
        best: the number of the best epoch: highest validation accuracy, then lowest validation
            loss, then the earliest.
    """

    weights: dict[str, Tensor]
    history: list[Epoch]
    best: int


class _Keeping:
    """Hands out where a training stands, not too often."""

    def __init__(self, keep: Callable[[dict[str, Any]], None]) -> None:
        self._keep, self._next = keep, time.monotonic() + KEEP_EVERY

    def __call__(self, state: dict[str, Any]) -> None:
        began = time.monotonic()
        if began >= self._next:
            self._keep(state)
            done = time.monotonic()
            self._next = done + max(KEEP_EVERY, KEEP_SHARE * (done - began))


@dataclass(frozen=True)
class Stage:
    """The part of a network that learns, and what it is fed.

    Attributes:
        load: inputs and labels of each batch of indices.
        predict: what the network gives for inputs.
        outputs: what that means.
        count: of images.
    """

    load: Callable[[Iterable[list[int]]], Iterable[tuple[Tensor, Tensor]]]
    predict: Callable[[Tensor], Tensor]
    outputs: Outputs
    count: int


def train(
    clf: Classifier,
    part: str,
    images: LabelledImages,
    validation: LabelledImages,
    recipe: Recipe,
    advance: Callable[[int], None] = lambda _: None,
    saved: dict[str, Any] | None = None,
    keep: Callable[[dict[str, Any]], None] = lambda _: None,
) -> Training:
    """Train a part of a classifier in place and leave it with the best epoch's weights.

    ``head`` (the linear classification layer) and ``fully_connected`` (all behind the trunk, so
    VGG16's two wide layers too) run the frozen trunk once over the images, whatever the number of
    epochs. ``all`` trains every weight on the images themselves, flipped and shifted at random.

    Args:
        clf: a classifier of a timm network; its weights change.
        part: ``head``, ``fully_connected`` or ``all``.
        images: to learn from.
        validation: to choose the epoch by.
        recipe: how.
        advance: told of each epoch done.
        saved: the state of the same training when it was interrupted, on the CPU; it ends with the
            same weights as if it had not been.
        keep: given the state after an epoch, but not more often than every few seconds: tensors
            and plain data, to be copied or stored at once, for the next epoch changes them.

    Raises:
        ModelError: the loss became NaN or infinite, or the network has no such part.
    """
    module = clf.module
    flags = {name: parameter.requires_grad for name, parameter in module.named_parameters()}
    try:
        module.requires_grad_(True)
        learning, fit, check = stages(clf, part, images, validation, recipe.precision)
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(name in learning)
        keeping = _Keeping(keep)
        return _run(clf, learning, fit, check, recipe, advance, saved, keeping, whole=part == "all")
    finally:
        module.zero_grad(set_to_none=True)
        module.eval()
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(flags[name])


def stages(
    clf: Classifier,
    part: str,
    images: LabelledImages,
    validation: LabelledImages,
    precision: str,
) -> tuple[set[str], Stage, Stage]:
    """What learns, by the names of its parameters, on what it learns, and on what it is checked.

    Where the trunk is frozen, it runs here, once over all images.
    """
    module = clf.module
    if part == "all":
        names = {name for name, _ in module.named_parameters()}

        def predicted(pixels: Tensor) -> Tensor:
            mixed = torch.autocast(clf.device.type, torch.bfloat16, enabled=precision == "bfloat16")
            with mixed:
                return output_tensor(clf.module(clf.prepare(_as_floats(pixels))), clf.name)

        fit, check = (
            Stage(partial(_loader, data, join), predicted, clf.outputs, len(data))
            for data, join in ((images, _augmented), (validation, default_collate))
        )
        return names, fit, check
    behind = _method(module, "forward_head")
    if part == "head" or _is_one_layer(clf, behind):  # its input is a vector, not a map
        layer = classifier_name(module)
        head = module.get_submodule(layer)
        names = {f"{layer}.{name}" for name, _ in head.named_parameters()}
        trunk, predict = _to_vector(module), head.forward
    else:
        names = _behind_trunk(clf, behind)
        trunk, predict = _method(module, "forward_features"), behind
    fit, check = (_cached(clf, trunk, predict, data) for data in (images, validation))
    return names, fit, check


def augment(image: Tensor) -> Tensor:
    """Flip an image left to right or not, and shift it by up to a sixteenth of its side.

    Drawn from torch's own random numbers; the border's pixels are repeated.

    Args:
        image: (C, H, W).

    Returns:
        The same shape.
    """
    height, width = image.shape[1:]
    reach = [max(1, width // 16), max(1, height // 16)]
    shift = v2.RandomCrop((height, width), padding=reach, padding_mode="edge")
    varied: Tensor = shift(v2.RandomHorizontalFlip()(image))
    return varied


def _augmented(items: list[tuple[Tensor, int]]) -> list[Tensor]:
    batch: list[Tensor] = default_collate([(augment(image), label) for image, label in items])
    return batch


def _loader(
    data: LabelledImages, join: Callable[..., list[Tensor]], batches: Iterable[list[int]]
) -> Iterable[tuple[Tensor, Tensor]]:
    return DataLoader(data, batch_sampler=batches, collate_fn=join, generator=_ASIDE)


def _as_floats(pixels: Tensor) -> Tensor:
    return pixels.float() / 255


def _method(module: nn.Module, name: str) -> Callable[..., Tensor]:
    method = getattr(module, name, None)
    if not callable(method):
        raise ModelError(f"{type(module).__name__} has no {name}; only timm's networks do")
    return method  # type: ignore[no-any-return]


def _to_vector(module: nn.Module) -> Callable[[Tensor], Tensor]:
    features, head = _method(module, "forward_features"), _method(module, "forward_head")
    return lambda x: head(features(x), pre_logits=True)


def _is_one_layer(clf: Classifier, behind: Callable[[Tensor], Tensor]) -> bool:
    """Whether the fully connected part is the classification layer alone."""
    try:
        layer = classifier_name(clf.module)
    except ModelError:
        return False
    return all(name.startswith(f"{layer}.") for name in _behind_trunk(clf, behind))


def _behind_trunk(clf: Classifier, predict: Callable[[Tensor], Tensor]) -> set[str]:
    """The parameters that logits get from the trunk's output alone, found by a gradient."""
    module = clf.module
    sides = clf.input_size or (224, 224)
    blank = clf.prepare(torch.full((1, clf.channels, *sides), 0.5))
    with evaluating(module), torch.enable_grad():
        with torch.no_grad():
            features = _method(module, "forward_features")(blank)
        named = dict(module.named_parameters())
        gradients = torch.autograd.grad(
            predict(features).sum(), list(named.values()), allow_unused=True
        )
    return {name for name, gradient in zip(named, gradients, strict=True) if gradient is not None}


def _cached(
    clf: Classifier,
    trunk: Callable[[Tensor], Tensor],
    predict: Callable[[Tensor], Tensor],
    data: LabelledImages,
) -> Stage:
    """The trunk's output for every image, computed once."""
    features, labels, batches = [], [], _batches(list(range(len(data))), _AT_ONCE)
    with evaluating(clf.module), torch.no_grad():
        for pixels, truth in _loader(data, default_collate, batches):
            features.append(trunk(clf.prepare(_as_floats(pixels))).float())
            labels.append(truth.to(clf.device))
    kept = TensorDataset(torch.cat(features), torch.cat(labels))

    def load(batches: Iterable[list[int]]) -> Iterable[tuple[Tensor, Tensor]]:
        # A batch is one lookup in a tensor, so that the loader need not join single items.
        return DataLoader(kept, batch_size=None, sampler=batches, generator=_ASIDE)

    return Stage(load, predict, clf.outputs, len(data))


def _run(
    clf: Classifier,
    learning: set[str],
    fit: Stage,
    check: Stage,
    recipe: Recipe,
    advance: Callable[[int], None],
    saved: dict[str, Any] | None,
    keeping: _Keeping,
    *,
    whole: bool,
) -> Training:
    module = clf.module
    parameters = [p for name, p in module.named_parameters() if name in learning]
    optimizer = optimizer_of(parameters, recipe)
    order = torch.Generator().manual_seed(recipe.seed)
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
            advance(len(history))
        for number in range(len(history) + 1, recipe.epochs + 1):
            module.train(whole)
            shuffled = torch.randperm(fit.count, generator=order).tolist()
            loss, accuracy = one_pass(fit, shuffled, recipe.batch_size, optimizer)
            module.eval()
            with torch.no_grad():
                val_loss, val_accuracy = one_pass(check, list(range(check.count)), _AT_ONCE, None)
            if not loss + val_loss < float("inf"):
                raise ModelError(
                    f"training {clf.name} gave a loss of {loss:g} in epoch {number}; a lower "
                    "learning_rate may help"
                )
            history.append(Epoch(number, loss, accuracy, val_loss, val_accuracy))
            rank = (-val_accuracy, val_loss, number)
            if best is None or rank < best:
                best, weights = rank, _copy(module, learning, whole=whole)
            keeping(
                {
                    "module": module.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "random": [generator.get_state() for generator in random],
                    "history": [asdict(epoch) for epoch in history],
                    "best": best,
                    "weights": weights,
                }
            )
            advance(1)
    module.load_state_dict(weights, strict=False)
    return Training(weights, history, best[2] if best else 0)


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
    for inputs, labels in stage.load(_batches(indices, size)):
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


def _copy(module: nn.Module, learning: set[str], *, whole: bool) -> dict[str, Tensor]:
    return {
        name: value.detach().cpu().clone()
        for name, value in module.state_dict().items()
        if whole or name in learning
    }


def _batches(indices: list[int], size: int) -> Iterator[list[int]]:
    """Batches of a size; one image left over joins the last, for batch norm cannot learn from one.

    >>> list(_batches([1, 2, 3, 4, 5], 2))
    [[1, 2], [3, 4, 5]]
    """
    start = 0
    while start < len(indices):
        stop = start + size + (len(indices) - start - size == 1)
        yield indices[start:stop]
        start = stop

"""The part of a network that learns, and what it is fed: images, or what its trunk made of them."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset, default_collate
from torchvision.transforms import v2

from lookaway.errors import ModelError
from lookaway.models.classifier import Classifier
from lookaway.models.hooks import evaluating, first_tensor, hooked, in_place_of
from lookaway.models.outputs import Outputs, output_tensor
from lookaway.models.own import classification_layer

AT_ONCE = 8  # images in one pass without gradients
_FULLY_CONNECTED = (nn.Linear, nn.LayerNorm, nn.BatchNorm1d)
_ASIDE = torch.Generator()  # loaders draw a seed for workers: not from the training's numbers


class LabelledImages(Dataset[tuple[Tensor, int]]):
    """Images of one size, each (C, H, W) uint8 with its label, loaded when they are asked for."""

    @abstractmethod
    def __len__(self) -> int: ...


class Adversary(Protocol):
    """Whose attacked images a network learns from."""

    @property
    def check_every(self) -> int:
        """Epochs from one check by its stronger attack to the next."""

    def attacked(self, clf: Classifier, pixels: Tensor, labels: Tensor) -> Tensor:
        """What is learnt from in place of pixels (N, C, H, W) in [0, 1]; the network stays."""

    def met(self, clf: Classifier, pixels: Tensor, labels: Tensor) -> Tensor:
        """All of them attacked in the same way."""

    def checked(self, clf: Classifier, pixels: Tensor, labels: Tensor) -> Tensor:
        """All of them attacked more strongly."""


@dataclass(frozen=True)
class Stage:
    """The part of a network that learns, and what it is fed.

    Attributes:
        load: inputs and labels of each batch of indices.
        predict: what the network gives for inputs.
        outputs: what that means.
        count: of images.
        attack: what takes the place of inputs with these labels; None: they stay.
    """

    load: Callable[[Iterable[list[int]]], Iterable[tuple[Tensor, Tensor]]]
    predict: Callable[[Tensor], Tensor]
    outputs: Outputs
    count: int
    attack: Callable[[Tensor, Tensor], Tensor] | None = None


@dataclass(frozen=True)
class Stages:
    """What a training goes through.

    Attributes:
        learning: the names of the parameters that learn.
        fit: on what they do.
        check: on what each epoch is checked.
        met: where images are attacked, on what some epochs are checked as well: images not learnt
            from, attacked in the same way.
        robust: the same images, attacked more strongly.
    """

    learning: set[str]
    fit: Stage
    check: Stage
    met: Stage | None = None
    robust: Stage | None = None


def stages(
    clf: Classifier,
    part: str,
    images: LabelledImages,
    validation: LabelledImages,
    precision: str,
    adversary: Adversary | None = None,
) -> Stages:
    """What learns, on what it learns, and on what it is checked.

    Where the trunk is frozen, it runs here, once over all images; where an adversary attacks those
    that are learnt from, it runs over these in every epoch.
    """
    module = clf.module
    whole = partial(_whole, clf, precision=precision if part == "all" else "float32")
    attacked: Callable[[Tensor, Tensor], Tensor] | None = None
    under: tuple[Stage, ...] = ()
    if adversary is not None:
        attacked = partial(adversary.attacked, clf)
        under = tuple(
            whole(validation, default_collate, attack=partial(attack, clf))
            for attack in (adversary.met, adversary.checked)
        )
    if part == "all":
        names = {name for name, _ in module.named_parameters()}
        fit = whole(images, _augmented, attack=attacked)
        return Stages(names, fit, whole(validation, default_collate), *under)
    names, layer = _behind_trunk(clf, part)
    trunk: Callable[[Tensor], Tensor]
    if layer:  # whose input is a vector, not a map
        trunk, predict = partial(_entering, module, layer), module.get_submodule(layer).forward
    elif _is_timms(module):
        trunk, predict = _method(module, "forward_features"), _method(module, "forward_head")
    else:
        fit = whole(images, default_collate, attack=attacked)
        return Stages(names, fit, whole(validation, default_collate), *under)
    cached = partial(_cached, clf, trunk, predict)
    if attacked is None:
        return Stages(names, cached(images), cached(validation))
    fit = whole(images, default_collate, attack=attacked)
    return Stages(names, fit, cached(validation), *under)


def check_trainable(clf: Classifier, part: str) -> None:
    """Refuse a study's own classifier that has no such part to train.

    Raises:
        ModelError: with what is possible.
    """
    if part == "head":
        classification_layer(clf)
    elif part == "fully_connected" and not _is_timms(clf.module):
        clf.module.requires_grad_(True)
        _behind_trunk(clf, part)


def augment(image: Tensor) -> Tensor:
    """Flip an image (C, H, W) left to right or not, and shift it by up to a sixteenth of its side.

    Drawn from torch's own random numbers; the border's pixels are repeated.
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
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels


def _whole(
    clf: Classifier,
    images: LabelledImages,
    join: Callable[..., list[Tensor]],
    precision: str = "float32",
    attack: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Stage:
    """The whole network runs on images, joined to batches in a way of their own.

    An attack works in the precision of the training too, for most of its time is the attack's.
    """

    def mixed() -> torch.autocast:
        return torch.autocast(clf.device.type, torch.bfloat16, enabled=precision == "bfloat16")

    def predicted(pixels: Tensor) -> Tensor:
        with mixed():
            return output_tensor(clf.module(clf.prepare(_as_floats(pixels))), clf.name)

    def attacked(pixels: Tensor, labels: Tensor) -> Tensor:
        if attack is None:
            return pixels
        try:
            with mixed():
                return attack(_as_floats(pixels.to(clf.device)), labels)
        except ModelError as error:
            raise ModelError(
                f"training {clf.name} adversarially failed: {error}; a lower learning_rate may help"
            ) from error

    changed = None if attack is None else attacked
    return Stage(partial(_loader, images, join), predicted, clf.outputs, len(images), changed)


def _method(module: nn.Module, name: str) -> Callable[[Tensor], Tensor]:
    return getattr(module, name)  # type: ignore[no-any-return]


def _is_timms(module: nn.Module) -> bool:
    """Whether a network is divided into trunk and head as timm's are."""
    return hasattr(module, "forward_features") and hasattr(module, "forward_head")


def _entering(module: nn.Module, layer: str, pixels: Tensor) -> Tensor:
    """What enters a layer of a network."""
    entered: list[Tensor] = []
    handle = module.get_submodule(layer).register_forward_pre_hook(
        lambda _layer, inputs: entered.append(inputs[0])
    )
    try:
        module(pixels)
    finally:
        handle.remove()
    return entered[-1]


def _behind_trunk(clf: Classifier, part: str) -> tuple[set[str], str]:
    """The parameters of a part behind the trunk; and the layer that has them all, if one does.

    Raises:
        ModelError: there is no such part.
    """
    if part == "head":
        names, layer = set(), classification_layer(clf)
    else:
        names, layer = _fully_connected(clf), ""
        try:
            layer = classification_layer(clf)
        except ModelError:
            if not names:
                raise
    if not all(name.startswith(f"{layer}.") for name in names):
        return names, ""
    head = clf.module.get_submodule(layer)
    return {f"{layer}.{name}" for name, _ in head.named_parameters()}, layer


def _fully_connected(clf: Classifier) -> set[str]:
    """The parameters that logits get from the trunk's output alone, found by a gradient.

    Raises:
        ModelError: what stands there in a network that is not timm's is more than such layers.
    """
    module = clf.module
    blank = clf.blank()
    named = dict(module.named_parameters())

    def cut(_name: str, _layer: nn.Module, output: Any) -> Any:
        found = first_tensor(output)
        return None if found is None else in_place_of(output, found.detach())

    trunk = [] if _is_timms(module) else clf.layer_names("last")
    with evaluating(module), torch.enable_grad(), hooked(module, trunk, cut):
        if trunk:
            logits = output_tensor(module(blank), clf.name)
        else:
            features = _method(module, "forward_features")(blank).detach()
            logits = _method(module, "forward_head")(features)
        gradients = (
            torch.autograd.grad(logits.sum(), list(named.values()), allow_unused=True)
            if logits.requires_grad
            else [None] * len(named)
        )
    names = {name for name, gradient in zip(named, gradients, strict=True) if gradient is not None}
    parts = {name: module.get_submodule(name.rpartition(".")[0]) for name in names}
    odd = [name for name, part in parts.items() if not isinstance(part, _FULLY_CONNECTED)]
    if trunk and odd:
        raise ModelError(
            f"{clf.name!r} has more than fully connected layers behind its last maps "
            f"({trunk[0]!r}): {', '.join(sorted(odd)[:3])}; use train: head, all or none"
        )
    return names


def _cached(
    clf: Classifier,
    trunk: Callable[[Tensor], Tensor],
    predict: Callable[[Tensor], Tensor],
    data: LabelledImages,
) -> Stage:
    """The trunk's output for every image, computed once."""
    features, labels, groups = [], [], batches(list(range(len(data))), AT_ONCE)
    with evaluating(clf.module), torch.no_grad():
        for pixels, truth in _loader(data, default_collate, groups):
            features.append(trunk(clf.prepare(_as_floats(pixels))).float())
            labels.append(truth.to(clf.device))
    kept = TensorDataset(torch.cat(features), torch.cat(labels))

    def load(batches: Iterable[list[int]]) -> Iterable[tuple[Tensor, Tensor]]:
        # A batch is one lookup in a tensor, so that the loader need not join single items.
        return DataLoader(kept, batch_size=None, sampler=batches, generator=_ASIDE)

    return Stage(load, predict, clf.outputs, len(data))


def batches(indices: list[int], size: int) -> Iterator[list[int]]:
    """Batches of a size; one image left over joins the last, for batch norm cannot learn from one.

    >>> list(batches([1, 2, 3, 4, 5], 2))
    [[1, 2], [3, 4, 5]]
    """
    start = 0
    while start < len(indices):
        stop = start + size + (len(indices) - start - size == 1)
        yield indices[start:stop]
        start = stop

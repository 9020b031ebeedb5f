"""Face recognition as it is used: embeddings, and their cosines with enrolled templates."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from lookaway.errors import InputError, ModelError, listed, shown
from lookaway.models import dlib_resnet
from lookaway.models.checks import check_classes, check_pixels
from lookaway.models.classifier import Classifier
from lookaway.models.map_layout import Tokens
from lookaway.models.outputs import Outputs
from lookaway.models.postponed import must_hold
from lookaway.models.zoo import load_classifier

_SELF = 1e-6  # a cosine so near to 1 is that of a vector with itself


class Embedder(nn.Module):
    """A network that maps an image to a vector, with its normalisation and input size inside.

    The network is used as it is, not copied, and never changed; see ``Classifier``.

    Args:
        module: the network, (N, C, H, W) → (N, D), of any length above 0.
        mean: of the channels, in pixels, or one for all.
        std: of the channels, in pixels, or one for all; above 0.
        input_size: side or (height, width) in px that the network wants; None: as they come.
        name: for error messages; the class of the network by default.
        channels: 1 (grey) or 3 (RGB); see ``Classifier``.
        tokens: where the tokens of a network lie; see ``Classifier``.

    Raises:
        InputError: mean, std, input_size, channels or tokens make no sense.
        ModelError: the network is of a kind whose layers cannot be watched.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> Embedder(net)(torch.rand(2, 3, 16, 16)).shape
    torch.Size([2, 4])
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        input_size: int | tuple[int, int] | None = None,
        name: str | None = None,
        channels: int | None = None,
        tokens: Tokens | None = None,
    ) -> None:
        super().__init__()
        self.network = Classifier(
            module,
            mean=mean,
            std=std,
            input_size=input_size,
            name=name,
            channels=channels,
            outputs=Outputs(),  # no choice between classes, so nothing is to be found out
            tokens=tokens,
        )

    @classmethod
    def of(cls, clf: Classifier) -> "Embedder":
        """What a classifier's network gives, as embeddings; the network is shared."""
        found = cls(clf.module, **clf.like())
        found.network.take_over(clf)
        return found

    @property
    def name(self) -> str:
        """The network's, for error messages."""
        return self.network.name

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings of pixels.

        Args:
            images: (N, C, H, W) float, in [0, 1].

        Returns:
            (N, D) float32 of length 1; differentiable.

        Raises:
            InputError: not a batch of images of the network's channels.
            ModelError: an embedding is not finite, or of length zero.
        """
        return unit(self.network(images), self.name)


def load_embedder(
    name: str,
    *,
    pretrained: bool = True,
    checkpoint: str | Path | None = None,
    averaged: bool | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    input_size: int | None = None,
    channels: int = 3,
    tokens: Tokens | None = None,
    device: str | torch.device = "cpu",
    seed: int = 0,
) -> Embedder:
    """Load a network that gives embeddings.

    Args:
        name: ``dlib_face_resnet``, dlib's network for faces (see ``models.dlib_resnet``); or a timm
            name, whose classification layer is taken away.
        pretrained: False: random weights, seeded.
        checkpoint: see ``load_classifier``.
        averaged: the same.
        mean: the same.
        std: the same.
        input_size: the same.
        channels: the same.
        tokens: the same.
        device: where to put it.
        seed: for weights that are new.

    Raises:
        InputError: a number makes no sense.
        ModelError: there is no network of that name.
        WeightsError: the weights are not on this machine and cannot be fetched, or do not fit.

    >>> load_embedder("test_resnet", pretrained=False)(torch.rand(1, 3, 64, 64)).shape
    torch.Size([1, 96])
    """
    if name == dlib_resnet.NAME:
        if channels != 3:
            raise InputError(f"{name} takes 3 channels (RGB); got channels={channels}")
        if checkpoint is not None:
            raise InputError(f"{name} has its weights in a package; leave checkpoint out")
        module = dlib_resnet.dlib_face_resnet(seed=None if pretrained else seed)
        return Embedder(
            module.to(device),
            mean=dlib_resnet.MEAN if mean is None else mean,
            std=dlib_resnet.STD if std is None else std,
            input_size=input_size or dlib_resnet.INPUT_SIZE,
            name=name,
        )
    clf = load_classifier(
        name,
        num_classes=None if checkpoint is None else 1,  # a trunk alone may be in the file
        pretrained=pretrained,
        checkpoint=checkpoint,
        averaged=averaged,
        mean=mean,
        std=std,
        input_size=input_size,
        channels=channels,
        tokens=tokens,
        device=device,
        seed=seed,
    )
    clf.module.reset_classifier(0)  # type: ignore[operator]  # timm's
    return Embedder.of(clf)


class Gallery(Classifier):
    """A network and enrolled templates: its logits are the K cosines with them.

    So everything that works on a classifier works on it. The class of an image is the template that
    is nearest; its confidence is that cosine.

    Args:
        embedder: the network.
        templates: (K, D), one for each person, of any length above 0; they are made unit vectors.
        names: of the persons; None: their places.

    Attributes:
        templates: (K, D) float32 of length 1, where the network is.
        names: K of them.

    Raises:
        InputError: templates or names do not fit.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> faces = torch.rand(4, 3, 16, 16)
    >>> gallery = Gallery.enrol(Embedder(net), faces, torch.tensor([0, 0, 1, 1]), ["ann", "bob"])
    >>> gallery(faces).shape
    torch.Size([4, 2])
    """

    def __init__(
        self, embedder: Embedder, templates: Tensor, names: Sequence[str] | None = None
    ) -> None:
        of = embedder.network
        templates = _checked(templates, of.name).to(of.device)
        outputs = Cosines(templates=templates, name=of.name)
        super().__init__(of.module, outputs=outputs, **of.like())
        self.take_over(of)
        self.templates = templates
        self.names = _names(names, len(templates))

    def with_templates(self, templates: Tensor, names: Sequence[str] | None = None) -> "Gallery":
        """The same network with other templates; arguments as of the class."""
        return Gallery(Embedder.of(self), templates, names)

    @classmethod
    def enrol(
        cls,
        embedder: Embedder,
        images: Tensor | Iterable[tuple[Tensor, Tensor]],
        labels: Tensor | None = None,
        names: Sequence[str] | None = None,
        batch_size: int = 32,
    ) -> "Gallery":
        """A gallery of the persons on some images; nothing is trained.

        A person's template is the mean of the unit embeddings of the images, made a unit vector.

        Args:
            embedder: the network.
            images: (N, C, H, W) float pixels in [0, 1]; or batches of such and their labels.
            labels: (N,) integers, each person's place, where images are a tensor.
            names: of the persons; None: their places, up to the largest label.
            batch_size: images in a pass, where images are a tensor.

        Raises:
            InputError: images or labels do not fit, or a person has no image.
            ModelError: an embedding, or a person's mean, has the length zero.
        """
        if isinstance(images, Tensor):
            check_pixels(images, embedder.network.channels, embedder.name)
            if labels is None:
                raise InputError("labels says who is on each image; give (N,) integers")
            labels = check_classes(labels, len(images), 2**31, "labels")
            cuts = range(0, len(images), batch_size)
            every, persons_of = images, labels
            images = ((every[i : i + batch_size], persons_of[i : i + batch_size]) for i in cuts)
        sums: dict[int, Tensor] = {}
        with torch.no_grad():
            for batch, persons in images:
                for person, embedding in zip(persons.tolist(), embedder(batch), strict=True):
                    sums[person] = sums.get(person, torch.zeros_like(embedding)) + embedding
        if not sums:
            raise InputError("there is no image to enrol")
        count = max(sums) + 1 if names is None else len(names)
        known = _names(names, count)
        if missing := [name for place, name in enumerate(known) if place not in sums]:
            few = listed(shown(name, 40) for name in missing)
            raise InputError(f"{len(missing)} of {count} persons have no image to enrol: {few}")
        if max(sums) >= count:
            raise InputError(f"labels go up to {max(sums)}, but there are {count} names")
        means = torch.stack([sums[person] for person in range(count)])
        return cls(embedder, unit(means, embedder.name, "the mean embedding of a person"), known)


@dataclass(frozen=True, eq=False, kw_only=True)
class Cosines(Outputs):
    """Logits that are cosines of an embedding with templates.

    Attributes:
        templates: (K, D) of length 1.
        name: of the network, for errors.
    """

    templates: Tensor
    name: str

    def logits(self, raw: Tensor, are_logits: bool = False) -> Tensor:
        """The cosines (N, K) of embeddings (N, D) of any length above 0."""
        if raw.shape[1] != self.templates.shape[1]:
            raise ModelError(
                f"{self.name} gives {raw.shape[1]} numbers, but the templates have "
                f"{self.templates.shape[1]}: they are of another network"
            )
        return unit(raw, self.name) @ self.templates.to(raw).T

    def score(self, logits: Tensor, classes: Tensor) -> Tensor:
        """The cosine with a class's template, (N,).

        Raises:
            ModelError: an image has its template's direction, where the gradient is rounding.
        """
        found = super().score(logits, classes)
        itself = found.detach() > 1 - _SELF
        must_hold(~itself.any(), partial(_is_itself, self.name, itself))
        return found

    def confidence(self, logits: Tensor, classes: Tensor) -> Tensor:
        """The cosine with a class's template, (N,) float64 in [−1, 1]."""
        return super().score(logits.double(), classes)


def unit(vectors: Tensor, name: str, what: str = "an embedding") -> Tensor:
    """Vectors (N, D) made of length 1.

    Raises:
        ModelError: one has the length zero, so that it has no direction.
    """
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    nowhere = lengths.detach() == 0
    must_hold(~nowhere.any(), partial(_has_no_direction, name, what, nowhere))
    return vectors / lengths


def _has_no_direction(name: str, what: str, nowhere: Tensor) -> ModelError:
    return ModelError(
        f"{name}: {what} has the length zero ({int(nowhere.sum())} of {len(nowhere)}), so its "
        "cosine with anything is not defined; check the network, its weights and its normalisation"
    )


def _is_itself(name: str, itself: Tensor) -> ModelError:
    return ModelError(
        f"{name}: the cosine of {int(itself.sum())} of {len(itself)} images with the template is "
        "1, where its gradient is rounding noise: the template is that very image, or the network "
        "gives all images one direction; enrol other images of the person, or start at random (PGD)"
    )


def _checked(templates: Tensor, name: str) -> Tensor:
    if not isinstance(templates, Tensor) or templates.ndim != 2 or not templates.numel():
        given = tuple(templates.shape) if isinstance(templates, Tensor) else repr(type(templates))
        raise InputError(f"templates must be a tensor (K, D), one row a person; got {given}")
    if not bool(torch.isfinite(templates).all()):
        raise InputError("templates hold numbers that are NaN or infinite")
    return unit(templates.detach().float(), name, "a template")


def _names(names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    known = tuple(map(str, range(count))) if names is None else tuple(names)
    if len(known) != count or len(set(known)) < count:
        raise InputError(f"names must be {count} different ones; got {shown(repr(names), 80)}")
    return known

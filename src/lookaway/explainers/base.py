"""What every explainer keeps, and heatmaps from maps."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lookaway.errors import InputError
from lookaway.models.checks import check_classes, check_pixels
from lookaway.models.classifier import Classifier
from lookaway.models.gradient import pixel_gradient
from lookaway.models.postponed import postponed
from lookaway.registry import EXPLAINERS, resolve

MIN_GRID = 11

Loss = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Explanation:
    """What a classifier's score rests on, for one class of each image.

    Attributes:
        maps: for each layer name, (N, h, w) float32, at least 0, at the layer's own size; all
            zeros where dead.
        dead: for each layer name, (N,) bool: no evidence for that class.
        logits: (N, K), of the same forward pass.
        classes: (N,) int64: the explained class of each image.
    """

    maps: dict[str, Tensor]
    dead: dict[str, Tensor]
    logits: Tensor
    classes: Tensor

    def __repr__(self) -> str:
        """How many images, and the size of each layer's maps."""
        sizes = ", ".join(
            f"{name}: {each.shape[1]}×{each.shape[2]}" for name, each in self.maps.items()
        )
        return f"Explanation(images: {len(self.classes)}; maps: {sizes})"


class Explainer(ABC):
    """An explainer: classifier and pixels in, maps for each layer out.

    A new one that is no CAM (see ``explainers.cam``) writes ``explain``; the checks are here.

    Attributes:
        name: in rows.
        undoes_scale: whether a map is the same for a layer that gives a · A in place of A, its
            gradient divided by a: then a study may fold a batch norm into a convolution that is
            explained (see ``clf.shifts``).
    """

    name: str
    undoes_scale: ClassVar[bool] = False

    def __call__(
        self,
        clf: Classifier,
        images: Tensor,
        classes: Tensor | None = None,
        layers: str | nn.Module | Sequence[str | nn.Module] = "last",
    ) -> Explanation:
        """Explain one class of each image.

        Args:
            clf: the classifier; it is afterwards as it was.
            images: (N, C, H, W) float pixels in [0, 1].
            classes: (N,) integer indices; None: the class that the classifier predicts.
            layers: ``last``, ``stages``, ``convs``, a name or module of the network, or several.

        Returns:
            Maps, dead flags, logits and classes, all detached.

        Raises:
            InputError: images or classes do not fit.
            LayerError: a layer does not exist, has no spatial maps or no part in the logits.
        """
        check_pixels(images, clf.channels, clf.name)
        if classes is not None:
            known = clf.classes_at((images.shape[2], images.shape[3]))
            classes = check_classes(classes, images.shape[0], known)
        names = clf.trace((images.shape[2], images.shape[3])).names(layers)
        with clf.held(), postponed():
            return self.explain(clf, images, [classes], names)[0][0]

    @abstractmethod
    def explain(
        self,
        clf: Classifier,
        images: Tensor,
        targets: Sequence[Tensor | None],
        layers: Sequence[str],
        losses: Sequence[Loss] = (),
    ) -> tuple[list[Explanation], list[Tensor]]:
        """Explain several classes of each image, from as few passes as it takes.

        Args:
            clf: the classifier.
            images: (N, C, H, W) float pixels in [0, 1], checked.
            targets: for each explanation (N,) int64 indices, checked, or None for the class that
                the classifier predicts.
            layers: names.
            losses: each makes a scalar of logits (N, K).

        Returns:
            An explanation for each target, and for each loss its gradient (N, C, H, W) by the
            pixels.

        Raises:
            ModelError: a loss does not depend on the pixels.
        """

    @classmethod
    def explain_together(
        cls,
        explainers: Sequence["Explainer"],
        clf: Classifier,
        images: Tensor,
        targets: Sequence[Tensor | None],
        layers: Sequence[str],
        losses: Sequence[Loss] = (),
    ) -> tuple[list[list[Explanation]], list[Tensor]]:
        """What several explainers that share this method see, one after the other.

        Those that can share passes write a method of their own; arguments as in ``explain``.

        Returns:
            For each explainer an explanation for each target; and the gradients of the losses.
        """
        found = []
        gradients: list[Tensor] = []
        for explainer in explainers:
            wanted = () if gradients else losses
            explanations, own = explainer.explain(clf, images, targets, layers, wanted)
            gradients = gradients or own
            found.append(explanations)
        return found, gradients


def gradients_of(clf: Classifier, images: Tensor, losses: Sequence[Loss]) -> list[Tensor]:
    """The gradient of each loss by the pixels, for an explainer that needs passes of its own."""
    found = []
    for loss in losses:
        with clf.frozen():
            pixels = images.detach().clone().requires_grad_()
            found.append(pixel_gradient(clf.name, loss(clf(pixels)), pixels))
    return found


def heatmap(maps: Tensor, grid: int = 224) -> Tensor:
    """Bring maps to [0, 1] and to one grid: divide by the maximum, then resize.

    Bilinear, ``align_corners=False``, antialiased when shrinking.

    Args:
        maps: (N, h, w) float, finite, at least 0.
        grid: side in px, at least 11 (the window of SSIM).

    Returns:
        (N, grid, grid) float32 in [0, 1]; the peak may be a little below 1 after resizing. A map
        of zeros stays zeros.

    Raises:
        InputError: maps or grid make no sense.

    >>> heatmap(torch.tensor([[[0.0, 2.0], [0.0, 4.0]]]), grid=11).amax()
    tensor(1.)
    """
    if maps.ndim != 3 or not maps.is_floating_point():
        raise InputError(f"maps must be float (N, h, w); got {tuple(maps.shape)} {maps.dtype}")
    if grid < MIN_GRID:
        raise InputError(f"grid must be at least {MIN_GRID}, the window of SSIM; got {grid}")
    if maps.shape[0] == 0:
        return maps.new_zeros(0, grid, grid, dtype=torch.float32)
    maps = maps.float()
    if not bool(torch.isfinite(maps).all()) or float(maps.min()) < 0:
        raise InputError("maps must be finite and at least 0 (Grad-CAM maps after ReLU)")
    return on_grid(maps, grid)


def on_grid(maps: Tensor, grid: int) -> Tensor:
    """What ``heatmap`` makes of maps (N, h, w) that are known to fit; differentiable."""
    peak = maps.amax(dim=(1, 2), keepdim=True)
    scaled = maps / torch.where(peak > 0, peak, 1.0)
    shrinks = maps.shape[1] > grid or maps.shape[2] > grid
    resized = F.interpolate(
        scaled[:, None], size=(grid, grid), mode="bilinear", align_corners=False, antialias=shrinks
    )
    return resized[:, 0].clamp(0.0, 1.0)


def explainer_of(name: str, options: Mapping[str, Any] | None = None) -> Explainer:
    """The explainer of a name; see ``registry.resolve``.

    >>> explainer_of("gradcam").name
    'gradcam'
    """
    found: Explainer = resolve(name, EXPLAINERS, "explainer", Explainer, options)
    return found

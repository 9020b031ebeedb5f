"""Attributions of Captum at the pixels, where it is installed, as explainers of this package."""

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lookaway.errors import InputError, ModelError
from lookaway.explainers.base import Explainer, Explanation, Loss, gradients_of
from lookaway.explainers.cam import DEAD_BELOW
from lookaway.hashing import digest, seed_from
from lookaway.models.classifier import Classifier

_AT_ONCE = 32  # images in a pass of a method that makes many of each


def from_captum(method: Callable[..., Any], **options: Any) -> Explainer:
    """An attribution method of Captum at the pixels as an explainer.

    Its map is the absolute of the attributions' sum over the channels, as large as the images: it
    belongs to no layer, and stands where a call asks for one layer, such as ``last``.

    Args:
        method: a class such as ``captum.attr.Saliency`` or ``captum.attr.IntegratedGradients``.
        options: arguments of its ``attribute``.

    Raises:
        InputError: it is none of pixels, or has no such option.

    Example:
        ``la.from_captum(captum.attr.IntegratedGradients, n_steps=20)(clf, images).maps``
    """
    return _Attribution(method, options)


class _Attribution(Explainer):
    """See ``from_captum``."""

    def __init__(self, make: Callable[..., Any], options: Mapping[str, Any]) -> None:
        self.name = getattr(make, "__name__", "attribution").lower()
        attribute = getattr(make, "attribute", None)
        if attribute is None or "layer" in inspect.signature(make).parameters:
            raise InputError(
                f"{self.name} gives no attributions of pixels; possible are classes such as "
                "captum.attr.Saliency and captum.attr.IntegratedGradients"
            )
        takes = [
            name
            for name, each in inspect.signature(attribute).parameters.items()
            if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
            and name not in ("self", "inputs", "target")
        ]
        unknown = [name for name in options if name not in takes]
        if unknown:
            raise InputError(
                f"{self.name}: {', '.join(unknown)}: unknown; possible: {', '.join(takes)}"
            )
        many = {"internal_batch_size": _AT_ONCE} if "internal_batch_size" in takes else {}
        self.make, self.options = make, {**many, **options}

    def explain(
        self,
        clf: Classifier,
        images: Tensor,
        targets: Sequence[Tensor | None],
        layers: Sequence[str],
        losses: Sequence[Loss] = (),
    ) -> tuple[list[Explanation], list[Tensor]]:
        """From passes of its own, for each class; see ``Explainer.explain``."""
        if len(layers) > 1:
            raise InputError(
                f"{self.name} explains pixels, which belong to no layer, so the maps of "
                f"{len(layers)} layers would be the same; ask for one, such as layers='last'"
            )
        with torch.no_grad():
            logits = clf(images).detach()
        own = clf.outputs.predicted(logits)
        found: list[Explanation] = []
        for classes in targets:
            wanted = own if classes is None else classes.to(own.device)
            known = next((e for e in found if torch.equal(e.classes, wanted)), None)
            if known is None:
                maps, dead = self._maps(clf, images, wanted)
                known = Explanation({layers[0]: maps}, {layers[0]: dead}, logits, wanted)
            found.append(known)
        return found, gradients_of(clf, images, losses)

    def _maps(self, clf: Classifier, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (N, H, W), and whether they are dead (N,)."""
        content = images.detach().to("cpu", torch.float32).contiguous().numpy().tobytes()
        devices = [images.device] if images.device.type == "cuda" else []
        with (
            warnings.catch_warnings(),
            torch.random.fork_rng(devices),
            torch.enable_grad(),
            clf.frozen(),
        ):
            warnings.simplefilter("ignore")
            torch.manual_seed(seed_from(digest(content), self.name))
            pixels = images.detach().clone().requires_grad_()
            given = self.make(clf).attribute(pixels, target=classes, **self.options)
        attributions = given.detach().float()
        if not bool(torch.isfinite(attributions).all()):
            raise ModelError(f"{clf.name} has attributions by {self.name} that are NaN or infinite")
        maps = attributions.sum(dim=1).abs()
        peak, evidence = maps.amax(dim=(1, 2)), attributions.abs().sum(dim=1).amax(dim=(1, 2))
        dead = (peak <= 0) | (peak < DEAD_BELOW * evidence)
        return maps.masked_fill(dead[:, None, None], 0.0), dead

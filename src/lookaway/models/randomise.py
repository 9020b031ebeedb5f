"""Networks whose weights are drawn anew: what an explanation must notice (Adebayo et al. 2018)."""

from typing import Literal

import torch
from torch import Tensor, nn

from lookaway.hashing import seed_from
from lookaway.models.classifier import Classifier
from lookaway.models.hooks import evaluating
from lookaway.models.own import classification_layer
from lookaway.models.randomness import seeded

Part = Literal["head", "all"]


def randomise(clf: Classifier, part: Part, images: Tensor, seed: int = 0) -> None:
    """Draw a network's weights anew, in place.

    A layer is initialised as its own class does it; a parameter that no layer initialises, such as
    a position embedding, has its numbers permuted. Statistics of batch norms are then those of the
    images, so that activations stay in range.

    Args:
        clf: the classifier, its batch norms not folded.
        part: ``head``, the linear layer whose output is the logits; or ``all``.
        images: (N, C, H, W) float pixels in [0, 1].
        seed: another seed, other weights.

    Raises:
        ModelError: for ``head``, the network does not end in one linear layer.
    """
    module = clf.module
    root = module.get_submodule(classification_layer(clf)) if part == "head" else module
    with torch.no_grad(), seeded(seed_from(seed, "randomised", part)):
        for each in root.modules():
            reset = getattr(each, "reset_parameters", None)
            if callable(reset):
                reset()
            else:
                for parameter in each.parameters(recurse=False):
                    order = torch.randperm(parameter.numel()).to(parameter.device)
                    parameter.copy_(parameter.flatten()[order].view_as(parameter))
    refit(clf, root, images)
    clf.forget()


def refit(clf: Classifier, part: nn.Module, images: Tensor) -> None:
    """Give the batch norms in a part of a network the statistics of images, in place.

    Images are (N, C, H, W) float pixels in [0, 1].
    """
    norms = [each for each in part.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    with evaluating(clf.module), torch.no_grad():
        try:
            for norm in norms:
                norm.momentum, norm.training = 1.0, True
            clf.module(clf.prepare(images))
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum, norm.training = momentum, False

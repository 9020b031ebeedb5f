"""Why two images are taken for the same person, or for two: maps of a comparison."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lookaway.errors import InputError
from lookaway.explainers.base import Explainer, Explanation
from lookaway.explainers.gradcam import GradCAM
from lookaway.models.checks import check_pixels
from lookaway.models.gallery import Embedder, Gallery


@dataclass(frozen=True)
class SimilarityMaps:
    """What speaks for and against a match, on both sides of each comparison.

    Attributes:
        cosines: (N,) of the two embeddings, in [−1, 1].
        probe: what on the probes makes them alike.
        reference: what on the references does.
        probe_unlike: what on the probes makes them differ.
        reference_unlike: what on the references does.
    """

    cosines: Tensor
    probe: Explanation
    reference: Explanation
    probe_unlike: Explanation
    reference_unlike: Explanation


def similarity_map(
    emb: Embedder,
    probe: Tensor,
    reference: Tensor,
    layers: str | nn.Module | Sequence[str | nn.Module] = "last",
    explainer: Explainer | None = None,
) -> SimilarityMaps:
    """Explain the cosine of each probe with its reference, seen from either image.

    A map of similarity explains the cosine, the other image's embedding held fixed; a map of
    dissimilarity explains the cosine's negative. With Grad-CAM, whose sum is linear in the score,
    the two are the parts of one sum above and below zero.

    Args:
        emb: the network; it is afterwards as it was.
        probe: (N, C, H, W) float pixels in [0, 1].
        reference: the same number of images.
        layers: see ``Explainer``.
        explainer: None: Grad-CAM.

    Raises:
        InputError: the images do not fit.
        ModelError: an embedding has the length zero.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> found = similarity_map(Embedder(net), torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16))
    >>> found.probe.maps["1"].shape
    torch.Size([2, 14, 14])
    """
    for images in (probe, reference):
        check_pixels(images, emb.network.channels, emb.name)
    if len(probe) != len(reference):
        raise InputError(f"each probe needs a reference; got {len(probe)} and {len(reference)}")
    with torch.no_grad():
        sides = [emb(images) for images in (probe, reference)]
    of_probe = match_maps(emb, probe, sides[1], layers, explainer)
    of_reference = match_maps(emb, reference, sides[0], layers, explainer)
    both = zip(of_probe, of_reference, strict=True)
    return SimilarityMaps(
        (sides[0] * sides[1]).sum(dim=1), *(each for kind in both for each in kind)
    )


def match_maps(
    emb: Embedder,
    images: Tensor,
    vectors: Tensor,
    layers: str | nn.Module | Sequence[str | nn.Module] = "last",
    explainer: Explainer | None = None,
) -> tuple[Explanation, Explanation]:
    """Explain the cosine of each image with a vector of its own: what speaks for it, and against.

    Args:
        emb: the network; it is afterwards as it was.
        images: (N, C, H, W) float pixels in [0, 1].
        vectors: (N, D) of any length above 0, such as templates.
        layers: see ``Explainer``.
        explainer: None: Grad-CAM.

    Raises:
        InputError: the images do not fit.
        ModelError: an embedding has the length zero, or a vector is the image's own embedding.
    """
    explain = GradCAM() if explainer is None else explainer
    own = torch.arange(len(images))
    alike, unlike = (explain(Gallery(emb, sign * vectors), images, own, layers) for sign in (1, -1))
    return alike, unlike

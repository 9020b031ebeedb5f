"""Eigen-CAM: a layer's activations along their first principal axis; it knows no class.

Muhammad and Yeasin 2020, eq. 3.
"""

import torch
from torch import Tensor

from lookaway.explainers.cam import CAM


class EigenCAM(CAM):
    """ReLU(A v), v the first principal axis of the channels of A, centred over its places.

    An axis has no direction of its own: the map's larger end is its positive one (Chung and Ying
    2025, eq. 13). The map is the same for every class, so it tells whether a map moves also where
    no class changes.
    """

    name = "eigencam"
    gradients = "none"

    def prepared(self, activations: Tensor) -> Tensor:
        """Less their mean over space; see ``CAM.prepared``."""
        return activations - activations.mean(dim=(2, 3), keepdim=True)

    def weights(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """(N, C), of length 1; see ``CAM.weights``."""
        places = activations.flatten(2).double()
        channels, count = places.shape[1:]
        if channels <= count:
            axis = _first_axis(places @ places.mT)
        else:
            axis = (places @ _first_axis(places.mT @ places)[:, :, None])[:, :, 0]
            axis = axis / axis.norm(dim=1, keepdim=True).clamp_min(torch.finfo(axis.dtype).tiny)
        along = (axis[:, None] @ places)[:, 0]
        turned = -along.amin(dim=1, keepdim=True) > along.amax(dim=1, keepdim=True)
        return torch.where(turned, -axis, axis).float()


def _first_axis(products: Tensor) -> Tensor:
    """The eigenvector (N, K) of the largest eigenvalue of symmetric matrices (N, K, K)."""
    vectors: Tensor = torch.linalg.eigh(products).eigenvectors
    return vectors[:, :, -1]

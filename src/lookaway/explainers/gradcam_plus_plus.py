"""Grad-CAM++: a channel's weight is a weighted sum over space of its positive gradients.

Chattopadhyay et al. 2018, eqs. 7 and 19, for a score that is the exponential of the logit, as
there: its higher derivatives are powers of the logit's gradient.
"""

import torch
from torch import Tensor

from lookaway.explainers.cam import CAM


class GradCAMPlusPlus(CAM):
    """ReLU(Σ_c w_c A_c), w_c = Σ_ij α_cij · ReLU(g_cij), α_cij = g² / (2 g² + g³ Σ_ab A_cab).

    g is ∂logit/∂A. α is 0 where g is, and where its denominator is. Other implementations add 1e-6
    to the denominator: small gradients then weigh less than the formula says.
    """

    name = "gradcam++"

    def weights(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """(N, C); see ``CAM.weights``."""
        # The fraction reduced by g², which small gradients would make 0.
        whole = activations.sum(dim=(2, 3), keepdim=True, dtype=torch.float64).float()
        below = 2.0 + gradients * whole
        alpha = torch.where(below != 0, 1.0 / below, 0.0)
        return (alpha * gradients.relu()).sum(dim=(2, 3))

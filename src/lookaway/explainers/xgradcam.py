"""XGrad-CAM: gradients averaged by the activations (Fu et al. 2020, eq. 8)."""

import torch
from torch import Tensor

from lookaway.explainers.cam import CAM


class XGradCAM(CAM):
    """ReLU(Σ_c w_c A_c), w_c = Σ_ij A_cij g_cij / Σ_ij A_cij, g = ∂logit/∂A.

    A channel whose activations add up to 0 has no weight. Other implementations add 1e-7 to the
    sum.
    """

    name = "xgradcam"
    undoes_scale = True

    def weights(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """(N, C); see ``CAM.weights``."""
        # What comes out of a norm has both signs, and its sum may be rounding in float32.
        whole = activations.sum(dim=(2, 3), dtype=torch.float64)
        weighted = (activations * gradients).sum(dim=(2, 3), dtype=torch.float64)
        return torch.where(whole != 0, weighted / whole, 0.0).float()

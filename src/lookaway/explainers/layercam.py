"""Layer-CAM: activations times positive gradients at each place (Jiang et al. 2021, eqs. 5, 6)."""

from torch import Tensor

from lookaway.explainers.cam import CAM


class LayerCAM(CAM):
    """ReLU(Σ_c ReLU(g_c) ⊙ A_c), g = ∂logit/∂A at each place."""

    name = "layercam"

    def weights(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """(N, C, h, w): the positive gradients; see ``CAM.weights``."""
        return gradients.relu()

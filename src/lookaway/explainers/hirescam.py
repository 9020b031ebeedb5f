"""HiResCAM: activations times gradients, place by place (Draelos and Carin 2020, eq. 3)."""

from torch import Tensor

from lookaway.explainers.cam import CAM


class HiResCAM(CAM):
    """ReLU(Σ_c g_c ⊙ A_c), g = ∂logit/∂A at each place."""

    name = "hirescam"
    undoes_scale = True

    def weights(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """(N, C, h, w): the gradients themselves; see ``CAM.weights``."""
        return gradients

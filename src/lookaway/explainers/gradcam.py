"""Grad-CAM: a channel's weight is the mean over space of ∂logit/∂A_c.

Selvaraju et al. 2017, eqs. 1 and 2.
"""

from torch import Tensor

from lookaway.explainers.cam import CAM


class GradCAM(CAM):
    """ReLU(Σ_c w_c A_c), w_c the mean over space of ∂logit/∂A_c; on logits, never probabilities.

    One map for each image and layer, keyed by layer name.
    """

    name = "gradcam"
    gradients = "pooled"
    undoes_scale = True

    def weights(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """The pooled gradients themselves."""
        return gradients

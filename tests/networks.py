"""Networks as timm has them, but small."""

from typing import Any

from timm.models.vgg import VGG
from torch import nn

# timm's by the number of their layers, with few channels; "M" halves the maps.
_VGG = {
    11: [8, "M", 16, "M", 32, 32, "M", 32, 32, "M", 32, 32, "M"],
    16: [8, 8, "M", 16, 16, "M", 32, 32, 32, "M", 32, 32, 32, "M", 32, 32, 32, "M"],
}


def narrow_vgg(layers: int, num_classes: int, **options: Any) -> nn.Module:
    """timm's VGG11 or VGG16, layer for layer, with a sixteenth of the channels or fewer."""
    return VGG(_VGG[layers], num_classes=num_classes, mlp_ratio=1 / 64, **options)

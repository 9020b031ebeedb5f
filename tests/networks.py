"""Networks as timm has them, but small."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import timm
from timm.models.mlp_mixer import MlpMixer
from timm.models.vgg import VGG
from torch import Tensor, nn

from lookaway.models.randomness import seeded

# timm's by the number of their layers, with few channels; "M" halves the maps.
_VGG = {
    11: [8, "M", 16, "M", 32, 32, "M", 32, 32, "M", 32, 32, "M"],
    16: [8, 8, "M", 16, 16, "M", 32, 32, 32, "M", 32, 32, 32, "M", 32, 32, 32, "M"],
}


def narrow_vgg(layers: int, num_classes: int, **options: Any) -> nn.Module:
    """timm's VGG11 or VGG16, layer for layer, with a sixteenth of the channels or fewer."""
    return VGG(_VGG[layers], num_classes=num_classes, mlp_ratio=1 / 64, **options)


@dataclass(frozen=True)
class OfTokens:
    """A small network whose layers give tokens, or maps with channels last.

    Attributes:
        make: it, with random weights.
        size: of its images, px.
        last: the layer that ``last`` must name.
        maps: from what that layer gives to (N, C, h, w), by hand.
    """

    make: Callable[[], nn.Module]
    size: int
    last: str
    maps: Callable[[Tensor], Tensor]


def _timms(name: str, **smaller: Any) -> Callable[[], nn.Module]:
    return lambda: _drawn(timm.create_model, name, pretrained=False, num_classes=4, **smaller)


def _drawn(make: Callable[..., nn.Module], *args: Any, **options: Any) -> nn.Module:
    with seeded(0):
        return make(*args, **options)


def _tokens(before: int) -> Callable[[Tensor], Tensor]:
    """From (N, before + 3 · 3, C)."""
    return lambda x: x[:, before:].transpose(1, 2).reshape(x.shape[0], x.shape[2], 3, 3)


def _channels_last(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


_NARROW = {"embed_dim": 24, "depth": 2, "num_heads": 2}
OF_TOKENS = {
    "class token": OfTokens(
        _timms("test_vit", img_size=48, depth=2), 48, "blocks.1.norm1", _tokens(1)
    ),
    "distilled": OfTokens(
        _timms("deit_tiny_distilled_patch16_224", img_size=48, **_NARROW),
        *(48, "blocks.1.norm1", _tokens(2)),
    ),
    "registers": OfTokens(
        _timms("vit_small_patch14_reg4_dinov2", img_size=42, **_NARROW),
        *(42, "blocks.1.norm1", _tokens(5)),
    ),
    "averaged": OfTokens(_timms("test_vit3", img_size=48, depth=2), 48, "norm", _tokens(1)),
    "class token at the end": OfTokens(
        _timms("cait_xxs24_224", img_size=48, **_NARROW),
        *(48, "blocks_token_only.1.norm1", _tokens(1)),
    ),
    "across channels": OfTokens(
        _timms("xcit_nano_12_p16_224", img_size=48, **_NARROW),
        *(48, "cls_attn_blocks.1.norm1", _tokens(1)),
    ),
    "mixer": OfTokens(
        lambda: MlpMixer(4, img_size=48, patch_size=16, embed_dim=16, num_blocks=2),
        *(48, "norm", _tokens(0)),
    ),
    "windows": OfTokens(
        _timms(
            "swin_tiny_patch4_window7_224",
            img_size=32,
            embed_dim=16,
            depths=(1, 2),
            num_heads=(1, 2),
            window_size=4,
        ),
        *(32, "norm", _channels_last),
    ),
    "no attention": OfTokens(_timms("test_mambaout"), 64, "stages.3", _channels_last),
}

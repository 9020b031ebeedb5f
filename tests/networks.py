"""Networks that tests share: timm's families at a small input size, small ones, tiny ones."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.models.mlp_mixer import MlpMixer
from timm.models.vgg import VGG
from torch import Tensor, nn

from lookaway.models.classifier import Classifier
from lookaway.models.randomness import seeded
from oracles import enliven, pixels

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


NUM_CLASSES = 7
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _global_average(maps: Tensor) -> Tensor:
    return maps.mean(dim=(2, 3))


def _max_pool(maps: Tensor) -> Tensor:
    return F.max_pool2d(maps, 2)


@dataclass(frozen=True)
class Family:
    """A family of networks.

    Attributes:
        name: of the architecture.
        clf: random weights, norm layers that do something, in-place activations as they come.
        images: three images of the size that the network takes.
        last: the name that ``last`` must give.
        pool: from the output of ``last`` to what the head gets.
        head: the module that gets it.
    """

    name: str
    clf: Classifier
    images: Tensor
    last: str
    pool: Callable[[Tensor], Tensor]
    head: str


FAMILIES = {
    "resnet50": (64, "layer4.2", _global_average, "fc"),
    "vgg16": (64, "features.29", _max_pool, "pre_logits"),
    "inception_v3": (128, "Mixed_7c", _global_average, "fc"),
    "legacy_xception": (96, "act4", _global_average, "fc"),
    "densenet121": (64, "features.norm5", _global_average, "classifier"),
    "convnext_atto": (64, "stages.3", _global_average, "head.norm"),
    "efficientnet_b0": (64, "bn2", _global_average, "classifier"),
}


def family_of(name: str) -> Family:
    """The family of a name in ``FAMILIES``."""
    size, last, pool, head = FAMILIES[name]
    network = (
        narrow_vgg(16, NUM_CLASSES)
        if name == "vgg16"
        else timm.create_model(name, pretrained=False, num_classes=NUM_CLASSES)
    )
    network = enliven(network.eval(), seed=1 if name == "resnet50" else 0)  # most maps are alive
    clf = Classifier(network, mean=MEAN, std=STD, input_size=size)
    return Family(name, clf, pixels(3, 3, size, size, seed=1), last, pool, head)


class TinyNet(nn.Module):
    """Two convolutions with in-place activations; logits depend smoothly on every pixel."""

    def __init__(self, num_classes: int = 4, *, inplace: bool = True) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.SiLU(inplace=inplace),
            nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=inplace),
        )
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.drop(self.trunk(x).mean(dim=(2, 3))))


class OnPaper(nn.Module):
    """Two layers whose numbers fit on paper.

    Channel 0 is max(0, red − green), channel 1 is blue; the logits are 2·m₀ − m₁ and −m₀ + 3·m₁,
    m being the channels' means over space.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1, bias=False)
        self.act = nn.ReLU(inplace=True)
        self.fc = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            rows = torch.tensor([[1.0, -1.0, 0.0], [0.0, 0.0, 1.0]])
            self.conv.weight.copy_(rows[:, :, None, None])
            self.fc.weight.copy_(torch.tensor([[2.0, -1.0], [-1.0, 3.0]]))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.act(self.conv(x)).mean(dim=(2, 3)))

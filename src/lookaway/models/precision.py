"""Networks that compute in bfloat16, for a study's own copies."""

import torch
from torch import nn

from lookaway.models.classifier import Classifier


def to_bfloat16(clf: Classifier) -> None:
    """Let a network's convolutions and fully connected layers compute in bfloat16, in place.

    Their weights are cast once; norms and whatever else the network holds keep their precision,
    under autocast. Logits, losses and maps are float32 as ever.

    Args:
        clf: a classifier whose network may be changed, its parameters frozen.
    """
    for part in clf.module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.to(torch.bfloat16)
    clf.mixed = torch.bfloat16


def fast_bfloat16(device: str) -> bool:
    """Whether a device computes in bfloat16 faster than in float32.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:0``.
    """
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported())

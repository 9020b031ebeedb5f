"""Convolutions of 1 × 1 pixels by oneDNN, however many threads there are."""

from torch import nn


def by_onednn(module: nn.Module) -> int:
    """Have PyTorch compute a network's 1 × 1 convolutions by oneDNN on a processor, in place.

    With one thread PyTorch multiplies matrices instead where a batch has fewer than 16 images,
    which takes a tenth to half longer and rounds otherwise than with several threads. A dilation,
    which a kernel of one pixel does not notice, keeps it from that (``use_mkldnn`` in PyTorch's
    ``aten/src/ATen/native/Convolution.cpp``).

    Returns:
        How many there are.

    >>> conv = nn.Conv2d(3, 8, 1)
    >>> by_onednn(conv), conv.dilation
    (1, (2, 2))
    """
    found = [
        conv
        for conv in module.modules()
        if isinstance(conv, nn.Conv2d) and conv.kernel_size == (1, 1) and conv.dilation == (1, 1)
    ]
    for conv in found:
        conv.dilation = (2, 2)
    return len(found)

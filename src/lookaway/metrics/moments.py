"""Count, mean and squared deviations: what means and standard deviations of parts need."""

import torch
from torch import Tensor


def merged(parts: Tensor) -> Tensor:
    """The moments of several parts as those of all of them (Chan et al. 1983).

    Args:
        parts: (P, L, 3) of each part and column the count, the mean and the sum of the squared
            deviations from it.

    Returns:
        (L, 3) of all.

    >>> one, two = moments(torch.tensor([[1.0, 3.0]])), moments(torch.tensor([[5.0]]))
    >>> merged(torch.stack([one, two])).tolist()
    [[3.0, 3.0, 8.0]]
    """
    counts, means, squares = parts.unbind(-1)
    total = counts.sum(dim=0)
    mean = (counts * means).sum(dim=0) / total.clamp(min=1)
    return torch.stack([total, mean, (squares + counts * (means - mean) ** 2).sum(dim=0)], dim=-1)


def moments(values: Tensor, used: Tensor | None = None) -> Tensor:
    """The count, the mean and the sum of squared deviations of each row.

    Args:
        values: (L, N).
        used: (L, N) bool, which of them count; None: all.

    Returns:
        (L, 3) float64; zeros where nothing counts.
    """
    used = torch.ones_like(values, dtype=torch.bool) if used is None else used
    values = values.double()
    counts = used.sum(dim=1).double()
    means = (values * used).sum(dim=1) / counts.clamp(min=1)
    squares = (((values - means[:, None]) * used) ** 2).sum(dim=1)
    return torch.stack([counts, means, squares], dim=1)

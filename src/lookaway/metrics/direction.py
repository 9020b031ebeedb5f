"""Where participation went: numbers from pairs of heatmaps, and from single ones."""

import torch
from torch import Tensor

from lookaway.errors import InputError


def lost_and_gained(clean: Tensor, attacked: Tensor) -> tuple[Tensor, Tensor]:
    """The participation that left its place, and that came to a new one.

    Lost is Σ max(clean − attacked, 0) ÷ Σ clean, gained Σ max(attacked − clean, 0) ÷ Σ clean.

    Args:
        clean: (N, H, W) float heatmaps, at least 0.
        attacked: the same shape.

    Returns:
        (N,) float64 each, shares of the clean heatmap's mass: lost in [0, 1], gained at least 0;
        NaN where the clean heatmap is all zeros.

    >>> lost_and_gained(torch.tensor([[[1.0, 1.0]]]), torch.tensor([[[1.0, 0.0]]]))
    (tensor([0.5000], dtype=torch.float64), tensor([0.], dtype=torch.float64))
    """
    clean, attacked = clean.double().flatten(1), attacked.double().flatten(1)
    mass = _mass(clean)
    change = attacked - clean
    return (-change).clamp(min=0).sum(dim=1) / mass, change.clamp(min=0).sum(dim=1) / mass


def centre(heat: Tensor) -> Tensor:
    """The centre of participation.

    Args:
        heat: (N, H, W) float heatmaps, at least 0.

    Returns:
        (N, 2) float64: x from the left and y from the top, as fractions of width and height; NaN
        where a heatmap is all zeros.

    >>> centre(torch.tensor([[[0.0, 0.0, 0.0, 1.0]]]))
    tensor([[0.8750, 0.5000]], dtype=torch.float64)
    """
    heat = heat.double()
    mass = _mass(heat.flatten(1))
    places = [
        (torch.arange(size, dtype=torch.float64, device=heat.device) + 0.5) / size
        for size in heat.shape[1:]
    ]
    x = (heat.sum(dim=1) * places[1]).sum(dim=1) / mass
    y = (heat.sum(dim=2) * places[0]).sum(dim=1) / mass
    return torch.stack([x, y], dim=1)


def area(heat: Tensor) -> Tensor:
    """The share of the image where participation is at least half of its maximum.

    Args:
        heat: (N, H, W) float heatmaps, at least 0.

    Returns:
        (N,) float64 in (0, 1]; NaN where a heatmap is all zeros.
    """
    flat = heat.flatten(1)
    peak = flat.amax(dim=1, keepdim=True)
    share = (flat >= peak / 2).double().mean(dim=1)
    return torch.where(peak[:, 0] > 0, share, torch.nan)


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's rank correlation of the cells of two maps; equal cells share their mean rank.

    Args:
        a: (N, h, w) float maps.
        b: the same shape.

    Returns:
        (N,) float64 in [−1, 1]: 1 the same order of cells, −1 the reverse; NaN where a map is
        constant, so that its cells have no order.
    """
    ranks = [_ranks(maps.flatten(1).double()) for maps in (a, b)]
    centred = [rank - rank.mean(dim=1, keepdim=True) for rank in ranks]
    norms = [rank.square().sum(dim=1).sqrt() for rank in centred]
    product = norms[0] * norms[1]
    correlation = (centred[0] * centred[1]).sum(dim=1) / product
    return torch.where(product > 0, correlation.clamp(-1.0, 1.0), torch.nan)


def top_overlap(a: Tensor, b: Tensor, share: float = 0.1) -> Tensor:
    """The share of the highest cells that two maps have in common (Ghorbani et al. 2019).

    Args:
        a: (N, h, w) float maps; of equal cells the first in reading order count as higher.
        b: the same shape.
        share: of the cells that count as highest; at least one does.

    Returns:
        (N,) float64 in [0, 1].

    Raises:
        InputError: the share is not in (0, 1].

    >>> top_overlap(torch.arange(20.0).view(1, 4, 5), torch.arange(20.0).view(1, 4, 5))
    tensor([1.], dtype=torch.float64)
    """
    if not 0 < share <= 1:
        raise InputError(f"share must be above 0 and at most 1; got {share}")
    a, b = a.flatten(1), b.flatten(1)
    count = max(1, round(share * a.shape[1]))
    chosen = []
    for maps in (a, b):
        order = maps.argsort(dim=1, descending=True, stable=True)[:, :count]
        mask = torch.zeros_like(maps, dtype=torch.bool)
        chosen.append(mask.scatter_(1, order, value=True))
    return (chosen[0] & chosen[1]).sum(dim=1).double() / count


def _mass(flat: Tensor) -> Tensor:
    """The sum of each row; NaN where it is 0, for then nothing can be a share of it."""
    mass = flat.sum(dim=1)
    return torch.where(mass > 0, mass, torch.nan)


def _ranks(values: Tensor) -> Tensor:
    """Ranks in each row, (N, C); equal values share the mean of theirs."""
    ordered, order = values.sort(dim=1)
    places = torch.arange(values.shape[1], device=values.device).expand_as(order)
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = torch.where(new, places, 0).cummax(dim=1).values
    ends = torch.ones_like(new)
    ends[:, :-1] = new[:, 1:]
    last = torch.where(ends, places, values.shape[1]).flip(1).cummin(dim=1).values.flip(1)
    ranks = torch.empty_like(values)
    return ranks.scatter_(1, order, (first + last).double() / 2)

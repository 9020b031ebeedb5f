"""Clean and attacked maps compared where they are, all of one size together."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lookaway.measured import Key, MeasureSettings
from lookaway.metrics.map_nissim import nissim_of_maps
from lookaway.metrics.map_statistics import of_last
from lookaway.metrics.transport import moved
from lookaway.seen import Seen

_CELLS = 2**23  # of maps that are compared together


class _Item(NamedTuple):
    """An explainer, a layer and the place of a level: what has maps (P · N, h, w) of one size."""

    method: str
    layer: str
    level: int


def compared(clean: Seen, attacked: Sequence[Seen], settings: MeasureSettings) -> dict[Key, Tensor]:
    """What clean and attacked maps are apart, each pair of explained classes compared once.

    A number does not depend on what is compared beside it.

    Args:
        clean: N images.
        attacked: the same ones at each of E levels.
        settings: which layers, and how.

    Returns:
        (E, N) of each explainer, policy and layer: ``nissim``, those of ``transport.NAMES`` and, of
        the last layer, of ``map_statistics.of_last``.
    """
    pairs = _Pairs(clean, attacked, settings)
    found: dict[str, dict[_Item, Tensor]] = defaultdict(dict)
    for items in pairs.together():
        for name, values in pairs.numbers(items).items():
            found[name] |= zip(items, values, strict=True)
    levels = range(len(attacked))
    return {
        Key(name, method, policy, layer): torch.stack(
            [of[_Item(method, layer, level)][settings.policies.index(policy)] for level in levels]
        )
        for method, policy in clean.views
        for layer in settings.layers
        for name, of in found.items()
        if _Item(method, layer, 0) in of
    }


class _Pairs:
    """The pairs of maps of N images at E levels, by explainer, layer and P policies."""

    def __init__(self, clean: Seen, attacked: Sequence[Seen], settings: MeasureSettings) -> None:
        self._clean, self._attacked, self._settings = clean, attacked, settings
        self._methods = list(dict.fromkeys(method for method, _ in clean.views))
        # Of each explainer and level the first policy with the same two classes, (P, N).
        self._first = {
            (method, level): _first_alike(self._classes(clean, method), self._classes(seen, method))
            for method in self._methods
            for level, seen in enumerate(attacked)
        }
        new = torch.stack([self._is_new(first) for first in self._first.values()])
        counts: list[int] = new.sum(dim=(1, 2)).tolist()
        self._counts = dict(zip(self._first, counts, strict=True))

    def together(self) -> Iterator[list[_Item]]:
        """What is compared together: maps of one size, the last layer's by themselves."""
        sizes: dict[tuple[bool, torch.Size], list[_Item]] = defaultdict(list)
        last = self._settings.last
        for method in self._methods:
            maps = self._clean.views[method, self._settings.policies[0]].maps
            for layer in self._settings.layers:
                for level in range(len(self._attacked)):
                    sizes[layer == last, maps[layer].shape].append(_Item(method, layer, level))
        for (_, shape), items in sizes.items():
            at_once = max(1, _CELLS // (len(self._settings.policies) * shape.numel()))
            yield from (items[start : start + at_once] for start in range(0, len(items), at_once))

    def numbers(self, items: Sequence[_Item]) -> dict[str, Tensor]:
        """What is measured of the maps of some items, all of one size: (I, P, N) each."""
        first = torch.stack([self._first[item.method, item.level] for item in items])
        new = self._is_new(first)
        # Those that are to be compared come first; how many there are is known already.
        count = sum(self._counts[item.method, item.level] for item in items)
        order = new.flatten().logical_not().to(torch.int8).argsort(stable=True)[:count]
        clean = torch.cat([self._maps(self._clean, item) for item in items])[order]
        changed = torch.cat([self._maps(self._attacked[item.level], item) for item in items])[order]
        settings = self._settings
        found = {"nissim": nissim_of_maps(clean, changed, settings.grid, settings.ssim)}
        if items[0].layer == settings.last:
            found |= of_last((clean, changed), found["nissim"], *settings.of_last)
        found |= moved(clean, changed)
        place = new.flatten().cumsum(0).sub(1).view(new.shape)
        where = place.gather(1, first)
        return {name: values[where] for name, values in found.items()}

    def _classes(self, seen: Seen, method: str) -> Tensor:
        return torch.stack(
            [seen.views[method, policy].classes for policy in self._settings.policies]
        )

    def _maps(self, seen: Seen, item: _Item) -> Tensor:
        views = [seen.views[item.method, policy] for policy in self._settings.policies]
        return torch.cat([view.maps[item.layer] for view in views])

    @staticmethod
    def _is_new(first: Tensor) -> Tensor:
        """Whether no policy before has the same two classes, (…, P, N)."""
        policies = torch.arange(first.shape[-2], device=first.device)
        return first == policies[:, None]


def _first_alike(before: Tensor, after: Tensor) -> Tensor:
    """For each policy the first one with the same classes, before and after: all (P, N)."""
    same = (before[:, None] == before[None]) & (after[:, None] == after[None])
    return same.to(torch.int8).argmax(dim=1)

"""What of a cell is measured: all that a study asks for, or what is new."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lookaway.perturbation import Source


class Unit(NamedTuple):
    """The least that a run stores by itself: one perturbation, ε, explainer and layer of a cell."""

    attack: str
    source: str | None
    epsilon: float
    method: str
    layer: str

    @property
    def met(self) -> Source:
        """The perturbation."""
        return self.attack, self.source


@dataclass(frozen=True)
class Part:
    """Some of what is measured of a cell: all of these perturbations, ε, explainers and layers.

    Attributes:
        met: perturbations, by attack and source, in order.
        shaped: names of controls with an attack's own shape, which only the last layer has.
        epsilons: the levels.
        methods: names of explainers.
        layers: names.
    """

    met: tuple[Source, ...]
    shaped: tuple[str, ...]
    epsilons: tuple[float, ...]
    methods: tuple[str, ...]
    layers: tuple[str, ...]

    def units(self, last: str) -> list[Unit]:
        """All that it measures, ``last`` the last layer."""
        every = [(*source, self.layers) for source in self.met]
        every += [(name, None, (last,)) for name in self.shaped if last in self.layers]
        return [
            Unit(attack, source, epsilon, method, layer)
            for attack, source, layers in every
            for epsilon in self.epsilons
            for method in self.methods
            for layer in layers
        ]


def parts_of(units: Iterable[Unit], shaped: Sequence[str]) -> tuple[Part, ...]:
    """Parts that together measure units, and little else; mostly one.

    Args:
        units: in the order of the study.
        shaped: which of their attacks are controls with an attack's own shape.

    >>> at = [Unit("fgsm", "m", e, "gradcam", "last") for e in (0.1, 0.2)]
    >>> [(part.met, part.epsilons) for part in parts_of(at, [])]
    [((('fgsm', 'm'),), (0.1, 0.2))]
    """
    views: dict[tuple[Source, float], dict[tuple[str, str], None]] = defaultdict(dict)
    for unit in units:
        views[unit.met, unit.epsilon][unit.method, unit.layer] = None
    levels: dict[tuple[Source, tuple[tuple[str, str], ...]], list[float]] = defaultdict(list)
    for (source, epsilon), seen in views.items():
        levels[source, tuple(seen)].append(epsilon)
    alike: dict[tuple[tuple[float, ...], tuple[tuple[str, str], ...]], list[Source]]
    alike = defaultdict(list)
    for (source, seen_by), epsilons in levels.items():
        alike[tuple(epsilons), seen_by].append(source)
    found: list[Part] = []
    for (epsilons_, seen_by), sources in alike.items():
        methods = tuple(dict.fromkeys(method for method, _ in seen_by))
        layers = tuple(dict.fromkeys(layer for _, layer in seen_by))
        names = tuple(name for name, _ in sources if name in shaped)
        met = tuple(source for source in sources if source[0] not in shaped)
        found.append(Part(met, names, epsilons_, methods, layers))
    return tuple(_together(found))


def _together(parts: Sequence[Part]) -> list[Part]:
    """Controls that only the last layer has measured beside what more layers have."""
    whole = [part for part in parts if part.met]
    for part in parts:
        if not part.shaped or part in whole:
            continue
        for place, other in enumerate(whole):
            same = (part.epsilons, part.methods) == (other.epsilons, other.methods)
            if same and {*part.layers} <= {*other.layers}:
                shaped = (*other.shaped, *part.shaped)
                whole[place] = Part(other.met, shaped, other.epsilons, other.methods, other.layers)
                break
        else:
            whole.append(part)
    return whole

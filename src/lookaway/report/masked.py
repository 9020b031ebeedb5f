"""Is an attack broken? What hides behind a network that seems robust, told in sentences.

An attack with more room, or more steps, can do all that one with less can; and one that follows the
gradient is no weaker than one that does not know it, unless the gradient does not show the way
(Athalye et al. 2018; Carlini et al. 2019).
"""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any, NamedTuple

from lookaway.analysis.frames import Frames
from lookaway.controls import SHIFTED, Control
from lookaway.perturbation import NOISE
from lookaway.report.wording import isolated
from lookaway.written import percent

_LEAST = 0.02  # of the images, and
_IMAGES = 3  # images more that are right, with intervals that are apart
_SO = (
    "The network's gradients may be masked, so its robustness under this attack, and its shift, "
    "may be too small; try other attacks, with more steps or without gradients (Square)"
)


class _Right(NamedTuple):
    """The share of images that are right under an attack, at one ε."""

    share: float
    low: float
    high: float
    n: int


_Curve = Mapping[float, _Right]


def masked(frames: Frames) -> list[str]:
    """The signs of masked gradients, of each model and gradient attack.

    Accuracy that rises with ε; and what should be weaker and is stronger: the same attack with
    fewer steps, an attack without gradients, another model's perturbations, noise, its own change
    in other places.
    """
    columns = ("variant", "model", "attack", "source", "epsilon", "accuracy", "low", "high", "n")
    curves: dict[tuple[Any, ...], dict[float, _Right]] = {}
    known = frames.accuracy.drop_nulls(["accuracy", "low", "high"])
    for *setting, epsilon, share, low, high, n in known.select(columns).iter_rows():
        curves.setdefault(tuple(setting), {})[epsilon] = _Right(share, low, high, n)
    lines = []
    for (variant, model, attack, source), curve in curves.items():
        if source != model or attack in frames.plan.gradient_free:
            continue
        fewer, blind = _with_fewer_steps(frames, attack), frames.plan.gradient_free
        weaker: dict[tuple[str, str | None], str] = {
            **{(name, model): f"{name}, which takes fewer steps" for name in fewer},
            **{(name, model): f"{name}, which knows no gradient" for name in blind},
            **{
                (attack, other): f"perturbations of {isolated(other)}, which does not know it"
                for other in frames.sources
                if other != model
            },
            (NOISE, None): "noise of the same size",
            (Control(SHIFTED, 1, attack).together, None): "its own change in other places",
        }
        found = list(_rise(curve))
        for (name, maker), called in weaker.items():
            found += _beaten(curve, curves.get((variant, model, name, maker), {}), called)
        where = f" ({variant})" if frames.several_variants else ""
        lines += [f"{model}{where}, {attack} white-box: {told}. {_SO}" for told in found]
    return lines


def _with_fewer_steps(frames: Frames, attack: str) -> list[str]:
    """The study's attacks that differ from one in their fewer steps alone."""

    def parts(name: str) -> tuple[Any, Any]:
        given = {key: value for key, value in specs[name].options.items() if key != "steps"}
        return specs[name].options["steps"], (specs[name].library, specs[name].kind, given)

    specs = {spec.name: spec for spec in frames.settings.attacks if "steps" in spec.options}
    if attack not in specs:
        return []
    steps, same = parts(attack)
    return [name for name in specs if parts(name)[1] == same and parts(name)[0] < steps]


def _rise(curve: _Curve) -> Iterator[str]:
    """Where accuracy rises most, from an ε to a larger one."""
    pairs = [
        (low, high)
        for low, high in combinations(sorted(curve), 2)
        if _clearly_more(curve[high], curve[low])
    ]
    if pairs:
        low, high = max(pairs, key=lambda pair: curve[pair[1]].share - curve[pair[0]].share)
        yield (
            f"accuracy rises from {percent(curve[low].share, 1)} at ε = {low:g} to "
            f"{percent(curve[high].share, 1)} at ε = {high:g}"
        )


def _beaten(curve: _Curve, other: _Curve, called: str) -> Iterator[str]:
    """Where another perturbation leaves far fewer images right."""
    levels = [at for at in curve if at in other and _clearly_more(curve[at], other[at])]
    if levels:
        most = max(levels, key=lambda at: curve[at].share - other[at].share)
        yield (
            f"at ε = {most:g} accuracy is {percent(curve[most].share, 1)}, and "
            f"{percent(other[most].share, 1)} under {called}"
        )


def _clearly_more(first: _Right, second: _Right) -> bool:
    """Whether clearly more images are right in the first than in the second."""
    least = max(_LEAST, _IMAGES / max(1, first.n))
    return first.low > second.high and first.share - second.share >= least

"""How often 95 % intervals hold the truth, as Markdown tables: ``python docs/coverage.py``.

Made-up studies whose truth is known: with fewer than 20 classes other images of the same classes
each time, with 20 or more other classes too. ``before``: percentiles of the bootstrap, as lookaway
had them for all numbers.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from lookaway.analysis.auroc import auroc
from lookaway.analysis.ends import SHARE, Ends
from lookaway.analysis.intervals import Bootstrap
from lookaway.analysis.proportions import proportion_ends

SIZES = [(1, 10), (1, 30), (10, 3), (1, 80), (10, 8), (20, 4), (10, 30), (30, 10)]
SHARES = [0.5, 0.8, 0.9, 0.97, 0.99]
TOGETHER = [0.0, 0.1, 0.3]  # correlation of two images of a class, from 20 classes on
AUROCS = [0.5, 0.7, 0.9, 0.97, 0.99]
RESAMPLES = 2000
_Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


class Held(NamedTuple):
    """Of 100 studies, how many intervals hold the truth.

    Attributes:
        what: was measured.
        classes: of the study.
        images: in all.
        before: by percentiles of the bootstrap.
        now: as lookaway makes them.
        wider: how much wider they are now, on average.
    """

    what: str
    classes: int
    images: int
    before: float
    now: float
    wider: float


def _dead(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    dead = random.random(shape) < 1 / 12
    return np.where(dead, 0.49, random.beta(2, 8, shape) / 10)


# Made-up NISSIM of images, and its mean.
NISSIM: dict[str, tuple[_Draw, float]] = {
    "symmetric": (lambda random, shape: random.beta(8, 8, shape) / 2, 0.25),
    "skewed, gamma(0.35)": (lambda random, shape: random.gamma(0.35, 0.1, shape), 0.035),
    "one map in 12 dead": (_dead, 0.49 / 12 + 0.02 * 11 / 12),
    "long tail, lognormal(1.6)": (
        lambda random, shape: 0.01 * np.exp(1.6 * random.normal(size=shape)),
        0.01 * float(np.exp(1.28)),
    ),
}


def proportions(
    share: float, together: float, classes: int, per_class: int, studies: int = 2000
) -> Held:
    """A share of images, such as accuracy.

    Args:
        share: the true one.
        together: correlation of two images of a class; 0 with fewer than 20 classes.
        classes: of each study.
        per_class: images.
        studies: how many.
    """
    random = np.random.default_rng(0)
    shares = np.full((classes, studies), share)
    if together and classes >= 20:
        others = 1 / together - 1  # a beta distribution's parameters add up to this
        shares = random.beta(share * others, (1 - share) * others, shares.shape)
    shape = classes * per_class, studies
    right = (random.random(shape) < np.repeat(shares, per_class, axis=0)).astype(float)
    bootstrap, ones = _bootstrap(classes, per_class), np.ones(shape)
    now = proportion_ends(bootstrap, right, ones)
    return _held(f"{share:g}", bootstrap, right, now, share)


def means(name: str, classes: int, per_class: int, studies: int = 2000) -> Held:
    """The mean of a NISSIM.

    Args:
        name: of a distribution in ``NISSIM``.
        classes: of each study; some move more than others.
        per_class: images.
        studies: how many.
    """
    draw, mean = NISSIM[name]
    random = np.random.default_rng(0)
    bootstrap = _bootstrap(classes, per_class)
    shape = classes * per_class, studies
    if bootstrap.kind == "classes":
        effects = random.gamma(8, 1 / 8, (classes, studies))
    else:
        effects = np.linspace(0.7, 1.3, classes)[:, None] if classes > 1 else np.ones((1, 1))
    values = draw(random, shape) * np.repeat(effects, per_class, axis=0)
    now = bootstrap.intervals(values, np.ones(shape))
    return _held(name, bootstrap, values, now, mean)


def pairs(kind: str, classes: int, per_class: int, studies: int = 2000) -> Held:
    """The shuffled level: a mean over pairs of images in one cycle.

    Args:
        kind: ``sum``, a number of one image added to that of the other; or ``distance`` of two
            places.
        classes: of each study.
        per_class: images.
        studies: how many.
    """
    random = np.random.default_rng(0)
    bootstrap, size = _bootstrap(classes, per_class), classes * per_class
    order = random.permutation(size)
    partners = np.empty(size, dtype=int)
    partners[order] = np.roll(order, -1)

    def level(count: int) -> np.ndarray:
        image = random.normal(size=(2, size, count))
        if bootstrap.kind == "classes":
            image = image + np.repeat(random.normal(size=(2, classes, count)), per_class, axis=1)
        if kind == "sum":
            strength = np.exp(0.5 * image[0])
            return 0.05 * (strength + strength[partners])
        square = ((image - image[:, partners]) ** 2).sum(axis=0)
        return 0.5 * (1 - np.exp(-square / 4))

    true = float(np.mean([level(1000).mean() for _ in range(50)]))
    values = level(studies)
    others = np.repeat(partners[:, None], studies, axis=1)
    now = bootstrap.intervals(values, np.ones_like(values), SHARE, others)
    return _held(kind, bootstrap, values, now, true)


def aurocs(true: float, together: float, classes: int, per_class: int, studies: int = 2000) -> Held:
    """The AUROC of a number for a flip; three in ten images flip.

    Args:
        true: the true one.
        together: correlation of the numbers of two images of a class, from 20 classes on.
        classes: of each study.
        per_class: images.
        studies: how many.
    """
    random = np.random.default_rng(0)
    bootstrap, size = _bootstrap(classes, per_class), classes * per_class
    apart = float(np.sqrt(2) * norm.ppf(true))
    shared = together if classes >= 20 else 0.0
    everything, ends, before = np.zeros(size, dtype=int), [], []
    for _ in range(studies):
        flipped = random.random(size) < 0.3
        flipped[:2] = True, False
        effects = np.repeat(random.normal(size=classes), per_class) * np.sqrt(shared)
        scores = effects + random.normal(size=size) * np.sqrt(1 - shared) + apart * flipped
        share, low, high, _ = auroc(scores, flipped, everything, bootstrap)
        ends.append((low, high))
        before.append(_delong(scores, flipped, share or 0.0))
    return Held(
        f"{true:g}",
        classes,
        size,
        _share_held(tuple(zip(*before, strict=True)), true),
        _share_held(tuple(zip(*ends, strict=True)), true),
        1.0,
    )


def _delong(scores: np.ndarray, flipped: np.ndarray, share: float) -> tuple[float, float]:
    """The plain interval of DeLong (1988), for images that are independent."""
    wins = (scores[flipped][:, None] > scores[~flipped][None, :]).astype(float)
    parts = (wins.mean(axis=axis) for axis in (1, 0))
    error = np.sqrt(sum(part.var() / max(len(part) - 1, 1) for part in parts))
    return share - 1.96 * float(error), share + 1.96 * float(error)


def spreads(name: str, classes: int, per_class: int, studies: int = 2000) -> Held:
    """The standard deviation of a NISSIM over images, of classes that are alike.

    Args:
        name: of a distribution in ``NISSIM``.
        classes: of each study.
        per_class: images.
        studies: how many.
    """
    draw, _ = NISSIM[name]
    random = np.random.default_rng(0)
    bootstrap, shape = _bootstrap(classes, per_class), (classes * per_class, studies)
    true = float(draw(random, (4_000_000,)).std())
    values, ones = draw(random, shape), np.ones(shape)
    now = bootstrap.deviations((values - values.mean(axis=0)) ** 2, ones)
    return _held(name, bootstrap, values, now, true, _deviation)


def _deviation(bootstrap: Bootstrap, values: np.ndarray) -> np.ndarray:
    ones = np.ones_like(values)
    squares: np.ndarray = bootstrap.ratios(values**2, ones) - bootstrap.ratios(values, ones) ** 2
    return np.sqrt(np.maximum(squares, 0.0))


def _mean(bootstrap: Bootstrap, values: np.ndarray) -> np.ndarray:
    return bootstrap.ratios(values, np.ones_like(values))


def _bootstrap(classes: int, per_class: int) -> Bootstrap:
    labels = [f"{label:02d}" for label in range(classes) for _ in range(per_class)]
    return Bootstrap(labels, RESAMPLES)


def _held(
    what: str,
    bootstrap: Bootstrap,
    values: np.ndarray,
    now: Ends,
    true: float,
    resampled: Callable[[Bootstrap, np.ndarray], np.ndarray] = _mean,
) -> Held:
    low: list[float | None] = []
    high: list[float | None] = []
    for start in range(0, values.shape[1], 250):
        ends = bootstrap.bounds(resampled(bootstrap, values[:, start : start + 250]))
        low, high = low + ends[0], high + ends[1]
    wide = [np.mean(np.subtract(*each[::-1])) for each in (now, (low, high))]
    of = len(np.unique(bootstrap.classes)), len(values)
    return Held(
        what, *of, _share_held((low, high), true), _share_held(now, true), wide[0] / wide[1]
    )


def _share_held(ends: Ends, true: float) -> float:
    low, high = (np.array(side) for side in ends)
    return 100 * float(np.mean((low <= true) & (true <= high)))


def table(first: str, found: Iterator[Held]) -> str:
    """A Markdown table: each thing a line, each size of a study a column, before → now."""
    rows: dict[str, dict[str, str]] = {}
    for held in found:
        told = f"{held.before:.0f} → **{held.now:.0f}**"
        rows.setdefault(held.what, {})[f"{held.images} / {held.classes}"] = told
    heads = list(dict.fromkeys(head for row in rows.values() for head in row))
    lines = [[first, *heads], ["---", *["---:"] * len(heads)]]
    lines += [[what, *(row.get(head, "") for head in heads)] for what, row in rows.items()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=2000)
    studies = parser.parse_args().studies
    of = "images / classes"
    for together in TOGETHER:
        sizes = [size for size in SIZES if not together or size[0] >= 20]
        _say(f"Shares, images of a class correlated {together:g}\n")
        made = (proportions(p, together, *size, studies) for p in SHARES for size in sizes)
        _say(table(f"share; {of}", made))
    _say("Means of NISSIM\n")
    _say(table(of, (means(name, *size, studies) for name in NISSIM for size in SIZES)))
    _say("Shuffled level: each image in two pairs\n")
    kinds = ("sum", "distance")
    _say(table(of, (pairs(kind, *size, studies) for kind in kinds for size in SIZES)))
    for together in (0.0, 0.3):
        sizes = [size for size in SIZES if not together or size[0] >= 20]
        _say(f"AUROC, images of a class correlated {together:g}; before: DeLong's\n")
        made = (aurocs(p, together, *size, studies) for p in AUROCS for size in sizes)
        _say(table(f"AUROC; {of}", made))
    _say("Spread of NISSIM\n")
    _say(table(of, (spreads(name, *size, studies) for name in NISSIM for size in SIZES)))


if __name__ == "__main__":
    main()

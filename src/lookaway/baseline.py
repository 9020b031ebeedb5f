"""The shuffled baseline: NISSIM of the clean heatmaps of different images.

What a partner's map explains follows from the class policy. *own*: its own predicted class, as the
attacked map does. *clean* and *label*: the class that is held fixed, that of the first image. How
much clean heatmaps differ as they are seen, each of its own prediction, is told in any case.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lookaway.explainers.base import Explainer
from lookaway.measured import Found, Key, MeasureSettings, clean_maps, in_memory
from lookaway.metrics.map_nissim import nissim_of_maps
from lookaway.metrics.shuffled import (
    OTHER_CLASS,
    OTHER_OWN,
    SAME_CLASS,
    of_other_classes,
    of_same_class,
)
from lookaway.models.classifier import Classifier
from lookaway.models.postponed import postponed, settled
from lookaway.seen import see

PARTNERS = 4  # of other classes, for each image at the last layer; before it one

_Map = tuple[int, int]  # an image's place, and the class that is explained
_Maps = dict[tuple[str, str], dict[_Map, np.ndarray]]


@dataclass(frozen=True)
class Compared:
    """Clean heatmaps of different images beside each other, of one explainer, policy and layer.

    Attributes:
        view: explainer, policy and layer.
        first: (P,) places of images.
        second: (P,) places of their partners.
        relation: of each pair ``SAME_CLASS``, ``OTHER_CLASS`` (by the true labels) or, where the
            study does not explain each image's own class, ``OTHER_OWN``.
        nissim: (P,) float64.
        dead: (P,) bool: whether one of the two maps is.
    """

    view: tuple[str, str, str]
    first: np.ndarray
    second: np.ndarray
    relation: Sequence[str]
    nissim: np.ndarray
    dead: np.ndarray


def compare_images(
    clf: Classifier,
    images: Tensor,
    labels: Tensor,
    names: Sequence[str],
    settings: MeasureSettings,
    explainers: Sequence[Explainer],
    found: Found,
) -> list[Compared]:
    """Compare each clean heatmap with those of other images, for every class policy.

    Maps that were made when the attacks were measured are used again; a partner's map of another
    class takes one more pass over the clean images, and a gradient for each class asked of them.

    Args:
        clf: the classifier; it is afterwards as it was.
        images: (N, C, H, W) float32 pixels in [0, 1]: those among which partners are chosen.
        labels: (N,) int64.
        names: of the images, which with labels and noise seed choose their partners.
        settings: how.
        explainers: of the classifier's layers.
        found: of groups of the images what ``measure_images`` found, together all of them.
    """
    truth = labels.numpy(force=True)
    clean = clean_maps(found)
    predicted = found[0][1].arrays[Key("clean_class")]
    explained = {"own": predicted, "clean": predicted, "label": truth}
    classes = {policy: explained[policy] for policy in settings.policies}
    compared = []
    for layers in ([settings.last], [each for each in settings.layers if each != settings.last]):
        there = [layer for layer in layers if any(view[2] == layer for view in clean)]
        if not there:
            continue
        places = next(each for view, (each, _, _) in clean.items() if view[2] == there[0])
        count = PARTNERS if settings.last in layers else 1
        pairs = _Pairs.among(places, names, truth, settings.noise_seed or 0, count)
        if not len(pairs.first):
            continue
        if "own" not in classes:
            pairs = pairs.with_own()
        wanted = {policy: pairs.maps(policy, of, predicted) for policy, of in classes.items()}
        known = {(place, int(of[place])) for of in classes.values() for place in places.tolist()}
        more = {both[1] for some in wanted.values() for both in some} - known
        made = _explained(clf, images, settings, explainers, there, sorted(more))
        # Policies often ask for the same pairs.
        asked = list(dict.fromkeys(both for some in wanted.values() for both in some))
        for (method, layer), maps in made.items():
            for policy, of in classes.items():
                stored = clean[method, policy, layer][1]
                for place, own in zip(places.tolist(), stored, strict=True):
                    maps.setdefault((place, int(of[place])), own)
        scores = _nissim(made, asked, settings, clf.device)
        for (method, layer), maps in made.items():
            alive = {one: bool(each.any()) for one, each in maps.items()}
            at = {both: place for place, both in enumerate(asked)}
            for policy, some in wanted.items():
                dead = np.array([not (alive[first] and alive[second]) for first, second in some])
                numbers = scores[method, layer][[at[both] for both in some]]
                compared.append(Compared((method, policy, layer), *pairs, numbers, dead))
    order = [explainer.name for explainer in explainers], list(settings.layers)
    return sorted(
        compared, key=lambda one: (order[0].index(one.view[0]), order[1].index(one.view[2]))
    )


class _Pairs(NamedTuple):
    """Which images are compared: the first three fields of ``Compared``."""

    first: np.ndarray
    second: np.ndarray
    relation: list[str]

    @classmethod
    def among(
        cls, places: np.ndarray, names: Sequence[str], labels: np.ndarray, seed: int, count: int
    ) -> "_Pairs":
        """Each of some images with one of its class and with several of other classes."""
        mine, classes = [names[place] for place in places], labels[places].tolist()
        found = [
            (places[at], places[other], relation)
            for relation, partners in (
                (OTHER_CLASS, of_other_classes(mine, classes, seed, count)),
                (SAME_CLASS, of_same_class(mine, classes, seed)),
            )
            for at, others in enumerate(partners)
            for other in others
        ]
        first, second = (np.array([each[side] for each in found], dtype=int) for side in (0, 1))
        return cls(first, second, [relation for _, _, relation in found])

    def with_own(self) -> "_Pairs":
        """And those of other classes once more, each image of its own class."""
        others = np.array([relation == OTHER_CLASS for relation in self.relation])
        return _Pairs(
            np.concatenate([self.first, self.first[others]]),
            np.concatenate([self.second, self.second[others]]),
            [*self.relation, *[OTHER_OWN] * int(others.sum())],
        )

    def maps(
        self, policy: str, classes: np.ndarray, predicted: np.ndarray
    ) -> list[tuple[_Map, _Map]]:
        """The two maps of each pair.

        Args:
            policy: which class is explained.
            classes: (N,) of each image, by that policy.
            predicted: (N,) for each image.
        """
        found = []
        for first, second, relation in zip(
            self.first.tolist(), self.second.tolist(), self.relation, strict=True
        ):
            of = predicted if relation == OTHER_OWN else classes
            held = of[second if policy == "own" or relation == OTHER_OWN else first]
            found.append(((first, int(of[first])), (second, int(held))))
        return found


def _explained(
    clf: Classifier,
    images: Tensor,
    settings: MeasureSettings,
    explainers: Sequence[Explainer],
    layers: Sequence[str],
    asked: Sequence[_Map],
) -> _Maps:
    """Maps (h, w) of images and classes, by explainer and layer."""
    found: _Maps = {(explainer.name, layer): {} for explainer in explainers for layer in layers}
    classes: dict[int, list[int]] = {}
    for place, one in asked:
        classes.setdefault(place, []).append(one)
    places = sorted(classes)
    with clf.held(), postponed():
        for start in range(0, len(places), settings.batch_size):
            batch = places[start : start + settings.batch_size]
            most = max(len(classes[place]) for place in batch)
            # An image of which fewer are asked has its last one again.
            asked_of = [
                [classes[place][min(turn, len(classes[place]) - 1)] for place in batch]
                for turn in range(most)
            ]
            pixels = images[batch].to(clf.device)
            turns = dict(
                zip(map(str, range(most)), torch.tensor(asked_of).to(clf.device), strict=True)
            )
            look = partial(see, clf, explainers, pixels, turns["0"], turns, layers)
            ((seen, _),) = settled([look])
            maps = in_memory(
                {
                    Key("maps", *view, layer): each.maps[layer]
                    for view, each in seen.views.items()
                    for layer in layers
                }
            )
            for key, array in maps.items():
                keys = zip(batch, asked_of[int(key.policy)], strict=True)
                found[key.method, key.layer] |= zip(keys, array, strict=True)
    return found


def _nissim(
    maps: _Maps, asked: Sequence[tuple[_Map, _Map]], settings: MeasureSettings, device: torch.device
) -> dict[tuple[str, str], np.ndarray]:
    """NISSIM of pairs of maps, by explainer and layer."""
    found = {}
    for (method, layer), each in maps.items():
        first, second = (
            torch.from_numpy(np.stack([each[both[side]] for both in asked])).to(device)
            for side in (0, 1)
        )
        scores = nissim_of_maps(first, second, settings.grid, settings.ssim)
        found[Key("nissim", method, layer=layer)] = scores
    return {(key.method, key.layer): array for key, array in in_memory(found).items()}

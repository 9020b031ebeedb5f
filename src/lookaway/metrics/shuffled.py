"""Which images the shuffled baseline compares: partners of the same class, and of others."""

from collections.abc import Sequence

import numpy as np

from lookaway.hashing import seed_from

# How two images' labels are related, both maps being of the classes that the policy explains; and,
# where no policy explains it, both maps being of each image's own class.
SAME_CLASS, OTHER_CLASS = "same class", "other class"
OTHER_OWN = "other class, each its own prediction"


def partners(images: Sequence[str], seed: int) -> list[int]:
    """For each image the place of another: a seeded permutation without fixed points.

    It is one cycle through all images (S. Sattolo, 1986), and follows from their names and the
    seed alone, so every model and every layer compares the same pairs.

    Args:
        images: names, at least 2.
        seed: of the study.

    >>> partners(["a", "b"], seed=0)
    [1, 0]
    """
    order = np.random.default_rng(seed_from(seed, "shuffled", *images)).permutation(len(images))
    following = np.empty_like(order)
    following[order] = np.roll(order, -1)
    return [int(place) for place in following]


def of_same_class(images: Sequence[str], labels: Sequence[int], seed: int) -> list[list[int]]:
    """For each image the place of another of its class; none where it has no other.

    Args:
        images: names.
        labels: their classes.
        seed: of the study, and of what they are for.

    Returns:
        A list of one place or none for each image: a cycle through each class (see ``partners``).

    >>> of_same_class(["a", "b", "c"], [0, 0, 1], seed=0)
    [[1], [0], []]
    """
    truth = np.asarray(labels)
    found: list[list[int]] = [[] for _ in images]
    for label in dict.fromkeys(labels):
        here = np.flatnonzero(truth == label).tolist()
        if len(here) > 1:
            order = partners([images[place] for place in here], seed)
            for place, partner in zip(here, order, strict=True):
                found[place] = [here[partner]]
    return found


def of_other_classes(
    images: Sequence[str], labels: Sequence[int], seed: int, count: int
) -> list[list[int]]:
    """For each image the places of different ones of other classes, drawn at random.

    Args:
        images: names.
        labels: their classes.
        seed: of the study, and of what they are for.
        count: how many each gets; fewer where there are fewer.

    >>> of_other_classes(["a", "b", "c"], [0, 0, 1], seed=0, count=1)
    [[2], [2], [1]]
    """
    truth = np.asarray(labels)
    random = np.random.default_rng(seed_from(seed, "other classes", *images))
    found = []
    for label in truth:
        others = np.flatnonzero(truth != label)
        drawn = random.choice(others, size=min(count, len(others)), replace=False)
        found.append([int(place) for place in drawn])
    return found

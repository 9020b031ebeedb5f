"""The shuffled baseline: names, classes and seed fix the pairs."""

from hypothesis import given, settings
from hypothesis import strategies as st

from lookaway.metrics.shuffled import of_other_classes, of_same_class, partners

NAMES = [f"{place}.png" for place in range(30)]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=5), min_size=2, max_size=40, unique=True), st.integers(0, 2**31))
def test_partners_are_one_cycle_through_all_images_and_the_same_every_time(images, seed):
    others = partners(images, seed)
    assert others == partners(list(images), seed)
    assert all(type(place) is int for place in others)
    place, seen = 0, []
    for _ in images:
        place = others[place]
        seen.append(place)
    assert sorted(seen) == list(range(len(images)))
    assert place == 0


def test_partners_follow_the_seed_and_the_names():
    found = [partners(NAMES, 0), partners(NAMES, 1), partners([*NAMES[:-1], "x.png"], 0)]
    assert len({tuple(others) for others in found}) == 3


def test_every_way_round_four_images_is_drawn():
    drawn = {tuple(partners(["a", "b", "c", "d"], seed)) for seed in range(100)}
    assert len(drawn) == 6


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.integers(1, 5))
def test_partners_are_of_the_class_or_of_others_different_and_the_same_every_time(labels, count):
    names = NAMES[: len(labels)]
    others = of_other_classes(names, labels, 7, count)
    assert others == of_other_classes(list(names), list(labels), 7, count)
    for place, some in enumerate(others):
        possible = sum(label != labels[place] for label in labels)
        assert len(set(some)) == len(some) == min(count, possible)
        assert all(labels[other] != labels[place] for other in some)
    same = of_same_class(names, labels, 7)
    for place, some in enumerate(same):
        assert len(some) == (labels.count(labels[place]) > 1)
        assert all(labels[other] == labels[place] and other != place for other in some)


def test_partners_of_other_classes_follow_the_seed():
    labels = [place % 3 for place in range(30)]
    assert of_other_classes(NAMES, labels, 0, 4) != of_other_classes(NAMES, labels, 1, 4)

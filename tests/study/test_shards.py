"""Shards hold partners of each image, and an added image changes few of them."""

from hypothesis import given
from hypothesis import strategies as st

from lookaway.study.shards import likely_count, shards

EACH = st.lists(st.integers(1, 9), min_size=1, max_size=60)


def of_classes(counts):
    return [(f"c{label}", f"{n}") for label, count in enumerate(counts) for n in range(count)]


@given(EACH, st.integers(1, 80))
def test_every_image_is_in_one_shard_of_at_most_so_many(counts, size):
    images = of_classes(counts)
    found = shards(images, size)
    assert sorted(place for shard in found for place in shard) == list(range(len(images)))
    assert max(map(len, found)) <= size
    assert all(shard == sorted(shard) for shard in found)


@given(EACH, st.integers(16, 80))
def test_an_image_has_partners_of_its_class_and_of_others_in_its_shard(counts, size):
    images = of_classes(counts)
    for shard in shards(images, size):
        labels = [images[place][0] for place in shard]
        alone = {label for label in labels if labels.count(label) == 1}
        assert all(counts[int(label[1:])] == 1 for label in alone)
        assert len({*labels}) >= min(2, len(counts))


def as_names(images, size):
    return {frozenset(images[place] for place in shard) for shard in shards(images, size)}


def test_an_added_image_changes_few_shards_and_the_order_of_the_images_none():
    images = of_classes([6] * 100)
    before = as_names(images, 64)
    assert before == as_names(images[::-1], 64)
    assert 8 <= len(before) <= 16
    changed = [len(as_names([*images, (f"c{n}", "new")], 64) - before) for n in range(0, 100, 5)]
    assert max(changed) <= 4
    assert sum(changed) <= 2 * len(changed)


def test_shards_are_as_many_as_is_foretold():
    for count in (1, 64, 65, 90, 200, 600, 1000):
        made = len(shards(of_classes([5] * (count // 5) + [1] * (count % 5)), 64))
        assert made / 1.5 <= likely_count(count, 64) <= 1.5 * made, count

"""The split is seeded, stratified, and gives each class to every part."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookaway.data.folder import Record
from lookaway.data.split import PARTS, draw_classes, part_sizes, split
from lookaway.errors import DataError

FRACTIONS = {"train": 0.8, "val": 0.1, "test": 0.1}


def records(sizes):
    return [
        Record(f"{label}/{index}", label, f"{label}{index}")
        for label, size in sizes.items()
        for index in range(size)
    ]


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(3, 40), min_size=1),
    st.integers(1, 18),
    st.integers(1, 18),
    st.integers(0, 9),
)
def test_every_image_is_in_one_part_and_every_class_in_each(sizes, val, test, seed):
    fractions = {"train": 1 - (val + test) / 40, "val": val / 40, "test": test / 40}
    given_records = records(sizes)
    parts = split(given_records, fractions, seed)
    placed = [record.image for part in PARTS for record in parts[part]]
    assert sorted(placed) == sorted(record.image for record in given_records)
    for part in PARTS:
        assert {record.label for record in parts[part]} == set(sizes)
    for label, size in sizes.items():
        got = sum(record.label == label for record in parts["test"])
        assert abs(got - size * fractions["test"]) <= 1


def test_an_images_part_depends_on_no_other_class():
    alone = split(records({"a": 20}), FRACTIONS, 3)
    among = split(records({"a": 20, "b": 7, "c": 50}), FRACTIONS, 3)
    for part in PARTS:
        assert alone[part] == [record for record in among[part] if record.label == "a"]


def test_another_seed_is_another_split():
    first, second = (split(records({"a": 50, "b": 50}), FRACTIONS, seed) for seed in (0, 1))
    assert first["test"] != second["test"]


def test_the_split_of_a_seed_never_changes():
    parts = split(records({"a": 10, "b": 10}), {"train": 0.6, "val": 0.2, "test": 0.2}, 0)
    assert [record.image for record in parts["test"]] == ["a/2", "a/3", "b/3", "b/7"]


def test_a_part_with_fraction_zero_stays_empty():
    parts = split(records({"a": 4, "b": 1}), {"train": 0, "val": 0, "test": 1.0}, 0)
    assert not parts["train"]
    assert len(parts["test"]) == 5


def test_classes_too_small_to_split_are_all_named():
    with pytest.raises(DataError, match=r"'b' \(2\), 'c' \(1\)"):
        split(records({"a": 9, "b": 2, "c": 1}), FRACTIONS, 0)


def test_the_demo_s_split_is_50_10_40():
    sizes = part_sizes(100, {"train": 0.5, "val": 0.1, "test": 0.4})
    assert sizes == {"train": 50, "val": 10, "test": 40}


def test_drawn_classes_have_enough_images_and_follow_the_seed():
    given_records = records({"a": 2, "b": 9, "c": 9, "d": 9, "e": 9})
    kept, drawn = draw_classes(given_records, 2, 0, at_least=3)
    assert len(drawn) == 2
    assert "a" not in drawn
    assert {record.label for record in kept} == set(drawn)
    assert any(draw_classes(given_records, 2, seed, 3)[1] != drawn for seed in range(1, 9))
    with pytest.raises(DataError, match="only 4 of 5"):
        draw_classes(given_records, 5, 0, at_least=3)

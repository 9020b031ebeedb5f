"""The split is seeded, stratified, and gives each class to every part."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookaway.data.folder import Record, part_of
from lookaway.data.split import (
    PARTS,
    check_classes,
    check_unsaid,
    draw_classes,
    keep_parts,
    part_sizes,
    split,
)
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


def test_classes_too_small_to_split_are_named_with_the_ways_out():
    with pytest.raises(DataError, match=r"2 of 3 classes .*'b' \(2\), 'c' \(1\);") as caught:
        split(records({"a": 9, "b": 2, "c": 1}), FRACTIONS, 0)
    assert "data.classes: N draws among those that have enough (1 here)" in str(caught.value)


def test_of_thousands_of_classes_a_few_are_named():
    many = {f"Person_{index:04d}": 1 + 3 * (index % 4 == 0) for index in range(4000)}
    with pytest.raises(DataError, match="3000 of 4000 classes") as caught:
        split(records(many), FRACTIONS, 0)
    assert len(str(caught.value)) < 500
    assert "(1000 here)" in str(caught.value)


def in_parts(**labels):
    """Two images of each class in each part: ``in_parts(train="ab", valid="ab")``."""
    return [
        Record(f"{folder}/{label}/{index}", label, f"{folder}{label}{index}", part_of(folder))
        for folder, its in labels.items()
        for label in its
        for index in range(2)
    ]


def test_given_parts_are_kept():
    given_records = in_parts(train="abc", valid="ab", test="ab")
    parts = keep_parts(given_records, PARTS)
    assert [r for part in PARTS for r in parts[part]] == given_records
    assert {r.image.split("/")[0] for r in parts["val"]} == {"valid"}
    assert not keep_parts(in_parts(test="ab"), ["test"])["train"]


@pytest.mark.parametrize(
    ("given_records", "needed", "message"),
    [
        (records({"a": 3, "b": 3}), ["test"], "do not lie in folders of parts"),
        (
            in_parts(train="ab", valid="ab"),
            ["test"],
            r"in test, .* 'train', 'valid'; add or rename",
        ),
        (in_parts(test="ab"), PARTS, r"in train and val, .*; models with train: none need test al"),
        (
            in_parts(train="a", val="a", test="abc"),
            PARTS,
            r"2 classes of test .* train.*: 'b', 'c'",
        ),
    ],
)
def test_parts_that_cannot_be_kept_say_what_is_missing_and_what_to_do(
    given_records, needed, message
):
    with pytest.raises(DataError, match=message) as caught:
        keep_parts(given_records, needed)
    assert "split: {train: 0.8, val: 0.1, test: 0.1}" in str(caught.value)


def test_parts_of_the_same_classes_are_not_mixed_unasked():
    check_unsaid(records({"a": 3, "b": 3}))
    check_unsaid(in_parts(train="abc", test="de"))
    check_unsaid(in_parts(train="abc", test="cde"))
    with pytest.raises(DataError, match=r"2 classes .*'b', 'c'.* 'test', 'train', ") as caught:
        check_unsaid(in_parts(train="abc", test="bcd"))
    assert "split: folders keeps these parts; split: {train: 0.8, " in str(caught.value)


def test_parts_are_not_taken_for_classes():
    check_classes(records({"train": 2, "bus": 2}))
    check_classes(in_parts(train="ab", test="ab"))
    check_classes([Record(f"train/{name}/0", name, "", "train") for name in ("test", "dev")])
    with pytest.raises(DataError, match=r"would be 'test', 'train', .*them, such as 'test/0': put"):
        check_classes(records({"test": 2, "train": 2}))
    with pytest.raises(DataError, match="lie directly in one of them: put them into class folders"):
        check_classes([Record(f"{name}/a/0", name, "") for name in ("test", "train")])


def test_the_demo_s_split_is_50_10_40():
    sizes = part_sizes(100, {"train": 0.5, "val": 0.1, "test": 0.4})
    assert sizes == {"train": 50, "val": 10, "test": 40}


def test_drawn_classes_have_enough_images_and_follow_the_seed():
    given_records = records({"a": 2, "b": 9, "c": 9, "d": 9, "e": 9})
    kept = draw_classes(given_records, 2, 0, at_least=3)
    drawn = {record.label for record in kept}
    assert len(drawn) == 2
    assert "a" not in drawn
    assert kept == [record for record in given_records if record.label in drawn]
    assert any(draw_classes(given_records, 2, seed, 3) != kept for seed in range(1, 9))
    with pytest.raises(DataError, match=r"only 4 of 5 have the 3 images .*; lower data\.classes"):
        draw_classes(given_records, 5, 0, at_least=3)


def test_classes_drawn_for_given_parts_are_in_each_of_them():
    given_records = in_parts(train="abcd", test="bcde")
    drawn = {
        "".join(sorted({record.label for record in kept}))
        for seed in range(9)
        for kept in [draw_classes(given_records, 2, seed, 1, ["train", "test"])]
    }
    assert drawn <= {"bc", "bd", "cd"}
    assert len(drawn) > 1
    with pytest.raises(DataError, match="only 3 of 5 have the image in each of train, test"):
        draw_classes(given_records, 4, 0, 1, ["train", "test"])

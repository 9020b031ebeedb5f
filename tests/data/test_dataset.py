"""Datasets of a caller's: records of their items, whatever these are, and no wrong labels."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Subset, TensorDataset

from lookaway.data.dataset import DatasetSource
from lookaway.data.folder import Record
from lookaway.errors import DataError, InputError


class Items(list):
    """A Dataset of given items."""

    def __init__(self, items, **attributes):
        super().__init__(items)
        vars(self).update(attributes)


PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def test_images_of_every_kind_are_the_same_record():
    tensor = torch.from_numpy(PIXELS.transpose(2, 0, 1).copy())
    images = [Image.fromarray(PIXELS), PIXELS, PIXELS / 255, tensor, tensor.float() / 255]
    source = DatasetSource(Items([(image, "x") for image in images]))
    records = source.scan().records
    assert [record.image for record in records] == [f"{place:06d}" for place in range(5)]
    assert len({record.sha256 for record in records}) == 1
    for record in records:
        np.testing.assert_array_equal(np.asarray(source.open(record)), PIXELS)


def test_numbers_are_classes_by_the_dataset_s_own_order_also_of_a_part_of_it():
    items = [(PIXELS, np.int64(1)), (PIXELS, torch.tensor(0)), (PIXELS, 2), (PIXELS, "cat")]
    for about in (
        {"classes": ["zebra", "ant", "cat"]},
        {"class_to_idx": {"cat": 2, "ant": 1, "zebra": 0}},
    ):
        whole = Items(items, **about)
        for dataset in (whole, Subset(whole, range(4))):
            scan = DatasetSource(dataset).scan()
            labels = {record.image: record.label for record in scan.records}
            assert list(dict(sorted(labels.items())).values()) == ["ant", "zebra", "cat", "cat"]
            assert scan.order == ["zebra", "ant", "cat"]


@pytest.mark.parametrize(
    ("items", "about", "told"),
    [
        (
            [(PIXELS, 3)],
            {},
            "the label of item 0 of the dataset is 3, and the dataset has no classes",
        ),
        ([(PIXELS, 3)], {"classes": ["a", "b"]}, "is 3, of 2 classes"),
        ([(PIXELS, 1.0)], {"classes": ["a", "b"]}, "is 1.0; give a class's name"),
        ([(PIXELS, "a"), (PIXELS - 300.0, "a")], {}, "item 1 of the dataset is float pixels from"),
        ([(PIXELS,)], {}, "item 0 of the dataset is a tuple; give pairs"),
        ([("a.png", "a")], {}, "item 0 of the dataset is a str: an image is a PIL image"),
    ],
)
def test_items_that_cannot_be_used_are_told_by_their_place(items, about, told):
    with pytest.raises(DataError, match=told):
        DatasetSource(Items(items, **about)).scan()


def test_what_is_no_dataset_or_names_classes_twice_is_refused():
    loader = DataLoader(TensorDataset(torch.zeros(2, 3, 8, 8)))
    for wrong, told in (
        (loader, "data is a DataLoader; give a folder, a table, or a Dataset"),
        (Items([], classes=["a", "a"]), "classes of the dataset has a name twice"),
        (Items([], class_to_idx={"a": 1, "b": 2}), "must number the classes from 0 on"),
    ):
        with pytest.raises(InputError, match=told):
            DatasetSource(wrong)


def test_an_item_that_is_drawn_at_random_or_fails_is_told():
    class Random(Items):
        def __getitem__(self, place):
            if place == 1:
                raise OSError("no disk")
            return np.random.default_rng().random((6, 8, 3)), "a"

    source = DatasetSource(Random([0, 1]))
    with pytest.raises(DataError, match="item 1 of the dataset cannot be read: OSError: no disk"):
        source.scan()
    with pytest.raises(DataError, match="leave out what it draws at random"):
        source.open(Record("000000", "a", "0" * 64))

"""Every source of images keeps the promises of ``ImageSource``: a row for each."""

import numpy as np
import pytest
from PIL import Image

from lookaway.data.dataset import DatasetSource
from lookaway.data.samples import SAMPLES, open_source


def folder(root):
    for label in ("a", "b"):
        (root / label).mkdir()
        for index in range(2):
            Image.new("L", (9, 7), 40 * index).save(root / label / f"{index}.png")
    return open_source(root)


def table(root):
    folder(root)
    rows = [f"{label}/{index}.png,{label}" for index in range(2) for label in ("b", "a")]
    (root / "t.csv").write_text("\n".join(["image,label", *rows]))
    return open_source(root / "t.csv")


def dataset(_root):
    return DatasetSource([(np.full((7, 9), 40 * index, np.uint8), "ba"[index]) for index in (0, 1)])


SOURCES = [folder, table, dataset, *(lambda _root, make=make: make() for make in SAMPLES.values())]


@pytest.mark.parametrize("make", SOURCES)
def test_a_source_lists_what_it_scans_by_class_and_opens_it_as_rgb(make, tmp_path):
    source, read = make(tmp_path), []
    scan = source.scan(read.append)
    records = scan.records
    assert sum(read) == len(records) >= 2
    assert len({record.image for record in records}) == len(records)
    assert [record.label for record in records] == sorted(record.label for record in records)
    listed = [(record.image, record.label, record.part) for record in source.listed()]
    assert listed == [(record.image, record.label, record.part) for record in records]
    assert all(record.sha256.isalnum() for record in records)  # a part of files' names
    first = source.open(records[0])
    assert first.mode == "RGB"
    assert first.tobytes() == source.open(records[0]).tobytes()

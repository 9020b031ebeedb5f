"""Images are counted as a study divides them, without reading any."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookaway.cost.counts import imagined, listed
from lookaway.data.folder import FolderSource
from lookaway.errors import DataError
from lookaway.progress import Silent
from lookaway.study.images import find_images
from lookaway.study.plan import parse_study


def a_study(folder, **data):
    models = [{"timm": "test_resnet", "train": "none"}]
    return parse_study({"data": {"folder": str(folder), **data}, "models": models})


@pytest.mark.parametrize("data", [{}, {"classes": 2}, {"split": {"seed": 7}}])
def test_listed_images_are_divided_as_the_study_divides_them(faces_for_all, data):
    study = a_study(faces_for_all, **data)
    images, counts = find_images(study, None, Silent()), listed(study, None, 4)
    assert counts.classes == images.classes
    assert counts.parts == {part: len(records) for part, records in images.parts.items()}
    assert {record.image for record in counts.some} <= {r.image for r in images.parts["test"]}


def test_another_number_of_classes_may_be_drawn(faces_for_all):
    assert len(listed(a_study(faces_for_all), 2, 4).classes) == 2
    with pytest.raises(DataError, match="only 3 of 3"):
        listed(a_study(faces_for_all), 4, 4)


def test_no_image_is_read(faces, monkeypatch):
    monkeypatch.setattr(FolderSource, "_read", lambda *_: pytest.fail("read"))
    assert listed(a_study(faces), None, 4).used == 24


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 50), st.integers(0, 500), st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0, 0.5)]))
def test_imagined_images_are_as_many_as_asked_and_every_class_has_a_share(classes, more, split):
    train, val, test = map(float, split)
    study = a_study("sample:lfw_subset", split={"train": train, "val": val, "test": test})
    counts = imagined(study, 3 * classes + more, classes, 4)
    assert counts.used == counts.read == 3 * classes + more
    assert len(set(counts.classes)) == classes
    assert counts.parts["test"] >= classes
    assert (counts.parts["val"] >= classes) == (val > 0)


def test_imagined_images_use_the_number_of_classes_that_the_study_draws():
    assert len(imagined(a_study("sample:lfw_subset", classes=5), 100, None, 4).classes) == 5

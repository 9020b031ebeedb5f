"""A run decodes each image once for each variant, and keeps none of its grids afterwards."""

import io
import pickle
from collections import Counter

import numpy as np
import pytest
from polars.testing import assert_frame_equal

from lookaway.study import grid_cache, images
from lookaway.study.grid_cache import GridCache


@pytest.fixture
def decoded(monkeypatch):
    """How often each image of each variant was prepared."""
    counts, real = Counter(), images.prepared_grid

    def counting(source, record, poses, *more):
        counts[bool(poses), record.image] += 1
        return real(source, record, poses, *more)

    monkeypatch.setattr(images, "prepared_grid", counting)
    return counts


def test_a_run_decodes_each_image_once_a_variant_with_the_same_rows(
    small_study, run_quickly, decoded, tmp_path, monkeypatch
):
    boxes = [f"{name}/{i}.png,5,5,20,20\n" for name in ("ann", "bob", "cy") for i in range(8)]
    (tmp_path / "boxes.csv").write_text("image,x,y,w,h\n" + "".join(boxes))
    more = {"variants": ["none", "landmarks"], "landmarks": str(tmp_path / "boxes.csv")}
    study = {
        **small_study,
        "data": {**small_study["data"], **more},
        "models": [{**small_study["models"][0], "train": "all"}],
        "training": {"epochs": 1},
        "transfer_from": [],
        "epsilons": [0.1],
        "run": {"precision": "bfloat16"},  # so that drift is measured
    }
    cached = run_quickly(study, tmp_path / "cached")
    assert len(decoded) == 2 * 24
    assert set(decoded.values()) == {1}
    monkeypatch.setattr(grid_cache, "LARGEST", 0)
    again = run_quickly(study, tmp_path / "again")
    assert max(decoded.values()) >= 3
    assert_frame_equal(cached.rows(), again.rows(), check_exact=True)
    names = [
        {
            path.relative_to(run.folder)
            for path in run.folder.rglob("*")
            if path.parent.name != "log"
        }
        for run in (cached, again)
    ]
    assert names[0] == names[1]


class FullDisk(io.BytesIO):
    """Has no room for a second grid."""

    def write(self, raw):
        if self.tell():
            raise OSError(28, "No space left on device")
        return super().write(raw)


@pytest.mark.parametrize("file", [io.BytesIO(), FullDisk()])
def test_what_finds_no_room_is_made_each_time(file):
    made = Counter()

    def get(cache, key):
        def make():
            made[key] += 1
            return np.full((2, 2, 3), key, dtype=np.uint8)

        np.testing.assert_array_equal(cache.get(key, make), np.full((2, 2, 3), key))

    cache = GridCache(file, 12 if type(file) is io.BytesIO else 1000)
    for key in (1, 2, 1, 2):
        get(cache, key)
    assert made == {1: 1, 2: 2}
    get(pickle.loads(pickle.dumps(cache)), 1)
    assert made[1] == 2


def test_a_folder_that_takes_no_file_is_done_without(tmp_path):
    with grid_cache.grid_cache(tmp_path / "missing") as cache:
        assert cache.get(1, lambda: np.ones(1, np.uint8)) == 1

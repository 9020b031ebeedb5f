"""The ORL faces, where they are at hand, go through a study as they lie."""

import os
from pathlib import Path

import pytest

import lookaway as la
from lookaway.data.folder import FolderSource
from lookaway.study.plan import open_study

ROOT = Path(__file__).parents[1]
ORL = Path(os.environ.get("LOOKAWAY_ORL", ROOT.parent / "shared" / "data" / "orl-faces"))

pytestmark = pytest.mark.skipif(
    not ORL.is_dir(), reason=f"the ORL faces are not at {ORL}; LOOKAWAY_ORL may name them"
)


def test_it_is_forty_people_with_ten_images_each():
    scan = FolderSource(ORL).scan()
    assert len(scan.classes) == 40
    assert len(scan.records) == 400
    assert not scan.set_aside


def test_the_study_file_fits_it():
    study, *_ = open_study(ROOT / "configs" / "orl-lite.yaml", data=ORL)
    assert len(study.models) == 3


def test_a_tiny_network_goes_the_whole_way_on_five_people(tmp_path):
    study = {
        "data": {
            "folder": str(ORL),
            "classes": 5,
            "image_size": 64,
            "split": {"train": 0.6, "val": 0.2, "test": 0.2},
        },
        "models": [{"name": "tiny", "timm": "test_resnet", "pretrained": False, "input_size": 64}],
        "training": {"epochs": 3},
        "epsilons": [0.05],
        "measure": {"grid": 32},
    }
    result = la.run_study(study, tmp_path / "out", progress=False)
    assert result.rows()["image"].n_unique() == 10
    assert result.report.is_file()

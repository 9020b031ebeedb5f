"""The paper's study runs from its file on a folder in VGGFace2's layout, made smaller."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from PIL import Image, ImageDraw

import lookaway as la
from lookaway.report.page import build_report

CONFIG = Path(__file__).parents[2] / "configs/paper.yaml"
FACE = np.array([[0.34, 0.46], [0.66, 0.46], [0.5, 0.64], [0.37, 0.82], [0.63, 0.82]])
TINY = ["test_byobnet", "test_resnet", "test_resnet", "test_efficientnet", "test_convnext"]


def draw_person(place, seed):
    """A face of some colour somewhere in a photograph; its box and its five points, px."""
    rng = np.random.default_rng(seed)
    width, height = 90 + 10 * (seed % 3), 80 + 10 * (seed % 2)
    picture = Image.fromarray(rng.integers(0, 80, (height, width, 3), dtype=np.uint8))
    side = 48 + seed % 8
    left, top = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
    ink = ImageDraw.Draw(picture)
    person = int(place.parent.name[1:])
    ink.ellipse((left, top, left + side, top + side), fill=(200, 90 + 25 * person, 120))
    points = [left, top] + side * FACE
    for x, y in points:
        ink.ellipse((x - 3, y - 3, x + 3, y + 3), fill=(20, 20, 40 + 40 * person))
    place.parent.mkdir(parents=True, exist_ok=True)
    picture.save(place, quality=95)
    return (left, top, side, side), points.ravel().tolist()


@pytest.fixture(scope="module")
def vggface2(tmp_path_factory):
    """Six people in train/ and test/ with eight pictures each; in three no face was found."""
    root = tmp_path_factory.mktemp("VGGFace2")
    (root / "bb_landmark").mkdir()
    unseen = {"n000002/0003_01", "n000003/0005_01", "n000005/0002_01"}
    for part, people in {"train": (1, 2, 3, 4), "test": (5, 6)}.items():
        boxes, points = [], []
        for person in people:
            for number in range(1, 9):
                name = f"n{person:06d}/{number:04d}_01"
                box, five = draw_person(root / part / f"{name}.jpg", 100 * person + number)
                if name not in unseen:
                    boxes.append((name, *box))
                    points.append((name, *five))
        heads = ["NAME_ID", *(f"P{place}{axis}" for place in range(1, 6) for axis in "XY")]
        for kind, rows, columns in (
            ("bb", boxes, ["NAME_ID", "X", "Y", "W", "H"]),
            ("landmark", points, heads),
        ):
            frame = pl.DataFrame(rows, schema=columns, orient="row")
            frame.write_csv(
                root / f"bb_landmark/loose_{kind}_{part}.csv", quote_style="non_numeric"
            )
    return root


@pytest.fixture(scope="module")
def result(vggface2, tmp_path_factory):
    """The paper's study, smaller, without its page."""
    place = tmp_path_factory.mktemp("paper")
    study = yaml.safe_load(CONFIG.read_text())
    study["data"] |= {
        "classes": 4,
        "image_size": 64,
        "split": {"train": 0.6, "val": 0.2, "test": 0.2},
    }
    for spec, tiny in zip(study["models"], TINY, strict=True):
        spec |= {"timm": tiny, "pretrained": False, "input_size": 64}
    study["training"]["epochs"] = 1
    study["epsilons"] = study["epsilons"][-1:]
    study["explain"]["pictured"] = 2
    study["measure"] = {"grid": 32}
    (place / "paper.yaml").write_text(yaml.safe_dump(study))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lookaway.run.build_report", lambda *_a, **_k: None)
        return la.run_study(place / "paper.yaml", place / "out", data=vggface2, progress=False)


def test_the_paper_s_file_runs_on_vggface2_s_layout(result):
    rows = result.rows()
    assert set(rows["variant"]) == {"none", "landmarks"}
    assert len(result.plan.classes) == 4
    assert set(result.plan.classes) <= {f"n{person:06d}" for person in range(1, 7)}
    names = ["VGG16", "ResNet50", "ResNet101", "Inception v3", "Xception"]
    for variant in ("none", "landmarks"):
        found = rows.filter(pl.col("variant") == variant)
        sources = found.select("model", "source").unique().rows()
        for name in names:
            assert {(name, name), (name, "ResNet50"), (name, None)} <= set(sources)
    sizes = result.plan.variants
    lost = sizes["landmarks"].without_face
    assert sum(part.count for _, part in sizes["none"].images) == 32
    assert sum(part.count for _, part in sizes["landmarks"].images) == 32 - lost


@pytest.mark.slow
def test_the_paper_s_study_has_a_page(result):
    assert "VGG16" in build_report(result.store).read_text()

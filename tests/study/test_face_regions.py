"""A study of aligned faces tells where on them its layers look."""

import numpy as np
import polars as pl
import pytest

from galleries import DODGE, embedder, study_of
from lookaway.analysis import by_group, subgroups
from lookaway.analysis.face_regions import REGIONS, layout, layout_of_points, shares
from lookaway.errors import InputError
from lookaway.report.face_tables import face_tables
from lookaway.report.group_tables import group_tables
from lookaway.study.faces import read_poses
from lookaway.study.keys import map_key


def points_of(person, place):
    """Each image's own, px."""
    points = np.array([[10, 10], [20, 11], [15, 16], [11, 22], [19, 23]], dtype=float)
    points[2, 0] += {"ann": 2, "bob": 0, "cy": -2}[person]
    points[3:, 1] += place / 4
    return points


@pytest.fixture
def result(quick_study, run_quickly, tmp_path):
    """Points for all but one image; of two others a box alone."""
    folder = quick_study["data"]["folder"]
    points = ",".join(f"x{i},y{i}" for i in range(1, 6))
    lines = [f"image,{points},x,y,w,h"]
    for person in ("ann", "bob", "cy"):
        for place in range(8):
            name = f"{person}/{place}.png"
            face = ",".join(f"{each:g}" for each in points_of(person, place).ravel())
            box = ",,,,,,,,,,5,5,20,20"
            lines.append(f"{name},{box}" if place == 3 else f"{name},{face},5,5,20,20")
    (tmp_path / "points.csv").write_text("\n".join(line for line in lines if "ann/5" not in line))
    data = {
        **quick_study["data"],
        "folder": folder,
        "split": {"train": 0.25, "val": 0, "test": 0.75},
        "variants": ["landmarks"],
        "landmarks": str(tmp_path / "points.csv"),
    }
    explain = {"explained_class": ["label"], "pictured": 3, "layers": "convs"}
    study = study_of(
        quick_study,
        {"name": "faces", "train": "enrol"},
        data=data,
        attacks=[DODGE],
        epsilons=[0.02, 0.1],
        explain=explain,
        controls={"shifted": 1},  # whose maps are not kept
    )
    return run_quickly(study, tmp_path / "out", 64, models={"faces": embedder()})


def test_shares_are_means_over_the_images_whose_points_are_known(result):
    frame = result.face_regions()
    last = result.plan.last_layers["faces"]
    maps = result.store.read_maps(result.store.identity.cell("landmarks", "faces", 0))
    test = result.samples().filter(part="test")["image"].to_list()
    used = [at for at, image in enumerate(test) if image != "ann/5.png" and "/3" not in image]
    assert 0 < len(used) < len(test)
    poses = read_poses(result.store, "landmarks")
    covered = []
    for at in used:
        pose, (person, file) = poses[test[at]], test[at].split("/")
        corners = np.array([[pose.across, pose.down], [-pose.down, pose.across]])
        points = (points_of(person, int(file[0])) - [pose.x, pose.y]) @ np.linalg.inv(corners)
        covered.append(layout_of_points(points))
    covered = np.stack(covered)
    clean = shares(maps[map_key("clean", "gradcam", "label", last)][used], covered)
    changed = {
        attack: shares(
            maps[map_key("attacked", "gradcam", "label", last, attack, source)][used, 1], covered
        )
        for attack, source in (("dodge", "faces"), ("noise", None))
    }
    alive = ~np.isnan(clean + changed["dodge"] + changed["noise"]).any(axis=1)
    assert alive.all()
    here = frame.filter(layer=last, epsilon=0.1)
    expected = {
        ("clean", "dodge"): clean,
        ("attacked", "dodge"): changed["dodge"],
        ("attacked", "noise"): changed["noise"],
        ("moved", "dodge"): changed["dodge"] - clean,
        ("beyond_noise", "dodge"): changed["dodge"] - changed["noise"],
    }
    for (measure, attack), values in expected.items():
        rows = here.filter(measure=measure, attack=attack)
        assert rows["region"].to_list() == list(REGIONS)
        assert rows["n"].unique().to_list() == [len(used)]
        np.testing.assert_allclose(rows["value"], values.mean(axis=0), atol=1e-6)
        assert (rows["low"] <= rows["value"] + 1e-9).all()
    totals = here.filter(pl.col("measure") == "attacked").group_by("attack").agg(pl.sum("value"))
    np.testing.assert_allclose(totals["value"], 1.0)


def test_other_layers_are_told_of_the_pictured_images_and_tables_show_all(result):
    frame = result.face_regions()
    last = result.plan.last_layers["faces"]
    assert frame.filter(pl.col("layer") != last)["n"].max() <= 3
    moved, beyond = face_tables(result.frames)
    assert moved.rows[0].names[0] == "clean"
    assert sum(cell.value for cell in moved.rows[0].cells) == pytest.approx(1.0)
    area = round(100 * layout(result.plan.variants["landmarks"].aligner)[0].mean())
    assert f"by the standard layout: eyes {area} %, nose" in moved.note
    assert {row.names[0] for row in beyond.rows} == {"dodge white-box"}


def test_images_as_they_are_have_no_regions(looked):
    with pytest.raises(InputError, match="no variant of this study aligns faces"):
        looked.face_regions()
    assert not list(face_tables(looked.frames))


def test_regions_and_shifts_are_told_by_group_and_stand_on_the_page(result, monkeypatch, tmp_path):
    for module in (by_group, subgroups):
        monkeypatch.setattr(module, "FEWEST", 2)
    people = pl.DataFrame({"label": ["ann", "bob", "cy"], "sex": ["f", "f", "m"]})
    with pytest.raises(InputError, match="keeps no groups"):
        result.by_group()
    frame = result.by_group(people, "sex")
    last = result.plan.last_layers["faces"]
    rows = result.rows().filter(layer=last, attack="dodge", epsilon=0.1)
    mine = rows.filter(pl.col("label") != "cy")
    here = frame.filter(attack="dodge", epsilon=0.1, group="f")
    told = dict(here.filter(layer=last).select("measure", "value").iter_rows())
    assert told["mod"] == pytest.approx(mine["nissim"].mean())
    noise = result.rows().filter(layer=last, attack="noise", epsilon=0.1)
    noise = noise.filter(pl.col("label") != "cy")
    assert told["excess"] == pytest.approx(mine["nissim"].mean() - noise["nissim"].mean())
    totals = sum(told[f"attacked {region}"] for region in REGIONS)
    assert totals == pytest.approx(1.0)
    assert told["moved eyes"] == pytest.approx(told["attacked eyes"] - told["clean eyes"])
    equal = frame.filter(attack="clean", measure="eer", group="f")
    assert (equal["n_people"].to_list(), equal["n"].to_list()) == ([2], [2 * 6 * 2])
    people.write_csv(tmp_path / "people.csv")
    result.keep_groups(tmp_path / "people.csv", "sex")
    assert result.by_group().equals(frame)
    tables = {table.name: table for table in group_tables(result.frames, result.by_group())}
    compared = ["groups_verification", "groups_cosines", "groups_smallest_epsilon"]
    assert [*tables] == ["groups_label", "groups_regions_label", *compared]
    cosines = {row.names[-1]: row for row in tables["groups_cosines"].rows if "clean" in row.names}
    own = frame.filter(attack="clean", measure="genuine", group="f")["value"].item()
    assert cosines["cosine, genuine"].cells[0].value == own
    smallest = {row.names[0] for row in tables["groups_smallest_epsilon"].rows}
    assert smallest == {"dodge white-box", "noise"}
    heads = ("perturbation", "model", "number", "f", "m", "largest gap")
    line = next(
        row
        for row in tables["groups_label"].rows
        if row.names == ("dodge white-box", "faces", "MOD")
    )
    assert tables["groups_label"].heads == heads
    assert line.cells[0].value == told["mod"]
    assert [cell.value for cell in line.cells[1:]] == [None, None]
    assert line.cells[2].reason == "fewer than two groups of 20 people"

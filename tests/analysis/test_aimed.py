"""Attacks beside controls with their own shape: means over replicates, pairs by image."""

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from lookaway.analysis import comparison, dead, scale, summary
from lookaway.analysis.aimed import CLASS, aimed, pooled, without_shaped
from rows import labels_of, line, measured, shuffled_rows

LABELS = labels_of(3, 4)
RANDOM = np.random.default_rng(0)
VALUES = {name: RANDOM.random(12) for name in ("attack", "noise", "one", "two", "same", "other")}


def control(name, values, images=range(12), **about):
    """Rows of a control; some images may lack it."""
    rows = measured("m", values, LABELS, source=None, **about)
    names = sorted(rows["image"])
    kept = pl.col("image").is_in([names[place] for place in images])
    return rows.with_columns(attack=pl.lit(name)).filter(kept)


@pytest.fixture
def rows():
    return pl.concat(
        [
            measured("m", VALUES["attack"], LABELS),
            control("noise", VALUES["noise"]),
            control("shifted 1 of fgsm", VALUES["one"], right_after=np.arange(12) < 6),
            control("shifted 2 of fgsm", VALUES["two"], right_after=np.arange(12) < 3),
            control("same-class transplant 1 of fgsm", VALUES["same"], range(10)),
            control("other-class transplant 1 of fgsm", VALUES["other"], range(2, 12)),
            control("shifted 1 of fgsm from x", VALUES["one"] + 100),  # another attack's
        ]
    )


def test_the_aimed_excess_is_the_attack_less_the_mean_of_its_replicates_image_by_image(rows):
    found = aimed(rows).filter(pairs="all")
    attack = VALUES["attack"]
    expected = {
        "shifted": attack - (VALUES["one"] + VALUES["two"]) / 2,
        "same-class transplant": (attack - VALUES["same"])[:10],
        "other-class transplant": (attack - VALUES["other"])[2:],
        CLASS: (VALUES["same"] - VALUES["other"])[2:10],
    }
    assert set(found["control"]) == set(expected)
    for kind, values in expected.items():
        row = line(found, control=kind)
        assert row["aimed"] == pytest.approx(values.mean())
        assert row["mod"] - row["control_mod"] == pytest.approx(values.mean())
        assert row["n"] == len(values)
        assert row["low"] < row["aimed"] < row["high"]
    assert line(found, control="shifted")["replicates"] == 2
    assert found["attack"].unique().to_list() == ["fgsm"]


def test_without_dead_maps_an_image_counts_where_neither_attack_nor_control_is_dead(rows):
    dead_two = np.arange(12) == 3
    others = rows.filter(pl.col("attack") != "shifted 2 of fgsm")
    some = control("shifted 2 of fgsm", VALUES["two"], attacked_dead=dead_two)
    found = aimed(pl.concat([others, some]))
    differences = VALUES["attack"] - (VALUES["one"] + VALUES["two"]) / 2
    row = line(found, control="shifted", pairs="alive")
    assert (row["n"], row["aimed"]) == (11, pytest.approx(np.delete(differences, 3).mean()))


def test_old_numbers_stay_as_they_were_and_replicates_are_one(rows):
    before = without_shaped(rows)
    assert before["attack"].unique().sort().to_list() == ["fgsm", "noise"]
    compared = shuffled_rows("m", VALUES["same"], LABELS)
    assert_frame_equal(scale.excess(rows, compared), scale.excess(before, compared))
    mod = summary.mod(rows)
    old = summary.mod(before)
    assert_frame_equal(mod.filter(pl.col("attack").is_in(["fgsm", "noise"])), old)
    row = line(mod, attack="shifted of fgsm", pairs="all")
    assert row["mod"] == pytest.approx((VALUES["one"] + VALUES["two"]).mean() / 2)
    right = line(summary.accuracy(rows), attack="shifted of fgsm", epsilon=0.1)
    assert (right["accuracy"], right["n"]) == (pytest.approx((6 + 3) / 24), 12)
    names = pooled(rows)["attack"].unique(maintain_order=True).to_list()
    assert names[:4] == ["fgsm", "noise", "shifted of fgsm", "same-class transplant of fgsm"]
    shares = dead.dead(rows).filter(attack="shifted of fgsm", measure="dead")
    assert shares["value"].to_list() == [0]


def test_rows_without_such_controls_have_none():
    plain = pl.concat([measured("m", VALUES["attack"], LABELS), control("noise", VALUES["noise"])])
    assert aimed(plain).is_empty()
    assert pooled(plain) is plain
    assert without_shaped(plain) is plain
    assert set(aimed(plain).columns) >= {"control", "aimed", "low", "high", "control_mod"}


def test_models_and_runs_are_compared_in_their_aimed_excess(rows):
    other = rows.with_columns(
        model=pl.lit("other"),
        source=pl.when(pl.col("source") == "m").then(pl.lit("other")).otherwise("source"),
        nissim=pl.when(attack="fgsm").then(pl.col("nissim") - 0.25).otherwise("nissim"),
    )
    found = comparison.compare_models(pl.concat([rows, other]))
    assert set(found["measure"]) == {"mod", "excess", "aimed"}
    row = line(found, measure="aimed", pairs="all")
    assert row["difference"] == pytest.approx(0.25)
    assert set(found.filter(measure="mod")["scope"]) == {"fgsm white-box", "noise"}
    runs = comparison.compare_runs(rows, other, [("m", "other")])
    assert line(runs, measure="aimed", pairs="all")["difference"] == pytest.approx(-0.25)


def test_what_reaches_the_network_is_a_mean_over_images_and_null_in_older_runs(rows):
    more = rows.with_columns(reached_rms=pl.col("nissim") / 2, reached_linf=pl.lit(0.3))
    found = summary.reached(more)
    row = line(found, attack="shifted of fgsm", measure="rms")
    assert row["value"] == pytest.approx((VALUES["one"] + VALUES["two"]).mean() / 4)
    assert line(found, attack="noise", measure="linf")["value"] == pytest.approx(0.3)
    null = pl.lit(None, pl.Float64)
    assert summary.reached(rows.with_columns(reached_rms=null, reached_linf=null)).is_empty()

"""MOD between floor and ceiling, and the numbers beside NISSIM."""

import numpy as np
import polars as pl
import pytest

from lookaway.analysis.beside_nissim import beside_nissim
from lookaway.analysis.place import NOT_RESOLVABLE, NOT_RUN, Ceiling, ceiling_of, place
from lookaway.study.settings import Study
from rows import labels_of, line, measured, without_nan

LABELS = labels_of(3, 20)
CEILING = Ceiling("explanation", "gradcam", 0.05)


def near(mean, seed, dead=False):
    return np.random.default_rng(seed).normal(mean, 0.02, len(LABELS))


def study_rows(attack=0.3, noise=0.1, shifted=0.2, top=0.5, dead=False):
    """One model's, under FGSM, noise, its shifted control and an attack on the explanation."""
    named = {
        "fgsm": measured("m", near(attack, 1), LABELS, attacked_dead=dead),
        "explanation": measured("m", near(top, 2), LABELS),
        "noise": measured("m", near(noise, 3), LABELS, source=None),
        "shifted 1 of fgsm": measured("m", near(shifted, 4), LABELS, source=None),
    }
    return pl.concat(rows.with_columns(attack=pl.lit(name)) for name, rows in named.items())


def test_the_place_is_the_way_from_the_floor_to_the_ceiling():
    rows = study_rows()
    found = place(rows, CEILING)
    means = dict(rows.group_by("attack").agg(pl.col("nissim").mean()).iter_rows())
    for floor, name in (("noise", "noise"), ("shifted", "shifted 1 of fgsm")):
        row = line(found, floor=floor, pairs="all")
        low, top = means[name], means["explanation"]
        assert row["place"] == pytest.approx((means["fgsm"] - low) / (top - low))
        assert (row["mod"], row["floor_mod"], row["ceiling_mod"]) == pytest.approx(
            (means["fgsm"], low, top)
        )
        assert row["low"] < row["place"] < row["high"]
        assert row["reason"] is None
    assert found["attack"].unique().to_list() == ["fgsm"]


def test_a_place_has_a_reason_where_the_ceiling_is_no_higher_or_was_not_run():
    for top in (0.1, 0.05):
        row = line(place(study_rows(top=top), CEILING), floor="noise", pairs="all")
        assert (row["place"], row["low"], row["high"]) == (None, None, None)
        assert row["reason"] == NOT_RESOLVABLE
    none = place(study_rows().filter(pl.col("attack") != "explanation"), None)
    row = line(none, floor="noise", pairs="all")
    assert (row["place"], row["ceiling_mod"], row["reason"]) == (None, None, NOT_RUN)
    assert row["mod"] == pytest.approx(0.3, abs=0.01)


def test_pairs_with_a_dead_map_are_left_out_of_the_living_ones():
    dead = np.arange(len(LABELS)) < 20
    found = place(study_rows(dead=dead), CEILING)
    assert line(found, floor="noise", pairs="alive")["n"] == len(LABELS) - 20
    assert line(found, floor="noise", pairs="all")["n"] == len(LABELS)
    every = place(study_rows(dead=True), CEILING)
    row = line(every, floor="noise", pairs="alive")
    assert (row["place"], row["n"], row["reason"]) == (None, 0, "no image with all three")
    assert without_nan(every)


def test_the_ceiling_is_the_study_s_attack_on_the_explanation_of_last_layers():
    def of(*attacks):
        given = {
            "data": {"folder": "sample:lfw_subset"},
            "models": ["test_resnet"],
            "attacks": list(attacks),
        }
        return ceiling_of(Study.model_validate(given))

    assert of("fgsm") is None
    assert of("fgsm", "explanation") == CEILING
    named = {"name": "top", "explanation": {"method": "layercam", "within": 0.1}}
    assert of("fgsm", named) == Ceiling("top", "layercam", 0.1)
    assert of("fgsm", {"name": "top", "explanation": {"layer": "conv1"}}) is None


def test_what_stands_beside_nissim_is_told_alone_and_less_its_controls():
    rows = study_rows()
    dead = np.arange(rows.height) % len(LABELS) < 20
    null = pl.when(~pl.Series(dead)).then("sliced_wasserstein")
    found = beside_nissim(rows.with_columns(sliced_wasserstein=null))
    own = {"attack": "fgsm", "measure": "sliced_wasserstein"}
    assert line(found, **own, less=None)["n"] == len(LABELS) - 20
    values = rows.with_columns(_dead=pl.Series(dead)).filter(~pl.col("_dead"))
    means = dict(values.group_by("attack").agg(pl.col("nissim").mean() / 4).iter_rows())
    for less, name in (("noise", "noise"), ("shifted", "shifted 1 of fgsm")):
        row = line(found, **own, less=less)
        assert row["value"] == pytest.approx(means["fgsm"] - means[name])
        assert row["low"] < row["value"] < row["high"]
    half = line(found, attack="fgsm", measure="nissim_common", less=None)
    assert half["value"] == pytest.approx(rows.filter(attack="fgsm")["nissim"].mean() / 2)
    assert line(found, attack="shifted of fgsm", measure="log_mass_ratio", less=None)["n"] == 60


def test_rows_of_older_runs_have_nothing_beside_nissim():
    older = [pl.lit(None, pl.Float64).alias(name) for name in ("nissim_common", "log_mass_ratio")]
    rows = study_rows().with_columns(*older, sliced_wasserstein=pl.lit(None, pl.Float64))
    assert beside_nissim(rows).is_empty()

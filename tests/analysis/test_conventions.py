"""Whether a conclusion depends on a convention."""

import numpy as np
import polars as pl
import pytest

from lookaway.analysis import scale, summary
from lookaway.analysis.conventions import conventions, robustness_of_ranking
from rows import labels_of, line, measured, shuffled_rows, statistics_of, without_nan

LABELS = labels_of(2, 3)
LEVELS = (0.1, 0.2)
REFERENCE = ("gradcam", "clean", "gaussian11", "224")
OWN = {"similarity": "gaussian11", "resolution": "224"}


def study(models=("a", "b"), seed=0):
    """Models under their own perturbations, under the first's and under noise; some maps dead."""
    random = np.random.default_rng(seed)
    sources = [(m, s) for m in models for s in dict.fromkeys([m, models[0], None])]
    return pl.concat(
        measured(
            model,
            random.random((6, 2)),
            LABELS,
            source=source,
            epsilons=LEVELS,
            policy=policy,
            clean_dead=np.arange(6) == 0,
            attacked_dead=random.random((6, 2)) < 0.15,
        )
        for policy in ("own", "clean")
        for model, source in sources
    )


def with_others(rows):
    """Other conventions on the same pairs: half the study's own, and one that dead maps lack."""
    dead = pl.col("clean_dead") | pl.col("attacked_dead")
    return statistics_of(rows).with_columns(
        (rows["nissim"] / 2).alias("uniform7@common"),
        pl.when(~dead).then(1 - rows["nissim"]).alias("spearman@native"),
    )


def told(rows):
    return conventions(
        rows, with_others(rows).sample(fraction=1, shuffle=True, seed=0), "gaussian11", 224
    )


def as_dict(frame, value, *, scoped=False):
    """The numbers that there are, by setting."""
    keys = ["model", "source", "explained_class", "pairs"]
    keys += [key for key in ("epsilon",) if key in frame.columns]
    keys += ["scope"] if scoped else []
    return {
        row[:-2]: row[-2:]
        for row in frame.filter(pl.col(value).is_not_null()).select(*keys, "n", value).rows()
    }


@pytest.mark.parametrize("seed", range(3))
def test_the_study_s_own_convention_gives_the_study_s_own_numbers(seed):
    rows = study(seed=seed)
    found = told(rows).filter(**OWN)
    compared = pl.concat(
        shuffled_rows(model, [0.9] * 6, LABELS, policy=policy)
        for model in "ab"
        for policy in ("own", "clean")
    )
    for measure, frame, value in [
        ("mod", summary.mod(rows), "mod"),
        ("vid", summary.vid(rows, per="image"), "vid"),
        ("excess", scale.excess(rows, compared), "excess"),
    ]:
        mine = found.filter(measure=measure)
        mine = mine.drop("epsilon") if measure == "vid" else mine
        got = as_dict(mine, "value", scoped=True)
        frame = frame.filter(pl.col("pairs") != "attacked")  # which conventions do not tell apart
        expected = as_dict(summary.by_scope(frame), value, scoped=True)
        assert got.keys() == expected.keys()
        for key, (count, number) in expected.items():
            assert got[key] == (count, pytest.approx(number))
    assert without_nan(found)


def test_vid_has_no_epsilon_and_needs_several():
    rows = study()
    found = told(rows).filter(measure="vid")
    assert found["epsilon"].null_count() == found.height > 0
    assert told(rows.filter(epsilon=0.1)).filter(measure="vid", pairs="all").is_empty()


def test_every_stored_convention_is_told_by_similarity_and_resolution():
    rows = study()
    found = told(rows)
    assert set(found.select("similarity", "resolution").rows()) == {
        ("gaussian11", "224"),
        ("uniform7", "common"),
        ("spearman", "native"),
    }
    setting = {"model": "b", "source": "a", "explained_class": "clean"}
    level = {"epsilon": 0.2, **setting}
    mine = rows.filter(**level)
    for measure, factor in [("mod", 0.5), ("excess", 0.5)]:
        own = line(found, measure=measure, pairs="all", **level, **OWN)
        half = line(found, measure=measure, pairs="all", **level, similarity="uniform7")
        assert half["value"] == pytest.approx(factor * own["value"])
        assert half["n"] == own["n"] == 6
        assert half["scope"] == "fgsm from a"
    dead = mine["clean_dead"] | mine["attacked_dead"]
    spearman = line(found, measure="mod", pairs="all", **level, similarity="spearman")
    assert spearman["n"] == (~dead).sum() < 6
    assert spearman["value"] == pytest.approx(1 - mine.filter(~dead)["nissim"].mean())
    assert without_nan(found)


def test_alive_leaves_out_pairs_in_which_a_map_or_its_noise_is_dead():
    died = [np.arange(6) == place for place in (0, 1)]
    attacked, noise = np.linspace(0.2, 0.7, 6), np.linspace(0.1, 0.3, 6) ** 2
    rows = pl.concat(
        [
            measured("a", attacked, LABELS, source="a", attacked_dead=died[0]),
            measured("a", noise, LABELS, source=None, attacked_dead=died[1]),
        ]
    )
    found = told(rows).filter(**OWN)
    mod = line(found, measure="mod", pairs="alive", source="a")
    assert (mod["n"], mod["value"]) == (5, pytest.approx(attacked[1:].mean()))
    mod = line(found, measure="mod", pairs="alive", source=None)
    assert (mod["n"], mod["value"], mod["scope"]) == (
        5,
        pytest.approx(noise.mean() * 6 / 5 - noise[1] / 5),
        "noise",
    )
    excess = line(found, measure="excess", pairs="alive")
    assert (excess["n"], excess["value"]) == (4, pytest.approx((attacked - noise)[2:].mean()))
    assert line(found, measure="excess", pairs="all")["n"] == 6


def frame_of(table, **other):
    """A frame as ``conventions`` gives it: (class, pairs, similarity, resolution) → values."""
    setting = {"variant": "none", "scope": "fgsm white-box", "measure": "mod", "epsilon": 0.1}
    return pl.DataFrame(
        [
            dict(
                zip(["explained_class", "pairs", "similarity", "resolution"], key, strict=True),
                **(setting | other),
                model=model,
                method="gradcam",
                value=value,
            )
            for key, values in table.items()
            for model, value in values.items()
        ],
        schema_overrides={"value": pl.Float64, "epsilon": pl.Float64},
    )


AS_TOLD = ("clean", "all", "gaussian11", "224")
TABLE = {
    ("clean", "alive", "gaussian11", "224"): {"a": 0.4, "b": 0.5, "c": 0.6},
    AS_TOLD: {"a": 0.3, "b": 0.1, "c": 0.2},
    ("own", "all", "gaussian11", "224"): {"a": 0.9, "b": 0.2, "c": 0.5},
    ("clean", "all", "spearman", "native"): {"a": 0.3, "b": 0.2, "c": 0.1},  # swaps b and c
}


def test_a_ranking_holds_in_the_conventions_that_order_all_models_alike():
    got = line(robustness_of_ranking(frame_of(TABLE), ["a", "b", "c"], REFERENCE))
    assert got["ranking"] == ["b", "c", "a"]
    assert got["conventions"] == 4
    assert got["held"] == 2
    # Kept pairs of b c a: alive has b < c alone, spearman all but b < c, the other two all.
    assert got["pairs_held"] == pytest.approx((1 + 3 + 3 + 2) / 12)
    assert got["changed_by"] == ["clean, alive, gaussian11, 224", "clean, all, spearman, native"]
    assert (got["variant"], got["scope"], got["measure"]) == ("none", "fgsm white-box", "mod")
    assert got["epsilon"] == 0.1


def test_the_told_ranking_is_the_reference_s():
    reference = ("gradcam", "clean", "spearman", "native")
    got = line(robustness_of_ranking(frame_of(TABLE), ["a", "b", "c"], reference))
    assert got["ranking"] == ["c", "b", "a"]
    assert got["held"] == 1
    own = line(
        robustness_of_ranking(frame_of(TABLE), list("abc"), ("gradcam", "own", *REFERENCE[2:]))
    )
    assert own["ranking"] == ["b", "c", "a"]
    nowhere = robustness_of_ranking(
        frame_of(TABLE), list("abc"), ("gradcam", "label", *REFERENCE[2:])
    )
    assert nowhere.is_empty()


def test_equal_values_hold_every_order_and_are_told_in_the_study_s():
    table = {AS_TOLD: {"a": 0.2, "b": 0.2}, ("own", *AS_TOLD[1:]): {"a": 0.3, "b": 0.3}}
    got = line(robustness_of_ranking(frame_of(table), ["b", "a"], REFERENCE))
    assert got["ranking"] == ["b", "a"]
    assert (got["held"], got["pairs_held"], got["changed_by"]) == (2, 1.0, [])


def test_conventions_with_the_same_numbers_count_once():
    """Such as with and without dead maps, where there is none."""
    same = {("own", "alive", *AS_TOLD[2:]): TABLE["own", "all", "gaussian11", "224"]}
    tables = TABLE, TABLE | same
    found = [robustness_of_ranking(frame_of(table), list("abc"), REFERENCE) for table in tables]
    assert found[0].equals(found[1])


def test_it_is_told_for_each_model_in_how_many_conventions_it_is_above_0():
    table = TABLE | {("own", "all", "top10", "native"): {"a": -0.1, "b": 0.0, "c": 0.3}}
    got = line(robustness_of_ranking(frame_of(table), list("abc"), REFERENCE))
    assert dict(zip(got["ranking"], got["positive"], strict=True)) == {"a": 4, "b": 4, "c": 5}


def test_the_aimed_excess_is_told_under_every_convention():
    attacked, first, second = np.random.default_rng(4).beta(2, 5, (3, 6))
    rows = pl.concat(
        [
            measured("m", attacked, LABELS),
            measured("m", first / 2, LABELS, source=None),
            *(
                measured("m", values, LABELS, source=None).with_columns(
                    attack=pl.lit(f"shifted {number} of fgsm")
                )
                for number, values in ((1, first), (2, second))
            ),
        ]
    )
    found = told(rows).filter(measure="aimed", pairs="all")
    aimed = (attacked - (first + second) / 2).mean()
    assert set(found["scope"]) == {"fgsm white-box"}
    for similarity, factor in (("gaussian11", 1), ("uniform7", 0.5), ("spearman", -1)):
        got = line(found, similarity=similarity)
        assert (got["n"], got["value"]) == (6, pytest.approx(factor * aimed))
    assert set(told(rows).filter(measure="mod")["attack"]) == {"fgsm", "noise"}


def test_conventions_that_lack_a_model_do_not_count():
    table = TABLE | {
        ("own", "alive", "gaussian11", "224"): {"a": None, "b": 0.5, "c": 0.1},
        ("own", "all", "top10", "native"): {"a": None, "b": None, "c": None},
        ("own", "all", "top10", "common"): {"b": 0.5, "c": 0.1},
    }
    expected = robustness_of_ranking(frame_of(TABLE), list("abc"), REFERENCE)
    assert robustness_of_ranking(frame_of(table), list("abc"), REFERENCE).equals(expected)


def test_every_scope_measure_and_level_has_a_ranking_of_its_own():
    swapped = {key: {"a": values["b"], "b": values["a"]} for key, values in TABLE.items()}
    two = {key: {"a": values["a"], "b": values["b"]} for key, values in TABLE.items()}
    found = pl.concat(
        [
            frame_of(two),
            frame_of(swapped, epsilon=0.2),
            frame_of(swapped, scope="noise"),
            frame_of(swapped, measure="vid", epsilon=None),
        ]
    )
    frame = robustness_of_ranking(found, ["a", "b"], REFERENCE)
    assert frame.select("scope", "measure", "epsilon", "ranking").rows() == [
        ("fgsm white-box", "mod", 0.1, ["b", "a"]),
        ("fgsm white-box", "mod", 0.2, ["a", "b"]),
        ("noise", "mod", 0.1, ["a", "b"]),
        ("fgsm white-box", "vid", None, ["a", "b"]),
    ]


def test_one_model_has_no_ranking():
    rows = study(("a",))
    frame = robustness_of_ranking(told(rows), ["a"], REFERENCE)
    assert frame.is_empty()
    two = robustness_of_ranking(told(study()), ["a", "b"], REFERENCE)
    assert frame.schema == two.schema


def test_rankings_of_a_study_are_those_of_its_numbers():
    rows = study()
    frame = robustness_of_ranking(told(rows), ["a", "b"], REFERENCE)
    assert set(frame["measure"]) == {"mod", "excess", "vid"}  # no controls are shifted
    mod = summary.by_scope(summary.mod(rows)).filter(pairs="all", explained_class="clean")
    for row in frame.filter(measure="mod").iter_rows(named=True):
        values = mod.filter(scope=row["scope"], epsilon=row["epsilon"])
        assert row["ranking"] == values.sort("mod")["model"].to_list()
        # Two policies; two similarities with and without dead maps, one that has no dead maps.
        assert row["conventions"] == 2 * (2 * 2 + 1)
        assert row["held"] == row["conventions"] - len(row["changed_by"])


def test_an_epsilon_without_a_living_pair_leaves_no_vid():
    labels = labels_of(2, 3)
    values = np.column_stack([np.full(6, 0.1), np.linspace(0.1, 0.6, 6)])
    dead = np.column_stack([np.zeros(6, bool), np.ones(6, bool)])
    rows = measured("m", values, labels, epsilons=(0.1, 0.2), attacked_dead=dead)
    statistics = rows.with_columns(pl.col("nissim").alias("uniform7@224"))
    found = conventions(rows, statistics, "gaussian11", 224)
    vid = found.filter(pl.col("measure") == "vid")
    assert set(vid["pairs"]) == {"all"}

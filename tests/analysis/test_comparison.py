"""Models, and runs, are compared image by image."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lookaway.analysis import comparison
from lookaway.analysis.comparison import compare_models, compare_runs, paired_p
from lookaway.analysis.intervals import Bootstrap
from oracles import holm_by_steps, p_by_all_signs
from rows import labels_of, line, measured, without_nan

LABELS = labels_of(2, 4)
A = np.array([0.1, 0.3, 0.2, 0.4, 0.3, 0.2, 0.1, 0.3])
B = np.array([0.2, 0.5, 0.1, 0.6, 0.5, 0.3, 0.4, 0.2])
NOISE_A, NOISE_B = A / 4, B / 2


def white_box(values, labels=LABELS, noise=None, **said):
    """Models under their own perturbations, and under noise."""
    parts = [
        measured(model, table, labels, source=model, **said) for model, table in values.items()
    ]
    for model, table in (noise or {}).items():
        parts.append(measured(model, table, labels, source=None, **said))
    return pl.concat(parts)


def one_p(differences, labels):
    values = np.asarray(differences, dtype=float)[:, None]
    return paired_p(Bootstrap(labels), values, np.ones(values.shape, dtype=bool))[0]


def test_the_difference_is_the_first_model_less_the_second():
    rows = white_box({"a": A, "b": B}, noise={"a": NOISE_A, "b": NOISE_B})
    frame = compare_models(rows)
    assert set(frame.select("scope", "measure").rows()) == {
        ("fgsm white-box", "mod"),
        ("fgsm white-box", "excess"),
        ("noise", "mod"),
    }
    for scope, measure, differences in [
        ("fgsm white-box", "mod", A - B),
        ("fgsm white-box", "excess", (A - NOISE_A) - (B - NOISE_B)),
        ("noise", "mod", NOISE_A - NOISE_B),
    ]:
        got = line(frame, scope=scope, measure=measure, pairs="all")
        assert (got["model_a"], got["model_b"], got["n"]) == ("a", "b", 8)
        assert got["difference"] == pytest.approx(differences.mean())
        assert got["low"] < got["difference"] < got["high"]
        assert got["p"] == pytest.approx(p_by_all_signs(differences))
        assert got["p_holm"] == got["p"]  # of one pair of models
    swapped = line(compare_models(rows.reverse()), scope="noise", measure="mod", pairs="all")
    assert (swapped["model_a"], swapped["model_b"]) == ("b", "a")
    assert swapped["difference"] == pytest.approx((NOISE_B - NOISE_A).mean())


def test_images_are_paired_by_name_not_by_place():
    mixed = measured("b", B, LABELS, source="b").sample(fraction=1, shuffle=True, seed=1)
    rows = pl.concat([measured("a", A, LABELS, source="a"), mixed])
    got = line(compare_models(rows), measure="mod", pairs="all")
    assert got["p"] == pytest.approx(p_by_all_signs(A - B))
    lone = pl.concat([measured("a", A, LABELS, source="a"), mixed.head(5)])
    assert line(compare_models(lone), measure="mod", pairs="all")["n"] == 5


def test_probability_is_how_often_the_first_is_smaller_in_the_resamples():
    first, second = np.random.default_rng(2).random((2, 8))
    got = line(compare_models(white_box({"a": first, "b": second})), measure="mod", pairs="all")
    differences = (first - second)[:, None]
    resampled = Bootstrap(LABELS).ratios(differences, np.ones_like(differences))
    assert got["probability"] == pytest.approx((resampled < 0).mean(), abs=0.001)
    assert 0.02 < got["probability"] < 0.98
    assert abs(got["probability"] - 0.5) > 0.1
    same = line(compare_models(white_box({"a": A, "b": A})), measure="mod", pairs="all")
    assert (same["difference"], same["low"], same["high"]) == (0.0, 0.0, 0.0)
    assert (same["probability"], same["p"]) == (0.5, 1.0)
    one_each = compare_models(white_box({"a": A, "b": B}, labels_of(8, 1)))
    got = line(one_each, measure="mod", pairs="all")
    assert got["low"] is got["high"] is got["probability"] is None
    assert got["p"] == pytest.approx(p_by_all_signs(A - B))


def test_each_scope_policy_and_level_is_compared_on_its_own():
    levels = (0.1, 0.2)
    rows = pl.concat(
        [
            white_box({"a": np.stack([A, A], 1), "b": np.stack([B, A], 1)}, epsilons=levels),
            measured("b", np.stack([A, B], 1), LABELS, source="a", epsilons=levels),
            white_box(
                {"a": np.stack([B, B], 1), "b": np.stack([A, A], 1)}, epsilons=levels, policy="own"
            ),
        ]
    )
    frame = compare_models(rows).filter(measure="mod", pairs="all")
    apart = (A - B).mean()
    for scope, policy, epsilon, expected in [
        ("fgsm white-box", "clean", 0.1, apart),
        ("fgsm white-box", "clean", 0.2, 0.0),
        ("fgsm from a", "clean", 0.1, 0.0),
        ("fgsm from a", "clean", 0.2, apart),
        ("fgsm white-box", "own", 0.1, -apart),
        ("fgsm white-box", "own", 0.2, -apart),
    ]:
        got = line(frame, scope=scope, explained_class=policy, epsilon=epsilon)
        assert got["difference"] == pytest.approx(expected)
    assert frame.height == 6


def test_alive_leaves_out_images_that_are_dead_for_either_model():
    died = [np.arange(8) == place for place in range(3)]
    rows = pl.concat(
        [
            measured("a", A, LABELS, source="a", attacked_dead=died[0]),
            measured("b", B, LABELS, source="b", clean_dead=died[1]),
            measured("a", NOISE_A, LABELS, source=None),
            measured("b", NOISE_B, LABELS, source=None, attacked_dead=died[2]),
        ]
    )
    frame = compare_models(rows)
    mod = line(frame, scope="fgsm white-box", measure="mod", pairs="alive")
    assert (mod["n"], mod["difference"]) == (6, pytest.approx((A - B)[2:].mean()))
    assert mod["p"] == pytest.approx(p_by_all_signs((A - B)[2:]))
    excess = line(frame, scope="fgsm white-box", measure="excess", pairs="alive")
    over = (A - NOISE_A) - (B - NOISE_B)
    assert (excess["n"], excess["difference"]) == (5, pytest.approx(over[3:].mean()))
    assert line(frame, scope="fgsm white-box", measure="excess", pairs="all")["n"] == 8


@settings(max_examples=25)
@given(st.lists(st.integers(-5, 5).map(lambda tenths: tenths / 10), min_size=2, max_size=10))
def test_for_few_images_p_is_that_of_all_sign_patterns(differences):
    labels = ["a"] * len(differences)
    assert one_p(differences, labels) == pytest.approx(p_by_all_signs(differences))


def test_p_of_13_and_14_images_is_that_of_all_sign_patterns():
    differences = np.random.default_rng(0).normal(0.3, 1, 14)
    few = one_p(differences[:13], ["a"] * 13)
    assert few == pytest.approx(p_by_all_signs(differences[:13]), abs=1e-12)
    drawn = one_p(differences, ["a"] * 14)
    assert drawn == pytest.approx(p_by_all_signs(differences), abs=0.02)


@pytest.mark.parametrize("count", [60, 900])
def test_p_of_many_images_is_at_least_one_in_the_number_of_patterns(count):
    assert comparison.PERMUTATIONS == 10_000
    assert one_p(np.full(count, 0.1), ["a"] * count) == pytest.approx(1 / 10_001)
    assert one_p(np.zeros(count), ["a"] * count) == 1.0
    random = np.random.default_rng(1).normal(0.1 / count**0.5, 1 / count**0.5, count)
    assert one_p(random, ["a"] * count) == pytest.approx(
        stats.ttest_1samp(random, 0).pvalue, abs=0.03
    )
    assert one_p(-random, ["a"] * count) == one_p(random, ["a"] * count)


def test_whole_classes_are_flipped_where_whole_classes_are_drawn():
    random = np.random.default_rng(3)
    of_class = random.normal(0.1, 0.3, 24)
    differences = np.repeat(of_class, 10) + random.normal(0, 0.01, 240)
    by_image = one_p(differences, labels_of(1, 240))
    by_class = one_p(differences, labels_of(24, 10))
    assert by_image < 0.002
    assert by_class > 0.02
    assert by_class == pytest.approx(stats.ttest_1samp(of_class, 0).pvalue, abs=0.02)
    rows = white_box({"a": 0.5 + differences / 4, "b": np.full(240, 0.5)}, labels_of(24, 10))
    got = line(compare_models(rows), measure="mod", pairs="all")
    assert (got["p"], got["interval"]) == (pytest.approx(by_class), "bootstrap-t, classes")


@pytest.mark.parametrize("labels", [labels_of(2, 15), labels_of(10, 1), labels_of(25, 4)])
def test_where_models_are_alike_p_is_below_5_percent_as_rarely_as_it_says(labels):
    random = np.random.default_rng(0)
    of_class = np.unique(labels, return_inverse=True)[1]
    effects = random.normal(0, 0.3, (25, 200))[of_class] * (len(set(labels)) >= 20)
    differences = effects + random.normal(0, 0.2, (len(labels), 200))
    bootstrap = Bootstrap(labels)
    chances = np.array(paired_p(bootstrap, differences, np.ones(differences.shape, dtype=bool)))
    assert np.mean(chances < 0.05) <= 0.08
    assert np.mean(chances < 0.05) > 0.01
    assert chances.mean() == pytest.approx(0.5, abs=0.07)


def test_a_planted_difference_is_found_and_an_absent_one_is_not():
    random = np.random.default_rng(0)
    labels = labels_of(2, 25)
    image = random.beta(2, 5, 50)  # hard images are hard for all models
    near = {
        model: image + shift + random.normal(0, 0.05, 50)
        for model, shift in [("a", 0.0), ("b", 0.06), ("c", 0.0)]
    }
    frame = compare_models(white_box(near, labels)).filter(measure="mod", pairs="all")
    planted = line(frame, model_a="a", model_b="b")
    assert planted["p_holm"] < 0.01
    assert planted["high"] < 0
    assert planted["probability"] > 0.99
    absent = line(frame, model_a="a", model_b="c")
    assert absent["p"] > 0.05
    assert absent["low"] < 0 < absent["high"]


@pytest.mark.parametrize("seed", range(4))
def test_p_is_corrected_as_holm_does_within_each_family(seed):
    random = np.random.default_rng(seed)
    labels = labels_of(2, 3)
    models = "abcdef"
    # Steps of a tenth make many ties; one model has dead maps only.
    table = {model: random.integers(0, 8, (6, 2)) / 10 for model in models}
    table["b"] = np.tile(random.random((6, 1)), 2) + 1.0  # far from the others: small p
    rows = white_box(
        table, labels, epsilons=(0.1, 0.2), noise=dict.fromkeys(models, table["a"] / 9)
    )
    dead = (pl.col("model") == "c") & (pl.col("epsilon") == 0.1) & pl.col("source").is_not_null()
    frame = compare_models(rows.with_columns(attacked_dead=dead))
    families = frame.partition_by("scope", "explained_class", "epsilon", "measure", "pairs")
    assert len(families) == (2 + 1) * 2 * 2
    ties = nulls = 0
    for family in families:
        assert family.height == 15
        assert family["p_holm"].to_list() == pytest.approx(
            holm_by_steps(family["p"].to_list()), nan_ok=False
        )
        ties += family["p"].drop_nulls().is_duplicated().sum()
        nulls += family["p"].null_count()
    assert ties > 20
    assert nulls == 2 * 5
    assert frame["p_holm"].max() <= 1.0
    assert without_nan(frame)


def test_one_model_has_nothing_to_compare_with():
    one = compare_models(white_box({"a": A}, noise={"a": NOISE_A}))
    two = compare_models(white_box({"a": A, "b": B}))
    assert one.is_empty()
    assert one.columns == two.columns


def runs(first, second, names=("a", "a")):
    found = [
        white_box({name: values}, noise={name: NOISE_A})
        for name, values in zip(names, (first, second), strict=True)
    ]
    return compare_runs(*found, [names])


def test_a_run_beside_itself_differs_by_exactly_0():
    frame = runs(A, A)
    assert set(frame["measure"]) == {"mod", "excess", "accuracy"}
    assert set(frame["scope"]) == {"fgsm white-box", "noise"}
    assert frame.height == 10
    for name in ("difference", "low", "high"):
        assert frame[name].to_list() == [0.0] * 10
    assert frame["p"].to_list() == [1.0] * 10
    assert frame["before"].to_list() == frame["after"].to_list()


def test_the_difference_of_two_runs_is_the_second_less_the_first():
    first = measured("a", A, LABELS, source="a", right_after=[True] * 6 + [False] * 2)
    second = measured("a", B, LABELS, source="a", right_after=[True] * 3 + [False] * 5)
    noise = measured("a", NOISE_A, LABELS, source=None)
    frame = compare_runs(pl.concat([first, noise]), pl.concat([second, noise]), [("a", "a")])
    for measure, before, after in [
        ("mod", A.mean(), B.mean()),
        ("excess", (A - NOISE_A).mean(), (B - NOISE_A).mean()),
        ("accuracy", 0.75, 0.375),
    ]:
        got = line(frame, scope="fgsm white-box", measure=measure, pairs="all")
        assert got["n"] == 8
        assert got["before"] == pytest.approx(before)
        assert got["after"] == pytest.approx(after)
        assert got["difference"] == pytest.approx(after - before)
        assert got["low"] < got["difference"] < got["high"]
    got = line(frame, scope="fgsm white-box", measure="mod", pairs="all")
    assert got["p"] == pytest.approx(p_by_all_signs(B - A))


def test_models_of_two_runs_are_matched_as_given():
    first = white_box({"a": A, "b": B, "c": A})
    second = white_box({"new b": B / 2, "new a": A / 2, "a": A / 10})
    frame = compare_runs(first, second, [("a", "new a"), ("b", "new b")])
    mod = frame.filter(measure="mod", pairs="all")
    assert mod.select("model_a", "model_b", "scope").rows() == [
        ("a", "new a", "fgsm white-box"),
        ("b", "new b", "fgsm white-box"),
    ]
    assert mod["before"].to_list() == pytest.approx([A.mean(), B.mean()])
    assert mod["after"].to_list() == pytest.approx([A.mean() / 2, B.mean() / 2])
    assert not set(frame["scope"]) - {"fgsm white-box"}


def test_what_one_source_does_to_another_model_is_compared_between_runs():
    def run(values):
        return pl.concat(
            [
                white_box({"a": A, "b": B}),
                measured("b", values, LABELS, source="a"),
            ]
        )

    frame = compare_runs(run(A), run(B), [("a", "a"), ("b", "b")])
    frame = frame.filter(measure="mod", pairs="all")
    assert frame.select("model_a", "scope", "difference").rows() == [
        ("a", "fgsm white-box", 0.0),
        ("b", "fgsm white-box", 0.0),
        ("b", "fgsm from a", pytest.approx((B - A).mean())),
    ]


def test_accuracy_counts_dead_maps_and_other_measures_leave_them_out_of_alive():
    died = np.arange(8) == 0
    first = measured("a", A, LABELS, source="a", attacked_dead=died)
    second = measured("a", B, LABELS, source="a")
    frame = compare_runs(first, second, [("a", "a")])
    assert line(frame, measure="accuracy", pairs="alive")["n"] == 8
    got = line(frame, measure="mod", pairs="alive")
    assert (got["n"], got["before"]) == (7, pytest.approx(A[1:].mean()))
    assert got["after"] == pytest.approx(B[1:].mean())
    assert got["difference"] == pytest.approx((B - A)[1:].mean())


def test_runs_that_share_nothing_give_an_empty_frame_with_the_same_columns():
    labels = labels_of(2, 3)
    one = measured("m", np.full(6, 0.2), labels, epsilons=(0.1,))
    other = measured("m", np.full(6, 0.2), labels, epsilons=(0.2,))
    full = compare_runs(one, one, [("m", "m")])
    empty = compare_runs(one, other, [("m", "m")])
    assert empty.is_empty()
    assert empty.schema == full.schema


def test_models_that_are_equal_in_a_resample_share_its_chance():
    labels = labels_of(2, 2)
    a = measured("a", [0.1, 0.3, 0.2, 0.2], labels, source=None)
    b = measured("b", [0.3, 0.1, 0.2, 0.2], labels, source=None)
    found = compare_models(pl.concat([a, b]))
    assert found["probability"].to_list() == pytest.approx([0.5] * found.height, abs=0.02)

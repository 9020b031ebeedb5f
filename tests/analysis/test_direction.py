"""Where the attention went: a word for each pair of maps by one rule, and means of measures."""

import math

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookaway.analysis.direction import MUCH, REVERSED, RULE, WORDS, direction, each
from lookaway.errors import InputError
from rows import labels_of, line, measured, statistics_of, without_nan

JUST = 1e-9


def statistics(
    count=4, epsilons=(0.1,), source="m", clean_dead=False, attacked_dead=False, **numbers
):
    labels = labels_of(2, count // 2) if count > 1 else ["c0"]
    rows = measured(
        "m",
        [[0.2] * len(epsilons)] * count,
        labels,
        source=source,
        epsilons=epsilons,
        clean_dead=clean_dead,
        attacked_dead=attacked_dead,
    )
    return statistics_of(rows, **numbers)


def word(**given):
    return each(statistics(1, **given))["look"][0]


@pytest.mark.parametrize(
    ("lost", "gained", "rank_correlation", "expected"),
    [
        (0.0, 0.0, 1.0, "stayed"),
        (MUCH - JUST, MUCH - JUST, -1.0, "stayed"),
        (MUCH - JUST, MUCH, 1.0, "spread"),
        (0.0, 3.0, -1.0, "spread"),
        (MUCH, MUCH - JUST, 1.0, "shrank"),
        (1.0, 0.0, -1.0, "shrank"),
        (MUCH, MUCH, REVERSED + JUST, "moved"),
        (MUCH, MUCH, REVERSED, "inverted"),
        (1.0, 2.0, -1.0, "inverted"),
        (MUCH, MUCH, None, "moved"),  # a constant map has no rank correlation
        (1.0, 1.0, 0.9, "moved"),
    ],
)
def test_the_word_follows_from_what_was_lost_and_gained(lost, gained, rank_correlation, expected):
    assert word(lost=lost, gained=gained, rank_correlation=rank_correlation) == expected


def test_dead_maps_come_before_all_else_in_the_rule():
    for numbers in ({"lost": 0.0, "gained": 0.0}, {"lost": None, "gained": None}):
        assert word(attacked_dead=True, **numbers) == "died"
        assert word(clean_dead=True, **numbers) is None
        assert word(clean_dead=True, attacked_dead=True, **numbers) is None


def test_the_rule_is_told_with_its_thresholds():
    assert (MUCH, REVERSED) == (0.25, -0.5)
    assert "25 %" in RULE
    assert "−0.5" in RULE
    assert all(word in RULE for word in WORDS)


shares = st.sampled_from([0.0, 0.1, 0.2499, 0.25, 0.3, 1.0])


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            shares,
            shares,
            st.sampled_from([-1.0, -0.5, -0.4, 0.0, 1.0, None]),
            st.booleans(),
            st.booleans(),
        ),
        min_size=2,
        max_size=8,
    ).filter(lambda pairs: len(pairs) % 2 == 0)
)
def test_each_living_look_has_one_word_and_their_shares_sum_to_1(pairs):
    lost, gained, rank_correlation, clean_dead, attacked_dead = (
        list(column) for column in zip(*pairs, strict=True)
    )
    given = statistics(
        len(pairs),
        lost=lost,
        gained=gained,
        rank_correlation=rank_correlation,
        clean_dead=clean_dead,
        attacked_dead=attacked_dead,
    )
    words = each(given)["look"].to_list()
    assert [name is None for name in words] == clean_dead
    assert set(words) <= {*WORDS, None}
    frame = direction(given).filter(pl.col("measure").is_in(WORDS))
    assert frame["measure"].to_list() == list(WORDS)
    living = clean_dead.count(False)
    assert frame["n"].to_list() == [living] * len(WORDS)
    if living:
        counts = [words.count(name) / living for name in WORDS]
        assert frame["value"].to_list() == pytest.approx(counts)
        assert frame["value"].sum() == pytest.approx(1.0)
    else:
        assert frame["value"].null_count() == len(WORDS)


def test_how_far_the_centre_moved_and_how_the_area_grew():
    found = each(statistics(2, right=[0.3, -0.12], down=[-0.4, 0.05], clean_area=0.5))
    assert found["distance"].to_list() == pytest.approx([0.5, math.hypot(0.12, 0.05)])
    assert found["growth"].to_list() == pytest.approx([-0.25, -0.25])
    without = each(statistics(2, right=[None, 0.1], down=None, attacked_area=[None, 1.0]))
    assert without["distance"].to_list() == [None, None]
    assert without["growth"].to_list() == [None, 0.5]


def test_measures_are_means_over_the_images_that_have_them():
    given = statistics(4, lost=[0.1, None, 0.5, 0.3], right=[0.3, 0.0, 0.0, 0.0], down=0.4)
    frame = direction(given)
    got = line(frame, measure="lost")
    assert got["n"] == 3
    assert got["value"] == pytest.approx(0.3)
    assert got["low"] <= got["value"] <= got["high"]
    assert got["interval"] == "bootstrap-t, images within classes"
    distance = line(frame, measure="distance")
    assert (distance["n"], distance["value"]) == (4, pytest.approx((0.5 + 3 * 0.4) / 4))
    expected = {
        "gained": 0.2,
        "right": 0.075,
        "down": 0.4,
        "growth": -0.25,
        "rank_correlation": 0.8,
        "strength": -0.1,
    }
    for measure, value in expected.items():
        assert line(frame, measure=measure)["value"] == pytest.approx(value)
    assert without_nan(frame)


def test_each_setting_and_level_has_numbers_of_its_own():
    given = pl.concat(
        [
            statistics(2, epsilons=(0.1, 0.2), lost=[0.1, 0.2, 0.3, 0.5]),
            statistics(2, source=None, lost=0.0),
        ]
    )
    frame = direction(given).filter(measure="lost")
    assert frame.select("attack", "source", "epsilon", "value", "n").rows() == [
        ("fgsm", "m", 0.1, pytest.approx(0.15), 2),
        ("fgsm", "m", 0.2, pytest.approx(0.4), 2),
        ("noise", None, 0.1, 0.0, 2),
    ]


def test_a_measure_that_no_image_has_is_null():
    frame = direction(statistics(2, lost=None))
    got = line(frame, measure="lost")
    assert (got["n"], got["value"], got["low"], got["high"]) == (0, None, None, None)
    assert without_nan(frame)


def test_per_image_gives_each_look_and_an_unknown_way_is_refused():
    given = statistics(4)
    assert direction(given, per="image").equals(each(given))
    with pytest.raises(InputError, match="possible: setting, image"):
        direction(given, per="model")


def test_shares_inside_a_region_are_told_only_with_regions():
    given = pl.concat([statistics(2), statistics(2, source=None)])
    told = {"clean_inside", "attacked_inside", "left_region"}
    assert not told & {*each(given).columns, *direction(given)["measure"]}
    keys = ["image", "variant", "model", "attack", "source", "epsilon", "method"]
    keys += ["explained_class"]
    inside = given.select(keys).with_columns(
        clean_inside=pl.Series([0.9, 0.8, 0.9, 0.8]),
        attacked_inside=pl.Series([0.5, None, 0.7, 1.0]),
    )
    found = each(given, inside.reverse())
    assert found["left_region"].to_list() == [
        pytest.approx(0.4),
        None,
        pytest.approx(0.2),
        pytest.approx(-0.2),
    ]
    frame = direction(given, inside=inside)
    got = line(frame, measure="left_region", attack="fgsm")
    assert (got["n"], got["value"]) == (1, pytest.approx(0.4))
    got = line(frame, measure="attacked_inside", attack="noise")
    assert (got["n"], got["value"]) == (2, pytest.approx(0.85))
    assert line(frame, measure="clean_inside", attack="fgsm")["value"] == pytest.approx(0.85)
    per_image = direction(given, per="image", inside=inside)
    assert per_image["left_region"].null_count() == 1

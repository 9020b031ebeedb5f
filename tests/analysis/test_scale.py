"""A shift stands beside noise of the same size, and beside the shuffled baseline."""

import numpy as np
import polars as pl
import pytest

from lookaway.analysis import scale
from lookaway.analysis.conventions import conventions
from rows import labels_of, line, measured, shuffled_rows, statistics_of, without_nan

LABELS = labels_of(2, 3)
ATTACKED = np.array([0.3, 0.5, 0.4, 0.2, 0.6, 0.4])
NOISE = np.array([0.1, 0.2, 0.1, 0.3, 0.2, 0.1])
SHUFFLED = np.array([0.6, 0.7, 0.5, 0.8, 0.6, 0.7])


def study(attacked=ATTACKED, noise=NOISE, labels=LABELS, **said):
    return pl.concat(
        [measured("m", attacked, labels, **said), measured("m", noise, labels, source=None)]
    )


def test_the_shuffled_level_is_the_mean_over_the_images():
    dead = [False, True, False, False, False, False]
    compared = pl.concat(
        [
            shuffled_rows("m", SHUFFLED, LABELS, dead=dead),
            shuffled_rows("n", SHUFFLED / 2, LABELS),
            shuffled_rows("n", SHUFFLED / 4, LABELS, policy="own"),
        ]
    )
    frame = scale.shuffled(compared)
    assert frame.height == 6
    every = line(frame, model="m", pairs="all")
    assert every["shuffled"] == pytest.approx(SHUFFLED.mean())
    assert every["n"] == 6
    assert every["low"] < every["shuffled"] < every["high"]
    assert every["interval"] == "bootstrap-t, images within classes"
    alive = line(frame, model="m", pairs="alive")
    assert alive["shuffled"] == pytest.approx(np.delete(SHUFFLED, 1).mean())
    assert alive["n"] == 5
    own = line(frame, model="n", pairs="all", explained_class="own")
    assert own["shuffled"] == pytest.approx(SHUFFLED.mean() / 4)


def test_the_excess_of_an_image_is_its_shift_less_that_under_noise():
    levels = (0.1, 0.2)
    attacked, noise = np.stack([ATTACKED, 0.9 * ATTACKED], 1), np.stack([NOISE, 2 * NOISE], 1)
    others = [{"policy": "own"}, {"layer": "first"}]  # their noise is not meant
    rows = pl.concat(
        [
            measured("m", attacked, LABELS, epsilons=levels),
            measured("other", 1 - noise, LABELS, source=None, epsilons=levels),
            *(
                measured("m", 1 - noise, LABELS, source=None, epsilons=levels, **other)
                for other in others
            ),
            measured(
                "m", noise, LABELS, source=None, epsilons=levels, attacked_dead=noise > 0.5
            ).sample(fraction=1, shuffle=True, seed=0),
        ]
    )
    beside = scale.beside_noise(rows)
    assert beside["image"].to_list() == rows["image"][:12].to_list()
    assert beside["source"].to_list() == ["m"] * 12
    assert beside["noise"].to_list() == noise.T.ravel().tolist()
    assert beside["excess"].to_list() == pytest.approx((attacked - noise).T.ravel())
    assert beside["noise_dead"].to_list() == (noise > 0.5).T.ravel().tolist()


def test_an_attack_is_held_against_noise_of_its_own_size_where_there_is_some():
    """Each attack and source against its own control, whatever the order of the rows."""
    values = {
        ("fgsm", "m"): 0.5,
        ("pgd", "m"): 0.6,
        ("pgd", "s"): 0.7,
        ("noise", None): 0.1,
        ("own-size noise of pgd", None): 0.2,
        ("own-size noise of pgd from s", None): 0.4,
    }
    rows = pl.concat(
        measured("m", np.full(6, value), LABELS, source=source).with_columns(attack=pl.lit(attack))
        for (attack, source), value in reversed(values.items())
    )
    told = {
        ("fgsm", "m"): ("noise", 0.4),
        ("pgd", "m"): ("own-size noise of pgd", 0.4),
        ("pgd", "s"): ("own-size noise of pgd from s", 0.3),
    }
    beside = scale.beside_noise(rows)
    assert beside.height == 3 * 6
    frame = scale.excess(rows, shuffled_rows("m", SHUFFLED, LABELS))
    other = conventions(rows, statistics_of(rows), "gaussian11", 224).filter(measure="excess")
    for (attack, source), (control, value) in told.items():
        got = line(frame, pairs="all", attack=attack, source=source)
        assert (got["control"], got["n"]) == (control, 6)
        assert got["excess"] == pytest.approx(value)
        found = other.filter(attack=attack, source=source, pairs="all")
        assert found["value"].to_list() == pytest.approx([value] * found.height)


def test_excess_and_share_by_hand():
    frame = scale.excess(study(), shuffled_rows("m", SHUFFLED, LABELS))
    assert frame.height == 2
    got = line(frame, pairs="all")
    assert got["n"] == 6
    assert got["mod"] == pytest.approx(ATTACKED.mean())
    assert got["noise"] == pytest.approx(NOISE.mean())
    assert got["shuffled"] == pytest.approx(SHUFFLED.mean())
    assert got["excess"] == pytest.approx((ATTACKED - NOISE).mean())
    assert got["low"] < got["excess"] < got["high"]
    share = (ATTACKED.mean() - NOISE.mean()) / (SHUFFLED.mean() - NOISE.mean())
    assert got["share"] == pytest.approx(share)
    assert got["share_low"] < share < got["share_high"]
    assert got["share_reason"] is None
    assert line(frame, pairs="alive") == got | {"pairs": "alive"}


def test_each_setting_is_beside_its_own_noise():
    levels = (0.1, 0.2)
    rows = pl.concat(
        measured(model, np.full((6, 2), [low, high]), LABELS, source=source, epsilons=levels)
        for model, source, low, high in [
            ("a", "a", 0.4, 0.5),
            ("b", "a", 0.3, 0.6),
            ("b", "b", 0.8, 0.9),
            ("a", None, 0.1, 0.15),
            ("b", None, 0.2, 0.4),
        ]
    )
    compared = pl.concat(shuffled_rows(model, SHUFFLED, LABELS) for model in "ab")
    frame = scale.excess(rows, compared).filter(pairs="all")
    found = {
        (model, source, epsilon): value
        for model, source, epsilon, value in frame.select(
            "model", "source", "epsilon", "excess"
        ).iter_rows()
    }
    assert found == pytest.approx(
        {
            ("a", "a", 0.1): 0.3,
            ("a", "a", 0.2): 0.35,
            ("b", "a", 0.1): 0.1,
            ("b", "a", 0.2): 0.2,
            ("b", "b", 0.1): 0.6,
            ("b", "b", 0.2): 0.5,
        }
    )


@pytest.mark.parametrize("labels", [labels_of(3, 10), labels_of(25, 2)])
def test_noise_told_as_an_attack_has_an_excess_of_exactly_0(labels):
    values = np.random.default_rng(0).random(len(labels)) / 3
    compared = shuffled_rows("m", values + 0.3, labels)
    got = line(scale.excess(study(values, values, labels), compared), pairs="all")
    assert (got["excess"], got["low"], got["high"]) == (0.0, 0.0, 0.0)
    assert (got["share"], got["share_low"], got["share_high"]) == (0.0, 0.0, 0.0)


def test_a_planted_excess_is_found_and_another_draw_of_noise_is_not():
    random = np.random.default_rng(0)
    labels = labels_of(2, 30)
    draws = random.beta(2, 8, (60, 2, 40))
    planted, again = [], []
    for place in range(40):
        noise, other = draws[:, 0, place], draws[:, 1, place]
        for rows, attacked in [(planted, other + 0.15), (again, other)]:
            model = f"m{place}"
            rows.append(measured(model, noise, labels, source=None))
            rows.append(measured(model, attacked, labels, source=model))
    compared = shuffled_rows("m0", draws[:, 0, 0] + 0.4, labels)
    found = scale.excess(pl.concat(planted), compared).filter(pairs="all")
    assert found.height == 40
    assert (found["low"] > 0).all()
    null = scale.excess(pl.concat(again), compared).filter(pairs="all")
    excluded = (null["low"] > 0) | (null["high"] < 0)
    assert excluded.sum() <= 5


@pytest.mark.parametrize("share", [-0.5, 0.25, 1.0])
def test_a_share_that_all_images_have_is_certain(share):
    attacked = NOISE + share * (SHUFFLED - NOISE)
    got = line(scale.excess(study(attacked), shuffled_rows("m", SHUFFLED, LABELS)), pairs="all")
    assert [got["share"], got["share_low"], got["share_high"]] == pytest.approx([share] * 3)
    assert got["share_reason"] is None


@pytest.mark.parametrize(
    "distance",
    [
        np.zeros(6),
        np.full(6, -0.1),
        np.array([-0.3, 0.3, -0.2, 0.3, -0.2, 0.4]),  # positive on average, not clearly
    ],
)
def test_a_share_is_not_told_where_noise_is_not_clearly_closer_than_another_image(distance):
    frame = scale.excess(study(), shuffled_rows("m", NOISE + distance, LABELS))
    got = line(frame, pairs="all")
    assert got["share"] is got["share_low"] is got["share_high"] is None
    assert got["share_reason"] == scale.NOT_RESOLVABLE
    assert got["share_reason"].startswith("not resolvable")
    assert got["shuffled"] == pytest.approx((NOISE + distance).mean())
    assert got["excess"] == pytest.approx((ATTACKED - NOISE).mean())
    assert without_nan(frame)


def test_a_share_is_told_as_soon_as_the_distance_is_clearly_above_0():
    got = line(scale.excess(study(), shuffled_rows("m", NOISE + 0.001, LABELS)), pairs="all")
    assert got["share"] == pytest.approx((ATTACKED - NOISE).mean() / 0.001)
    assert got["share_reason"] is None


def test_without_another_image_to_compare_with_there_is_no_share():
    compared = shuffled_rows("another model", SHUFFLED, LABELS)
    for others in (compared, compared.clear()):
        frame = scale.excess(study(), others)
        got = line(frame, pairs="all")
        assert got["share"] is got["shuffled"] is None
        assert got["share_reason"] == "not resolvable: no image of another class to compare with"
        assert got["excess"] == pytest.approx((ATTACKED - NOISE).mean())
        assert without_nan(frame)


def test_the_share_is_of_the_way_to_images_of_other_classes():
    """Those of the same class stand apart."""
    others = shuffled_rows("m", SHUFFLED, LABELS)
    same = shuffled_rows("m", SHUFFLED / 9, LABELS, relation="same class", step=2)
    both = pl.concat([others, same])
    assert scale.excess(study(), both).equals(scale.excess(study(), others))
    frame = scale.shuffled(both)
    levels = [line(frame, pairs="all", relation=of)["shuffled"] for of in set(frame["relation"])]
    assert sorted(levels) == pytest.approx([SHUFFLED.mean() / 9, SHUFFLED.mean()])


def test_one_image_a_class_has_no_interval_and_no_share():
    labels = labels_of(6, 1)
    got = line(
        scale.excess(study(labels=labels), shuffled_rows("m", SHUFFLED, labels)), pairs="all"
    )
    assert got["low"] is got["high"] is got["share"] is None
    assert got["share_reason"].startswith("not resolvable")


def test_alive_leaves_out_pairs_that_are_dead_on_either_side():
    labels = labels_of(2, 9)
    attacked, noise, other = (np.tile(each, 3) for each in (ATTACKED, NOISE, SHUFFLED))
    none = np.zeros(18, dtype=bool)
    died = [np.arange(18) == place for place in range(3)]
    rows = pl.concat(
        [
            measured("m", attacked, labels, attacked_dead=died[0]),
            measured("m", noise, labels, source=None, attacked_dead=died[1]),
        ]
    )
    compared = shuffled_rows("m", other, labels, dead=died[2])
    frame = scale.excess(rows, compared)
    every, alive = (line(frame, pairs=pairs) for pairs in ("all", "alive"))
    assert (every["n"], alive["n"]) == (18, 16)
    assert every["excess"] == pytest.approx((attacked - noise).mean())
    for name, values in [("mod", attacked[2:]), ("noise", noise[2:]), ("shuffled", other[3:])]:
        assert alive[name] == pytest.approx(values.mean())
    assert alive["excess"] == pytest.approx((attacked - noise)[2:].mean())
    # The share is of the images that have a partner whose map is alive, too.
    share = (attacked - noise)[3:].mean() / (other - noise)[3:].mean()
    assert alive["share"] == pytest.approx(share)
    clean = study(attacked, noise, labels, clean_dead=died[0])
    assert (
        line(scale.excess(clean, shuffled_rows("m", other, labels, dead=none)), pairs="alive")["n"]
        == 17
    )


def test_where_every_pair_is_dead_numbers_are_null_and_the_reason_says_so():
    rows = study(clean_dead=True)
    frame = scale.excess(rows, shuffled_rows("m", SHUFFLED, LABELS, dead=True))
    got = line(frame, pairs="alive")
    assert got["n"] == 0
    assert {got[name] for name in ("excess", "mod", "noise", "low", "share", "shuffled")} == {None}
    assert got["share_reason"] == "no pair in which no map is dead"
    assert without_nan(frame)
    shuffled = scale.shuffled(shuffled_rows("m", SHUFFLED, LABELS, dead=True))
    assert line(shuffled, pairs="alive")["shuffled"] is None
    assert without_nan(shuffled)


@pytest.mark.parametrize("labels", [labels_of(3, 8), labels_of(24, 1)])
def test_the_order_of_the_rows_changes_no_number(labels):
    attacked, noise, other = np.random.default_rng(0).random((3, 24)) * [[0.5], [0.2], [1.0]]
    rows, compared = study(attacked, noise, labels), shuffled_rows("m", other + 0.3, labels)
    mixed = [frame.sample(fraction=1, shuffle=True, seed=7) for frame in (rows, compared)]
    assert scale.excess(*mixed).equals(scale.excess(rows, compared))
    assert scale.shuffled(mixed[1]).equals(scale.shuffled(compared))


def test_the_share_is_resampled_as_all_else_also_where_a_whole_class_is_dead():
    labels = labels_of(20, 3)
    random = np.random.default_rng(0)
    noise = np.repeat(random.uniform(0.05, 0.15, 20), 3)
    attacked = noise + np.repeat(random.uniform(0.0, 0.2, 20), 3)
    dead = np.array([label == labels[0] for label in labels])
    rows = study(attacked, noise, labels, attacked_dead=dead)
    compared = shuffled_rows("m", np.full(60, 0.5), labels)
    found = scale.excess(rows, compared)
    alive = line(found, pairs="alive", source="m")
    assert (alive["n"], alive["interval"]) == (57, "bootstrap-t, classes")
    whole = alive["share_high"] - alive["share_low"]
    each = alive["high"] - alive["low"]
    distance = 0.5 - noise[~dead].mean()
    assert whole == pytest.approx(each / distance, rel=0.25)


def test_without_noise_there_is_no_excess_and_no_word_about_its_distance():
    rows = study().filter(pl.col("source").is_not_null())
    found = scale.excess(rows, shuffled_rows("m", SHUFFLED, LABELS))
    assert found["n"].unique().to_list() == [0]
    assert found["excess"].null_count() == found.height
    assert not any("closer" in reason for reason in found["share_reason"])

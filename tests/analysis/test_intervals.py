"""Intervals of means are a plain bootstrap-t's, and hold 95 % for few and skewed values, too."""

import time
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy import stats

from lookaway.analysis import (
    comparison,
    dead,
    direction,
    outcomes,
    resamples,
    scale,
    studentised,
    summary,
)
from lookaway.analysis.intervals import Bootstrap
from lookaway.analysis.pairs import Pairs, of_pairs
from oracles import pair_variances, plain_bootstrap, ratio_with_error
from rows import labels_of, line, measured, shuffled_rows, statistics_of

UNEQUAL_FEW = [f"c{place}" for place, size in enumerate([3, 9, 14]) for _ in range(size)]
UNEQUAL_MANY = [f"c{place:02d}" for place in range(24) for _ in range(1 + place % 4)]


def image_weights(bootstrap, labels):
    """How often each image was drawn in each resample."""
    return np.concatenate(list(bootstrap.weights()))[:, bootstrap.units].astype(float)


@pytest.mark.parametrize(("labels", "whole"), [(UNEQUAL_FEW, False), (UNEQUAL_MANY, True)])
def test_resamples_are_distributed_as_a_plain_bootstrap_s(labels, whole):
    random = np.random.default_rng(0)
    of_class = np.unique(labels, return_inverse=True)[1]
    values = random.normal(0.2, 0.1, len(labels)) + 0.02 * of_class
    used = random.random(len(labels)) < 0.8

    def mean(drawn):
        return values[drawn][used[drawn]].mean()

    slow = plain_bootstrap(labels, mean, whole, 6000)
    fast = Bootstrap(labels).ratios(np.where(used, values, 0.0)[:, None], used[:, None] * 1.0)[:, 0]
    assert fast.mean() == pytest.approx(slow.mean(), abs=0.06 * slow.std())
    assert fast.std() == pytest.approx(slow.std(), rel=0.04)
    quantiles = [0.025, 0.25, 0.75, 0.975]
    assert np.quantile(fast, quantiles) == pytest.approx(
        np.quantile(slow, quantiles), abs=0.12 * slow.std()
    )


@pytest.mark.parametrize("labels", [UNEQUAL_FEW, UNEQUAL_MANY, labels_of(1, 9), labels_of(3, 5)])
@pytest.mark.parametrize("counts", ["all", "some", "ratio"])
def test_the_interval_of_a_mean_is_that_of_each_resample_s_own_standard_error(labels, counts):
    random = np.random.default_rng(0)
    size = len(labels)
    below = {"all": np.ones(size), "some": random.random(size) < 0.8, "ratio": random.random(size)}
    below = below[counts] * 1.0
    above = random.gamma(0.5, 1, size) * below
    mixed = random.permutation(size)  # in no order of the classes
    labels = [labels[place] for place in mixed]
    bootstrap = Bootstrap(labels, resamples=600)
    units, whole = bootstrap.units, bootstrap.kind == "classes"
    totals = [np.bincount(units, each) for each in (above, below)]
    strata = np.zeros(len(totals[0])) if whole else np.array(labels)
    ratio, error = ratio_with_error(*totals, strata)
    found = []
    for drawn in np.concatenate(list(bootstrap.weights())).astype(int):
        again = [np.repeat(each, drawn) for each in (*totals, strata)]
        one, its = ratio_with_error(*again)
        found.append((one - ratio) / max(its, 0.1 * error))
    expected = ratio - np.quantile(found, [0.975, 0.025]) * error
    (low,), (high,) = bootstrap.intervals(above[:, None], below[:, None])
    assert [low, high] == pytest.approx(expected, rel=2e-4)


def test_the_longer_arm_lies_on_the_long_side_of_a_skewed_distribution():
    values = np.random.default_rng(1).gamma(0.35, 1, (30, 1))
    bootstrap, ones = Bootstrap(labels_of(2, 15)), np.ones((30, 1))
    (low,), (high,) = bootstrap.intervals(values, ones)
    mean = values.mean()
    assert high - mean > 1.4 * (mean - low)
    (mirrored,), _ = bootstrap.intervals(-values, ones)
    assert mirrored == pytest.approx(-high, rel=1e-4)


def test_no_end_lies_outside_of_what_a_number_can_be():
    labels = labels_of(2, 3)
    few = np.array([[0.0, 0.0, 1e-3, 0.0, 0.9, 0.0], [1.0, 1.0, 1.0, 0.99, 0.2, 1.0]]).T
    low, high = Bootstrap(labels).intervals(few, np.ones_like(few))
    assert low[0] < 0
    assert high[1] > 1  # a t knows no range
    dead_maps = np.arange(6) % 3 == 0
    for at, values in enumerate(few.T):
        rows = measured("m", values, labels, attacked_dead=dead_maps, right_after=values < 0.5)
        rows = pl.concat([rows, measured("m", few[:, 1 - at], labels, source=None)])
        compared = shuffled_rows("m", values, labels)
        for frame, least, most in (
            (summary.mod(rows), 0, 1),
            (scale.shuffled(compared), 0, 1),
            (summary.spread(rows), 0, 0.5),
            (scale.excess(rows, compared), -1, 1),
            (outcomes.transfer(scale.beside_noise(rows)), -1, 1),
            (outcomes.outcomes(rows), 0, 1),
            (dead.dead(rows), 0, 1),
        ):
            assert frame["low"].min() >= least
            assert frame["high"].max() <= most
    both = pl.concat([measured(m, v, labels, source=m) for m, v in zip("ab", few.T, strict=True)])
    assert comparison.compare_models(both)["low"].min() >= -1


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("labels", [labels_of(1, 12), labels_of(3, 8), labels_of(20, 3)])
def test_pairs_that_share_an_image_or_a_class_vary_together(labels, count):
    random = np.random.default_rng(2)
    size = len(labels)
    order = random.permutation(size)
    others = np.empty((count, size), dtype=int)
    for step in range(count):
        others[step, order] = np.roll(order, -1 - step)
    of = np.unique(labels, return_inverse=True)[1]
    image = random.gamma(2, 1, size) + 2 * of % 3
    each = image + image[others]
    values = each.mean(axis=0)
    used = np.ones((size, 1), dtype=bool)
    bootstrap = Bootstrap(labels)
    left = values - values.mean()
    if bootstrap.kind != "classes":
        left = left - (np.bincount(of, left) / np.bincount(of))[of]
    first, second = np.tile(np.arange(size), count), others.ravel()
    deviation = (each - values).ravel()
    weight = np.full(size * count, 1 / count)
    units = bootstrap.units
    apart = (left[first] + deviation) * weight
    one, both = pair_variances(apart, units[first], units[second])
    alone, together = pair_variances(weight, units[first], units[second])
    expected = both / one * (1 - alone / size**2) / (1 - together / size**2)
    pairs = Pairs(np.zeros(size * count, dtype=int), first, second, deviation, weight)
    found = of_pairs(bootstrap, (values - values.mean())[:, None], used, pairs, np.ones(1))
    assert found == pytest.approx(max(1.0, expected) ** 0.5)
    assert found > 1.1
    nobody = replace(pairs, second=np.full(size * count, -1))
    wide = []
    for some in (pairs, nobody, None):
        (low,), (high,) = bootstrap.intervals(values[:, None], used * 1.0, pairs=some)
        wide.append(high - low)
    assert wide[0] / wide[1] == pytest.approx(found[0])
    assert wide[1] == wide[2]


def test_a_number_of_several_pairs_is_the_mean_of_each_image_and_then_of_the_images():
    labels = labels_of(2, 3)
    few = shuffled_rows("m", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], labels)
    more = shuffled_rows("m", [0.5] * 6, labels, step=2).head(3)
    got = line(scale.shuffled(pl.concat([few, more])), pairs="all")
    assert got["n"] == 6
    assert got["shuffled"] == pytest.approx(np.mean([0.3, 0.35, 0.4, 0.4, 0.5, 0.6]))


def test_the_shuffled_level_s_interval_knows_that_each_image_is_in_two_pairs():
    """NISSIM that is one number of each image added to another's: √2 as wide."""
    labels = labels_of(1, 400)
    image = np.random.default_rng(3).gamma(2, 0.05, 400)
    values = image + np.roll(image, -1)
    frame = scale.shuffled(shuffled_rows("m", values, labels))
    alone = summary.mod(measured("m", values, labels)).filter(pairs="all")
    wide = [each["high"][0] - each["low"][0] for each in (frame.filter(pairs="all"), alone)]
    assert wide[0] / wide[1] == pytest.approx(2**0.5, rel=0.05)
    # The partner of an image that does not count is none of the images.
    few = shuffled_rows("m", values, labels).head(399)
    assert line(scale.shuffled(few), pairs="all")["n"] == 399


def test_with_few_classes_each_resample_has_as_many_images_of_each_class():
    labels = ["b", "a", "b", "c", "b", "a"]
    bootstrap = Bootstrap(labels, resamples=300)
    drawn = image_weights(bootstrap, labels)
    assert bootstrap.kind == "images within classes"
    assert drawn.shape == (300, 6)
    for name in "abc":
        members = np.array(labels) == name
        assert (drawn[:, members].sum(axis=1) == members.sum()).all()
    assert len(np.unique(drawn, axis=0)) > 20
    assert drawn[:, [0, 2, 4]].max() == 3
    assert drawn.mean(axis=0) == pytest.approx(1.0, abs=0.15)


def test_from_20_classes_on_whole_classes_are_drawn():
    labels = labels_of(20, 3)[::-1]
    bootstrap = Bootstrap(labels, resamples=300)
    drawn = bootstrap.sums(np.eye(60))
    assert bootstrap.kind == "classes"
    assert drawn.shape == (300, 60)
    together = drawn.reshape(300, 20, 3)
    assert (together == together[:, :, :1]).all()
    assert (together[:, :, 0].sum(axis=1) == 20).all()
    assert len(np.unique(drawn, axis=0)) == 300
    assert Bootstrap(labels_of(19, 3)).kind == "images within classes"


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others():
    values = np.random.default_rng(0).random((12, 2))
    ones = np.ones_like(values)
    labels = labels_of(2, 6)
    first, again = (Bootstrap(labels, 500).ratios(values, ones) for _ in range(2))
    assert (first == again).all()
    assert (first != Bootstrap(labels, 500, seed=1).ratios(values, ones)).any()


@pytest.mark.parametrize("labels", [UNEQUAL_FEW, UNEQUAL_MANY])
def test_ratios_are_sums_over_sums(labels):
    random = np.random.default_rng(3)
    count = len(labels)
    numerators = random.normal(size=(count, 5)) + 100
    several = random.random((count, 2)) < 0.5
    rare = np.zeros(count)
    rare[:2] = 1  # some resamples have none
    # Groups share denominators, in no order.
    denominators = np.stack([several[:, 0], several[:, 1], several[:, 0], rare, rare], axis=1) * 1.0
    numerators = numerators * (denominators > 0)
    bootstrap = Bootstrap(labels, resamples=400)
    drawn = image_weights(bootstrap, labels)
    with np.errstate(invalid="ignore"):
        expected = (drawn @ numerators) / (drawn @ denominators)
    got = bootstrap.ratios(numerators, denominators)
    assert np.isnan(expected).any()
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_a_constant_has_exactly_itself_as_both_ends():
    for constant in (0.0, 0.1, 1 / 3, 1.0):
        for labels in (UNEQUAL_FEW, UNEQUAL_MANY):
            bootstrap = Bootstrap(labels)
            assert bootstrap.bounds(np.full((1000, 2), constant)) == (
                [constant] * 2,
                [constant] * 2,
            )
    values = np.full((len(UNEQUAL_FEW), 1), 0.25)
    assert Bootstrap(UNEQUAL_FEW).intervals(values, np.ones_like(values)) == ([0.25], [0.25])


def test_where_nothing_can_vary_there_is_no_interval():
    values = np.random.default_rng(0).random((19, 1))
    one_each = Bootstrap(labels_of(19, 1))
    assert one_each.intervals(values, np.ones_like(values)) == ([None], [None])
    frame = summary.mod(measured("m", values, labels_of(19, 1)))
    assert frame["mod"].null_count() == 0
    assert frame["low"].null_count() == frame["high"].null_count() == frame.height
    more = np.random.default_rng(0).random((20, 1))
    for labels in (labels_of(20, 1), labels_of(10, 2)):
        low, high = Bootstrap(labels).intervals(more, np.ones_like(more))
        assert low[0] < more.mean() < high[0]


@pytest.mark.parametrize(
    ("labels", "drawn", "free"),
    [(labels_of(20, 3), 20, 19), (labels_of(2, 5), 10, 8), (labels_of(4, 3), 12, 8)],
)
def test_tails_are_moved_out_to_student_s(labels, drawn, free):
    bootstrap = Bootstrap(labels)
    reach = stats.t.ppf(0.975, free) * (drawn / free) ** 0.5
    tail = stats.norm.cdf(-reach)
    assert bootstrap.tail == pytest.approx(tail)
    assert tail < 0.025
    resampled = np.random.default_rng(0).normal(size=(5000, 1))
    low, high = bootstrap.bounds(resampled)
    assert low[0] == pytest.approx(np.quantile(resampled, tail))
    assert high[0] == pytest.approx(np.quantile(resampled, 1 - tail))


def test_intervals_of_normal_values_are_as_wide_as_student_s():
    random = np.random.default_rng(5)
    within = random.normal(size=(40, 8))
    half = np.repeat([0, 1], 20)
    low, high = Bootstrap(half.astype(str).tolist()).intervals(within, np.ones_like(within))
    left = within - np.stack([within[half == side].mean(axis=0) for side in (0, 1)])[half]
    error = np.sqrt((left**2).sum(axis=0) / 38 / 40)
    wide = 2 * stats.t.ppf(0.975, 38) * error
    assert np.subtract(high, low) == pytest.approx(wide, rel=0.08)
    classes = random.normal(size=(25, 8))
    low, high = Bootstrap(labels_of(25, 1)).intervals(classes, np.ones_like(classes))
    wide = 2 * stats.t.ppf(0.975, 24) * classes.std(axis=0, ddof=1) / 5
    assert np.subtract(high, low) == pytest.approx(wide, rel=0.08)


def test_resamples_without_a_number_are_left_out_of_the_bounds():
    resampled = np.random.default_rng(0).normal(size=(1000, 4))
    resampled[::2, 1] = np.nan
    resampled[:, 2] = np.nan
    resampled[::3, 3] = np.inf
    bootstrap = Bootstrap(UNEQUAL_FEW)
    low, high = bootstrap.bounds(resampled)
    assert (low[2], high[2]) == (None, None)
    for place, kept in [(0, resampled[:, 0]), (1, resampled[1::2, 1])]:
        ends = np.quantile(kept, [bootstrap.tail, 1 - bootstrap.tail])
        assert [low[place], high[place]] == pytest.approx(ends)
    assert np.isfinite([low[3], high[3]]).all()


def test_a_deviation_s_interval_is_the_root_of_that_of_the_mean_square():
    """For normal values as wide as chi-squared's; with tails, wider than percentiles."""
    random = np.random.default_rng(0)
    values = random.normal(0.5, 0.05, (200, 12))
    bootstrap = Bootstrap(labels_of(1, 200))
    low, high = bootstrap.deviations((values - values.mean(axis=0)) ** 2, np.ones_like(values))
    chi = np.sqrt(199 / stats.chi2.ppf([0.975, 0.025], 199))
    wide = (np.array(high) - low) / values.std(axis=0, ddof=1)
    assert wide.mean() == pytest.approx(chi[1] - chi[0], rel=0.08)
    skewed = random.gamma(0.35, 0.1, (60, 1))
    labels = labels_of(2, 30)
    frame = summary.spread(measured("m", skewed, labels)).filter(pairs="all")
    assert frame["interval"].item() == "bootstrap-t, images within classes"
    resampled = [skewed[random.integers(0, 60, 60)].std() for _ in range(2000)]
    assert frame["high"].item() > np.quantile(resampled, 0.975) + 0.1 * skewed.std()
    pooled = summary.vid(
        measured("m", np.hstack([skewed] * 2), labels, epsilons=(0.1, 0.2)), "pooled"
    )
    got = pooled.filter(pairs="all").select("vid", "low", "high").row(0)
    assert got == pytest.approx(frame.select("spread", "low", "high").row(0), rel=1e-4)


@pytest.mark.parametrize("labels", [UNEQUAL_FEW, UNEQUAL_MANY])
def test_what_is_kept_in_memory_changes_no_number(labels, monkeypatch):
    random = np.random.default_rng(0)
    values = random.random((len(labels), 7))
    used = (random.random(values.shape) < 0.9) * 1.0
    bootstrap = Bootstrap(labels, resamples=700)
    expected = bootstrap.ratios(values, used), bootstrap.intervals(values, used)
    assert (bootstrap.ratios(values, used) == expected[0]).all()
    monkeypatch.setattr(resamples, "_HELD", 10)
    drawn_again = Bootstrap(labels, resamples=700)
    for _ in range(2):
        assert (drawn_again.ratios(values, used) == expected[0]).all()
    assert drawn_again._kept is None
    monkeypatch.setattr(studentised, "_COLUMNS", 3)
    np.testing.assert_allclose(drawn_again.intervals(values, used), expected[1], rtol=1e-6)


@pytest.mark.parametrize("labels", [UNEQUAL_FEW, UNEQUAL_MANY])
def test_resamples_come_in_blocks_that_differ(labels, monkeypatch):
    values = np.random.default_rng(0).random((len(labels), 1))
    ones = np.ones_like(values)
    whole = Bootstrap(labels)
    monkeypatch.setattr(resamples, "_AT_ONCE", 1000)
    blocks = Bootstrap(labels)
    found = list(blocks.weights())
    assert len(found) > 200
    assert sum(map(len, found)) == resamples.RESAMPLES
    assert (found[0] != found[1]).any()
    assert len(np.unique(blocks.ratios(values, ones))) > 5000
    wide = np.ptp(whole.intervals(values, ones))
    np.testing.assert_allclose(
        blocks.intervals(values, ones), whole.intervals(values, ones), atol=0.05 * wide
    )


def test_every_number_of_a_study_has_the_same_ten_thousand_resamples():
    assert resamples.RESAMPLES == 10_000
    assert Bootstrap(["a", "a", "b"]).sums(np.ones((3, 1))).shape == (10_000, 1)
    # The interval of a difference of two columns is that of the column of differences.
    first, second = np.random.default_rng(0).random((2, 30, 1))
    ones = np.ones_like(first)
    bootstrap = Bootstrap(labels_of(3, 10))
    difference = bootstrap.ratios(first, ones) - bootstrap.ratios(second, ones)
    np.testing.assert_allclose(difference, bootstrap.ratios(first - second, ones), atol=1e-6)


SIZES = {"few": 40, "some": 400, "many": 1560}


def of_many(monkeypatch, groups=300, count=4000):
    """Resamples of 2,000 images of three classes, of groups and of images."""
    labels = [name for name, size in SIZES.items() for _ in range(size)]
    images = Bootstrap(labels, count)
    monkeypatch.setattr(resamples, "MANY_IMAGES", 100)
    monkeypatch.setattr(resamples, "GROUPS", groups)
    return labels, Bootstrap(labels, count), images


def test_of_many_images_of_few_classes_random_groups_of_equal_size_are_drawn(monkeypatch):
    labels, groups, images = of_many(monkeypatch)
    assert groups.kind == "groups of images within classes"
    assert images.kind == "images within classes"
    sizes = np.bincount(groups.units)
    for name, size in SIZES.items():
        its = np.unique(groups.units[np.array(labels) == name])
        assert len(its) == min(size, max(50, round(300 * size / 2000)))
        assert np.ptp(sizes[its]) <= 1
        assert not np.isin(groups.units[np.array(labels) != name], its).any()
    its = groups.units[-SIZES["many"] :]
    assert (np.diff(its) != 1).mean() > 0.9  # images that stand together do not stay together
    assert (Bootstrap(labels).units == groups.units).all()
    assert (Bootstrap(labels, seed=1).units != groups.units).any()
    drawn = np.concatenate(list(groups.weights()))
    assert drawn.shape == (4000, len(sizes))
    for name in SIZES:
        its = np.unique(groups.units[np.array(labels) == name])
        assert (drawn[:, its].sum(axis=1) == len(its)).all()


def test_up_to_ten_thousand_images_each_is_drawn_alone():
    assert resamples.MANY_IMAGES == 10_000
    assert Bootstrap(labels_of(2, 5000), 1).kind == "images within classes"
    many = Bootstrap(["a", *labels_of(2, 5000)], 1)
    assert many.kind == "groups of images within classes"
    assert len(np.unique(many.units)) == 1 + 2 * 500


def test_intervals_of_groups_are_as_wide_as_those_of_images(monkeypatch):
    labels, groups, images = of_many(monkeypatch)
    random = np.random.default_rng(4)
    values = (
        random.beta(2, 5, (2000, 24)) + 0.1 * np.unique(labels, return_inverse=True)[1][:, None]
    )
    used = (random.random(values.shape) < np.linspace(0.02, 1, 24)) * 1.0
    ends = [np.array(each.intervals(values * used, used)) for each in (groups, images)]
    wide = [end[1] - end[0] for end in ends]
    assert (wide[0] / wide[1]).mean() == pytest.approx(1.0, abs=0.04)
    assert wide[0] == pytest.approx(wide[1], rel=0.25)
    middle = [end.mean(axis=0) for end in ends]
    assert np.abs(middle[0] - middle[1]) == pytest.approx(0, abs=0.15 * wide[1].max())


def test_paired_tests_hold_for_groups_too(monkeypatch):
    _, groups, _ = of_many(monkeypatch, count=1500)
    random = np.random.default_rng(5)
    differences = random.normal(0.04, 1, (2000, 1))
    everything = np.ones_like(differences, dtype=bool)
    (by_groups,) = comparison.paired_p(groups, differences, everything)
    assert by_groups == pytest.approx(stats.ttest_1samp(differences[:, 0], 0).pvalue, abs=0.03)


@pytest.mark.slow
def test_a_study_of_5_models_and_1000_images_is_summed_up_in_seconds():
    random = np.random.default_rng(0)
    labels = labels_of(50, 20)
    epsilons = (0.01, 0.05, 0.075, 0.1)
    models = [f"m{place}" for place in range(5)]
    settings = [
        (model, source, policy)
        for model in models
        for source in dict.fromkeys([model, "m0", None])
        for policy in ("own", "clean")
    ]
    shape = (1000, 4)
    rows = pl.concat(
        measured(
            model,
            random.beta(2, 5, shape) / 2,
            labels,
            source=source,
            epsilons=epsilons,
            policy=policy,
            right_after=random.random(shape) > 0.4,
            clean_dead=random.random(1000) < 0.01,
            attacked_dead=random.random(shape) < 0.05,
        )
        for model, source, policy in settings
    )
    compared = pl.concat(
        shuffled_rows(model, random.beta(2, 5, 1000), labels, policy=policy)
        for model in models
        for policy in ("own", "clean")
    )
    statistics = statistics_of(
        rows, lost=rows["nissim"], gained=rows["nissim"], right=rows["nissim"]
    )
    assert rows.height == 112_000
    start = time.perf_counter()
    for frame in (summary.accuracy, summary.psnr, summary.mod, summary.spread):
        frame(rows)
    for way in summary.VID_WAYS:
        summary.vid(rows, way)
    scale.shuffled(compared)
    scale.excess(rows, compared)
    direction.direction(statistics)
    outcomes.outcomes(rows)
    outcomes.transfer(scale.beside_noise(rows))
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize("labels", [labels_of(2, 10), labels_of(25, 2)])
def test_one_image_alone_has_no_interval_and_a_few_have_a_wider_one(labels):
    boot = Bootstrap(labels, resamples=2000)
    values = np.random.default_rng(0).normal(size=(len(labels), 1))
    widths = []
    for used in (1, 12, len(labels)):
        counted = (np.arange(len(labels)) < used).astype(float)[:, None]
        low, high = boot.intervals(values * counted, counted)
        if used == 1:
            assert (low, high) == ([None], [None])
            continue
        plain = np.nanquantile(boot.ratios(values * counted, counted), [0.025, 0.975])
        widths.append((high[0] - low[0]) / (plain[1] - plain[0]))
    assert widths[0] > widths[1] > 1

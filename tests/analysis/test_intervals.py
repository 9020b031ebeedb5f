"""Intervals are a plain bootstrap's, with tails that hold 95 % for few images, too."""

import time

import numpy as np
import polars as pl
import pytest
from scipy import stats

from lookaway.analysis import comparison, direction, intervals, outcomes, scale, summary
from lookaway.analysis.intervals import Bootstrap
from oracles import plain_bootstrap
from rows import labels_of, measured, shuffled_rows, statistics_of

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


def test_a_statistic_of_several_ratios_is_made_resample_by_resample():
    random = np.random.default_rng(0)
    first, second = random.random((2, 30, 3))
    ones = np.ones_like(first)
    bootstrap = Bootstrap(labels_of(3, 10))
    got = bootstrap.intervals_of(lambda a, b: a - 2 * b, [first, second], ones)
    expected = bootstrap.intervals(first - 2 * second, ones)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("labels", [UNEQUAL_FEW, UNEQUAL_MANY])
def test_what_is_kept_in_memory_changes_no_number(labels, monkeypatch):
    random = np.random.default_rng(0)
    values = random.random((len(labels), 7))
    used = (random.random(values.shape) < 0.9) * 1.0
    bootstrap = Bootstrap(labels, resamples=700)
    expected = bootstrap.ratios(values, used), bootstrap.intervals(values, used)
    assert (bootstrap.ratios(values, used) == expected[0]).all()
    monkeypatch.setattr(intervals, "_HELD", 10)
    drawn_again = Bootstrap(labels, resamples=700)
    for _ in range(2):
        assert (drawn_again.ratios(values, used) == expected[0]).all()
    assert drawn_again._kept is None
    monkeypatch.setattr(intervals, "_COLUMNS", 3)
    np.testing.assert_allclose(drawn_again.intervals(values, used), expected[1], rtol=1e-6)


@pytest.mark.parametrize("labels", [UNEQUAL_FEW, UNEQUAL_MANY])
def test_resamples_come_in_blocks_that_differ(labels, monkeypatch):
    values = np.random.default_rng(0).random((len(labels), 1))
    ones = np.ones_like(values)
    whole = Bootstrap(labels)
    monkeypatch.setattr(intervals, "_AT_ONCE", 1000)
    blocks = Bootstrap(labels)
    found = list(blocks.weights())
    assert len(found) > 200
    assert sum(map(len, found)) == intervals.RESAMPLES
    assert (found[0] != found[1]).any()
    assert len(np.unique(blocks.ratios(values, ones))) > 5000
    wide = np.ptp(whole.intervals(values, ones))
    np.testing.assert_allclose(
        blocks.intervals(values, ones), whole.intervals(values, ones), atol=0.05 * wide
    )


def test_every_number_of_a_study_has_the_same_ten_thousand_resamples():
    assert intervals.RESAMPLES == 10_000
    assert Bootstrap(["a", "a", "b"]).sums(np.ones((3, 1))).shape == (10_000, 1)
    # The interval of a difference of two columns is that of the column of differences.
    first, second = np.random.default_rng(0).random((2, 30, 1))
    ones = np.ones_like(first)
    bootstrap = Bootstrap(labels_of(3, 10))
    difference = bootstrap.ratios(first, ones) - bootstrap.ratios(second, ones)
    np.testing.assert_allclose(difference, bootstrap.ratios(first - second, ones), atol=1e-6)


SIZES = {"few": 40, "some": 400, "many": 1560}


def of_many(monkeypatch, groups=300, resamples=4000):
    """Resamples of 2,000 images of three classes, of groups and of images."""
    labels = [name for name, size in SIZES.items() for _ in range(size)]
    images = Bootstrap(labels, resamples)
    monkeypatch.setattr(intervals, "MANY_IMAGES", 100)
    monkeypatch.setattr(intervals, "GROUPS", groups)
    return labels, Bootstrap(labels, resamples), images


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
    assert intervals.MANY_IMAGES == 10_000
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


def test_auroc_and_paired_tests_hold_for_groups_too(monkeypatch):
    _, groups, images = of_many(monkeypatch, resamples=1500)
    random = np.random.default_rng(5)
    positive = random.random((2000, 1)) < 0.3
    scores = random.normal(size=(2000, 1)) + 0.4 * positive
    used = random.random((2000, 1)) < 0.9
    ends = [
        np.array(each.bounds(outcomes.resampled_auroc(each, scores, positive, used), used))[:, 0]
        for each in (groups, images)
    ]
    assert np.ptp(ends[0]) == pytest.approx(np.ptp(ends[1]), rel=0.2)
    assert ends[0] == pytest.approx(ends[1], abs=0.2 * np.ptp(ends[1]))
    differences = random.normal(0.04, 1, (2000, 1))
    everything = np.ones_like(differences, dtype=bool)
    (by_groups,) = comparison.paired_p(groups, differences, everything)
    assert by_groups == pytest.approx(stats.ttest_1samp(differences[:, 0], 0).pvalue, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize(("classes", "per_class"), [(2, 40), (10, 8), (20, 2), (20, 10), (50, 20)])
def test_95_of_100_intervals_hold_the_true_mean(classes, per_class):
    random = np.random.default_rng(0)
    bootstrap = Bootstrap(labels_of(classes, per_class), resamples=2000)
    studies = 3000
    shape = (classes * per_class, studies)
    if bootstrap.kind == "classes":  # other classes each time
        effects, true = random.normal(0, 0.1, (classes, studies)), 2 / 7
    else:
        fixed = random.normal(0, 0.1, (classes, 1))
        effects, true = np.repeat(fixed, studies, axis=1), 2 / 7 + fixed.mean()
    values = random.beta(2, 5, shape) + np.repeat(effects, per_class, axis=0)
    low, high = bootstrap.intervals(values, np.ones(shape))
    held = np.mean((np.array(low) <= true) & (true <= np.array(high)))
    assert 0.93 <= held <= 0.97


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

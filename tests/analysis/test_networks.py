"""Networks over their trainings: both trainings and images are drawn."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from lookaway.analysis.networks import networks, trained_again, two_levels
from lookaway.analysis.proportions import wilson
from lookaway.report.again import is_beyond
from lookaway.study.plan import parse_study
from rows import labels_of, line, measured

LABELS = labels_of(3, 5)
LEVELS = (0.05, 0.1)


def study(*models, **training):
    data = {"folder": "sample:lfw_subset"}
    return parse_study({"data": data, "models": list(models), "training": training})


def net(name, **said):
    return {"name": name, "timm": "test_resnet", "train": "all", **said}


def test_trainings_of_a_network_are_those_of_its_seeds():
    found = trained_again(study(net("a"), net("b", train="none"), net("c", seed=4), seeds=[0, 2]))
    assert found == {"a": ["a (seed 0)", "a (seed 2)"]}
    by_hand = [net("x", network="n"), net("y", seed=1, network="n"), net("z")]
    assert trained_again(study(*by_hand)) == {"n": ["x", "y"]}


def test_numbers_are_means_over_trainings_and_images():
    random = np.random.default_rng(1)
    trainings = {"a": ["a0", "a1", "a2"], "b": ["b0", "b1"]}
    values = {model: random.random((15, 2)) for some in trainings.values() for model in some}
    right = {model: random.random(15) < 0.7 for model in values}
    parts = [
        measured(
            model,
            numbers * (0.4 if source is None else 1.0),
            LABELS,
            source=source,
            epsilons=LEVELS,
            right_before=right[model],
        )
        for model, numbers in values.items()
        for source in (model, None)
    ]
    found, pairs = networks(pl.concat(parts), trainings)

    def row(frame, **where):
        epsilon = where.pop("epsilon", 0.1)
        here = frame.filter(pl.col("epsilon").eq_missing(epsilon))
        return line(here, **{"scope": "fgsm white-box", "measure": "mod", **where})

    means = {model: numbers[:, 1].mean() for model, numbers in values.items()}
    of_a = [means[model] for model in trainings["a"]]
    got = row(found, network="a")
    assert (got["seeds"], got["n"]) == (3, 15)
    assert got["mean"] == pytest.approx(np.mean(of_a))
    assert got["spread"] == pytest.approx(np.std(of_a, ddof=1))
    assert (got["smallest"], got["largest"]) == (pytest.approx(min(of_a)), pytest.approx(max(of_a)))
    assert row(found, network="b", measure="excess")["mean"] == pytest.approx(
        0.6 * np.mean([means[model] for model in trainings["b"]])
    )
    clean = row(found, network="a", measure="clean accuracy", epsilon=None)
    ends = wilson(np.array([clean["mean"]]), np.array([15.0]))
    by_trainings = stats.t.ppf(0.975, 2) * stats.sem(
        [right[model].mean() for model in trainings["a"]]
    )
    for end, of_images in zip(("low", "high"), ends, strict=True):
        arm = np.hypot(of_images[0] - clean["mean"], by_trainings)
        reached = np.clip(clean["mean"] + (arm if end == "high" else -arm), 0, 1)
        assert clean[end] == pytest.approx(reached), end
    assert clean["mean"] == pytest.approx(np.mean([right[model] for model in trainings["a"]]))
    vid = row(found, network="b", measure="vid", epsilon=None)
    spreads = [values[model].std(axis=1).mean() for model in trainings["b"]]
    assert vid["mean"] == pytest.approx(np.mean(spreads))
    of_b = [means[model] for model in trainings["b"]]
    pair = row(pairs, network_a="a")
    assert pair["difference"] == pytest.approx(np.mean(of_a) - np.mean(of_b))
    variances = [np.var(of_a, ddof=1), np.var(of_b, ddof=1)]
    assert pair["between_trainings"] == pytest.approx(np.sqrt(2 * np.mean(variances)))
    assert pair["low"] < pair["difference"] < pair["high"]


def test_the_arms_of_trainings_are_student_s_and_welch_s():
    a, b = np.array([0.1, 0.3, 0.2]), np.array([0.5, 0.45])
    low, high = two_levels(a.mean(), (a.mean(), a.mean()), [a])
    expected = stats.t.interval(0.95, 2, a.mean(), stats.sem(a))
    assert (low, high) == pytest.approx(expected)
    point = a.mean() - b.mean()
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval()
    assert two_levels(point, (point, point), [a, b]) == pytest.approx(tuple(expected))


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("spread", [0.01, 0.05])
def test_intervals_hold_what_other_trainings_and_images_would_give(seeds, spread):
    random = np.random.default_rng(seeds)
    held = 0
    for _ in range(400):
        images = random.normal(0.0, 0.2, 60)
        trainings = random.normal(0.0, spread, seeds)
        numbers = 0.3 + trainings + images[:, None] + random.normal(0, 0.1, (60, seeds))
        each, point = numbers.mean(axis=1), numbers.mean()
        ends = stats.t.interval(0.95, 59, point, stats.sem(each))
        low, high = two_levels(point, ends, [numbers.mean(axis=0)])
        held += low <= 0.3 <= high
    assert 0.93 <= held / 400 <= 1.0


def test_a_difference_that_two_trainings_make_says_nothing_of_networks():
    clear = {"difference": 0.2, "low": 0.1, "high": 0.3, "between_trainings": 0.05}
    assert is_beyond(clear)
    assert not is_beyond({**clear, "low": -0.1})
    assert not is_beyond({**clear, "between_trainings": 0.25})
    assert not is_beyond({**clear, "low": None})

"""A network trained plainly beside the same one trained on attacked images, image by image."""

import numpy as np
import polars as pl
import pytest

from lookaway.analysis.per_image import CLEAN
from lookaway.analysis.robust_training import ALL, BOTH, robust_training, trained_both_ways
from lookaway.study.plan import parse_study
from rows import labels_of, line, measured

LABELS = labels_of(2, 6)
RANDOM = np.random.default_rng(0)
LEVELS = (0.05, 0.1)


def study(*models, **training):
    return parse_study(
        {"data": {"folder": "sample:lfw_subset"}, "models": list(models), "training": training}
    )


PLAIN = {"name": "plain", "timm": "test_resnet", "train": "all"}
FAST = {"epsilon": "8/255"}


def test_pairs_are_one_network_trained_in_two_ways():
    robust = {**PLAIN, "name": "robust", "adversarial": FAST, "epochs": 9}
    other = {**robust, "name": "other", "input_size": 160}
    assert trained_both_ways(study(PLAIN, robust, other)) == [("plain", "robust")]
    assert trained_both_ways(study(PLAIN, {**PLAIN, "name": "again"})) == []
    # What the study says of all, one model may leave.
    left = {**PLAIN, "name": "left", "adversarial": False}
    assert trained_both_ways(study(PLAIN, left, adversarial=FAST)) == [("left", "plain")]
    several = trained_both_ways(study(PLAIN, robust, seeds=[0, 1]))
    assert several == [(f"plain (seed {seed})", f"robust (seed {seed})") for seed in (0, 1)]


def made(model, right_before, right_after, scale):
    numbers = {
        source: RANDOM.random((12, 2)) * scale * factor
        for source, factor in ((model, 1.0), (None, 0.3))
    }
    rows = [
        measured(
            model,
            values,
            LABELS,
            source=source,
            epsilons=LEVELS,
            right_before=right_before,
            right_after=right_after if source else right_before,
        )
        for source, values in numbers.items()
    ]
    return pl.concat(rows), numbers


def test_differences_are_of_the_same_images_and_of_those_right_under_both():
    before = {"plain": RANDOM.random(12) < 0.8, "robust": RANDOM.random(12) < 0.9}
    after = {"plain": RANDOM.random((12, 2)) < 0.6, "robust": RANDOM.random((12, 2)) < 0.9}
    plain, of_plain = made("plain", before["plain"], after["plain"], 0.5)
    robust, of_robust = made("robust", before["robust"], after["robust"], 0.2)
    found = robust_training(pl.concat([plain, robust]), [("plain", "robust")])

    def row(measure, images, epsilon=0.1, scope="fgsm white-box"):
        here = pl.col("epsilon").eq_missing(epsilon)
        return line(found.filter(here), measure=measure, images=images, scope=scope, pairs="all")

    own = of_robust["robust"][:, 1] - of_plain["plain"][:, 1]
    assert row("mod", ALL)["difference"] == pytest.approx(own.mean())
    assert row("mod", ALL)["of_robust"] == pytest.approx(of_robust["robust"][:, 1].mean())
    both = np.all(
        [before["plain"], before["robust"], after["plain"][:, 1], after["robust"][:, 1]], axis=0
    )
    assert 2 <= both.sum() < 12
    assert row("mod", BOTH)["n"] == both.sum()
    assert row("mod", BOTH)["difference"] == pytest.approx(own[both].mean())
    excess = own - (of_robust[None][:, 1] - of_plain[None][:, 1])
    assert row("excess", BOTH)["difference"] == pytest.approx(excess[both].mean())
    told = row("accuracy", ALL)
    assert told["of_standard"] == pytest.approx(after["plain"][:, 1].mean())
    told = row(CLEAN, ALL, None)
    assert told["of_robust"] == pytest.approx(before["robust"].mean())
    told = row("vid", ALL, None)
    assert told["of_standard"] == pytest.approx(of_plain["plain"].std(axis=1).mean())
    assert told["low"] < told["difference"] < told["high"]
    noise = row("mod", ALL, scope="noise")
    assert noise["of_standard"] == pytest.approx(of_plain[None][:, 1].mean())
    # Of images that both get right an accuracy says nothing.
    assert not found.filter(pl.col("measure").is_in(["accuracy", CLEAN, "vid"]), images=BOTH).height


def test_one_level_has_no_vid_and_none_right_under_both_no_row():
    parts = [
        measured(model, np.full((12, 1), 0.1), LABELS, source=model, right_after=right)
        for model, right in (("plain", False), ("robust", True))
    ]
    found = robust_training(pl.concat(parts), [("plain", "robust")])
    assert found.filter(measure="vid")["difference"].null_count() == 2  # all, and living pairs
    assert found.filter(images=BOTH).is_empty()

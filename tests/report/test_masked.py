"""Signs of masked gradients are told, and nothing is where there are none."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from lookaway.analysis import summary
from lookaway.report.masked import masked
from lookaway.study.attack_settings import AttackSpec
from rows import labels_of, measured

LABELS = labels_of(20, 5)
LEVELS = (0.05, 0.1)
FEW, MANY = ({"name": f"pgd{steps}", "pgd": {"steps": steps}} for steps in (2, 20))


def frames_of(curves, attacks=("fgsm",), blind=(), sources=()):
    """A run of one model: attack and source → shares that are right at each ε."""
    rows = pl.concat(
        measured(
            "m",
            np.zeros((100, 2)),
            LABELS,
            source=source,
            epsilons=LEVELS,
            right_after=np.arange(100)[:, None] % 20 < 20 * np.asarray(shares),
        ).with_columns(attack=pl.lit(attack))
        for (attack, source), shares in curves.items()
    )
    return SimpleNamespace(
        accuracy=summary.accuracy(rows),
        plan=SimpleNamespace(gradient_free=list(blind)),
        settings=SimpleNamespace(attacks=[AttackSpec.model_validate(one) for one in attacks]),
        sources=list(sources),
        several_variants=False,
    )


FINE = {("fgsm", "m"): (0.5, 0.2), ("noise", None): (1.0, 0.9)}


@pytest.mark.parametrize(
    ("curves", "given", "told"),
    [
        (
            {("fgsm", "m"): (0.2, 0.6)},
            {},
            "accuracy rises from 20.0 % at ε = 0.05 to 60.0 % at ε = 0.1",
        ),
        (
            {("square", "m"): (0.5, 0.0)},
            {"blind": ["square"]},
            "at ε = 0.1 accuracy is 20.0 %, and 0.0 % under square, which knows no gradient",
        ),
        (
            {("fgsm", "other"): (0.1, 0.2)},
            {"sources": ["other"]},
            "at ε = 0.05 accuracy is 50.0 %, and 10.0 % under perturbations of other",
        ),
        ({("noise", None): (0.5, 0.0)}, {}, "and 0.0 % under noise of the same size"),
        (
            {("pgd2", "m"): (0.5, 0.1), ("pgd20", "m"): (0.5, 0.5)},
            {"attacks": [FEW, MANY]},
            "m, pgd20 white-box: at ε = 0.1 accuracy is 50.0 %, and 10.0 % under pgd2, which takes",
        ),
    ],
)
def test_what_should_be_weaker_and_is_stronger_is_told(curves, given, told):
    (said,) = masked(frames_of(FINE | curves, **given))
    assert told in said
    assert "gradients may be masked" in said


def test_nothing_is_told_where_more_room_steps_and_knowledge_make_an_attack_stronger():
    curves = {
        **FINE,
        ("pgd2", "m"): (0.4, 0.1),
        ("pgd20", "m"): (0.3, 0.0),
        ("square", "m"): (0.5, 0.2),
        ("fgsm", "other"): (0.9, 0.55),
    }
    attacks = ["fgsm", FEW, MANY]
    assert masked(frames_of(curves, attacks, ["square"], ["other"])) == []


def test_a_difference_that_may_be_chance_is_not_told():
    assert masked(frames_of(FINE | {("fgsm", "m"): (0.5, 0.55)})) == []

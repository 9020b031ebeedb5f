"""An attack that changes nothing is told, and is not taken for a stable network."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

import lookaway as la
from cells import a_batch
from lookaway.analysis import scale, summary
from lookaway.analysis.aimed import aimed
from lookaway.analysis.by_class import by_class
from lookaway.kernel import Key, measure_images
from lookaway.report.page import build_report
from lookaway.report.warnings import warnings
from lookaway.study import load
from lookaway.study.settings import Controls
from lookaway.written import percent
from odd import Odd
from rows import labels_of, line, measured, shuffled_rows


class Saturated(nn.Module):
    """Logits that float32 cannot move, so that cross-entropy and its gradient are exactly 0.

    Of images whose left is brighter than their right.
    """

    def __init__(self):
        super().__init__()
        self.net = Odd(classes=3)

    def forward(self, x):
        logits = self.net(x)
        left, right = (part.mean((1, 2, 3)) for part in x.chunk(2, dim=3))
        sure = 1e4 * nn.functional.one_hot(logits.argmax(1), 3) + 0 * logits
        return torch.where((left > right)[:, None], sure, logits)


def test_each_image_is_said_to_be_attacked_or_not():
    clf, images, labels, settings = a_batch()
    images[:3] = 1.0  # nothing to see, but a gradient there is
    plain = measure_images(clf, images, labels, settings, [la.FGSM()], [la.GradCAM()])
    assert not plain.arrays[Key("unattacked")].any()

    class Sure(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = clf.module

        def forward(self, x):
            return 1e6 * self.inner(x)

    sure = la.Classifier(Sure(), mean=clf.mean, std=clf.std, input_size=clf.input_size)
    (layer,) = sure.layer_names("last")
    settings = replace(settings, layers=(layer,), last=layer)
    arrays = measure_images(sure, images, labels, settings, [la.FGSM()], [la.GradCAM()]).arrays
    fgsm, noise = arrays[Key("unattacked")][:, 0], arrays[Key("unattacked")][:, 1]
    assert fgsm.all()
    assert not noise.any()
    assert (arrays[Key("nissim", "gradcam", "own", layer)][:, 0] == 0).all()
    rows = la.measure(sure, images, labels, epsilons=[0.1], grid=32, noise_seed=None).rows()
    assert rows["unattacked"].all()
    assert rows["psnr"].is_null().all()  # no finite ratio where nothing changed


def test_a_study_counts_them_warns_and_gives_mod_without_them(
    quick_study, run_quickly, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(
        load, "load_classifier", lambda *_a, **_k: la.Classifier(Saturated(), input_size=32)
    )
    one = {"models": quick_study["models"][:1], "transfer_from": []}
    result = run_quickly({**quick_study, **one}, tmp_path / "out", progress=True)
    build_report(result.store)
    found = result.unattacked().filter(attack="fgsm", model="one", epsilon=0.1)
    share = found["unattacked"][0]
    assert 0 < share < 1
    assert result.unattacked().filter(attack="noise")["unattacked"].max() == 0
    mods = {
        pairs: line(
            result.mod(),
            model="one",
            source="one",
            epsilon=0.1,
            explained_class="clean",
            pairs=pairs,
        )
        for pairs in ("all", "attacked")
    }
    assert mods["attacked"]["n"] == round((1 - share) * mods["all"]["n"])
    assert mods["attacked"]["mod"] == pytest.approx(mods["all"]["mod"] / (1 - share))
    said = next(line for line in warnings(result.frames) if "no pixel" in line)
    told = f"one, fgsm white-box, ε = {result.frames.plan.settings.epsilons[0]:g}"
    assert said.startswith(f"{told}: no pixel was changed in ")
    assert f"({percent(share, 1)})" in said
    page = result.report.read_text()
    assert "That is no stability: MOD is" in page
    assert "Images that were not attacked" in page
    assert "no pixel was changed in" in capsys.readouterr().err


def frames_of(rows, transplanted=0):
    return SimpleNamespace(
        accuracy=summary.accuracy(rows),
        methods=["gradcam"],
        plan=SimpleNamespace(gradient_free=[], shard=64, classes=[]),
        store=SimpleNamespace(trained=dict),
        settings=SimpleNamespace(attacks=[], controls=Controls(transplanted=transplanted)),
        aimed=aimed(rows),
        sources=[],
        unattacked=summary.unattacked(rows),
        mod=summary.mod(rows),
        reached=summary.reached(rows),
        by_class=by_class(rows),
        attack="fgsm",
        control="noise",
        models=["m"],
        top=rows["epsilon"].max(),
        last=lambda frame: frame,
        loaded=pl.DataFrame(),
        policy="clean",
        several_variants=False,
        variants=["none"],
        shuffled=scale.shuffled(shuffled_rows("m", [0.3] * 4, labels_of(2, 2))),
    )


def test_one_image_in_a_hundred_is_told_in_the_table_alone():
    labels = labels_of(2, 100)
    not_attacked = np.zeros(200, dtype=bool)
    not_attacked[:2] = True
    rows = measured("m", np.full(200, 0.2), labels, unattacked=not_attacked)
    found = line(summary.unattacked(rows))
    assert (found["n"], found["unattacked"]) == (200, 0.01)
    assert warnings(frames_of(rows)) == []
    not_attacked[2] = True
    both = [measured(m, np.full(200, 0.2), labels, unattacked=not_attacked) for m in "mn"]
    said = warnings(frames_of(pl.concat(both)))
    assert [line.partition(", ε")[0] for line in said] == ["m, fgsm white-box", "n, fgsm from m"]
    assert all("in 3 of 200 images (1.5 %)" in line for line in said)


def test_where_no_image_was_attacked_mod_without_them_is_null_not_0():
    labels = labels_of(2, 5)
    rows = measured("m", np.zeros(10), labels, unattacked=True)
    assert line(summary.mod(rows), pairs="attacked")["mod"] is None
    (said,) = warnings(frames_of(rows))
    assert "MOD is 0.000 with them, none is left without them" in said


def test_a_control_of_which_less_reaches_the_network_is_told():
    labels = labels_of(2, 10)
    values = np.full(20, 0.1)
    rows = pl.concat(
        [
            measured("m", values, labels),
            measured("m", values, labels, source=None).with_columns(reached_rms=0.08),
            measured("m", values, labels, source=None).with_columns(
                attack=pl.lit("shifted 1 of fgsm"), reached_rms=0.095
            ),
        ]
    )
    (line,) = warnings(frames_of(rows))
    assert line.startswith("m: 20 % less of noise than of fgsm is left where it reaches")
    assert "RMS 0.080 and 0.100" in line
    same = rows.with_columns(reached_rms=pl.lit(0.1))
    assert warnings(frames_of(same)) == []
    alone = same.filter(pl.col("attack") != "fgsm").with_columns(
        attack=pl.col("attack").replace("shifted 1 of fgsm", "other-class transplant 1 of fgsm")
    )
    (line,) = warnings(frames_of(pl.concat([measured("m", values, labels), alone]), 1))
    assert line.startswith("there are no same-class transplants, for no test image has another")

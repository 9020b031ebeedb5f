"""A study of enrolled people tells error rates of its comparisons, and where explanations moved."""

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

import lookaway as la
from galleries import DODGE, TAKEN, embedder, grids_of, study_of
from lookaway.analysis import comparisons
from lookaway.analysis.comparisons import comparisons_of
from lookaway.analysis.verification import CLEAN, Comparisons
from lookaway.attacks.base import attack_of
from lookaway.errors import InputError
from lookaway.metrics import verification
from shared_runs import run_bare

HALVES = {"train": 0.5, "val": 0, "test": 0.5}
LEVELS = [0.01, 0.05]
RATE = 0.3


@pytest.fixture(scope="module")
def network():
    return embedder()


@pytest.fixture(autouse=True, scope="module")
def few_people():
    """A threshold takes fewer comparisons."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verification, "_HITS", 1)
        patch.setattr(comparisons, "RATES", (RATE,))
        yield


@pytest.fixture(scope="module")
def result(few_people, quick_study, network, tmp_path_factory):
    data = {**quick_study["data"], "split": HALVES}
    study = study_of(
        quick_study,
        {"name": "plain", "timm": "test_efficientnet", "pretrained": False, "train": "none"}
        | {"input_size": 64},
        {"name": "faces", "train": "enrol"},
        data=data,
        epsilons=LEVELS,
        attacks=[DODGE, TAKEN],
        transfer_from=["plain"],
        explain={"explained_class": ["label"], "pictured": 0},
    )
    return run_bare(study, tmp_path_factory.mktemp("run") / "out", models={"faces": network})


@pytest.fixture(scope="module")
def verified(result, network):
    """The same by ``la.verify``, in memory."""
    (path,) = (result.folder / "heads").glob("*.safetensors")
    gallery = la.Gallery(network, load_file(path)["templates"], result.plan.classes)
    test, probes = grids_of(result, "test")
    persons = torch.tensor([result.plan.classes.index(name) for name in test["label"]])
    attacks = []
    for spec in (DODGE, TAKEN):
        kind = next(key for key in spec if key != "name")
        attacks.append(attack_of(kind, spec[kind]))
        attacks[-1].name = spec["name"]
    return la.verify(gallery, probes, persons, attacks=attacks, epsilons=LEVELS)


def test_a_study_keeps_the_cosines_and_targets_of_its_gallery(result, verified):
    found = dict(comparisons_of(result.store, result.plan, "none", "faces"))
    assert list(found) == ["faces", "plain"]
    own = found["faces"]
    assert {setting[:2] for setting in own.similarities} == {
        CLEAN[:2],
        ("dodge", "dodging"),
        ("taken", "impersonation"),
        ("noise", ""),
        ("own-size noise of taken", ""),
        ("own-size noise of taken from plain", ""),
    }
    for setting, each in verified.similarities.items():
        np.testing.assert_allclose(own.similarities[setting], each, atol=2e-3, err_msg=str(setting))
    np.testing.assert_array_equal(own.persons, verified.persons)
    targets = own.targets["taken", "impersonation"]
    np.testing.assert_array_equal(targets, verified.targets["taken", "impersonation"])
    assert found["plain"].targets == {}  # it knows no people


def test_error_rates_of_a_study_are_those_of_its_comparisons(result, verified):
    frame = result.verification()
    assert frame["model"].unique().to_list() == ["faces"]
    clean = frame.filter(attack="clean")
    assert clean["source"].null_count() == clean.height
    assert clean["measure"].to_list().count("eer") == 1
    theirs = verified.rates()
    for attack, aim in (("dodge", "dodging"), ("taken", "impersonation")):
        for epsilon in LEVELS:
            of = {"attack": attack, "objective": aim, "epsilon": epsilon}
            mine = frame.filter(**of, source="faces").sort("measure")
            other = theirs.filter(**of).sort("measure")
            assert mine["measure"].to_list() == other["measure"].to_list()
            for one, two in zip(mine["value"], other["value"], strict=True):
                assert one == pytest.approx(two, abs=0.1)  # a sign or two may turn
    assert frame.filter(attack="dodge", source="plain", measure="eer").height == len(LEVELS)
    points = result.verification(per="threshold")
    assert points.filter(attack="clean")["fmr"].is_between(0, 1).all()
    found = dict(comparisons_of(result.store, result.plan, "none", "faces"))["faces"]
    same, cosines = found.genuine(), found.similarities["dodge", "dodging", 0.05]
    for row in points.filter(attack="dodge", epsilon=0.05).iter_rows(named=True):
        match = cosines >= row["threshold"]
        assert row["fmr"] == pytest.approx(match[~same].mean())
        assert row["fnmr"] == pytest.approx((~match[same]).mean())
    with pytest.raises(InputError, match="possible: perturbation, decision, threshold"):
        result.verification(per="image")


def test_how_far_the_explanation_moved_is_told_by_what_became_of_the_comparison(result):
    found = dict(comparisons_of(result.store, result.plan, "none", "faces"))["faces"]
    threshold, images = found.thresholds(RATE), result.samples().filter(part="test")["image"]
    rows = result.rows().filter(model="faces", source="faces")
    noise = result.rows().filter(pl.col("model") == "faces", pl.col("attack") == "noise")
    frame = result.verification(per="decision")
    seen = set()
    for attack, aim, of in (
        ("dodge", "dodging", found.persons),
        ("taken", "impersonation", found.targets["taken", "impersonation"]),
    ):
        for epsilon in LEVELS:
            outcomes: dict[str, list[str]] = {}
            for place, image in enumerate(images):
                before, after = (
                    found.similarities[setting][place, of[place]] >= threshold[place]
                    for setting in (CLEAN, (attack, aim, epsilon))
                )
                if attack == "dodge":
                    told = ("held" if after else "lost") if before else "refused before"
                else:
                    told = "accepted before" if before else "taken" if after else "kept out"
                outcomes.setdefault(told, []).append(image)
            seen |= {*outcomes}
            for outcome, some in outcomes.items():
                here = {"attack": attack, "epsilon": epsilon}
                mine = rows.filter(pl.col("image").is_in(some)).filter(**here)
                told = frame.filter(**here, source="faces", outcome=outcome)
                values = {row["measure"]: row for row in told.iter_rows(named=True)}
                assert values["share"]["value"] == pytest.approx(len(some) / len(images))
                assert values["mod"]["n"] == len(some)
                assert values["mod"]["value"] == pytest.approx(mine["nissim"].mean())
                if attack == "dodge":
                    control = noise.filter(pl.col("image").is_in(some), epsilon=epsilon)
                    excess = mine["nissim"].mean() - control["nissim"].mean()
                    assert values["excess"]["value"] == pytest.approx(excess)
    assert {"lost", "held"} & seen
    assert frame.filter(attack="noise", outcome="held")["value"].is_not_null().any()


def test_rates_of_groups_of_people_are_told_of_a_study(result):
    groups = pl.DataFrame({"label": ["ann", "bob", "cy"], "sex": ["f", "m", "m"]})
    frame = result.verification(groups=groups, column="sex")
    assert set(frame["group"]) == {"f", "m", "largest gap"}
    assert frame["value"].null_count() == frame.height  # so few people
    assert set(frame["source"]) == {None, "faces", "plain"}
    with pytest.raises(InputError, match="groups are told per perturbation"):
        result.verification(per="decision", groups=groups)


def test_a_study_without_enrolled_people_has_no_error_rates(looked):
    with pytest.raises(InputError, match="no model of this study has enrolled people"):
        looked.verification()
    assert "verification" not in looked.frames.to_keep()


def test_too_few_people_leave_rates_null_with_the_reason(result, monkeypatch):
    monkeypatch.setattr(verification, "_HITS", 10)
    result = la.open_result(result.folder)
    told = result.verification().filter(pl.col("measure").str.starts_with("fnmr@"))
    assert told["value"].null_count() == told.height
    assert told["reason"].str.contains("a clean FMR of .* takes .* impostor comparisons").all()
    assert result.verification(per="decision").is_empty()


def test_the_median_smallest_ε_counts_decisions_that_never_change_as_beyond_the_largest():
    persons, same = np.repeat(np.arange(25), 2), np.repeat(np.eye(25, dtype=bool), 2, axis=0)
    clean = np.where(same, 0.9, 0.1) + np.arange(50)[:, None] * 1e-4
    clean[0, 0] = 0.0  # refused before
    levels = [0.01, 0.02, 0.05]
    first = np.repeat([0, 1, 2, 3], [10, 16, 10, 14])  # 3: never
    similarities = {CLEAN: clean}
    for place, level in enumerate(levels):
        lost = same & (first <= place)[:, None]
        similarities["a", "dodging", level] = np.where(lost, 0.0, clean)
        held = same & (first <= place - 2)[:, None]
        similarities["b", "dodging", level] = np.where(held, 0.0, clean)
    frame = Comparisons(persons, similarities, {}).rates([0.1]).filter(measure="epsilon@0.1")
    one, two = frame.sort("attack").iter_rows(named=True)
    smallest = np.array([*levels, np.inf])[first[1:]]
    assert one["value"] == np.median(smallest)
    assert one["low"] <= one["value"] <= one["high"]
    assert two["value"] is None
    assert two["reason"] == "only 18.4 % of the decisions change at any ε"

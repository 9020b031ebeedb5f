"""Verification: thresholds of other persons, rates by counting, intervals of persons."""

import numpy as np
import polars as pl
import pytest
import torch

import lookaway as la
from lookaway.analysis.intervals import Bootstrap
from lookaway.analysis.verification import CLEAN, Comparisons
from lookaway.errors import InputError
from lookaway.metrics.verification import det, threshold_at
from oracles import enliven, pixels
from resamples import few_resamples

PEOPLE, PROBES = 24, 4
ATTACKED = ("fgsm", "impersonation", 0.1)


@pytest.fixture(autouse=True, scope="module")
def fewer_resamples():
    with few_resamples():
        yield


@pytest.fixture(scope="module")
def found():
    random = np.random.default_rng(1)
    persons = np.repeat(np.arange(PEOPLE), PROBES)
    same = persons[:, None] == np.arange(PEOPLE)
    clean = random.normal(0.3, 0.15, same.shape) + 0.4 * same
    attacked = clean - 0.2 * same
    targets = (persons + 1) % PEOPLE
    attacked[np.arange(len(persons)), targets] += 0.3
    similarities = {CLEAN: clean, ATTACKED: attacked}
    return Comparisons(persons, similarities, {ATTACKED[:2]: targets})


def test_a_probe_s_threshold_comes_from_clean_comparisons_of_other_persons_alone(found):
    thresholds = found.thresholds(0.01)
    clean = found.similarities[CLEAN]
    dealt = np.random.default_rng(0).permutation(PEOPLE) % 5
    for probe, person in enumerate(found.persons):
        kept = [
            clean[n, k]
            for n, of in enumerate(found.persons)
            for k in range(PEOPLE)
            if of != k and dealt[person] not in (dealt[of], dealt[k])
        ]
        assert thresholds[probe] == threshold_at(np.array(kept), 0.01)
    for person in (0, PEOPLE - 1):  # whatever a person's own comparisons are
        changed = {CLEAN: clean.copy()}
        changed[CLEAN][found.persons == person] = 9.0
        changed[CLEAN][:, person] = 9.0
        again = Comparisons(found.persons, changed, {}).thresholds(0.01)
        mine = dealt[found.persons] == dealt[person]
        np.testing.assert_array_equal(again[mine], thresholds[mine])


def test_rates_are_counted_at_thresholds_that_are_fixed_over_ε(found):
    frame, thresholds = found.rates([0.01, 0.001]), found.thresholds(0.01)[:, None]
    assert frame["n_genuine"].unique().to_list() == [PEOPLE * PROBES]
    assert frame["n_impostor"].unique().to_list() == [PEOPLE * PROBES * (PEOPLE - 1)]
    same = found.genuine()
    aimed = found.targets[ATTACKED[:2]]
    for setting, each in found.similarities.items():
        of = dict(zip(("attack", "objective", "epsilon"), setting, strict=True))
        told = {row["measure"]: row for row in frame.filter(**of).iter_rows(named=True)}
        match = each >= thresholds
        assert told["fnmr@0.01"]["value"] == pytest.approx((~match[same]).mean())
        assert told["fmr@0.01"]["value"] == pytest.approx(match[~same].mean())
        assert told["genuine"]["value"] == pytest.approx(each[same].mean())
        assert told["eer"]["low"] <= told["eer"]["value"] <= told["eer"]["high"]
        assert told["fnmr@0.001"]["value"] is None
        assert "takes 10000 impostor comparisons" in told["fnmr@0.001"]["reason"]
        assert ("success@0.01" in told) == (setting == ATTACKED)
    shares = frame.filter(~pl.col("measure").is_in(["genuine", "impostor"])).drop_nulls("low")
    assert shares["low"].is_between(0, 1).all()
    assert shares["high"].is_between(0, 1).all()
    taken = frame.filter(measure="success@0.01")["value"].item()
    assert taken == pytest.approx((each[range(len(aimed)), aimed] >= thresholds[:, 0]).mean())


def test_intervals_know_that_comparisons_of_a_person_hang_together():
    """Persons that are verified always or never: as wide as that of so many persons."""
    persons = np.repeat(np.arange(40), 3)
    same = persons[:, None] == np.arange(40)
    clean = np.where(same & (persons % 4 > 0)[:, None], 0.9, 0.1) + 1e-3 * same
    frame = Comparisons(persons, {CLEAN: clean}, {}).rates([0.01])
    row = frame.filter(measure="fnmr@0.01").row(0, named=True)
    assert row["value"] == 0.0  # thresholds lie below
    lost = np.where(same & (persons % 4 == 0)[:, None], 0.0, clean)
    both = Comparisons(persons, {CLEAN: clean, ATTACKED: lost}, {}).rates([0.01])
    row = both.filter(measure="fnmr@0.01", attack="fgsm").row(0, named=True)
    spread = 1.96 * (0.25 * 0.75 / 40) ** 0.5
    assert row["value"] == 0.25
    assert row["high"] - row["low"] == pytest.approx(2 * spread, rel=0.25)
    eer = both.filter(measure="eer", attack="fgsm").row(0, named=True)
    assert eer["high"] - eer["low"] > 0.1


def test_a_gallery_s_probes_are_compared_clean_under_attacks_and_under_noise():
    emb = la.Embedder(enliven(torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 3), torch.nn.Tanh(), torch.nn.AdaptiveAvgPool2d(2),
        torch.nn.Flatten(),
    ), 0))  # fmt: skip
    faces, persons = pixels(12, 3, 12, 12, seed=3), torch.arange(12) % 3
    gallery = la.Gallery.enrol(emb, faces[:6], persons[:6])
    attacks = [la.FGSM(objective="score"), la.PGD(objective="score", targets="nearest", steps=2)]
    found = la.verify(gallery, faces[6:], persons[6:], attacks=attacks, epsilons=[0.002, 0.004])
    torch.testing.assert_close(
        torch.from_numpy(found.similarities[CLEAN]), gallery(faces[6:]).detach()
    )
    titles = [("fgsm", "dodging"), ("pgd", "impersonation"), ("noise", "")]
    assert list(found.similarities) == [
        CLEAN, *((*title, epsilon) for title in titles for epsilon in (0.002, 0.004))
    ]  # fmt: skip
    own = found.genuine()
    clean, dodged = (found.similarities[s][own] for s in (CLEAN, ("fgsm", "dodging", 0.002)))
    assert (dodged < clean).all()
    targets = found.targets["pgd", "impersonation"]
    assert (targets != persons[6:].numpy()).all()
    taken = found.similarities["pgd", "impersonation", 0.002][range(6), targets]
    assert (taken > found.similarities[CLEAN][range(6), targets]).mean() > 0.8
    frame = found.rates([0.01])
    assert frame.filter(pl.col("measure") == "fnmr@0.01")["value"].null_count() == 7
    again = la.verify(
        gallery, faces[6:], persons[6:], attacks=attacks, epsilons=[0.002, 0.004], batch_size=4
    )
    for setting, each in found.similarities.items():
        np.testing.assert_allclose(again.similarities[setting], each, atol=2e-3)
    with pytest.raises(InputError, match="a name of its own"):
        la.verify(gallery, faces[6:], persons[6:], attacks=[la.FGSM(), la.FGSM()])
    with pytest.raises(InputError, match="at least two persons"):
        la.verify(la.Gallery(emb, torch.ones(1, 24)), faces, persons)


def test_intervals_of_error_rates_and_means_draw_both_persons_of_a_comparison(found):
    """Three templates are of people without a probe, who are drawn for none."""
    beside = np.random.default_rng(3).normal(0.35, 0.1, (PEOPLE * PROBES, 3))
    clean = np.concatenate([found.similarities[CLEAN], beside], axis=1)
    wide = Comparisons(found.persons, {CLEAN: clean}, {})
    same = wide.genuine()
    with few_resamples(20):
        frame = wide.rates([0.01])
        boot = Bootstrap([str(person) for person in found.persons])
        of = [boot.units[found.persons == person][0] for person in range(PEOPLE)]
        drawn = np.concatenate(list(boot.weights()))[:, of].astype(int)
    rates, means = [], []
    for weights in drawn:
        templates = np.append(weights, [1, 1, 1])[None, :]
        times = weights[found.persons][:, None] * np.where(same, 1, templates)
        impostors = np.repeat(clean[~same], times[~same])
        rates.append(det(np.repeat(clean[same], times[same]), impostors).equal_error_rate)
        means.append(impostors.mean())
    for measure, oracle in (("eer", rates), ("impostor", means)):
        row = frame.filter(measure=measure).row(0, named=True)
        low, high = boot.bounds(np.array(oracle)[:, None])
        assert [row["low"], row["high"]] == pytest.approx([low[0], high[0]], abs=1e-9)


def test_two_people_have_an_equal_error_rate_and_no_threshold():
    clean = np.array([[0.9, 0.2], [0.8, 0.1], [0.3, 0.7]])
    frame = Comparisons(np.array([0, 0, 1]), {CLEAN: clean}, {}).rates([0.01])
    told = {row["measure"]: row for row in frame.iter_rows(named=True)}
    assert (told["eer"]["value"], told["fnmr@0.01"]["value"]) == (0.0, None)
    assert "takes 1000 impostor comparisons" in told["threshold@0.01"]["reason"]

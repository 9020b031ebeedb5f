"""Sentences say what the frames say, and each has a table on the page that shows it."""

import html

import polars as pl
import pytest

from hostile import HOSTILE
from lookaway.analysis.direction import WORDS
from lookaway.report.conclusions import conclusions
from lookaway.report.opening import opening
from lookaway.report.warnings import warnings
from lookaway.report.wording import isolated
from lookaway.written import percent
from plans import with_settings
from shared_runs import frames_of


def found_in(frames):
    return {each.title: each for each in conclusions(frames)}


@pytest.mark.parametrize("run", ["finished", "layered"])
def test_each_conclusion_and_the_table_that_shows_it_are_on_the_page(run, request):
    result = request.getfixturevalue(run)
    page = html.unescape(result.report.read_text())
    found = found_in(result.frames)
    depth = ["Depth"] if run == "layered" else []
    assert list(found) == ["Scale", *depth, "Flips", "Direction", "Consequence", "Certainty"]
    for each in found.values():
        assert f'id="table-{each.table}"' in page
        assert each.opening in page
        assert each.closing in page


def test_sentences_hold_the_numbers_of_the_frames(finished):
    found = found_in(finished.frames)
    here = {"model": "two", "epsilon": 0.1, "explained_class": "clean"}
    stayed = finished.direction().filter(measure="stayed", **here)
    own, noise = stayed.filter(source="two"), stayed.filter(attack="noise")
    text = dict(found["Direction"].models)["two"]
    assert f"{percent(own['value'][0])} of the heatmaps stayed" in text
    assert f"({percent(noise['value'][0])} under noise" in text
    flipped = finished.outcomes().filter(source="two", outcome="flipped", measure="share", **here)
    text = dict(found["Consequence"].models)["two"]
    assert f"{percent(flipped['value'][0])} of the images flipped" in text
    excess = {"scope": "fgsm white-box", "measure": "aimed", "epsilon": 0.1}
    ranking = finished.robustness_of_ranking().filter(**excess)
    held = f"holds in {ranking['held'][0]} of {ranking['conventions'][0]}"
    assert held in found["Certainty"].closing


@pytest.mark.parametrize(
    ("lows", "said"),
    [
        (
            (0.01, 0.02),
            "FGSM moves the heatmaps of every trained network clearly further than random",
        ),
        ((-0.01, 0.02), "FGSM moves the heatmaps of the trained network two clearly further than"),
        (
            (-0.01, -0.01),
            "FGSM moves no trained network's heatmaps clearly further than random signs",
        ),
    ],
)
def test_a_shift_counts_as_more_than_noise_only_where_its_interval_says_so(finished, lows, said):
    frames = frames_of(finished)
    frames.excess = finished.excess().with_columns(
        low=pl.col("model").replace_strict(frames.models, lows),
        excess=0.3 - pl.col("epsilon"),
        noise=pl.lit(0.3),
        shuffled=pl.lit(0.2),
    )
    scale = found_in(frames)["Scale"]
    assert scale.opening.startswith(said)
    assert ("others not." in scale.opening) == (lows == (-0.01, 0.02))
    most = "; ".join(f"in {isolated(model)} at ε = 0.02 (+0.280)" for model in frames.models)
    assert scale.closing.startswith(f"It adds most to random signs below the largest ε: {most}.")
    assert "are fragile by themselves" in scale.closing


@pytest.mark.parametrize(
    ("lows", "said"),
    [
        ((0.01, 0.02), "They move clearly further than its own change does in other places"),
        ((-0.01, 0.02), "Those of two move clearly further than its own change does in other"),
        (
            (-0.01, -0.01),
            "Its own change in other places moves them as far: any smooth change of this",
        ),
    ],
)
def test_what_is_no_more_than_the_change_s_shape_is_no_effect_of_the_attack(finished, lows, said):
    frames = frames_of(finished)
    frames.excess = finished.excess().with_columns(low=pl.lit(0.01))
    frames.aimed = finished.aimed().with_columns(
        low=pl.col("model").replace_strict(frames.models, lows)
    )
    scale = found_in(frames)["Scale"].opening
    assert said in scale
    assert ("so no effect of the attack is shown" in scale) == (lows[0] < 0)
    assert ("that is aimed at the image" in scale) == (lows[1] > 0)


@pytest.mark.parametrize(
    ("lows", "said"),
    [
        (
            (0.01, 0.02),
            "Also among images that fare alike, FGSM moves the heatmaps of every trained",
        ),
        (
            (None, 0.01),
            "Also among images that fare alike, FGSM moves the heatmaps of every trained",
        ),
        (
            (-0.01, 0.02),
            "Among images that fare alike, FGSM moves no trained network's heatmaps",
        ),
        (
            (0.01, -0.02),
            "Among images that fare alike, FGSM moves no trained network's heatmaps",
        ),
    ],
)
def test_what_is_left_at_equal_outcome_is_said_to_be_only_where_both_ways_say_so(
    finished, lows, said
):
    frames = frames_of(finished)
    values = {
        "excess": (0.3, 0.2),
        "equal outcome": (lows[0] and 0.1, lows[0]),
        "more flips": (lows[0] and 0.2, 0.15),
        "same outcome": (0.05, lows[1]),
        "flipped": (0.5, 0.4),
        "flipped under control": (0.25, 0.2),
    }

    def planted(place):
        column = {name: pair[place] for name, pair in values.items()}
        return pl.col("measure").replace_strict(column, default=None, return_dtype=pl.Float64)

    frames.decomposition = finished.decomposition().with_columns(
        value=planted(0), low=planted(1), high=pl.lit(0.9), n=pl.lit(7)
    )
    flips = found_in(frames)["Flips"]
    assert flips.opening.startswith(said)
    text = dict(flips.models)["two"]
    assert text.startswith("Beside noise: 50 % of the images flip, under the control 25 %. ")
    assert "MOD is higher by +0.300 (+0.200 to +0.900). " in text
    left = (
        "How much of that is due to more flips is not known"
        if lows[0] is None
        else "More flips account for +0.200 (+0.150 to +0.900) of that."
    )
    assert left in text
    assert "The 7 images that fare alike under both move further by +0.050 (" in text


def test_a_network_with_the_same_heatmap_for_every_image_is_told_first_and_heads_no_page(finished):
    frames = frames_of(finished)
    level = finished.shuffled().with_columns(shuffled=0.3, low=0.2, high=0.4)
    two = (pl.col("model") == "two") & (pl.col("explained_class") == "own")
    frames.shuffled = level.with_columns(
        pl.when(two).then(ends).otherwise(name).alias(name)
        for name, ends in (("shuffled", 0.004), ("low", 0.003), ("high", 0.005))
    )
    found = opening(frames)
    assert found.lead[0].startswith("MOD cannot mean anything for the trained network two: ")
    assert "0.004 (95 % interval 0.003 to 0.005)" in found.lead[0]
    assert found.model != "two"
    assert "trained network two" not in found.lead[1]
    assert warnings(frames)[0] == found.lead[0]
    frames = frames_of(finished)
    frames.shuffled = level.with_columns(shuffled=0.004, low=0.003, high=0.005)
    nothing = opening(frames)
    assert nothing.model is None
    assert nothing.lead[0].startswith("MOD cannot mean anything for the trained networks")
    frames = frames_of(finished)
    frames.shuffled = level.with_columns(shuffled=0.019, low=0.018, high=0.021)
    assert "cannot mean" not in opening(frames).lead[0]


def test_what_holds_for_one_class_policy_alone_is_no_sign_of_failing(finished):
    frames = frames_of(finished)
    frames.outcomes = finished.outcomes().with_columns(value=pl.lit(0.3))
    p = pl.col("explained_class").replace_strict({"clean": 0.01, "own": 0.3})
    numbers = dict.fromkeys(["auroc", "low", "high"], pl.lit(0.9))
    frames.failing = finished.failing().with_columns(p=p, p_holm=p, **numbers)
    opening = found_in(frames)["Consequence"].opening
    assert opening.startswith("In no trained network does looking elsewhere tell failing beyond")
    assert opening.endswith("it does with the class policy clean alone, not with own.")


@pytest.mark.parametrize("p", [0.01, 0.2, None])
def test_looking_elsewhere_goes_with_failing_only_where_it_adds_to_class_and_confidence(
    finished, p
):
    frames = frames_of(finished)
    frames.outcomes = finished.outcomes().with_columns(value=pl.lit(0.3))
    like = pl.col("within") == "classes and confidence"
    frames.failing = finished.failing().with_columns(
        auroc=pl.col("predictor").replace_strict(
            {"nissim": 0.9, "logit fall": 0.95, "clean confidence": 0.8}
        ),
        low=pl.lit(0.85),
        high=pl.lit(0.99),
        only=pl.lit(HOSTILE),
        p=pl.when(like).then(p),
        p_holm=pl.when(like).then(p),
        reason=pl.when(like & pl.lit(p is None)).then(pl.lit("for a reason")),
    )
    found = found_in(frames)["Consequence"]
    assert found.opening.startswith("Looking elsewhere goes with failing in ") == (p == 0.01)
    assert found.opening.startswith("In no trained network does looking elsewhere tell") == (
        p != 0.01
    )
    assert found.table == "failing_clean"
    text = dict(found.models)["two"]
    assert f"flipped, all of the class {isolated(HOSTILE)}; MOD " in text
    assert "AUROC 0.90, 0.85 to 0.99; of the fall of the logit 0.95" in text
    assert "of the clean confidence 0.80; under noise 0.90" in text
    told = {
        0.01: "it adds to class and clean confidence (p = 0.010 after Holm)",
        0.2: "it adds nothing clear to class and clean confidence (p = 0.200 after Holm)",
        None: "what it adds to the clean confidence cannot be told: for a reason",
    }[p]
    assert text.endswith(told)
    assert "within classes 0.90, 0.85 to 0.99 (the fall of the logit 0.95); " in text
    assert "the fall of the logit tells flips at least as well" in found.closing


def test_heatmaps_that_were_inverted_are_said_to_be(finished):
    frames = frames_of(finished)
    inverted = (pl.col("measure") == "inverted").cast(float)
    value = pl.when(pl.col("measure").is_in(WORDS)).then(inverted).otherwise("value")
    frames.direction = finished.direction().with_columns(value=value)
    text = dict(found_in(frames)["Direction"].models)["two"]
    assert "0 % of the heatmaps stayed where they were" in text
    assert ", 100 % were inverted (rank correlation ≤ −0.5);" in text


def test_the_shift_begins_where_every_deeper_layer_is_clearly_beyond_noise(layered):
    frames = frames_of(layered)
    rows = layered.by_depth().filter(layer=layered.plan.last_layers["one"])

    def text(*lows):
        frames.by_depth = pl.concat(
            rows.with_columns(layer=pl.lit(f"l{place}"), low=low, excess=pl.lit(0.9 - place / 10))
            for place, low in enumerate(map(pl.lit, lows))
        )
        return found_in(frames)["Depth"].models[0][1]

    found = text(0.1, -0.1, 0.1, 0.1)
    assert found.startswith("from l2 on (depth 1.00) every layer moves clearly further")
    assert found.endswith("most at l0 (depth 1.00): +0.900")
    assert text(0.1, 0.1).startswith("every explained layer moves clearly further")
    assert text(0.1, -0.1).startswith("not clearly beyond noise at the last layer")


def test_a_method_that_knows_no_class_says_how_much_of_the_shift_needs_none(finished):
    frames = frames_of(finished)
    assert found_in(frames)["Flips"].closing == ""
    frames.plan = with_settings(frames.plan, explain={"methods": ["gradcam", "eigencam"]})
    other = frames_of(finished)
    for each, mod in ((frames, 0.4), (other, 0.1)):
        each.mod = finished.mod().with_columns(mod=pl.lit(mod))
    frames.of = lambda method, attack: other
    closing = found_in(frames)["Flips"].closing
    assert closing.startswith("Eigen-CAM knows no class")
    assert "25 % in two (0.100 of 0.400)" in closing

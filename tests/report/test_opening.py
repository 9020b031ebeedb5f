"""What the page opens with: who looks elsewhere most, how much is attack, and how sure that is."""

import html

import polars as pl
import pytest

from lookaway.report.opening import opening
from lookaway.report.wording import isolated, listed
from lookaway.written import percent, signed
from shared_runs import frames_of


def with_mods(finished, *, mod=(0.2, 0.4), p=(0.01, 0.01), excess=(0.1, 0.2), low=(0.05, 0.15)):
    """The run's frames, with these numbers of its two models, and these of MOD and excess."""
    frames = frames_of(finished)

    def each(values):
        return pl.col("model").replace_strict(frames.models, values)

    frames.mod = finished.mod().with_columns(mod=each(mod))
    frames.excess = finished.excess().with_columns(
        mod=each(mod), excess=each(excess), low=each(low), high=each((0.3, 0.4))
    )
    frames.aimed = finished.aimed().with_columns(
        aimed=each(excess), low=each(low), high=each((0.3, 0.4))
    )
    frames.shuffled = finished.shuffled().with_columns(shuffled=0.3, low=0.2, high=0.4)
    frames.compare_models = finished.compare_models().with_columns(
        p_holm=pl.col("measure").replace_strict(
            ["mod", "excess", "aimed"], [*p, p[1]], default=None, return_dtype=pl.Float64
        )
    )
    return frames


MOST, APART = "looks elsewhere most", "looks elsewhere, not clearly further than {}"
NONE = "At ε = 0.1 FGSM moves no network's heatmaps clearly further than its own change in other"
CLEAR, UNCLEAR = "the difference is clear (p < 0.001 after", "the two are not clearly apart (p = "


@pytest.mark.parametrize(
    ("numbers", "first", "title", "certainty"),
    [
        ({"p": (0.3, 0.0001)}, 1, MOST, CLEAR),
        ({"p": (0.0001, 0.3)}, 1, APART, UNCLEAR),
        # ranked is what the attack adds, not MOD, and of models to which it adds anything
        ({"p": (0.3, 0.0001), "mod": (0.9, 0.1)}, 1, MOST, CLEAR),
        ({"p": (0.3, 0.0001), "low": (0.05, -0.01)}, 0, MOST, CLEAR),
    ],
)
def test_it_names_the_model_to_which_the_attack_adds_most_and_how_sure_that_is(
    finished, numbers, first, title, certainty
):
    found = opening(with_mods(finished, **numbers))
    models = finished.frames.models
    other = isolated(models[1 - first])
    assert (found.model, found.title) == (models[first], title.format(other))
    assert len(found.lead) <= 3
    assert found.lead[-1].startswith(f"{other} is next with +0.")
    assert certainty in found.lead[-1]


def test_where_the_attack_clearly_adds_nothing_no_model_is_named(finished):
    found = opening(with_mods(finished, low=(-0.02, -0.01)))
    assert found.model is None
    assert found.title.startswith(NONE)
    assert all(" is next with " not in sentence for sentence in found.lead)


def test_where_the_shift_is_aimed_at_a_smaller_epsilon_alone_that_is_said(finished):
    frames = with_mods(finished, low=(-0.02, -0.01))
    small = pl.col("epsilon") < 0.1
    frames.excess = frames.excess.with_columns(low=pl.when(small).then(0.05).otherwise("low"))
    frames.aimed = frames.aimed.with_columns(low=pl.when(small).then(0.05).otherwise("low"))
    told = next(one for one in opening(frames).lead if one.startswith("At a smaller ε"))
    first, second = map(isolated, frames.models)
    names = f"in {first} (+0.100), in {second} (+0.200)."
    assert told.endswith(f"is aimed: at ε = {frames.epsilons[0]:g} {names}")


def test_an_effect_of_the_attack_is_said_only_where_both_controls_say_it(finished):
    amount = f"{signed(0.2)} (95 % interval {signed(0.15)} to {signed(0.4)})"
    both = opening(with_mods(finished)).lead[0]
    assert f"{amount} more than random signs of the same size and {amount} more than its" in both
    assert "that is aimed" in both
    neither = opening(with_mods(finished, low=(-0.05, -0.01))).lead[0]
    assert "not clearly more than random signs of the same size do" in neither
    frames = with_mods(finished)
    frames.aimed = frames.aimed.with_columns(low=-0.01)
    shape = opening(frames).lead[0]
    assert "but its own change in other places moves them as far" in shape
    for text in (neither, shape):
        assert "aimed" not in text


def test_accuracy_stands_beside_that_under_each_control(finished):
    found = opening(finished.frames)
    (text,) = (one for one in found.lead if one.startswith("Its accuracy"))
    (model,) = (
        name
        for name in finished.frames.models
        if f"network {isolated(name)} by" in " ".join(found.lead)
    )
    right = finished.accuracy().filter(epsilon=0.1, model=model)
    shown = {
        name: percent(
            right.filter(pl.col("source").eq_missing(pl.lit(source)), attack=attack)[
                "accuracy"
            ].item(),
            1,
        )
        for name, attack, source in (
            ("attack", "fgsm", model),
            ("noise", "noise", None),
            ("shifted", "shifted of fgsm", None),
        )
    }
    told = f"to {shown['attack']}; under random signs it is {shown['noise']}, under its own change "
    assert f"{told}in other places {shown['shifted']}" in text
    frames = frames_of(finished)
    frames.accuracy = finished.accuracy().with_columns(accuracy=pl.lit(0.5))
    said = " ".join(opening(frames).lead)
    assert "noise fails it as often, so here that is no attack" in said


def test_a_run_without_shifted_controls_claims_no_more_than_random_signs_allow(layered):
    found = opening(layered.frames)
    assert "than random signs of the same size" in found.lead[0]
    page = html.unescape(layered.report.read_text())
    for words in ("in other places", "aimed"):
        assert words not in " ".join([found.title, *found.lead])
        assert words not in page[page.index('<section id="answer"') : page.index("<h2")]


def test_the_page_has_all_of_it(finished):
    found = opening(finished.frames)
    page = html.unescape(finished.report.read_text())
    for sentence in (found.title, *found.lead, *found.notes):
        assert sentence in page


def test_a_name_that_turns_letters_around_turns_only_itself():
    turning = "\u202eabc"
    assert listed([turning, "plain", "<b> 🙂"]) == f"\u2068{turning}\u2069, plain and <b> 🙂"
    assert isolated("شخص") == "\u2068شخص\u2069"

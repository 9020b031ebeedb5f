"""What the page opens with: who looks elsewhere most, how much is attack, and how sure that is."""

import html

import polars as pl
import pytest

from lookaway.analysis.frames import Frames
from lookaway.report.opening import opening
from lookaway.report.wording import isolated, listed, signed


def with_mods(finished, *, mod=(0.2, 0.4), p=(0.01, 0.01), excess=(0.1, 0.2), low=(0.05, 0.15)):
    """The run's frames, with these numbers of its two models, and these of MOD and excess."""
    frames = Frames(finished.store)

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


@pytest.mark.parametrize(
    ("numbers", "first", "title", "sentences"),
    [
        ({"p": (0.001, 0.3)}, 1, "looks elsewhere most", ["is clear (p = 0.001 ", "not clearly"]),
        ({"mod": (0.4, 0.2), "p": (0.0001, 0.3)}, 0, "looks elsewhere most", ["(p < 0.001 ", ""]),
        (
            {"p": (0.3, 0.001)},
            1,
            "looks elsewhere most beyond what its own change in other places causes",
            ["the two are not clearly apart (p = 0.300 after Holm)", "is clear (p = 0.001 "],
        ),
        (
            {"p": (0.3, 0.001), "excess": (0.3, 0.1)},
            1,
            "looks elsewhere, not clearly further than {}",
            ["", "What the attack adds to its own change in other places is largest in {}, +0.300"],
        ),
        (
            {"p": (0.3, 0.3), "low": (0.05, -0.01)},
            1,
            "looks elsewhere, not clearly further than {} or under its own change in other places",
            ["", ""],
        ),
        (
            {"p": (0.001, 0.3), "low": (0.05, -0.01)},
            1,
            "looks elsewhere most, not clearly further than under its own change in other places",
            ["", ""],
        ),
    ],
)
def test_it_names_the_model_with_the_largest_mod_and_how_sure_that_is(
    finished, numbers, first, title, sentences
):
    found = opening(with_mods(finished, **numbers))
    models = finished.frames.models
    other = isolated(models[1 - first])
    assert (found.model, found.title) == (models[first], title.format(other))
    *numbered, trained = found.sentences[1:]
    for part, sentence in zip(sentences, numbered, strict=True):
        assert part.format(other) in sentence
    assert trained.startswith("Each model is one trained network")


def test_an_effect_of_the_attack_is_said_only_where_both_controls_say_it(finished):
    amount = f"{signed(0.2)} (95 % interval {signed(0.15)} to {signed(0.4)})"
    both = opening(with_mods(finished)).sentences[0]
    assert f"{amount} of it is more than random signs of the same size cause, and {amount}" in both
    assert "that is aimed" in both
    neither = opening(with_mods(finished, low=(0.05, -0.01))).sentences[0]
    assert "not clearly more than random signs of the same size cause" in neither
    frames = with_mods(finished)
    frames.aimed = frames.aimed.with_columns(low=-0.01)
    shape = opening(frames).sentences[0]
    assert "but its own change in other places moves the heatmaps as far" in shape
    assert "any smooth change of this shape does" in shape
    for text in (neither, shape):
        assert "aimed" not in text


def test_accuracy_stands_beside_that_under_each_control(finished):
    found = opening(finished.frames)
    right = finished.accuracy().filter(epsilon=0.1, model=found.model)
    shown = {
        name: f"{right.filter(attack=attack, source=source)['accuracy'].item():.1%}"
        if source
        else f"{right.filter(attack=attack)['accuracy'].item():.1%}"
        for name, attack, source in (
            ("attack", "fgsm", found.model),
            ("noise", "noise", None),
            ("shifted", "shifted of fgsm", None),
        )
    }
    text = f"to {shown['attack']}; under random signs it is {shown['noise']}, under its own change "
    assert f"{text}in other places {shown['shifted']}" in " ".join(found.sentences)
    frames = Frames(finished.store)
    frames.accuracy = finished.accuracy().with_columns(accuracy=pl.lit(0.5))
    said = " ".join(opening(frames).sentences)
    assert "noise fails it as often, so here that is no attack" in said


def test_a_run_without_shifted_controls_claims_no_more_than_random_signs_allow(layered):
    found = opening(layered.frames)
    assert "more than random signs of the same size cause" in found.sentences[0]
    page = html.unescape(layered.report.read_text())
    for words in ("in other places", "aimed"):
        assert words not in " ".join(found.sentences)
        assert words not in page[page.index('<section id="answer"') : page.index("<h2")]


def test_bars_are_the_models_numbers_and_the_page_has_all_of_it(finished):
    found = opening(finished.frames)
    excess = finished.frames.last(finished.excess()).filter(
        pl.col("source") == pl.col("model"), epsilon=0.1, explained_class="clean", pairs="all"
    )
    assert list(found.bars) == finished.frames.models
    for name, column in (("mod", "mod"), ("noise", "noise"), ("excess", "excess")):
        assert [cells[name].value for cells in found.bars.values()] == excess[column].to_list()
    assert all(cells["noise"].low is None for cells in found.bars.values())
    assert found.scale >= max(cells["mod"].high for cells in found.bars.values())
    page = html.unescape(finished.report.read_text())
    for sentence in found.sentences:
        assert sentence in page
    for row in excess.iter_rows(named=True):
        assert f"noise {row['noise']:.3f}" in page


def test_a_name_that_turns_letters_around_turns_only_itself():
    turning = "\u202eabc"
    assert listed([turning, "plain", "<b> 🙂"]) == f"\u2068{turning}\u2069, plain and <b> 🙂"
    assert isolated("شخص") == "\u2068شخص\u2069"

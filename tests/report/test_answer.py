"""What the page opens with says who looks elsewhere most, how much is attack, and how sure."""

import html

import polars as pl
import pytest

from lookaway.analysis.frames import Frames
from lookaway.report.answer import answer
from lookaway.report.verdict import isolated, listed, signed

HERE = (
    pl.col("source") == pl.col("model"),
    pl.col("epsilon") == 0.1,
    pl.col("explained_class") == "clean",
    pl.col("pairs") == "all",
)


def with_mods(finished, first, second, *, p=0.01, excess=(0.1, 0.2), low=(0.05, 0.15)):
    """The run's frames, with these numbers of its two models."""
    frames = Frames(finished.store)
    models = frames.models

    def each(values):
        return pl.col("model").replace_strict(dict(zip(models, values, strict=True)))

    frames.mod = finished.mod().with_columns(mod=each((first, second)))
    frames.excess = finished.excess().with_columns(
        mod=each((first, second)), excess=each(excess), low=each(low), high=each((0.3, 0.4))
    )
    chances = p if isinstance(p, dict) else {"mod": p, "excess": p}
    frames.compare_models = finished.compare_models().with_columns(
        p_holm=pl.col("measure").replace_strict(chances, default=None, return_dtype=pl.Float64)
    )
    return frames


def test_it_names_the_model_with_the_largest_mod(finished):
    models = finished.frames.models
    assert answer(with_mods(finished, 0.2, 0.4)).model == models[1]
    assert answer(with_mods(finished, 0.4, 0.2)).model == models[0]


def test_it_says_whether_the_next_model_is_clearly_behind(finished):
    clear = answer(with_mods(finished, 0.2, 0.4, p=0.001))
    assert clear.title == "looks elsewhere most"
    assert "the difference is clear (p = 0.001 after Holm)" in clear.sentences[1]
    unclear = answer(with_mods(finished, 0.2, 0.4, p=0.3))
    assert unclear.title.startswith("looks elsewhere most, not clearly more than")
    assert "the two are not clearly apart (p = 0.300 after Holm)" in unclear.sentences[1]


def test_it_says_when_a_model_is_clearly_first_only_beyond_noise(finished):
    chances = {"mod": 0.3, "excess": 0.001}
    found = answer(with_mods(finished, 0.2, 0.4, p=chances))
    assert found.title == "looks elsewhere most, clearly so beyond what noise causes"
    assert "the difference is clear (p = 0.001 after Holm)" in found.sentences[2]
    other = answer(with_mods(finished, 0.2, 0.4, p=chances, excess=(0.3, 0.1)))
    assert other.title.startswith("looks elsewhere most, not clearly more than")


def test_it_says_how_much_is_more_than_noise_only_where_it_is(finished):
    sure = answer(with_mods(finished, 0.2, 0.4)).sentences[0]
    assert f"{signed(0.2)} (95 % interval {signed(0.15)} to {signed(0.4)}) of it is more" in sure
    unsure = answer(with_mods(finished, 0.2, 0.4, low=(0.05, -0.01))).sentences[0]
    assert "not clearly more than noise of the same size causes" in unsure


def test_it_names_another_model_where_the_attack_adds_most(finished):
    found = answer(with_mods(finished, 0.2, 0.4, excess=(0.3, 0.1)))
    assert len(found.sentences) == 3
    assert signed(0.3) in found.sentences[2]
    assert isolated(finished.frames.models[0]) in found.sentences[2]


def test_bars_are_the_models_numbers(finished):
    found = answer(finished.frames)
    excess = finished.frames.last(finished.excess()).filter(*HERE)
    assert [bar.model for bar in found.bars] == finished.frames.models
    assert [bar.mod for bar in found.bars] == excess["mod"].to_list()
    assert [bar.noise for bar in found.bars] == excess["noise"].to_list()
    assert found.scale >= max(bar.high for bar in found.bars)
    page = html.unescape(finished.report.read_text())
    for sentence in found.sentences:
        assert sentence in page


@pytest.mark.parametrize("name", ["plain", "with 🙂 and <b>"])
def test_a_plain_name_stays_as_it_is(name):
    assert isolated(name) == name


def test_a_name_that_turns_letters_around_turns_only_itself():
    turning = "\u202eabc"
    assert listed([turning, "b", "c"]) == f"\u2068{turning}\u2069, b and c"
    assert isolated("شخص") == "\u2068شخص\u2069"

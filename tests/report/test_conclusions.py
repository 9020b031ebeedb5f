"""Sentences say what the frames say, and each has a table on the page that shows it."""

import html

import polars as pl
import pytest

from lookaway.analysis.frames import Frames
from lookaway.report.conclusions import conclusions
from lookaway.report.wording import isolated

ABOUT = {"explained_class": "clean", "epsilon": 0.1}


def found_in(frames):
    return {each.title: each for each in conclusions(frames)}


def test_each_conclusion_and_the_table_that_shows_it_are_on_the_page(finished, layered):
    several = ["Scale", "Depth", "Direction", "Consequence", "Certainty"]
    for run, titles in ((finished, [t for t in several if t != "Depth"]), (layered, several)):
        page = html.unescape(run.report.read_text())
        found = found_in(run.frames)
        assert list(found) == titles
        for each in found.values():
            assert f'id="table-{each.table}"' in page
            assert each.opening in page
            assert each.closing in page


def test_sentences_hold_the_numbers_of_the_frames(finished):
    found = found_in(finished.frames)
    models = finished.frames.models
    direction = finished.direction().filter(model="two", measure="stayed", **ABOUT)
    own, noise = direction.filter(source="two"), direction.filter(attack="noise")
    text = dict(found["Direction"].models)["two"]
    assert f"{own['value'][0]:.0%} of the heatmaps stayed" in text
    assert f"({noise['value'][0]:.0%} under noise" in text
    shares = finished.outcomes().filter(model="two", outcome="flipped", measure="share", **ABOUT)
    share = shares.filter(source="two")["value"][0]
    assert f"{share:.0%} of the images flipped" in dict(found["Consequence"].models)["two"]
    assert [model for model, _ in found["Direction"].models] == models
    ranking = finished.robustness_of_ranking().filter(
        scope="fgsm white-box", measure="excess", epsilon=0.1
    )
    held = f"holds in {ranking['held'][0]} of {ranking['conventions'][0]}"
    assert held in found["Certainty"].closing


@pytest.mark.parametrize(
    ("lows", "said"),
    [
        ((0.01, 0.02), "FGSM moves every model's heatmaps clearly further than noise"),
        ((-0.01, 0.02), "FGSM moves the heatmaps of two clearly further than noise of the same "),
        ((-0.01, -0.01), "FGSM moves no model's heatmaps clearly further than noise"),
    ],
)
def test_a_shift_counts_as_more_than_noise_only_where_its_interval_says_so(finished, lows, said):
    frames = Frames(finished.store)
    low = pl.col("model").replace_strict(frames.models, lows)
    level = pl.col("epsilon")
    frames.excess = finished.excess().with_columns(
        low=low, high=pl.lit(0.5), excess=0.3 - level, noise=pl.lit(0.3), shuffled=pl.lit(0.2)
    )
    scale = found_in(frames)["Scale"]
    assert scale.opening.startswith(said)
    assert scale.opening.endswith("others not.") == (lows == (-0.01, 0.02))
    most = "; ".join(f"in {isolated(model)} at ε = 0.02 (+0.280)" for model in frames.models)
    assert scale.closing.startswith(f"It adds most below the largest ε: {most}.")
    assert "are fragile by themselves" in scale.closing


def test_a_word_says_what_it_means(finished):
    frames = Frames(finished.store)
    inverted = (pl.col("measure") == "inverted").cast(float)
    words = ["stayed", "moved", "spread", "shrank", "inverted", "died"]
    of_words = pl.col("measure").is_in(words)
    frames.direction = finished.direction().with_columns(
        value=pl.when(of_words).then(inverted).otherwise("value")
    )
    text = dict(found_in(frames)["Direction"].models)["two"]
    assert "0% of the heatmaps stayed where they were" in text
    assert "100% were inverted (rank correlation ≤ −0.5);" in text


def test_the_shift_begins_where_every_deeper_layer_is_clearly_beyond_noise(layered):
    frames = Frames(layered.store)
    rows = layered.by_depth().filter(layer=layered.plan["last_layers"]["one"])
    layers = [
        rows.with_columns(
            depth=pl.lit(depth), layer=pl.lit(f"l{depth}"), low=pl.lit(low), excess=pl.lit(excess)
        )
        for depth, low, excess in [
            (0.0, 0.1, 0.9),
            (0.5, -0.1, 0.1),
            (0.75, 0.1, 0.2),
            (1.0, 0.1, 0.3),
        ]
    ]
    frames.by_depth = pl.concat(layers)
    text = found_in(frames)["Depth"].models[0][1]
    assert "from l0.75 on (depth 0.75) every layer moves clearly further" in text
    assert "most at l0.0 (depth 0.00): +0.900" in text
    frames.by_depth = pl.concat(layers[:2])
    assert "not clearly beyond noise at the last layer" in found_in(frames)["Depth"].models[0][1]

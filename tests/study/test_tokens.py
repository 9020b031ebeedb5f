"""A study of a network of tokens: as any other, and how its tokens lie is part of its plan."""

import polars as pl
import pytest


@pytest.fixture
def vit(quick_study):
    model = {"name": "vit", "timm": "test_vit", "pretrained": False, "train": "none"}
    return {
        **quick_study,
        "models": [{**model, "input_size": 64}],
        "transfer_from": ["vit"],
        "epsilons": [0.1],
        "explain": {"layers": "stages", "explained_class": ["own"], "pictured": 1},
    }


def test_a_study_explains_tokens_and_goes_on_to_the_same_rows(vit, run_quickly, tmp_path):
    result = run_quickly(vit, tmp_path / "out", shard=8)
    rows = result.rows()
    layers = rows.unique("layer").sort("depth", "layer")
    assert set(layers["layer"]) == {*(f"blocks.{place}" for place in range(6)), "blocks.5.norm1"}
    assert layers["depth"].to_list()[:2] == pytest.approx([1 / 6, 2 / 6])
    assert set(layers["map_size"]) == {"4x4"}
    assert result.plan.last_layers["vit"] == "blocks.5.norm1"
    assert set(result.plan.layouts) == {"vit"}
    assert set(result.plan.layouts["vit"].values()) == {"channels last, 4x4, 1 tokens before"}
    seen = rows.filter(pl.col("layer") == "blocks.5.norm1")
    assert not seen["clean_dead"].all()
    assert seen.filter(pl.col("attack") == "fgsm")["nissim"].max() > 0.01
    # Behind the last attention nobody reads the tokens of the grid.
    assert rows.filter(pl.col("layer") == "blocks.5")["clean_dead"].all()

    for path in (tmp_path / "out" / "rows").iterdir():
        path.unlink()
    assert run_quickly(vit, tmp_path / "out", shard=8).rows().equals(rows)
    assert result.plan.results()["layouts"] == result.plan.layouts  # so that others are refused

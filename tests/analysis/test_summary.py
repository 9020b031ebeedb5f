"""Summaries are the design's, down to the paper's own numbers."""

import numpy as np
import polars as pl
import pytest

from lookaway.analysis import summary
from lookaway.errors import InputError

LEVELS = [0.01, 0.05, 0.075, 0.1]
# Table 3 of the paper: MOD under ResNet50's perturbations.
TABLE_3 = {
    "VGG16": [0.098875, 0.117416, 0.121993, 0.127394],
    "ResNet50": [0.127743, 0.241743, 0.269364, 0.292002],
    "ResNet101": [0.084589, 0.208446, 0.245334, 0.262114],
    "InceptionNet v3": [0.160696, 0.275883, 0.296766, 0.295898],
    "XceptionNet": [0.162345, 0.255316, 0.272804, 0.27981],
}


def measured(values, levels=LEVELS, source="ResNet50", labels=None, dead=None):
    """Rows of models: name → (images, levels) NISSIM."""
    rows = []
    for model, table in values.items():
        for image, line in enumerate(np.atleast_2d(table)):
            for place, (epsilon, value) in enumerate(zip(levels, line, strict=True)):
                label = labels[image] if labels else f"c{image % 2}"
                rows.append(
                    {
                        "image": f"{label}/{image}",
                        "label": label,
                        "variant": "none",
                        "model": model,
                        "attack": "fgsm",
                        "source": source,
                        "epsilon": epsilon,
                        "linf": epsilon,
                        "psnr": 20.0 + image,
                        "unattacked": False,
                        "clean_class": label,
                        "attacked_class": label if value < 0.5 else "wrong",
                        "clean_confidence": 0.9,
                        "attacked_confidence": 0.8,
                        "method": "gradcam",
                        "layer": "last",
                        "depth": 1.0,
                        "map_size": "7x7",
                        "explained_class": "own",
                        "nissim": float(value),
                        "clean_dead": False,
                        "attacked_dead": bool(dead[image][place]) if dead is not None else False,
                    }
                )
    return pl.DataFrame(rows, schema_overrides={"source": pl.String})


def number(frame, column, **keys):
    found = frame.filter(*(pl.col(key) == value for key, value in keys.items()))
    assert found.height == 1
    return found[column][0]


def test_the_mean_over_models_is_the_paper_s_mean_shift():
    mean = summary.mean_over_models(summary.mod(measured(TABLE_3)), "mod")
    got = [
        number(mean, "mod", scope="fgsm from ResNet50", pairs="all", epsilon=level)
        for level in LEVELS
    ]
    assert got == pytest.approx([0.12685, 0.219761, 0.241252, 0.251444], abs=5e-7)


@pytest.mark.parametrize(
    ("include_zero", "expected"),
    [
        (
            False,
            {
                "VGG16": 0.010727,
                "XceptionNet": 0.047168,
                "InceptionNet v3": 0.056403,
                "ResNet50": 0.063164,
                "ResNet101": 0.069470,
            },
        ),
        (
            True,
            {
                "VGG16": 0.047546,
                "ResNet101": 0.101334,
                "XceptionNet": 0.105803,
                "ResNet50": 0.108888,
                "InceptionNet v3": 0.114623,
            },
        ),
    ],
)
def test_vid_per_level_of_the_paper_s_table_3(include_zero, expected):
    frame = summary.vid(measured(TABLE_3), per="level", include_zero=include_zero)
    got = {model: number(frame, "vid", model=model, pairs="all") for model in TABLE_3}
    assert got == pytest.approx(expected, abs=5e-7)
    assert sorted(got, key=got.__getitem__) == list(expected)


def test_the_three_readings_of_vid_by_hand():
    table = np.array([[0.1, 0.3], [0.2, 0.2], [0.0, 0.6]])
    rows = measured({"m": table}, levels=[0.1, 0.2])
    values = {
        per: number(summary.vid(rows, per=per), "vid", pairs="all") for per in summary.VID_WAYS
    }
    assert values["image"] == pytest.approx(table.std(axis=1).mean())
    assert values["level"] == pytest.approx(table.mean(axis=0).std())
    assert values["pooled"] == pytest.approx(table.std())
    with_zero = np.hstack([np.zeros((3, 1)), table])
    frame = summary.vid(rows, per="image", include_zero=True)
    assert number(frame, "vid", pairs="all") == pytest.approx(with_zero.std(axis=1).mean())
    assert frame["levels"].unique().to_list() == [3]


def test_vid_of_one_level_is_null_and_an_unknown_reading_is_refused():
    rows = measured({"m": [[0.2], [0.4]]}, levels=[0.1])
    frame = summary.vid(rows)
    assert frame["vid"].is_null().all()
    assert frame["low"].is_null().all()
    with pytest.raises(InputError, match="image, level, pooled"):
        summary.vid(rows, per="median")


def test_dead_pairs_are_in_all_and_not_in_alive():
    table = np.array([[0.1, 0.2], [0.3, 0.4], [0.9, 0.9]])
    dead = np.array([[False, True], [False, False], [True, True]])
    rows = measured({"m": table}, levels=[0.1, 0.2], dead=dead)
    mod = summary.mod(rows)
    assert number(mod, "mod", pairs="all", epsilon=0.2) == pytest.approx(0.5)
    assert number(mod, "mod", pairs="alive", epsilon=0.2) == pytest.approx(0.4)
    assert number(mod, "n", pairs="alive", epsilon=0.1) == 2
    vid = summary.vid(rows, per="image")
    assert number(vid, "n", pairs="alive") == 1
    assert number(vid, "vid", pairs="alive") == pytest.approx(0.05)
    pooled = summary.vid(rows, per="pooled")
    assert number(pooled, "vid", pairs="alive") == pytest.approx(np.std([0.1, 0.3, 0.4]))


def test_where_every_pair_is_dead_numbers_are_null_not_nan():
    rows = measured({"m": [[0.1], [0.2]]}, levels=[0.1], dead=[[True], [True]])
    for frame, value in [(summary.mod(rows), "mod"), (summary.spread(rows), "spread")]:
        alive = frame.filter(pl.col("pairs") == "alive")
        assert alive[value].null_count() == alive["low"].null_count() == alive.height == 1
        numbers = frame.select(pl.col(value, "low", "high").is_nan().any())
        assert not any(numbers.row(0))


def test_accuracy_begins_with_the_clean_images():
    rows = measured({"m": [[0.1, 0.9], [0.9, 0.9], [0.1, 0.1], [0.1, 0.9]]}, levels=[0.1, 0.2])
    frame = summary.accuracy(rows)
    assert frame["epsilon"].to_list() == [0.0, 0.1, 0.2]
    assert frame["accuracy"].to_list() == [1.0, 0.75, 0.25]
    assert frame["n"].to_list() == [4, 4, 4]


def test_spread_and_psnr_by_hand():
    table = np.array([[0.1], [0.3], [0.8]])
    rows = measured({"m": table}, levels=[0.1])
    spread = summary.spread(rows)
    assert number(spread, "spread", pairs="all") == pytest.approx(table.std())
    assert summary.psnr(rows)["psnr"].to_list() == [21.0]


def test_images_without_a_psnr_are_left_out_and_counted():
    rows = measured({"m": [[0.1], [0.3]]}, levels=[0.1])
    rows = rows.with_columns(psnr=pl.when(pl.col("image") != "c0/0").then("psnr"))
    frame = summary.psnr(rows)
    assert (frame["n"][0], frame["psnr"][0]) == (1, 21.0)


def test_a_source_stands_in_its_own_transfer_and_in_white_box():
    white = measured({"A": [[0.1]], "B": [[0.2]]}, levels=[0.1], source="A")
    own = measured({"B": [[0.4]]}, levels=[0.1], source="B")
    noise = measured({"A": [[0.05]], "B": [[0.05]]}, levels=[0.1], source=None)
    noise = noise.with_columns(attack=pl.lit("noise"))
    scoped = summary.by_scope(summary.mod(pl.concat([white, own, noise])))
    got = scoped.filter(pl.col("pairs") == "all").select("scope", "model", "mod").rows()
    assert sorted(got) == [
        ("fgsm from A", "A", 0.1),
        ("fgsm from A", "B", 0.2),
        ("fgsm white-box", "A", 0.1),
        ("fgsm white-box", "B", 0.4),
        ("noise", "A", 0.05),
        ("noise", "B", 0.05),
    ]


def test_intervals_hold_the_mean_and_name_what_was_resampled():
    values = np.random.default_rng(0).normal(0.3, 0.1, (60, 1)).clip(0, 1)
    few = summary.mod(measured({"m": values}, levels=[0.1]))
    labels = [f"c{index % 20:02d}" for index in range(60)]
    many = summary.mod(measured({"m": values}, levels=[0.1], labels=labels))
    assert few["interval"][0] == "bootstrap-t, images within classes"
    assert many["interval"][0] == "bootstrap-t, classes"
    for frame in (few, many):
        assert frame["low"][0] < frame["mod"][0] < frame["high"][0]
        assert frame["high"][0] - frame["low"][0] == pytest.approx(4 * 0.1 / 60**0.5, rel=0.35)


def test_an_image_whose_clean_map_is_dead_is_not_alive_at_epsilon_zero_either():
    rows = measured({"m": [[0.2, 0.4], [0.6, 0.8]]}, levels=[0.1, 0.2])
    dead = pl.col("image") == "c1/1"
    first = (pl.col("image") == "c0/0") & (pl.col("epsilon") == 0.1)
    rows = rows.with_columns(clean_dead=dead, attacked_dead=dead | first)
    frame = summary.vid(rows, per="pooled", include_zero=True)
    assert number(frame, "vid", pairs="alive") == pytest.approx(np.std([0.0, 0.4]))
    assert number(frame, "n", pairs="alive") == 1

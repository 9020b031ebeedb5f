"""The paper's tables: its own numbers in, its own tables out."""

import numpy as np
import polars as pl
import pytest

from lookaway.analysis.frames import Frames
from lookaway.report.paper.tables import paper_tables
from lookaway.rows import SHUFFLED_SCHEMA
from plans import a_plan
from rows import labels_of, measured

LEVELS = (0.01, 0.05, 0.075, 0.1)
TIMM = {
    "VGG16": "vgg16",
    "ResNet50": "resnet50",
    "ResNet101": "resnet101",
    "InceptionNet v3": "inception_v3",
    "XceptionNet": "legacy_xception",
}
# Tables 1 and 3 of the paper, under ResNet50's perturbations.
MOD = {
    "VGG16": [0.098875, 0.117416, 0.121993, 0.127394],
    "ResNet50": [0.127743, 0.241743, 0.269364, 0.292002],
    "ResNet101": [0.084589, 0.208446, 0.245334, 0.262114],
    "InceptionNet v3": [0.160696, 0.275883, 0.296766, 0.295898],
    "XceptionNet": [0.162345, 0.255316, 0.272804, 0.27981],
}
MEAN_SHIFT = [0.12685, 0.219761, 0.241252, 0.251444]
RIGHT = {"VGG16": [9, 9, 8, 8, 7], "ResNet50": [8, 8, 6, 5, 2], "ResNet101": [8, 8, 8, 7, 6]}
RIGHT |= {"InceptionNet v3": [9, 8, 5, 3, 2], "XceptionNet": [9, 9, 7, 6, 5]}
LABELS = labels_of(5, 2)


class Stored:
    """What ``Frames`` reads of a run."""

    def __init__(self, plan, rows):
        images = rows.group_by("image", "label", maintain_order=True)
        samples = images.agg(variants=pl.col("variant").unique()).with_columns(part=pl.lit("test"))
        self.read_plan, self.samples = lambda: plan, lambda: samples
        self.frames = {"rows": rows, "shuffled": pl.DataFrame(schema=SHUFFLED_SCHEMA)}

    def scan(self, folder, columns=(), _variant=None, _model=None):
        yield self.frames[folder].select(columns or pl.all())

    def frame(self, folder):
        return self.frames[folder]


def rows_of(model, source, policy="own", change=0.0):
    right = np.array([[place < count for place in range(10)] for count in RIGHT[model]]).T
    values = np.tile(np.array(MOD[model]) + change, (10, 1))
    values += np.linspace(-0.02, 0.02, 10)[:, None]
    return measured(
        model,
        values,
        LABELS,
        source=source,
        epsilons=LEVELS,
        policy=policy,
        right_before=right[:, 0],
        right_after=right[:, 1:],
    )


def frames_of(variants=("none",), policies=("own", "clean"), sources=("ResNet50",), timm=TIMM):
    parts = []
    for variant in variants:
        for model in timm:
            for policy in policies:
                change = 0.0 if policy == "own" else -0.05
                for source in dict.fromkeys([model, *sources]):
                    odd = 0.3 if sources and source != sources[0] else change
                    part = rows_of(model, source, policy, odd)
                    parts.append(part.with_columns(variant=pl.lit(variant)))
                parts.append(
                    rows_of(model, None, policy, 0.1).with_columns(
                        variant=pl.lit(variant), psnr=pl.lit(20.0)
                    )
                )
    plan = a_plan(
        timm,
        len(LABELS),
        settings={
            "data": {"variants": list(variants)},
            "transfer_from": list(sources),
            "epsilons": list(LEVELS),
            "explain": {"explained_class": list(policies), "pictured": 0},
        },
        classes=[*sorted(set(LABELS)), "other"],
    )
    return Frames(Stored(plan, pl.concat(parts)))


def named(frames):
    return {table.name: table for table in paper_tables(frames)}


def test_mod_is_the_papers_table_3_and_its_mean_includes_the_source():
    table = named(frames_of())["paper_table3_mod"]
    assert table.heads == ("network", "model", *(f"ε = {x:g}" for x in (0, *LEVELS)))
    assert [row.names for row in table.rows] == [
        ("deep", "VGG16"),
        ("deep", "ResNet50 (white-box)"),
        ("deep", "ResNet101"),
        ("wide", "InceptionNet v3"),
        ("wide", "XceptionNet"),
        ("", "mean shift"),
    ]
    for row, expected in zip(table.rows, [*MOD.values(), MEAN_SHIFT], strict=True):
        assert row.cells[0].value == 0
        assert [cell.value for cell in row.cells[1:]] == pytest.approx(expected, abs=1e-6)
    assert table.rows[0].cells[1].low < MOD["VGG16"][0] < table.rows[0].cells[1].high
    assert table.rows[-1].strong
    assert table.paper == "Table 3"
    assert "Explained class: own" in table.note
    assert "Images: unprepared" in table.note
    assert "the source's own line among them" in table.note


def test_accuracy_is_counted_from_the_rows_with_the_clean_images_first():
    table = named(frames_of())["paper_table1_accuracy_unprepared"]
    assert "from ResNet50" in table.title
    assert "10 test images" in table.note
    for row, right in zip(table.rows, RIGHT.values(), strict=True):
        assert [cell.value for cell in row.cells] == pytest.approx([count / 10 for count in right])
    assert table.csv().splitlines()[1].startswith("deep,VGG16,0.9,")


def test_every_variant_of_the_images_has_its_table():
    found = named(frames_of(variants=("cascade", "none")))
    names = [name for name in found if "accuracy" in name]
    assert names == ["paper_table1_accuracy_unprepared", "paper_table2_accuracy_prepared"]
    assert found["paper_table2_accuracy_prepared"].paper == "Table 2"
    assert "prepared images (cascade)" in found["paper_table2_accuracy_prepared"].title
    assert "Images: prepared (cascade)" in found["paper_table3_mod"].note
    found = named(frames_of(variants=("none", "cascade", "landmarks")))
    assert {
        "paper_table2_accuracy_prepared_cascade",
        "paper_table2_accuracy_prepared_landmarks",
    } <= set(found)


def test_variants_of_other_images_are_also_compared_on_those_that_both_hold():
    frames = frames_of(variants=("none", "cascade"))
    assert not [name for name in named(frames) if name.endswith("_common")]
    lost = pl.col("image").is_in(frames.rows["image"].unique().sort()[:4].implode())
    kept = frames.rows.filter(~(lost & (pl.col("variant") == "cascade")))
    frames = Frames(Stored(frames.plan, kept))
    found = named(frames)
    assert list(found)[:4] == [
        "paper_table1_accuracy_unprepared",
        "paper_table1_accuracy_unprepared_common",
        "paper_table2_accuracy_prepared",
        "paper_table2_accuracy_prepared_common",
    ]
    common = found["paper_table1_accuracy_unprepared_common"]
    assert "6 test images" in common.note
    assert "those that every variant holds" in common.title
    assert common.paper == "Table 1"
    # The first four images are right most often; of the other six, as many fewer are.
    expected = [(count - 4) / 6 for count in RIGHT["VGG16"]]
    assert [cell.value for cell in common.rows[0].cells] == pytest.approx(expected)
    assert common.rows == found["paper_table2_accuracy_prepared_common"].rows


def test_without_a_source_every_model_meets_its_own_perturbations():
    found = named(frames_of(sources=()))
    table = found["paper_table3_mod"]
    assert "each model under its own FGSM (white-box)" in table.title
    assert [row.names[1] for row in table.rows] == [*TIMM, "mean shift"]
    assert [cell.value for cell in table.rows[1].cells[1:]] == pytest.approx(MOD["ResNet50"])
    assert "source" not in table.note
    names = [row.names[0] for row in found["paper_fig3_psnr"].rows]
    assert names == [*(f"fgsm from {model}" for model in TIMM), "noise"]


def test_where_the_paper_marks_no_network_no_column_stands_for_marks():
    table = named(frames_of(timm={"VGG16": "densenet121", "ResNet50": "convnext_atto"}))
    assert table["paper_table3_mod"].heads[0] == "model"
    assert [row.names for row in table["paper_table3_mod"].rows][-1] == ("mean shift",)
    assert "deep" not in table["paper_table3_mod"].note


def test_without_the_images_own_class_the_headlines_class_is_explained():
    table = named(frames_of(policies=("clean",)))["paper_table3_mod"]
    assert "Explained class: clean" in table.note
    expected = [value - 0.05 for value in MOD["VGG16"]]
    assert [cell.value for cell in table.rows[0].cells[1:]] == pytest.approx(expected)


def test_psnr_is_that_of_the_sources_perturbations_and_of_noise():
    table = named(frames_of())["paper_fig3_psnr"]
    assert [row.names for row in table.rows] == [("fgsm from ResNet50",), ("noise",)]
    assert [cell.value for cell in table.rows[0].cells] == [30.0] * 4
    assert [cell.value for cell in table.rows[1].cells] == [20.0] * 4


def test_an_empty_name_of_the_mean_stays_empty_in_markdown_and_latex():
    table = named(frames_of())["paper_table3_mod"]
    assert "|  | *mean shift* | *0.000* |" in table.markdown()
    assert r" & \emph{mean shift} & \emph{0.000}" in table.latex()

"""What the page shows first, on paper and to those who do not see it."""

import html
import re
import xml.etree.ElementTree as ET
from types import SimpleNamespace
from urllib.parse import unquote

import pytest
import typer.testing

from lookaway.cli import app
from lookaway.report.described import described
from lookaway.report.explorer_looks import first_shown
from lookaway.report.first_screen import bars
from lookaway.report.options import POINTS
from lookaway.report.static import static


def test_bars_hold_the_frames_numbers_of_each_policy_and_epsilon(finished):
    frames = finished.frames
    found = bars(frames)
    assert (found[0].policy, found[0].epsilon) == (frames.policy, frames.top)
    assert {(one.policy, one.epsilon) for one in found} == {
        (policy, epsilon) for policy in frames.policies for epsilon in frames.epsilons
    }
    excess = frames.last(frames.excess)
    for each in found:
        assert each.ticks[0] == 0
        assert each.ticks[-1] <= each.scale
        for one in each.standings:
            (row,) = excess.filter(
                model=one.model,
                source=one.model,
                epsilon=each.epsilon,
                explained_class=each.policy,
                pairs="all",
            ).iter_rows(named=True)
            assert one.numbers["excess"].value == row["excess"]
            assert one.value("mod") == row["mod"]
            assert one.numbers["noise"].low is None
            low, high = one.claimed
            assert high - low <= row["high"] - row["low"] + 1e-12
            assert low <= row["noise"] + row["excess"] <= high + 1e-9


def result(clean, attacked, nissim, dead=0):
    return {
        "clean": [clean, 0.9],
        "attacked": [[[attacked, 0.8, 30.0]]],
        "nissim": [[[[nissim]]]],
        "dead": [[0, [[dead]]]],
    }


@pytest.mark.parametrize(
    ("images", "shown"),
    [
        ([result(0, 0, 0.1), result(0, 1, 0.4), result(0, 1, 0.2), result(0, 1, 0.3)], 3),
        ([result(0, 1, 0.5, dead=1), result(0, 0, 0.1), result(0, 0, 0.2)], 1),
        ([result(0, 1, 0.5, dead=1)], 0),
    ],
)
def test_the_explorer_opens_on_a_typical_image_that_flips_with_living_maps(images, shown):
    frames = SimpleNamespace(policies=["clean"], policy="clean", epsilons=[0.1], top=0.1)
    found = first_shown(frames, [images], [0] * len(images), [0])
    assert found == {"model": 0, "image": shown}


def test_a_chart_for_print_has_all_its_words_and_nothing_that_runs(finished):
    for name in ("accuracy", "transfer"):
        svg = finished.figure(name).svg()
        uri = html.unescape(str(static(svg)))
        assert '"' not in str(static(svg))
        small = ET.fromstring(unquote(uri.partition(",")[2]))
        assert "".join(small.itertext()) == "".join(ET.fromstring(svg).itertext())
        assert len(uri) < 0.75 * len(svg)


def test_letters_are_of_one_size_whatever_the_number_of_panels(finished, layered):
    scales = []
    for run, name in ((finished, "accuracy"), (finished, "beside_noise"), (layered, "psnr")):
        wide = float(re.search(r'viewBox="0 0 ([\d.]+)', run.figure(name).svg())[1])
        scales.append(POINTS[2] / wide)
    assert max(scales) / min(scales) < 1.15


def test_what_was_not_transferred_is_hatched_and_shades_begin_at_zero(finished):
    rows = finished.figure("transfer").spec["datasets"]["rows"]
    models, sources = finished.frames.models, {row["source"] for row in rows}
    assert len(rows) == 3 * len(models) * len(sources)
    missing = [row for row in rows if row["n"] is None]
    assert all("╱" in row["shown"] and row["shade"] == 0 for row in missing)
    assert all(0 <= row["shade"] <= 1 for row in rows)
    assert {row["source"] for row in missing} == sources - {finished.frames.sources[0]}


def test_a_chart_says_its_numbers(finished):
    said = described(finished.figure("mod").spec)
    assert said.startswith("MOD at ε = ")
    row = finished.figure("mod").spec["datasets"]["rows"][-1]
    assert f"{row['model']}, MOD {row['mod']:.3f}" in said
    assert described({}) == ""


def test_formats_are_given_with_commas_or_again(finished, tmp_path):
    command = ["figures", str(finished.folder), "--only", "psnr", "--out", str(tmp_path)]
    told = typer.testing.CliRunner().invoke(app, [*command, "--format", "pdf", "--format", "png"])
    assert told.exit_code == 0, told.output
    assert {path.suffix for path in tmp_path.iterdir()} == {".pdf", ".png"}

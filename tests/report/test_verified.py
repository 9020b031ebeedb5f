"""The page of a study of enrolled people begins with what became of their comparisons."""

import html
import re

import polars as pl
import pytest

import lookaway as la
from galleries import DODGE, TAKEN, embedder
from lookaway.metrics import verification
from lookaway.report import verified

NAME = "faces <i>&</i>"


@pytest.fixture(scope="module")
def result(faces_for_all, tmp_path_factory):
    study = {
        "data": {
            "folder": str(faces_for_all),
            "image_size": 64,
            "split": {"train": 0.25, "val": 0, "test": 0.75},
        },
        "models": [{"name": NAME, "train": "enrol"}],
        "attacks": [DODGE, TAKEN],
        "epsilons": [0.02, 0.2],
        "explain": {"explained_class": ["label"], "pictured": 1},
        "measure": {"grid": 32},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verification, "_HITS", 0.02)  # so few people can hold a threshold
        out = tmp_path_factory.mktemp("verified") / "run"
        yield la.run_study(study, out, models={NAME: embedder()}, progress=False)


def percent(value):
    return f"{100 * value:.1f} %"


def test_the_page_tells_what_was_lost_under_attack_and_under_noise(result):
    page = result.report.read_text()
    assert NAME not in page.partition('id="charts-data"')[0]
    section = re.search(r'<section id="verification".*?</section>', page, re.DOTALL)[0]
    text = html.unescape(re.sub(r"<[^>]+>", "", section))
    numbers = result.verification().filter(measure="fnmr@0.01")
    lost = numbers.filter(attack="dodge", epsilon=0.2)["value"].item()
    noise = numbers.filter(attack="noise", epsilon=0.2)["value"].item()
    clean = numbers.filter(attack="clean")["value"].item()
    assert text.index(f"{percent(lost)} (95 % interval") < text.index(percent(noise))
    assert f"{percent(clean)} (95 % interval" in text
    assert "lost under DODGE at ε = 0.2" in text
    assert "3 people, 18 genuine and 36 impostor comparisons" in text
    taken = result.verification().filter(measure="success@0.01", epsilon=0.2)["value"].item()
    assert f"TAKEN at ε = 0.2: {percent(taken)}" in text
    assert not re.search("APCER|IAPAR|IAPMR", page)


def test_what_moved_is_told_at_the_largest_ε_that_has_enough_on_both_sides(result, monkeypatch):
    frames = result.frames
    for enough in (1, 1000):
        monkeypatch.setattr(verified, "_ENOUGH", enough)
        (found,) = verified.verified(frames)
        told = dict(found.attacks)["DODGE"]
        shifts = result.verification(per="decision").filter(attack="dodge", measure="mod")
        counts = shifts.filter(pl.col("outcome").is_in(["lost", "held"]))
        both = counts.group_by("epsilon").agg(pl.col("n").min()).filter(pl.col("n") >= enough)
        if both.is_empty():
            assert f"at no ε are there {enough} lost and {enough} held" in told
            continue
        epsilon = both["epsilon"].max()
        held = shifts.filter(epsilon=epsilon, outcome="held").row(0, named=True)
        assert f"at ε = {epsilon:g} the explanation moved by MOD" in told
        assert f"{held['value']:.3f}" in told
        assert f"in the {held['n']} held" in told


def test_tables_and_figures_of_verification_are_files(result):
    tables = {path.name for path in (result.folder / "tables").iterdir()}
    assert {"verification.csv", "smallest_epsilon.csv", "shift_lost_label.csv"} <= tables
    kept = {path.stem for path in (result.folder / "frames").iterdir()}
    assert {"verification", "verification_shift", "det"} <= kept
    table = next(iter(verified.verification_tables(result.frames)))
    first = table.rows[0]
    assert first.names[-2:] == ("clean", "–")
    lines = {row.names[1:]: row for row in table.rows}
    value = result.verification().filter(attack="noise", epsilon=0.2, measure="eer")["value"].item()
    assert lines["noise", "0.2"].cells[0].value == value
    for name in ("fnmr", "impersonated", "det"):
        rows = result.figure(name).spec["datasets"]["rows"]
        scopes = {row["scope"] for row in rows}
        assert ("noise" in scopes) == (name != "impersonated")
        assert ("taken white-box" in scopes) == (name == "impersonated")
        assert any(row.get("epsilon") == 0 for row in rows) == (name != "det")
    rows = pl.DataFrame(result.figure("similarities").spec["datasets"]["rows"])
    assert rows["panel"].unique(maintain_order=True).to_list() == [
        "clean",
        "dodge",
        "taken",
        "noise",
    ]
    totals = rows.group_by("panel", "kind").agg(pl.col("share").sum())
    assert totals["share"].to_list() == pytest.approx([1.0] * totals.height)
    assert set(totals.filter(panel="taken")["kind"]) == {"genuine", "impostor", "target"}
    assert min(row["fnmr"] for row in result.figure("det").spec["datasets"]["rows"]) > 0

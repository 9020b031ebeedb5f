"""Tables hold the numbers of the frames, and say why one is missing."""

import polars as pl

from hostile import HOSTILE
from lookaway.report import curves
from lookaway.report.headline import headline
from lookaway.report.tables import all_tables
from shared_runs import frames_of


def table_of(frames, name):
    return next(table for table in all_tables(frames) if table.name == name)


def line_of(table, *names):
    return next(row for row in table.rows if row.names == names)


def test_a_table_by_ε_has_the_numbers_their_mean_and_the_shuffled_baseline(finished):
    table = table_of(finished.frames, "mod_own")
    two = {"model": "two", "explained_class": "own", "pairs": "all"}
    expected = finished.mod().filter(source="two", **two)
    row = line_of(table, "fgsm white-box", "two")
    assert [cell.value for cell in row.cells] == expected["mod"].to_list()
    assert [cell.low for cell in row.cells] == expected["low"].to_list()
    under = [row for row in table.rows if row.names[0].startswith("fgsm from")]
    names = [row.names[1] for row in under]
    assert names == [f"{HOSTILE} (white-box)", "two", "mean over models"]
    assert [row.strong for row in under] == [False, False, True]
    for level in range(2):
        first, second, mean = (row.cells[level].value for row in under)
        assert mean == (first + second) / 2
    level = finished.shuffled().filter(**two)["shuffled"][0]
    row = line_of(table, curves.SHUFFLED, "two")
    assert [cell.value for cell in row.cells] == [level, level]
    assert curves.SHUFFLED in finished.figure("beside_noise").svg()
    read = pl.read_csv(finished.folder / "tables" / "mod_own.csv")
    assert "ε = 0.02 low" in read.columns


def test_the_headline_of_the_terminal_says_what_is_beyond_noise_and_ends_with_noise(finished):
    shown = headline(finished.frames)
    models = dict(shown.models)
    own = finished.excess().filter(
        model="two", source="two", epsilon=0.1, explained_class="clean", pairs="all"
    )
    _, line = models["two"][:2]
    assert line[0] == "fgsm white-box"
    living = finished.mod().filter(
        model="two", source="two", epsilon=0.1, explained_class="clean", pairs="alive"
    )
    dead = 1 - living["n"][0] / own["n"][0]
    assert dead > 0
    assert line[2:5] == (
        f"{dead:.0%}".replace("%", " %"),
        f"{living['mod'][0]:.3f}",
        f"{own['mod'][0]:.3f}",
    )
    assert line[5].startswith(f"{own['excess'][0]:+.3f} (")
    assert [row[5] for rows in models.values() for row in rows if row[0] == "noise"] == ["", ""]
    kinds = ("shifted", "same-class transplant", "other-class transplant")
    own = [f"{kind} of fgsm" for kind in kinds]
    given = [f"{kind} of fgsm from {HOSTILE}" for kind in kinds]
    scopes = [row[0] for rows in models.values() for row in rows]
    first = ["clean", "fgsm white-box", "noise", *own]
    assert scopes == [
        *first,
        "clean",
        "fgsm white-box",
        f"fgsm from {HOSTILE}",
        "noise",
        *own,
        *given,
    ]
    assert shown.left_out == ""
    aimed = finished.aimed().filter(
        model="two", source="two", epsilon=0.1, explained_class="clean", pairs="all"
    )
    assert line[6].startswith(f"{aimed.filter(control='shifted')['aimed'][0]:+.3f} (")


def test_the_headline_of_the_terminal_keeps_names_whole_and_says_what_it_leaves_out(finished):
    few = headline(finished.frames, 6)
    kept = {row[0] for _, rows in few.models for row in rows}
    assert kept == {"clean", "fgsm white-box", f"fgsm from {HOSTILE}", "noise"}
    assert few.left_out == "9 more lines (other controls): on the page, and with --json."
    fewest = headline(finished.frames, 4)
    assert "10 more lines (other controls and transfers)" in fewest.left_out
    for width in (80, 160):
        lines = few.lines(width)
        assert any(line.strip() == HOSTILE for line in lines)  # of the model, whole
        table = [line for line in lines if line.strip() not in (HOSTILE, f"fgsm from {HOSTILE}")]
        assert max(map(len, table)) <= width
        assert " ".join(lines).endswith(few.verdict)


def test_the_headline_of_the_page_has_excess_mod_and_vid_for_each_explained_class(finished):
    table = all_tables(finished.frames)[0]
    heads = ("excess", "aimed", "dead pairs", "MOD, living pairs", "MOD", "VID")
    assert table.heads[2:8] == tuple(f"{head}, clean" for head in heads)
    here = {"model": "two", "source": "two", "explained_class": "own", "pairs": "all"}
    top, vid = finished.excess().filter(epsilon=0.1, **here), finished.vid().filter(**here)
    apart = finished.dead().filter(
        pl.col("measure").is_in(["dead", "MOD, living"]),
        epsilon=0.1,
        **{k: v for k, v in here.items() if k != "pairs"},
    )
    aimed = finished.aimed().filter(epsilon=0.1, control="shifted", **here)["aimed"][0]
    expected = [top["excess"][0], aimed, *apart["value"], top["mod"][0], vid["vid"][0]]
    cells = line_of(table, "fgsm white-box", "two").cells
    assert [cell.value for cell in cells[6:]] == expected
    noise = line_of(table, "noise", "two").cells
    assert (noise[0].value, noise[4].value is None) == (None, False)
    assert 'id="table-headline"' in finished.report.read_text()


def test_shares_of_heatmaps_that_spread_are_no_spread_of_nissim(finished):
    chosen = {"model": "two", "source": "two", "epsilon": 0.1, "explained_class": "clean"}
    table = table_of(finished.frames, "words_clean")
    cells = dict(zip(table.heads[2:], line_of(table, "fgsm white-box", "two").cells, strict=True))
    words = finished.direction().filter(**chosen)
    assert {word: cell.value for word, cell in cells.items()} == {
        word: words.filter(measure=word)["value"][0] for word in cells
    }
    row = line_of(table_of(finished.frames, "spread_clean"), "fgsm white-box", "two")
    assert row.cells[1].value == finished.spread().filter(pairs="all", **chosen)["spread"][0]


def test_tables_without_dead_maps_have_the_numbers_without_them(finished):
    frames = frames_of(finished)
    frames.counts = (10, 1)
    places = pl.col("pairs").replace_strict({"all": 0.1, "alive": 0.2, "attacked": 0.3})
    frames.mod = finished.mod().with_columns(mod=places)
    frames.excess = finished.excess().with_columns(excess=-places)
    frames.shuffled = finished.shuffled().with_columns(shuffled=2 * places)
    for name, value in (("mod_own", 0.1), ("mod_own_alive", 0.2), ("excess_own_alive", -0.2)):
        row = line_of(table_of(frames, name), "fgsm white-box", "two")
        assert [cell.value for cell in row.cells] == [value, value]
    row = line_of(table_of(frames, "mod_own_alive"), curves.SHUFFLED, "two")
    assert row.cells[0].value == 0.4


def test_tables_say_why_a_number_is_missing(finished):
    frames = frames_of(finished)
    reason = "not resolvable: for a reason"
    empty = pl.lit(None, dtype=pl.Float64)
    frames.excess = finished.excess().with_columns(share=empty, share_reason=pl.lit(reason))
    table = table_of(frames, "scale_clean")
    assert {row.cells[-1].reason for row in table.rows} == {reason}
    assert table.shown(table.rows[0].cells[-1].value, 4) == "–"

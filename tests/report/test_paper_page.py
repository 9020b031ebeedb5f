"""The paper's own form is on the page where the study asks for it, and a figure always."""

from lookaway.report.page import build_report


def test_the_page_has_the_paper_s_form_where_it_is_asked_for(grey_run):
    plain = grey_run.report.read_text()
    assert 'id="paper"' not in plain
    assert 'href="#paper"' not in plain
    kept = {path.name for path in (grey_run.folder / "figures").iterdir()}
    assert not any(name.startswith("paper_") for name in kept)
    assert "<svg" in grey_run.figure("paper_fig3_psnr").svg()
    try:
        assert 'id="paper"' in build_report(grey_run.store, paper=True).read_text()
        assert (grey_run.folder / "tables" / "paper_table3_mod.csv").is_file()
        assert (grey_run.folder / "figures" / "paper_fig3_psnr.svg").is_file()
    finally:
        build_report(grey_run.store)
    assert grey_run.report.read_text() == plain

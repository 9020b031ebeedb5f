"""The paper's own form is on the page where the study asks for it, and a figure always."""

import shutil

from lookaway.report.page import build_report
from lookaway.study.store import Store


def test_the_page_has_the_paper_s_form_where_it_is_asked_for(grey_run, tmp_path):
    plain = grey_run.report.read_text()
    assert 'id="paper"' not in plain
    assert 'href="#paper"' not in plain
    kept = {path.name for path in (grey_run.folder / "figures").iterdir()}
    assert not any(name.startswith("paper_") for name in kept)
    assert "<svg" in grey_run.figure("paper_fig3_psnr").svg()
    store = Store(shutil.copytree(grey_run.folder, tmp_path / "run"))
    assert 'id="paper"' in build_report(store, paper=True).read_text()
    assert (store.folder / "tables" / "paper_table3_mod.csv").is_file()
    assert (store.folder / "figures" / "paper_fig3_psnr.svg").is_file()

"""Files and folders are for those whom the user's umask lets in: faces may be private."""

import os
import stat

import pytest

from lookaway.export import export
from lookaway.report.figures import write_figures
from lookaway.report.page import build_report
from lookaway.study import lock
from lookaway.study.store import Store

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a umask is POSIX's")


@pytest.fixture(params=[0o077, 0o027, 0o002], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(folder):
    """The rights of the folders here, and of the files."""
    found = [(path.is_dir(), path.stat().st_mode) for path in (folder, *folder.rglob("*"))]
    return tuple(
        {oct(stat.S_IMODE(mode)) for kind, mode in found if kind is it} for it in (True, False)
    )


def test_a_run_its_page_its_export_and_its_figures_follow_the_umask(
    quick_study, run_quickly, tmp_path, monkeypatch, umask
):
    out = tmp_path / "deep" / "out"
    small = {"models": quick_study["models"][:1], "epsilons": [0.1]}
    pictured = {**quick_study, **small, "explain": {"explained_class": ["own"], "pictured": 2}}
    result = run_quickly(pictured, out)
    monkeypatch.undo()
    if umask == 0o077:  # the others go through the same function
        build_report(result.store)
        write_figures(result.frames, tmp_path / "deep" / "figures", ["svg"], ["mod"])
    export(out, tmp_path / "deep" / "perturbed")
    result.figure("mod").save(tmp_path / "deep" / "mod.svg")
    assert modes(tmp_path / "deep") == ({oct(0o777 & ~umask)}, {oct(0o666 & ~umask)})


def test_a_lock_follows_the_umask(tmp_path, umask):
    with lock.locked(tmp_path / "out"):
        # Whoever else may write it could make the lock another's.
        assert modes(tmp_path / "out") == ({oct(0o777 & ~umask)}, {oct(0o644 & ~umask)})


def test_a_file_that_is_written_again_follows_the_umask_of_today(tmp_path):
    store = Store(tmp_path / "out")
    before = os.umask(0o022)
    store.write_text("a.txt", "first")
    os.umask(0o077)
    try:
        store.write_text("a.txt", "second")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out" / "a.txt").stat().st_mode) == 0o600

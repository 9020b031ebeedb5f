"""Runs of studies in seconds, and folders that all processes of a test session share."""

import os

import pytest
from filelock import FileLock

import lookaway as la


def made_once(tmp_path_factory, name, make):
    """The folder of a name, which ``make(folder)`` fills; who only reads it may share it.

    The first process that asks makes it.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder, done = root / name, root / f"{name}.done"
    with FileLock(root / f"{name}.lock"):
        if not done.exists():
            make(folder)
            done.touch()
    return folder


def leave_out_pages(patch):
    """No page, which takes seconds, of whatever runs a study or makes its report."""
    for home in ("run", "report.page"):
        patch.setattr(f"lookaway.{home}.build_report", lambda *_a, **_k: None)


def run_bare(study, out, shard=None, *, progress=False, **options):
    """Run a study without its page; in cells of at most so many images, where it is said."""
    with pytest.MonkeyPatch.context() as patch:
        leave_out_pages(patch)
        if shard:
            patch.setattr("lookaway.study.prepare.SHARD", shard)
        return la.run_study(study, out, progress=progress, **options)


def frames_of(result):
    """A run's frames, some of which a test may replace; what is summed up once stays so."""
    from lookaway.analysis.frames import Frames

    found, made = Frames(result.store), result.frames
    found.__dict__ |= {"parts": made.parts, "_streamed": made._streamed}
    return found

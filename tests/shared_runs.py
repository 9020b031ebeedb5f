"""Folders that all processes of a test session share: each is made once, by the first that asks."""

import os

from filelock import FileLock


def made_once(tmp_path_factory, name, make):
    """The folder of a name, which ``make(folder)`` fills; who only reads it may share it."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder, done = root / name, root / f"{name}.done"
    with FileLock(root / f"{name}.lock"):
        if not done.exists():
            make(folder)
            done.touch()
    return folder

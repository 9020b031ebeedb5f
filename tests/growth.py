"""What a run's folder holds of results, and whether others stand beside them unmixed."""

from pathlib import Path

from polars.testing import assert_frame_equal

_RESULTS = ("rows", "statistics", "shuffled", "maps", "scores", "signs", "heads")


def results_in(folder):
    """The bytes of every stored result, by name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for kind in _RESULTS
        for path in Path(folder, kind).glob("*")
    }


def check_beside(before, beside, alone, shared=frozenset()):
    """Other results stand beside those before, which stay; nothing but what is shared is read.

    ``alone``: the run of the same study in a folder of its own.
    """
    after, fresh = results_in(beside.folder), results_in(alone.folder)
    assert before.keys() & fresh.keys() == shared
    assert any(name.startswith("rows/") for name in fresh.keys() - shared)
    assert after == {**before, **fresh}
    assert all(before[name] == fresh[name] for name in shared)
    assert_frame_equal(beside.rows(), alone.rows(), check_exact=True)

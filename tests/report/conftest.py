"""A finished small run, one of its models with a name that is not kind to pages."""

import pytest

import lookaway as la
from hostile import HOSTILE
from shared_runs import made_once


def _run(tmp_path_factory, name, study):
    """Tests read it and change nothing."""
    folder = made_once(tmp_path_factory, name, lambda out: la.run_study(study, out, progress=False))
    return la.open_result(folder)


@pytest.fixture(scope="package")
def finished(small_study, tmp_path_factory):
    study = {
        **small_study,
        "models": [{**small_study["models"][0], "name": HOSTILE}, small_study["models"][1]],
        "transfer_from": [HOSTILE],
        "controls": {"shifted": 1, "transplanted": 1},
        "report": {"paper": True},
    }
    return _run(tmp_path_factory, "finished", study)


@pytest.fixture(scope="package")
def layered(small_study, tmp_path_factory):
    """A run that explains several layers."""
    explain = {**small_study["explain"], "layers": "stages"}
    study = {**small_study, "explain": explain, "models": small_study["models"][:1]}
    study["report"] = {"paper": True}
    return _run(tmp_path_factory, "layered", study)

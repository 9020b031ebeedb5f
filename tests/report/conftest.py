"""A finished small run, one of its models with a name that is not kind to pages."""

import pytest

import lookaway as la
from hostile import HOSTILE
from resamples import few_resamples


@pytest.fixture(autouse=True, scope="package")
def resamples():
    """Few, for the runs and for what is made of them again."""
    with few_resamples():
        yield


@pytest.fixture(scope="package")
def finished(small_study, tmp_path_factory):
    study = {
        **small_study,
        "models": [{**small_study["models"][0], "name": HOSTILE}, small_study["models"][1]],
        "transfer_from": [HOSTILE],
        "report": {"paper": True},
    }
    return la.run_study(study, tmp_path_factory.mktemp("run") / "out", progress=False)


@pytest.fixture(scope="package")
def layered(small_study, tmp_path_factory):
    """A run that explains several layers."""
    explain = {**small_study["explain"], "layers": "stages"}
    study = {**small_study, "explain": explain, "models": small_study["models"][:1]}
    study["report"] = {"paper": True}
    return la.run_study(study, tmp_path_factory.mktemp("layered") / "out", progress=False)

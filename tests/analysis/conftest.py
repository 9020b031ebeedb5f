"""Here it counts what the intervals are."""

import pytest

from lookaway.analysis.resamples import RESAMPLES
from resamples import few_resamples


@pytest.fixture(autouse=True, scope="module")
def all_resamples():
    with few_resamples(RESAMPLES):
        yield

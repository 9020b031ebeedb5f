"""Fewer bootstrap resamples, where intervals are made but their ends do not count."""

from contextlib import contextmanager

import pytest

from lookaway.analysis.intervals import Bootstrap


@contextmanager
def few_resamples():
    """200 in place of 10,000."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bootstrap.__init__, "__defaults__", (200, 0))
        yield

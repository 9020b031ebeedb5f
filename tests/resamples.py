"""How many bootstrap resamples there are: fewer where the ends of intervals do not count."""

from contextlib import contextmanager

import pytest

from lookaway.analysis.intervals import Bootstrap


@contextmanager
def few_resamples(count=200):
    """So many in place of 10,000."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bootstrap.__init__, "__defaults__", (count, 0))
        yield

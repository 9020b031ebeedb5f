"""The colours of heatmaps are those of the libraries that everyone trusts."""

import numpy as np
import pytest
from lookaway.report.colour_maps import COLOUR_MAPS, viridis

from lookaway.errors import InputError
from lookaway.report.options import Options


def test_viridis_is_matplotlibs():
    matplotlib = pytest.importorskip("matplotlib")
    values = np.linspace(0, 1, 256)
    expected = matplotlib.colormaps["viridis"](values)[:, :3]
    np.testing.assert_allclose(viridis(values[None])[0], expected, atol=0.025)


def test_viridis_grows_lighter_all_the_way():
    lightness = viridis(np.linspace(0, 1, 64)[None])[0] @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) > 0).all()


@pytest.mark.parametrize("name", COLOUR_MAPS)
def test_colours_stay_within_0_and_1(name):
    colours = COLOUR_MAPS[name](np.random.default_rng(0).random((9, 7)))
    assert colours.shape == (9, 7, 3)
    assert ((colours >= 0) & (colours <= 1)).all()


@pytest.mark.parametrize(
    ("wrong", "possible"),
    [
        ({"columns": 3}, "columns must be 1 or 2; got 3"),
        ({"colours": "jet"}, "got colours 'jet'; possible: turbo, viridis"),
        ({"heatmaps": "none"}, "possible: overlaid, raw"),
        ({"order": "first"}, "possible: last-first, first-last"),
    ],
)
def test_an_option_that_is_none_of_those_is_told_with_what_is_possible(wrong, possible):
    with pytest.raises(InputError, match=possible):
        Options(**wrong)

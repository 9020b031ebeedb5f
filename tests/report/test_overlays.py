"""Colours of heatmaps and of changes."""

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

import lookaway as la
from lookaway.errors import InputError
from lookaway.report.options import COLOURS, Options
from lookaway.report.overlays import (
    GAINED,
    LOST,
    change_colours,
    colour_map,
    hatched,
    heatmap_on,
    mean_heatmap,
    tinted,
)


def test_colour_maps_are_matplotlibs_and_turbo_begins_blue():
    values = np.linspace(0, 1, 256)
    viridis, turbo = (matplotlib.colormaps[name] for name in ("viridis", "turbo"))
    np.testing.assert_array_equal(colour_map("viridis")(values), viridis(values))
    np.testing.assert_allclose(colour_map("turbo")(values), turbo(0.1 + 0.9 * values), atol=0.02)
    low, middle, high = colour_map("turbo")([0.0, 0.5, 1.0])[:, :3]
    assert (low.argmax(), middle.argmax(), high.argmax()) == (2, 1, 0)
    assert low[2] > 0.7


@pytest.mark.parametrize("colours", COLOURS)
def test_heatmaps_are_laid_over_the_image_or_raw_and_dead_ones_are_striped(colours):
    pixels = np.random.default_rng(0).random((8, 8, 3))
    heat = np.array([[0.0, 0.25], [0.5, 1.0]], np.float16)
    overlaid, raw = (
        heatmap_on(pixels, heat, Options(colours=colours, heatmaps=way))
        for way in ("overlaid", "raw")
    )
    np.testing.assert_allclose(raw[0, 0], colour_map(colours)(0.0)[:3])
    np.testing.assert_allclose(raw[-1, -1], colour_map(colours)(1.0)[:3])
    np.testing.assert_allclose(overlaid, 0.45 * pixels + 0.55 * raw)
    dead = np.zeros((2, 2))
    np.testing.assert_array_equal(heatmap_on(pixels, dead, Options()), hatched(pixels))
    striped = heatmap_on(pixels, dead, Options(heatmaps="raw"))
    assert np.ptp(striped, axis=2).max() < 1e-12  # grey
    assert np.ptp(striped) > 0.1
    assert np.ptp(mean_heatmap(None, 4, colours)) == 0


def test_an_overlay_is_drawn_as_the_page_does_from_any_image_in_memory():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 10, 3), dtype=np.uint8)
    heat = np.array([[0.0, 0.25], [0.5, 1.0]])
    drawn = (255 * heatmap_on(pixels / 255.0, heat, Options(colours="viridis"))).round()
    tensor = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
    for image in (pixels, Image.fromarray(pixels), pixels / 255.0, tensor, tensor / 255):
        found = la.overlay(image, torch.from_numpy(heat).requires_grad_(), colours="viridis")
        np.testing.assert_array_equal(np.asarray(found), drawn)
    grey = np.asarray(la.overlay(pixels[..., 0], np.zeros((3, 3))))
    assert (grey == (255 * hatched(np.repeat(pixels[..., :1], 3, 2) / 255)).round()).all()


@pytest.mark.parametrize(
    ("image", "heat", "told"),
    [
        (np.zeros((8, 8, 3)) - 0.5, np.zeros((2, 2)), "from -0.5 to -0.5: they must lie in"),
        (np.full((8, 8), np.nan), np.zeros((2, 2)), "from nan to nan"),
        (np.zeros((1, 3, 8, 8)), np.zeros((2, 2)), "one image at a time"),
        (np.zeros((8, 8, 3), np.int64), np.zeros((2, 2)), "of type int64"),
        ("a.png", np.zeros((2, 2)), "image is a str"),
        (np.zeros((8, 8)), np.full((2, 2), 3.0), r"got 3 to 3.*lookaway\.heatmap"),
        (np.zeros((8, 8)), np.full((2, 2), np.nan), "got nan to nan"),
        (np.zeros((8, 8)), np.zeros((1, 2, 2)), r"one map \(h, w\)"),
    ],
)
def test_what_cannot_be_laid_over_each_other_is_refused(image, heat, told):
    with pytest.raises(InputError, match=told):
        la.overlay(image, heat)


def test_a_change_is_purple_where_lost_and_green_where_gained():
    change = change_colours(np.array([[-0.5, 0.25, 0.0]]), scale=0.5, side=6)
    np.testing.assert_allclose(change[0, 0], LOST)
    assert change[0, 2].argmax() == 1
    np.testing.assert_allclose(change[0, -1], 1.0)
    assert np.ptp(change_colours(None, 1.0, 6)) == 0


def test_only_what_grew_is_tinted():
    pixels = np.full((2, 2, 3), 0.5)
    change = np.array([[1.0, -1.0], [0.0, 0.5]])
    gained, lost = tinted(pixels, change, GAINED), tinted(pixels, -change, LOST)
    np.testing.assert_allclose(gained[0, 0], GAINED)
    np.testing.assert_allclose(lost[0, 1], LOST)
    pale = np.full(3, 1 - 0.35 * 0.5)
    np.testing.assert_allclose(gained[0, 1], pale)
    np.testing.assert_allclose(gained[1, 0], pale)
    np.testing.assert_allclose(gained[1, 1], (pale + GAINED) / 2)


@pytest.mark.parametrize(
    ("wrong", "possible"),
    [
        ({"columns": 3}, "columns must be 1 or 2; got 3"),
        ({"colours": "jet"}, "got colours 'jet'; possible: turbo, viridis"),
        ({"heatmaps": "none"}, "possible: overlaid, raw"),
        ({"order": "first"}, "possible: last-first, first-last"),
    ],
)
def test_an_unknown_option_is_refused_with_what_is_possible(wrong, possible):
    with pytest.raises(InputError, match=possible):
        Options(**wrong)

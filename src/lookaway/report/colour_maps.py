"""The colours of heatmaps: Turbo, blue to red as in the paper, and Viridis, perceptually even."""

from collections.abc import Callable

import numpy as np

ColourMap = Callable[[np.ndarray], np.ndarray]
_VIRIDIS = """
440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26828e 21918c 1f9f88 27ad81 3dbc74 5cc863 81d34d
aadc32 d5e21a fde725
"""


def turbo(values: np.ndarray) -> np.ndarray:
    """Colours of a heatmap: blue is no participation, red the highest.

    A polynomial fit of the Turbo map (A. Mikhailov, 2019), without its almost black first tenth.

    Args:
        values: (H, W) in [0, 1].

    Returns:
        (H, W, 3) float in [0, 1].
    """
    shifted = 0.1 + 0.9 * values
    powers = np.stack([shifted**power for power in range(6)], axis=-1)
    red = [0.13572138, 4.61539260, -42.66032258, 132.13108234, -152.94239396, 59.28637943]
    green = [0.09140261, 2.19418839, 4.84296658, -14.18503333, 4.27729857, 2.82956604]
    blue = [0.10667330, 12.64194608, -60.58204836, 110.36276771, -89.90310912, 27.34824973]
    colours: np.ndarray = np.clip(powers @ np.array([red, green, blue]).T, 0.0, 1.0)
    return colours


def viridis(values: np.ndarray) -> np.ndarray:
    """Colours that are evenly spaced to the eye: dark violet is no participation, yellow the most.

    The Viridis map (S. van der Walt and N. Smith, 2015), straight between 17 of its colours.

    Args:
        values: (H, W) in [0, 1].

    Returns:
        (H, W, 3) float in [0, 1].
    """
    table = np.array([list(bytes.fromhex(colour)) for colour in _VIRIDIS.split()]) / 255.0
    places = np.linspace(0.0, 1.0, len(table))
    return np.stack([np.interp(values, places, channel) for channel in table.T], axis=-1)


COLOUR_MAPS: dict[str, ColourMap] = {"turbo": turbo, "viridis": viridis}
# What the two ends of each are called.
ENDS = {"turbo": ("blue", "red"), "viridis": ("violet", "yellow")}

"""What is read off a network at one step of its training, summed over images and processes."""

from collections.abc import Iterator, Mapping

import numpy as np
from PIL import Image

from lookaway.measured import Key, Measured
from lookaway.perturbation import NOISE, own_size_noise

# What adds up over processes; ``failed`` is how many of them could not measure.
SUMS = ("images", "mod", "noise", "living", "mod_living", "clean", "robust", "dead", "failed")
_NO_LIVING = "in each pair a map is dead"
_NO_NOISE = "noise_seed is None, so there is no control"


class ShiftReading(Mapping[str, float]):
    """What a ``ShiftMonitor`` found at one step: numbers by name, as loggers take them.

    ``mod``, the mean NISSIM of clean and attacked heatmaps; ``noise``, that under the control of
    the same size; ``excess``, the first less the second; ``mod_living``, MOD of the pairs in which
    no map is dead; ``clean_accuracy``, ``robust_accuracy``; ``dead``, the share of pairs in which a
    map is dead. What cannot be told is not among them, and ``missing`` says why.

    Attributes:
        step: as it was given.
        images: how many the numbers are of, in all processes.
        missing: names of numbers that cannot be told, and why.
        picture: this process's first images in columns: clean, its heatmap, the attacked image
            with its heatmap; a frame where the prediction is wrong. None: none was asked for.
        seconds: what this call took.
    """

    def __init__(
        self,
        step: int | None,
        images: int,
        numbers: Mapping[str, float],
        missing: Mapping[str, str],
        picture: Image.Image | None,
        seconds: float,
    ) -> None:
        self.step, self.images, self.picture, self.seconds = step, images, picture, seconds
        self._numbers, self.missing = dict(numbers), dict(missing)

    def __getitem__(self, name: str) -> float:
        return self._numbers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={value:.3f}" for name, value in self.items())
        return f"ShiftReading(step={self.step}, images={self.images}, {told})"


class Seen:
    """What was measured of the images under the attack and under its control."""

    def __init__(
        self, found: Measured, attack: str, model: str, heatmap: tuple[str, str, str]
    ) -> None:
        self.found, self._heatmap = found, heatmap
        self._own = found.sources.index((attack, model))
        controls = [(own_size_noise(attack), None), (NOISE, None)]
        there = [found.sources.index(each) for each in controls if each in found.sources]
        self._control = there[0] if there else None
        self.clean = found.arrays[Key("clean_class")]
        self.attacked = found.arrays[Key("attacked_class")][:, self._own, 0]

    def of(self, name: str) -> np.ndarray:
        """Of the clean images, (N, …)."""
        return self.found.arrays[Key(name, *self._heatmap)]

    def under(self, name: str) -> np.ndarray:
        """Of the attacked images, (N, …)."""
        return self.of(name)[:, self._own, 0]

    def sums(self, truth: np.ndarray) -> dict[str, float]:
        """Sums over the images by name, those of ``SUMS``."""
        nissim = self.under("nissim")
        noise = 0.0 if self._control is None else self.of("nissim")[:, self._control, 0]
        dead = self.of("clean_dead") | self.under("attacked_dead")
        found = {
            "images": len(truth),
            "mod": nissim.sum(),
            "noise": np.sum(noise),
            "living": (~dead).sum(),
            "mod_living": nissim[~dead].sum(),
            "clean": (self.clean == truth).sum(),
            "robust": (self.attacked == truth).sum(),
            "dead": dead.sum(),
            "failed": 0,
        }
        return {name: float(found[name]) for name in SUMS}


def numbers_of(
    sums: Mapping[str, float], *, noise: bool
) -> tuple[dict[str, float], dict[str, str]]:
    """The numbers of a reading, and why others are missing."""
    count = sums["images"]
    found = {"mod": sums["mod"] / count}
    missing: dict[str, str] = {}
    if noise:
        found |= {"noise": sums["noise"] / count, "excess": (sums["mod"] - sums["noise"]) / count}
    else:
        missing |= {"noise": _NO_NOISE, "excess": _NO_NOISE}
    if sums["living"]:
        found["mod_living"] = sums["mod_living"] / sums["living"]
    else:
        missing["mod_living"] = _NO_LIVING
    found |= {
        "clean_accuracy": sums["clean"] / count,
        "robust_accuracy": sums["robust"] / count,
        "dead": sums["dead"] / count,
    }
    return found, missing

"""How images are measured, and what was measured of them, in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lookaway.perturbation import Perturbation, Source

if TYPE_CHECKING:
    from torch import Tensor

REACHED = ("reached_rms", "reached_linf")  # of the change of the network's normalised input


class Key(NamedTuple):
    """What an array holds: a quantity, and what it is of (empty where it is of the images alone).

    Attributes:
        name: of the images ``clean_class`` and ``clean_confidence``; of each perturbation and ε
            ``linf``, ``psnr``, ``REACHED``, ``unattacked``, ``attacked_class`` and
            ``attacked_confidence``; of an explainer, policy and layer ``clean_dead``,
            ``clean_maps``, and of each perturbation and ε ``nissim``, those of
            ``metrics.transport.NAMES``, ``attacked_dead``, ``attacked_maps`` and, at the last
            layer, each of ``map_statistics.of_last``. Where asked for, logits: ``clean_scores``
            (N, K) and ``scores``; ``targets``, (N, A) classes that the A attacks go to, −1 where
            they go to none.
        method: of the explainer.
        policy: which class is explained.
        layer: of the classifier.
    """

    name: str
    method: str = ""
    policy: str = ""
    layer: str = ""


@dataclass(frozen=True)
class MeasureSettings:
    """How images are measured.

    Attributes:
        epsilons: the levels.
        layers: names of the explained layers.
        last: the layer that enters pooling; the attacked maps of others may be left out.
        statistics: whether its maps are also compared in other ways than NISSIM's, and where
            participation went (``map_statistics``).
        displacement: of these, whether where it went is told; if not, other ways alone.
        policies: which class is explained: ``own``, the class predicted for that very image;
            ``clean``, that of the clean image; ``label``, the true one.
        ssim: preset of the SSIM.
        grid: side of the heatmaps in px.
        common: height and width that maps of all compared networks can be brought to.
        quantize: whether attacked images are rounded to 8 bit.
        batch_size: images in a pass.
        noise_seed: of the noise controls; None: they are left out.
        scores: whether the logits are given back, and the targets of attacks.
    """

    epsilons: tuple[float, ...]
    layers: tuple[str, ...]
    last: str
    statistics: bool = True
    displacement: bool = True
    policies: tuple[str, ...] = ("own", "clean")
    ssim: str = "gaussian11"
    grid: int = 224
    common: tuple[int, int] = (7, 7)
    quantize: bool = False
    batch_size: int = 8
    noise_seed: int | None = 0
    scores: bool = False

    @property
    def of_last(self) -> tuple[str, int, tuple[int, int], bool, bool]:
        """How the last layer's maps are measured, as ``map_statistics.of_last`` takes it."""
        return self.ssim, self.grid, self.common, self.statistics, self.displacement


@dataclass(frozen=True)
class Measured:
    """What was measured of N images, under P perturbations at E levels.

    Attributes:
        sources: the P perturbations: attack and the model that made it; None for controls.
        arrays: (N, …) or, of each perturbation and ε, (N, P, E, …); the attacked maps of layers
            before the last of the images that were to be kept.
        perturbations: of the model's own attacks, by name.
    """

    sources: tuple[Source, ...]
    arrays: dict[Key, np.ndarray]
    perturbations: dict[str, Perturbation]

    @classmethod
    def joined(cls, parts: Sequence["Measured"]) -> "Measured":
        """Batches of images as one."""
        return cls(
            parts[0].sources,
            {key: np.concatenate([part.arrays[key] for part in parts]) for key in parts[0].arrays},
            joined_by_name([part.perturbations for part in parts]),
        )


def in_memory(arrays: Mapping[Key, "Tensor"]) -> dict[Key, np.ndarray]:
    """Tensors of one device as arrays, by one copy for each type."""
    import torch

    found: dict[Key, np.ndarray] = {}
    for kind in dict.fromkeys(tensor.dtype for tensor in arrays.values()):
        some = {key: tensor for key, tensor in arrays.items() if tensor.dtype == kind}
        flat = torch.cat([tensor.flatten() for tensor in some.values()]).cpu().numpy()
        ends = np.cumsum([tensor.numel() for tensor in some.values()])
        for (key, tensor), part in zip(some.items(), np.split(flat, ends[:-1]), strict=True):
            found[key] = part.reshape(tensor.shape)
    return {key: found[key] for key in arrays}


def joined_by_name(parts: Sequence[Mapping[str, Perturbation]]) -> dict[str, Perturbation]:
    """Perturbations of batches of images as one, by name."""
    return {name: Perturbation.joined([part[name] for part in parts]) for name in parts[0]}


# Places of images, and what was measured of them: first of all of them, with their perturbations,
# then of layers that only some have.
Found = Sequence[tuple[np.ndarray, Measured]]
CleanMaps = dict[tuple[str, str, str], tuple[np.ndarray, np.ndarray, np.ndarray]]


def clean_maps(found: Found) -> CleanMaps:
    """Places, maps (n, h, w) and dead flags (n,) of each explainer, policy and layer."""
    views = dict.fromkeys(
        key[1:] for _, measured in found for key in measured.arrays if key.name == "clean_maps"
    )
    clean = {}
    for view in views:
        having = [each for each in found if Key("clean_maps", *view) in each[1].arrays]
        order = np.argsort(np.concatenate([places for places, _ in having]))
        places, maps, dead = (
            np.concatenate(parts)[order]
            for parts in (
                [each for each, _ in having],
                *(
                    [each.arrays[Key(name, *view)] for _, each in having]
                    for name in ("clean_maps", "clean_dead")
                ),
            )
        )
        clean[view] = places, maps, dead
    return clean

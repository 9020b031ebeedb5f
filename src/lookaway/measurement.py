"""The kernel with a loop: measure a classifier on tensors, a dataset or a loader, in memory."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lookaway.analysis import summary
from lookaway.attacks.base import Attack, norm_of
from lookaway.attacks.fgsm import FGSM
from lookaway.attacks.norms import check_epsilons
from lookaway.errors import InputError
from lookaway.explainers.base import MIN_GRID, Explainer
from lookaway.explainers.gradcam import GradCAM
from lookaway.kernel import (
    Key,
    Measured,
    MeasureSettings,
    measure_images,
)
from lookaway.metrics.ssim import PRESETS
from lookaway.models.checks import check_classes, check_pixels
from lookaway.models.classifier import Classifier
from lookaway.perturbation import Perturbation, Source, check_given
from lookaway.rows import Subject, measurement_rows

POLICIES = ("own", "clean", "label")
_IMAGES_AT_ONCE = 64


@dataclass(frozen=True)
class Measurement:
    """What was measured of a classifier, in memory.

    Attributes:
        maps: where they were asked for, arrays by ``kernel.Key``: ``clean_maps`` (N, h, w) and
            ``attacked_maps`` (N, P, E, h, w), float32, at least 0; zeros where dead.
        sources: the P perturbations, each an attack and the model that made it; None: controls.
        perturbations: where they were asked for, those of the classifier's own attacks, by name.
    """

    _rows: pl.DataFrame
    sources: tuple[Source, ...]
    maps: dict[Key, np.ndarray] = field(default_factory=dict)
    perturbations: dict[str, Perturbation] = field(default_factory=dict)

    def __repr__(self) -> str:
        images = self._rows["image"].n_unique()
        return f"Measurement({images} images, {self._rows.height} rows)"

    def rows(self) -> pl.DataFrame:
        """A row for each image, perturbation, ε, explainer, layer and explained class."""
        return self._rows

    def accuracy(self) -> pl.DataFrame:
        """Accuracy for each ε, 0 included; see ``analysis.summary.accuracy``."""
        return summary.accuracy(self._rows)

    def psnr(self) -> pl.DataFrame:
        """Mean PSNR for each ε, in dB; see ``analysis.summary.psnr``."""
        return summary.psnr(self._rows)

    def mod(self) -> pl.DataFrame:
        """Mean observed dissimilarity for each ε; see ``analysis.summary.mod``."""
        return summary.mod(self._rows)

    def vid(self, per: str = "image", include_zero: bool = False) -> pl.DataFrame:
        """Variation in dissimilarity over ε; see ``analysis.summary.vid``."""
        return summary.vid(self._rows, per, include_zero)

    def spread(self) -> pl.DataFrame:
        """Standard deviation of NISSIM over the images; see ``analysis.summary.spread``."""
        return summary.spread(self._rows)

    def unattacked(self) -> pl.DataFrame:
        """Share of images that an attack did not change; see ``analysis.summary.unattacked``."""
        return summary.unattacked(self._rows)


def measure(
    clf: Classifier,
    images: Tensor | Dataset[Any] | Iterable[Any],
    labels: Tensor | None = None,
    *,
    attacks: Sequence[Attack] | None = None,
    epsilons: Sequence[float] = (0.01, 0.05, 0.075, 0.1),
    explainers: Sequence[Explainer] | None = None,
    layers: str | nn.Module | Sequence[str | nn.Module] = "last",
    explained_class: Sequence[str] = ("own", "clean"),
    ssim: str = "gaussian11",
    grid: int = 224,
    quantize: bool = False,
    batch_size: int = 8,
    given: Mapping[Source, Perturbation] | None = None,
    noise_seed: int | None = 0,
    keep_maps: bool = False,
    classes: Sequence[str] | None = None,
) -> Measurement:
    """Measure how attacks make a classifier look elsewhere: perturb, explain, compare.

    Args:
        clf: the classifier; it is afterwards as it was.
        images: (N, C, H, W) float pixels in [0, 1]; or a dataset of pairs of an image (C, H, W)
            and its label; or a loader of batches of such pairs.
        labels: (N,) integer true classes, where images are a tensor; of a network for several
            labels at once the one that is explained.
        attacks: the classifier's own; None: FGSM.
        epsilons: sizes of the change in the attacks' norm: largest changes of a pixel, each in
            (0, 1], or lengths of an image's change, above 0; none twice.
        explainers: None: Grad-CAM.
        layers: ``last``, ``stages``, ``convs``, a name or module of the network, or several.
        explained_class: ``own``, the class predicted for that very image; ``clean``, that of the
            clean image; ``label``, the true one.
        ssim: ``gaussian11`` or ``uniform7``.
        grid: side of the heatmaps in px, at least 11.
        quantize: whether attacked images are rounded to 8 bit.
        batch_size: images in a pass.
        given: other models' perturbations of these images, by attack and model (those that
            ``keep_maps`` keeps of their own measurement), where images are a tensor.
        noise_seed: of the noise controls; None: they are left out.
        keep_maps: whether maps and perturbations are kept; they grow with the number of images.
        classes: names of the classes, one for each logit; None: their indices.

    Returns:
        Rows in the order of the images, named by their places, and what sums them up.

    Raises:
        InputError: an argument does not fit.
        LayerError: a layer does not exist, has no spatial maps or no part in the logits.

    Example:
        >>> import torch
        >>> import lookaway as la
        >>> clf = la.load_classifier("test_resnet", num_classes=3, pretrained=False, input_size=64)
        >>> pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> found = la.measure(clf, pixels, torch.tensor([0, 2]), epsilons=[0.05], grid=32)
        >>> found.rows().select("image", "attack", "epsilon", "explained_class").height
        8
    """
    own = [FGSM()] if attacks is None else list(attacks)
    levels = check_epsilons(epsilons, norm_of(own))
    _check_choice("explained_class", explained_class, POLICIES)
    _check_choice("ssim", [ssim], PRESETS)
    if grid < MIN_GRID or batch_size < 1:
        raise InputError(
            f"grid must be at least {MIN_GRID} and batch_size at least 1; got {grid} and "
            f"{batch_size}"
        )
    methods = [GradCAM()] if explainers is None else list(explainers)
    if not methods:
        raise InputError("explainers is empty; give at least one, such as GradCAM()")
    if given:
        if not isinstance(images, Tensor):
            raise InputError("given perturbations need the images as one tensor")
        check_given(given, [attack.name for attack in own], images, len(levels))
    if clf.outputs.task == "labels" and list(explained_class) != ["label"]:
        raise InputError(
            f"{clf.name} gives several labels at once, so no one class is predicted; give "
            "explained_class=['label']"
        )
    parts: list[Measured] = []
    frames, done = [], 0
    for pixels, truth in _batches(images, labels, batch_size):
        check_pixels(pixels, clf.channels, clf.name)
        size = (pixels.shape[2], pixels.shape[3])
        count = clf.classes_at(size)
        truth = check_classes(truth, len(pixels), count, "labels")
        if classes is not None and len(classes) != count:
            raise InputError(f"{clf.name} has {count} logits, and classes {len(classes)} names")
        trace = clf.trace(size)
        names = tuple(trace.names(layers))
        settings = MeasureSettings(
            epsilons=tuple(levels),
            layers=names,
            last=names[0] if len(names) == 1 else "",
            statistics=False,
            policies=tuple(explained_class),
            ssim=ssim,
            grid=grid,
            quantize=quantize,
            batch_size=batch_size,
            noise_seed=noise_seed,
        )
        some = {
            source: each.of(slice(done, done + len(pixels)))
            for source, each in (given or {}).items()
        }
        keep = None if keep_maps else torch.full((len(pixels),), False, device="cpu")
        found = measure_images(clf, pixels.detach(), truth, settings, own, methods, some, keep)
        subject = Subject(
            model=clf.name,
            variant="none",
            images=[f"{place:06d}" for place in range(done, done + len(pixels))],
            labels=truth.numpy(force=True),
            classes=classes or [str(index) for index in range(count)],
            epsilons=levels,
            layers={
                name: (trace.layers[name].depth, "x".join(map(str, trace.layers[name].size)))
                for name in names
            },
        )
        frames.append(measurement_rows([(np.arange(len(pixels)), found)], subject))
        parts += [found] if keep_maps else []
        sources, done = found.sources, done + len(pixels)
    if not frames:
        raise InputError("there are no images to measure")
    rows = _in_order(pl.concat(frames))
    if not keep_maps:
        return Measurement(rows, sources)
    whole = Measured.joined(parts)
    maps = {key: array for key, array in whole.arrays.items() if key.name.endswith("_maps")}
    return Measurement(rows, sources, maps, whole.perturbations)


def _check_choice(name: str, given: Sequence[str], possible: Iterable[str]) -> None:
    known = list(possible)
    wrong = [each for each in given if each not in known]
    if wrong or not given or len(set(given)) < len(given):
        raise InputError(f"{name} must be of {', '.join(known)}, none twice; got {list(given)}")


def _batches(
    images: Tensor | Dataset[Any] | Iterable[Any], labels: Tensor | None, size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Pixels and labels, a few batches at a time."""
    if isinstance(images, Tensor):
        if labels is None:
            raise InputError("labels must be given beside a tensor of images")
        if images.ndim == 0 or len(labels) != len(images):
            raise InputError(
                f"there are {len(labels)} labels for images {tuple(images.shape)}; give one each"
            )
        at_once = max(1, _IMAGES_AT_ONCE // size) * size  # whose maps lie in memory
        yield from zip(torch.split(images, at_once), torch.split(labels, at_once), strict=True)
        return
    if labels is not None:
        raise InputError("labels come with a dataset or loader; give them beside a tensor only")
    loader = DataLoader(images, batch_size=size) if isinstance(images, Dataset) else images
    for batch in loader:
        if not (isinstance(batch, Sequence) and len(batch) == 2):
            raise InputError(
                f"a batch must be a pair of images and labels; got {type(batch).__name__}"
            )
        yield torch.as_tensor(batch[0]), torch.as_tensor(batch[1])


def _in_order(rows: pl.DataFrame) -> pl.DataFrame:
    """By setting, in the order in which each first comes, then by image, whatever the batches."""
    by = ["attack", "source", "epsilon", "method", "layer", "explained_class"]
    setting = rows.select(by).unique(maintain_order=True).with_row_index("_setting")
    joined = rows.join(setting, on=by, nulls_equal=True, maintain_order="left")
    return joined.sort("_setting", maintain_order=True).drop("_setting")

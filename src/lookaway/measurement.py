"""The kernel with a loop: measure a classifier on tensors, a dataset or a loader, in memory."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset

from lookaway.analysis import summary
from lookaway.analysis.aimed import without_shaped
from lookaway.analysis.frames import Frames
from lookaway.attacks.base import Attack, norm_of
from lookaway.attacks.fgsm import FGSM
from lookaway.attacks.norms import check_epsilons
from lookaway.baseline import compare_images
from lookaway.batches import IMAGES_AT_ONCE, Tensors, batches
from lookaway.controls import Counts
from lookaway.data.dataset import GIVEN as GIVEN_DATA
from lookaway.errors import InputError
from lookaway.explainers.base import MIN_GRID, Explainer
from lookaway.explainers.gradcam import GradCAM
from lookaway.explanation_attack import ExplanationAttack
from lookaway.kernel import (
    Key,
    Measured,
    MeasureSettings,
    measure_images,
)
from lookaway.metrics.ssim import PRESETS
from lookaway.models.checks import check_classes, check_pixels
from lookaway.models.classifier import Classifier
from lookaway.models.layers import Layer
from lookaway.perturbation import Perturbation, Source, check_given
from lookaway.rows import Subject
from lookaway.shaped import measure_controls
from lookaway.study.fields import STORED
from lookaway.study.held import Held
from lookaway.study.json_files import LAYOUT, ImageList, PartImages, Plan, VariantPlan
from lookaway.study.kept import cell_result
from lookaway.study.settings import GIVEN, Controls, Study
from lookaway.study.store import CellResult
from lookaway.summaries import Summaries

POLICIES = ("own", "clean", "label")


class Measurement(Summaries):
    """What was measured of a classifier, in memory.

    It is summed up as a stored run is, and has its charts and mean heatmaps, where all images have
    one size. Its last layer is the last of those that were explained.

    Attributes:
        maps: where they were asked for, arrays by ``kernel.Key``: ``clean_maps`` (N, h, w) and
            ``attacked_maps`` (N, P, E, h, w), float32, at least 0; zeros where dead.
        sources: the P perturbations, each an attack and the model that made it; None: controls.
        perturbations: where they were asked for, those of the classifier's own attacks, by name.
    """

    def __init__(
        self,
        cells: Sequence[CellResult],
        plan: Plan,
        sources: tuple[Source, ...],
        maps: dict[Key, np.ndarray],
        perturbations: dict[str, Perturbation],
    ) -> None:
        self._cells, self._plan = cells, plan
        self._rows = _in_order(pl.concat(cell.rows for cell in cells))
        self.sources, self.maps, self.perturbations = sources, maps, perturbations

    def __repr__(self) -> str:
        images = self._rows["image"].n_unique()
        return f"Measurement({images} images, {self._rows.height} rows)"

    @cached_property
    def frames(self) -> Frames:
        """What sums it up."""
        return Frames(Held(self._plan, _samples(self._cells), self._cells))

    def rows(self) -> pl.DataFrame:
        """A row for each image, perturbation, ε, explainer, layer and explained class."""
        return self._rows

    def mod(self, *, shared: bool = False) -> pl.DataFrame:
        """Mean observed dissimilarity for each ε; see ``analysis.summary.mod``."""
        return summary.mod(self._rows)

    def vid(self, per: str = "image", include_zero: bool = False) -> pl.DataFrame:
        """Variation in dissimilarity over ε, of every layer; see ``analysis.summary.vid``."""
        return summary.vid(without_shaped(self._rows), per, include_zero)

    def spread(self) -> pl.DataFrame:
        """Standard deviation of NISSIM over the images; see ``analysis.summary.spread``."""
        return summary.spread(without_shaped(self._rows))

    def accuracy(self, *, shared: bool = False) -> pl.DataFrame:
        """Accuracy for each ε, 0 included; see ``analysis.summary.accuracy``."""
        return summary.accuracy(self._rows)

    def psnr(self) -> pl.DataFrame:
        """Mean PSNR for each ε, in dB; see ``analysis.summary.psnr``."""
        return summary.psnr(without_shaped(self._rows))

    def unattacked(self) -> pl.DataFrame:
        """Share of images that an attack did not change; see ``analysis.summary.unattacked``."""
        return summary.unattacked(without_shaped(self._rows))


def _samples(cells: Sequence[CellResult]) -> pl.DataFrame:
    """Each image, as a run has them."""
    images = pl.concat(cell.rows.select("image", "label").unique("image") for cell in cells)
    about = {"part": "test", "pictured": False, "sha256": ""}
    return images.sort("image").select(
        "image",
        "label",
        **{name: pl.lit(value) for name, value in about.items()},
        variants=pl.concat_list(pl.lit("none")),
        no_face=pl.lit([], dtype=pl.List(pl.String)),
    )


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
    controls: Mapping[str, int] | None = None,
    keep_maps: bool = False,
    classes: Sequence[str] | None = None,
) -> Measurement:
    """Measure how attacks make a classifier look elsewhere: perturb, explain, compare.

    Args:
        clf: the classifier; it is afterwards as it was.
        images: (N, C, H, W) float pixels in [0, 1]; or a dataset of pairs of an image (a float
            tensor (C, H, W), or a PIL image, an array or a uint8 tensor, as 8 bit) and its label
            (its place among the logits, or its name); or a loader of batches of float images and
            places.
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
        noise_seed: of the controls; None: all of them are left out.
        controls: how many of those with the attack's own shape: ``shifted`` (2 where it is not
            said), ``transplanted``, ``spectrum`` and ``noise`` (0); see
            ``controls.Counts``. Transplants are between the images that are measured together, up
            to 64.
        keep_maps: whether maps and perturbations are kept; they grow with the number of images.
        classes: names of the classes, one for each logit; None: those of a dataset whose labels
            are names, else their indices.

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
        >>> found.rows()["attack"].unique(maintain_order=True).to_list()
        ['fgsm', 'noise', 'shifted 1 of fgsm', 'shifted 2 of fgsm']
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
    counts = _counts(controls or {}) if noise_seed is not None else Counts(shifted=0)
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
    if isinstance(images, Dataset) and not isinstance(images, IterableDataset):
        images = Tensors(images, classes, clf.channels)
        classes = images.classes
    parts: list[Measured] = []
    cells: list[CellResult] = []
    done = 0
    for pixels, truth in batches(images, labels, batch_size):
        check_pixels(pixels, clf.channels, clf.name)
        size = (pixels.shape[2], pixels.shape[3])
        count = clf.classes_at(size)
        truth = check_classes(truth, len(pixels), count, "labels")
        if classes is not None and len(classes) != count:
            raise InputError(f"{clf.name} has {count} logits, and classes {len(classes)} names")
        trace = clf.trace(size)
        names = tuple(trace.names(layers))
        last = max(names, key=list(trace.layers).index)
        settings = MeasureSettings(
            epsilons=tuple(levels),
            layers=names,
            last=last,
            policies=tuple(explained_class),
            ssim=ssim,
            grid=grid,
            common=trace.layers[last].size,
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
        every = np.full(len(pixels), keep_maps)
        whole = [(np.arange(len(pixels)), found)]
        some = {source: each.in_memory() for source, each in some.items()}
        shaped = measure_controls(
            clf, pixels.detach(), truth, subject.images, settings, methods, whole, some, counts
        )
        compared = compare_images(
            clf, pixels.detach(), truth, subject.images, settings, methods, whole
        )
        cells.append(cell_result(whole, shaped, subject, settings, every, compared, {}))
        parts += [found] if keep_maps else []
        sources, done = found.sources, done + len(pixels)
    if not cells:
        raise InputError("there are no images to measure")
    plan = _plan(clf, settings, subject.classes, own, methods, trace.layers, counts)
    if not keep_maps:
        return Measurement(cells, plan, sources, {}, {})
    joined = Measured.joined(parts)
    maps = {key: array for key, array in joined.arrays.items() if key.name.endswith("_maps")}
    return Measurement(cells, plan, sources, maps, joined.perturbations)


def _plan(
    clf: Classifier,
    settings: MeasureSettings,
    classes: Sequence[str],
    attacks: Sequence[Attack],
    explainers: Sequence[Explainer],
    layers: Mapping[str, Layer],
    counts: Counts,
) -> Plan:
    """What was measured, as a run tells it: a study of the one classifier, given in Python."""
    study = Study.model_validate(
        {
            "data": {"folder": GIVEN_DATA, "channels": clf.channels},
            "models": [{"name": clf.name, "module": GIVEN}],
            "attacks": [{"name": attack.name, **_told(attack)} for attack in attacks],
            "epsilons": list(settings.epsilons),
            "controls": asdict(counts),
            "quantize": settings.quantize,
            "explain": {
                "methods": [explainer.name for explainer in explainers],
                "layers": list(settings.layers),
                "explained_class": list(settings.policies),
                "pictured": 0,
            },
            "measure": {"ssim": settings.ssim, "grid": settings.grid},
            "run": {"batch_size": settings.batch_size},
        },
        context=STORED,
    )
    none = ImageList(count=0, sha256="")
    images = PartImages(train=none, val=none, test=none)
    return Plan(
        layout=LAYOUT,
        settings=study,
        norm=norm_of(attacks),
        own_size=[attack.name for attack in attacks if not attack.by_signs],
        one_direction=[attack.name for attack in attacks if attack.one_direction],
        gradient_free=[attack.name for attack in attacks if attack.gradient_free],
        device=clf.device.type,
        shard=IMAGES_AT_ONCE,
        versions={},
        own_code={},
        classes=sorted(classes),
        images=images,
        variants={"none": VariantPlan(aligner={}, without_face=0, images=images)},
        duplicates={},
        set_aside={},
        batch_sizes={clf.name: settings.batch_size},
        weights={clf.name: ""},
        class_order={},
        loaded={},
        layers={clf.name: list(settings.layers)},
        last_layers={clf.name: settings.last},
        last_sizes={clf.name: list(layers[settings.last].size)},
        training_precision="float32",
    )


def _counts(given: Mapping[str, int]) -> Counts:
    """How many controls of each kind.

    Raises:
        InputError: there is no such kind, or no such number.
    """
    try:
        odd = given.keys() - asdict(Counts()).keys()  # such as those that a study alone has
        return Controls.model_validate({**given, **dict.fromkeys(odd)}).counts
    except ValidationError as error:
        kinds = ", ".join(asdict(Counts()))
        raise InputError(
            f"controls is {dict(given)!r}; give numbers from 0 to 100 of {kinds}"
        ) from error


def _told(attack: Attack) -> dict[str, Any]:
    """An attack as a study has it; of one on the explanation what makes it a ceiling of MOD."""
    if isinstance(attack, ExplanationAttack):
        kept = {"method": attack.explainer.name, "layer": attack.layer, "within": attack.within}
        return {"explanation": kept}
    return {_code(attack): {}}


def _code(attack: Attack) -> str:
    kind = type(attack)
    return f"{kind.__module__}:{kind.__qualname__}"


def _check_choice(name: str, given: Sequence[str], possible: Iterable[str]) -> None:
    known = list(possible)
    wrong = [each for each in given if each not in known]
    if wrong or not given or len(set(given)) < len(given):
        raise InputError(f"{name} must be of {', '.join(known)}, none twice; got {list(given)}")


def _in_order(rows: pl.DataFrame) -> pl.DataFrame:
    """By setting, in the order in which each first comes, then by image, whatever the batches."""
    by = ["attack", "source", "epsilon", "method", "layer", "explained_class"]
    setting = rows.select(by).unique(maintain_order=True).with_row_index("_setting")
    joined = rows.join(setting, on=by, nulls_equal=True, maintain_order="left")
    return joined.sort("_setting", maintain_order=True).drop("_setting")

"""Watches a training: every so many steps, how far an attack makes the network look elsewhere."""

import time
from collections.abc import Iterable
from inspect import signature
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset

from lookaway.attacks.base import Attack
from lookaway.attacks.norms import check_epsilons
from lookaway.batches import IMAGES_AT_ONCE, Tensors, batches
from lookaway.errors import InputError, ModelError
from lookaway.explainers.base import MIN_GRID, Explainer
from lookaway.explainers.gradcam import GradCAM
from lookaway.kernel import measure_images
from lookaway.lightning import callback_of
from lookaway.measured import MeasureSettings
from lookaway.measurement import POLICIES
from lookaway.metrics.ssim import PRESETS
from lookaway.models.checks import check_classes, check_pixels
from lookaway.models.classifier import Classifier
from lookaway.models.precision import PRECISIONS
from lookaway.models.undisturbed import beneath, undisturbed
from lookaway.perturbation import NOISE
from lookaway.reading import SUMS, Seen, ShiftReading, numbers_of
from lookaway.report.watched import watched

_READING = [name for name in signature(Classifier).parameters if name != "module"]


class ShiftMonitor:
    """Measures a network while it trains, on the same images each time, and leaves it as it was.

    ``monitor(model, step)`` in any loop gives a reading where one is due, and else None. Numbers
    are made as a study's are. The network is measured in eval mode and float32, beneath
    ``torch.compile`` and ``DistributedDataParallel``, whatever is around the call (autocast,
    inference mode); its modes, gradients, hooks and statistics and all random numbers stay.

    In several processes (``torch.distributed``) each measures what its own loader gives, and all
    get the numbers of all images: then all of them must call it at the same steps.

    Args:
        loader: of batches of pixels in [0, 1], not normalised, and places of classes: a
            ``DataLoader``, a dataset, or two tensors. Read once; the first images are kept.
        attack: such as ``la.FGSM()``; of the network itself, anew at each reading.
        epsilon: size of the change in the attack's norm.
        every: how many steps lie between two readings; step 0 has one.
        images: how many are measured, in each process.
        explainer: None: Grad-CAM.
        layer: ``last``, or a layer's name; found at the first reading, then the same.
        explained_class: ``clean``, the class predicted for the clean image; ``own``, for that very
            image; or ``label``.
        ssim: ``gaussian11`` or ``uniform7``.
        grid: side of the heatmaps in px, at least 11.
        batch_size: images in a pass.
        noise_seed: of the control; None: there is none, and no excess.
        pictured: how many images the picture has; 0: no picture.
        precision: ``float32``, exact; ``tf32``; or ``bfloat16``, faster where the device is. A
            ``Classifier`` computes in its own.
        distributed: whether numbers are those of all processes, where there are several.
        reading: how a network's inputs and outputs are to be read, as by ``Classifier``: ``mean``,
            ``std``, ``input_size``, ``outputs``, …; not where the model is a ``Classifier``.

    Raises:
        InputError: an argument does not fit.

    Example:
        >>> import lookaway as la
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
        >>> pixels = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> images = pixels, torch.tensor([0, 1] * 3)
        >>> monitor = la.ShiftMonitor(images, la.FGSM(), 8 / 255, every=10, mean=0.5, std=0.5)
        >>> _ = net(pixels)
        >>> for step in range(20):
        ...     found = monitor(net, step)  # after the optimiser's step
        ...     if found:
        ...         print(found.step, sorted(found))
        0 ['clean_accuracy', 'dead', 'excess', 'mod', 'mod_living', 'noise', 'robust_accuracy']
        10 ['clean_accuracy', 'dead', 'excess', 'mod', 'mod_living', 'noise', 'robust_accuracy']
    """

    def __init__(
        self,
        loader: Iterable[Any] | Dataset[Any] | tuple[Tensor, Tensor],
        attack: Attack,
        epsilon: float,
        *,
        every: int = 1,
        images: int = 64,
        explainer: Explainer | None = None,
        layer: str = "last",
        explained_class: str = "clean",
        ssim: str = "gaussian11",
        grid: int = 224,
        batch_size: int = 16,
        noise_seed: int | None = 0,
        pictured: int = 4,
        precision: str = "float32",
        distributed: bool = True,
        **reading: Any,
    ) -> None:
        if not isinstance(attack, Attack) or attack.name == NOISE:
            raise InputError(f"attack must be one such as la.FGSM(), no control; got {attack!r}")
        counts = {"every": every, "images": images, "batch_size": batch_size, "grid": grid}
        least = {"grid": MIN_GRID}
        for name, count in counts.items():
            if not isinstance(count, int) or count < least.get(name, 1):
                raise InputError(
                    f"{name} must be a whole number of at least {least.get(name, 1)}; got {count!r}"
                )
        for name, given, possible in (
            ("explained_class", explained_class, POLICIES),
            ("ssim", ssim, PRESETS),
            ("precision", precision, PRECISIONS),
        ):
            if given not in possible:
                raise InputError(f"{name} must be of {', '.join(possible)}; got {given!r}")
        odd = sorted(reading.keys() - set(_READING))
        if odd:
            raise InputError(
                f"there is no option {', '.join(odd)}; of reading a network there are "
                f"{', '.join(_READING)}"
            )
        self.attack, self.every, self.images, self.pictured = attack, every, images, pictured
        self.epsilon = check_epsilons([epsilon], attack.norm)[0]
        self.explainer, self.layer, self.policy = explainer or GradCAM(), layer, explained_class
        self._how = {"ssim": ssim, "grid": grid, "batch_size": batch_size, "noise_seed": noise_seed}
        self._loader, self._precision, self._distributed = loader, precision, distributed
        self._reading = reading
        self._held: tuple[Tensor, Tensor] | None = None
        self._clf: Classifier | None = None
        self._first: float | None = None
        self._spent = 0.0

    def __call__(self, model: nn.Module, step: int) -> ShiftReading | None:
        """A reading where ``step`` is a multiple of ``every``, and else None; see ``measure``."""
        return None if step % self.every else self.measure(model, step)

    @property
    def share(self) -> float | None:
        """The share of the time since its first reading began that it took; None before."""
        if self._first is None:
            return None
        return self._spent / (time.perf_counter() - self._first)

    def callback(
        self, per: str = "step", network: str | None = None, prefix: str = "shift/"
    ) -> Any:
        """A Lightning ``Callback`` that asks the monitor and logs what it finds.

        Numbers go to every logger of the trainer and into ``callback_metrics``, the picture to
        those of TensorBoard, W&B and MLflow.

        Args:
            per: ``step`` (of the optimiser) or ``epoch``: what ``every`` counts; the first reading
                is made before the first of them.
            network: where in the LightningModule the network is, such as ``"model"``; None: it
                itself, (N, C, H, W) → logits.
            prefix: of the names that are logged.

        Raises:
            InputError: there is no such ``per``.
            PackageError: Lightning is not installed.
        """
        return callback_of(self, per, network, prefix)

    def measure(self, model: nn.Module, step: int | None = None) -> ShiftReading:
        """A reading now.

        Args:
            model: the network, or a ``Classifier``; afterwards it is as it was.
            step: for the reading.

        Raises:
            InputError: the loader has no images, or none that fit.
            ModelError: the network cannot be measured, here or in another process.
        """
        clf = self._classifier(model)
        if clf.device.type == "cuda":
            torch.cuda.synchronize(clf.device)  # what is left of the step is not the monitor's
        began = time.perf_counter()
        self._first = began if self._first is None else self._first
        with undisturbed(clf.device, _generators_of(self._loader)):
            sums, picture = self._everywhere(clf)
        numbers, missing = numbers_of(sums, noise=self._how["noise_seed"] is not None)
        seconds = time.perf_counter() - began
        self._spent += seconds
        return ShiftReading(step, int(sums["images"]), numbers, missing, picture, seconds)

    def _classifier(self, model: nn.Module) -> Classifier:
        network = beneath(model)
        if isinstance(network, Classifier):
            given = [*self._reading, *(["precision"] if self._precision != "float32" else [])]
            if given:
                raise InputError(
                    "the model is a Classifier, which says itself how it is read; leave out "
                    f"{', '.join(given)}"
                )
            return network
        if self._clf is None or self._clf.module is not network:
            self._clf = Classifier(network, **self._reading)
            self._clf.precision = self._precision
        return self._clf

    def _everywhere(self, clf: Classifier) -> tuple[dict[str, float], Image.Image | None]:
        """Sums over the images of all processes, and this one's picture.

        A process that fails tells the others, which would else wait for it.
        """
        several = self._distributed and dist.is_available() and dist.is_initialized()
        failure: Exception | None = None
        sums, picture = dict.fromkeys(SUMS, 0.0), None
        try:
            sums, picture = self._here(clf)
        except Exception as error:
            if not several:
                raise
            failure = error
        if several:
            sums["failed"] = float(failure is not None)
            whole = torch.tensor(list(sums.values()), dtype=torch.float64, device=clf.device)
            dist.all_reduce(whole)
            sums = dict(zip(sums, whole.tolist(), strict=True))
        if failure is not None:
            raise failure
        if sums["failed"]:
            raise ModelError(f"{clf.name} could not be measured in another process, which says why")
        if not sums["images"]:
            raise InputError("the loader has no images")
        return sums, picture

    def _here(self, clf: Classifier) -> tuple[dict[str, float], Image.Image | None]:
        if self._held is None:
            self._held = self._read(clf)
        images, labels = self._held
        if not len(images):
            return dict.fromkeys(SUMS, 0.0), None
        if clf.outputs.task == "labels" and self.policy != "label":
            raise InputError(
                f"{clf.name} gives several labels at once, so no one class is predicted; give "
                "explained_class='label'"
            )
        names = clf.trace((images.shape[2], images.shape[3])).names(self.layer)
        if len(names) != 1:
            raise InputError(f"layer must name one layer; {self.layer!r} is {len(names)}")
        settings = MeasureSettings(
            epsilons=(self.epsilon,),
            layers=(names[0],),
            last=names[0],
            statistics=False,
            policies=(self.policy,),
            **self._how,  # type: ignore[arg-type]
        )
        found = measure_images(clf, images, labels, settings, [self.attack], [self.explainer])
        seen = Seen(found, self.attack.name, clf.name, (self.explainer.name, self.policy, names[0]))
        return seen.sums(labels.numpy()), self._picture(images, labels, seen)

    def _read(self, clf: Classifier) -> tuple[Tensor, Tensor]:
        """The first images of the loader and their labels, on the CPU; there may be none."""
        source, labels = self._loader, None
        if isinstance(source, tuple):
            source, labels = source
        elif isinstance(source, Dataset) and not isinstance(source, IterableDataset):
            source = Tensors(source, None, clf.channels)
        kept: list[tuple[Tensor, Tensor]] = []
        count = 0
        for pixels, truth in batches(source, labels, min(self.images, IMAGES_AT_ONCE)):
            check_pixels(pixels, clf.channels, clf.name)
            known = clf.classes_at((pixels.shape[2], pixels.shape[3]))
            truth = check_classes(truth, len(pixels), known, "labels")
            kept.append((pixels.detach().cpu().float(), truth.cpu()))
            count += len(pixels)
            if count >= self.images:
                break
        sizes = {tuple(pixels.shape[1:]) for pixels, _ in kept}
        if len(sizes) > 1:
            raise InputError(f"the loader's images differ in shape: {sorted(sizes)[:3]}")
        if not kept:
            return torch.zeros(0, clf.channels, 1, 1), torch.zeros(0, dtype=torch.long)
        pixels, truth = (torch.cat(parts)[: self.images] for parts in zip(*kept, strict=True))
        return pixels.clone(), truth.clone()  # all else that the loader gave is let go

    def _picture(self, images: Tensor, labels: Tensor, seen: Seen) -> Image.Image | None:
        some = slice(0, self.pictured)
        pixels = images[some].numpy()
        if not len(pixels):
            return None
        own = seen.found.perturbations[self.attack.name].of(some)
        truth = labels[some].numpy()
        return watched(
            pixels,
            own.attacked(pixels, 0, self.epsilon),
            (seen.of("clean_maps")[some], seen.under("attacked_maps")[some]),
            np.stack([seen.clean[some] == truth, seen.attacked[some] == truth]),
        )


def _generators_of(loader: Any) -> list[torch.Generator]:
    """Those that reading a loader draws from, beside the process's own."""
    holders = (loader, getattr(loader, "sampler", None))
    found = [getattr(each, "generator", None) for each in holders]
    return list({id(each): each for each in found if isinstance(each, torch.Generator)}.values())

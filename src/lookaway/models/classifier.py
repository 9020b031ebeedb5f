"""A classifier as attacks and explainers see it: pixels in, logits out."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lookaway.errors import InputError, ModelError, shown
from lookaway.models.checkpoint import Origin
from lookaway.models.layers import LayerTrace, evaluating

_PROBE_SIZE = 224


class Classifier(nn.Module):
    """A network with its normalisation and its input size inside, so that ε means pixels.

    Calling it holds the network in eval mode and puts its mode back afterwards. The network is
    used as it is, not copied, and never changed.

    Args:
        module: the network, (N, 3, H, W) → logits (N, K); a tuple, a list or a mapping with
            logits in it will do.
        mean: of the three channels, in pixels.
        std: of the three channels, in pixels; above 0.
        input_size: side or (height, width) in px that the network wants; pixels of another size
            are resized (bilinear, antialiased, ``align_corners=False``). None: as they come.
        name: for error messages; the class of the network by default.
        logits: which of the network's outputs are the classes, in order, such as ``[0, 217, 482]``
            for three classes of ImageNet's thousand; None: all, as they come.

    Attributes:
        origin: what of a checkpoint the network holds; None: it is from none.

    Raises:
        InputError: mean, std, input_size or logits make no sense.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> clf = Classifier(net, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), input_size=32)
    >>> clf(torch.rand(2, 3, 64, 64)).shape
    torch.Size([2, 4])
    >>> clf.layer_names("last")
    ['1']
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        input_size: int | tuple[int, int] | None = None,
        name: str | None = None,
        logits: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(module, nn.Module):
            raise InputError(f"module must be a torch.nn.Module, not {type(module).__name__}")
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise InputError(
                f"mean and std need three numbers each, std above 0; got mean={mean}, std={std}"
            )
        sides = (input_size, input_size) if isinstance(input_size, int) else input_size
        if sides is not None and (len(sides) != 2 or min(sides) < 1):
            raise InputError(f"input_size must be a side or (height, width); got {input_size}")
        self.choose(logits)
        self.origin: Origin | None = None
        # A new wrapper starts in the network's own mode, so that wrapping changes nothing.
        self.training = module.training
        self.module = module
        self.input_size = sides
        self.name = name or type(module).__name__
        # Plain numbers: casting the network to half precision must not round them.
        self.mean, self.std = tuple(map(float, mean)), tuple(map(float, std))
        # Layers whose output a study scaled and shifted, and the shift (C,); see ``folding``.
        self.shifts: dict[str, Tensor] = {}
        # What a study's own network computes in; None: whatever its weights say.
        self.mixed: torch.dtype | None = None
        self._traces: dict[tuple[int, int], LayerTrace] = {}

    def choose(self, logits: Sequence[int] | None) -> None:
        """Choose which of the network's outputs are the classes, in order.

        Args:
            logits: their places; None: all, as they come.

        Raises:
            InputError: a place is negative, or given twice.
        """
        chosen = None if logits is None else tuple(map(int, logits))
        if chosen is not None and (not chosen or min(chosen) < 0 or len(set(chosen)) < len(chosen)):
            raise InputError(
                "logits must be places of the network's outputs, from 0, none of them twice; got "
                f"{shown(repr(logits), 80)}"
            )
        self.logits = chosen
        self._num_classes: dict[tuple[int, int], int] = {}

    @property
    def device(self) -> torch.device:
        """Where the network's parameters are."""
        return _device(self.module)

    @property
    def num_classes(self) -> int:
        """The number of logits K, from one forward pass the first time."""
        return self.classes_at(None)

    def classes_at(self, size: tuple[int, int] | None) -> int:
        """The number of logits for images of one size; kept for the next call.

        Args:
            size: (H, W) in px of the images, for a network that takes them as they come.
        """
        sides = self.input_size or size or (_PROBE_SIZE, _PROBE_SIZE)
        if sides not in self._num_classes:
            with torch.no_grad():
                self._num_classes[sides] = self(torch.zeros(1, 3, *sides)).shape[1]
        return self._num_classes[sides]

    def prepare(self, images: Tensor) -> Tensor:
        """Bring pixels to what the network wants: size, normalisation, device and dtype.

        Args:
            images: (N, 3, H, W) float, in [0, 1].

        Returns:
            (N, 3, h, w) in the network's own dtype; differentiable.

        Raises:
            InputError: not a batch of RGB images in floating point.
        """
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise InputError(
                f"images must be a float tensor (N, 3, H, W) of pixels in [0, 1]; got "
                f"{tuple(images.shape)} {images.dtype}"
            )
        images = images.to(self.device)
        if self.input_size is not None and tuple(images.shape[2:]) != self.input_size:
            images = F.interpolate(
                images, size=self.input_size, mode="bilinear", align_corners=False, antialias=True
            )
        exact = torch.promote_types(images.dtype, torch.float32)
        mean, std = (
            torch.tensor(numbers, dtype=exact, device=self.device).view(3, 1, 1)
            for numbers in (self.mean, self.std)
        )
        return ((images - mean) / std).to(_dtype(self.module))

    def forward(self, images: Tensor) -> Tensor:
        """Logits of pixels.

        Args:
            images: (N, 3, H, W) float, in [0, 1].

        Returns:
            (N, K) logits, float32 (float64 if the network computes so).

        Raises:
            InputError: not a batch of RGB images.
            ModelError: the network does not give finite logits (N, K).
        """
        pixels = self.prepare(images)
        with evaluating(self.module, self.name), self._computing():
            logits = _logits(self.module(pixels), self.name)
        if logits.shape[0] != images.shape[0]:
            raise ModelError(
                f"{self.name} gave logits {tuple(logits.shape)} for {images.shape[0]} images"
            )
        if not bool(torch.isfinite(logits.detach()).all()):
            raise ModelError(
                f"{self.name} gives logits that are NaN or infinite; check its weights, its "
                "precision and its normalisation"
            )
        if self.logits is not None:
            if max(self.logits) >= logits.shape[1]:
                raise ModelError(
                    f"{self.name} has {logits.shape[1]} outputs, so there is no output "
                    f"{max(self.logits)}, which logits asks for"
                )
            logits = logits[:, torch.tensor(self.logits, device=logits.device)]
        return logits if logits.dtype == torch.float64 else logits.float()

    def trace(self, size: tuple[int, int] | None = None) -> LayerTrace:
        """The spatial layers as they run for images of one size; kept for the next call.

        Args:
            size: (H, W) in px of the images, for a network that takes them as they come.
        """
        sides = self.input_size or size or (_PROBE_SIZE, _PROBE_SIZE)
        if sides not in self._traces:
            with torch.inference_mode(False), torch.no_grad():
                blank = self.prepare(torch.full((1, 3, *sides), 0.5, device=self.device))
            with self._computing():
                self._traces[sides] = LayerTrace(self.module, blank, self.name)
        return self._traces[sides]

    def _computing(self) -> AbstractContextManager[object]:
        if self.mixed is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.mixed)

    def layer_names(self, layers: str | Sequence[str] = "last") -> list[str]:
        """The names of layers of a kind, in order of execution.

        Args:
            layers: ``last`` (what enters global pooling or the fully connected layers),
                ``stages`` (timm's), ``convs`` (every convolution with more than 1×1 positions),
                or names, which are checked.

        Returns:
            Names as in ``module.named_modules()``.

        Raises:
            LayerError: no such layer, or one without spatial maps.
        """
        return self.trace().names(layers)


def check_pixels(images: Tensor) -> None:
    """Refuse a batch that is not RGB pixels in [0, 1].

    Raises:
        InputError: with the shape, dtype or range that was given.
    """
    if not isinstance(images, Tensor):
        raise InputError(f"images must be a torch tensor, not {type(images).__name__}")
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise InputError(
            "images must be a float tensor (N, 3, H, W) of pixels in [0, 1]; got "
            f"{tuple(images.shape)} {images.dtype}"
        )
    if images.shape[0] == 0:
        raise InputError("images is an empty batch")
    low, high = (float(bound) for bound in torch.aminmax(images.detach()))
    if not (low >= 0.0 and high <= 1.0):
        raise InputError(
            f"pixels must lie in [0, 1]; got {low:g} to {high:g}. Give images before "
            "normalisation (divide 8-bit values by 255); the classifier normalises itself"
        )


def check_classes(classes: Tensor, count: int, num_classes: int, what: str = "classes") -> Tensor:
    """Refuse class indices that do not fit a batch; give them as int64.

    Raises:
        InputError: with the shape, dtype or index that was given.
    """
    if not isinstance(classes, Tensor) or classes.is_floating_point() or classes.ndim != 1:
        raise InputError(f"{what} must be an integer tensor ({count},)")
    if classes.shape[0] != count:
        raise InputError(f"{what} has {classes.shape[0]} entries for {count} images")
    low, high = int(classes.min()), int(classes.max())
    if low < 0 or high >= num_classes:
        raise InputError(f"{what} must lie in 0…{num_classes - 1}; got {low} to {high}")
    with torch.inference_mode(False):  # autograd cannot keep what was made in inference mode
        return classes.clone().long() if classes.is_inference() else classes.long()


def _device(module: nn.Module) -> torch.device:
    parameter = next(module.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def _dtype(module: nn.Module) -> torch.dtype:
    for parameter in module.parameters():
        if parameter.is_floating_point():
            return parameter.dtype
    return torch.float32


def _logits(output: Any, name: str) -> Tensor:
    """The logits in what a network gives."""
    found = output
    if isinstance(output, Mapping):
        found = output.get("logits", next(iter(output.values()), None))
    elif hasattr(output, "logits"):
        found = output.logits
    elif isinstance(output, tuple | list):
        found = output[0] if output else None
    if not isinstance(found, Tensor) or found.ndim != 2:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ModelError(
            f"{name} gives {shape} where logits (N, K) are needed; wrap it in a module that "
            "returns the logits, or a tuple or mapping that has them first or as 'logits'"
        )
    return found

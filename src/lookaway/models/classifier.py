"""A classifier as attacks and explainers see it: pixels in, logits out."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lookaway.errors import InputError, ModelError, shown
from lookaway.models.channels import normalisation, sides_of
from lookaway.models.checks import check_shape, refuse_closed
from lookaway.models.class_names import Names
from lookaway.models.hooks import Held, Hook, differentiable, evaluating, frozen, hooked
from lookaway.models.layers import LayerTrace
from lookaway.models.map_layout import Tokens
from lookaway.models.outputs import (
    LastOperation,
    Outputs,
    as_columns,
    check_said,
    entering_softmax,
    found_outputs,
    output_tensor,
)
from lookaway.models.postponed import must_hold
from lookaway.models.precision import computing
from lookaway.models.provenance import Origin
from lookaway.models.token_grid import check_tokens

_PROBE_SIZE = 224


class Classifier(nn.Module):
    """A network with its normalisation and its input size inside, so that ε means pixels.

    Calling it holds the network in eval mode and puts its mode back afterwards. The network is
    used as it is, not copied, and never changed. It computes in exact float32, on CUDA too.

    Args:
        module: the network, (N, C, H, W) → logits (N, K); a tuple, a list or a mapping with
            logits in it will do. One output, (N,) or (N, 1), is that of a binary network.
        mean: of the channels, in pixels, or one for all.
        std: of the channels, in pixels, or one for all; above 0.
        input_size: side or (height, width) in px that the network wants; pixels of another size
            are resized (bilinear, antialiased, ``align_corners=False``). None: as they come.
        name: for error messages; the class of the network by default.
        channels: 1 (grey) or 3 (RGB); None: as many as mean and std have, else as the network's
            first convolution takes.
        outputs: what the network gives: ``logits``; ``binary``, one number z for two classes with
            the logits −z/2 and z/2; ``probabilities``, of which logarithms are taken (from what
            enters the last softmax or sigmoid where that is a module); ``multilabel``, a logit for
            each of several labels at once; or ``Outputs`` that say it. None: logits, binary where
            there is one.
        logits: which of the logits are the classes, in order, such as ``[0, 217, 482]`` for three
            classes of ImageNet's thousand; None: all, as they come.
        tokens: where the tokens of a network lie that is none of timm's: ``(h, w, prefix)``, the
            grid and how many tokens stand before it; or a function from what a layer gives to maps
            (N, C, h, w), or None where it gives none. None: they are found by value.

    Attributes:
        origin: what of a checkpoint the network holds; None: it is from none.
        output_names: those of its outputs in that checkpoint, and under which name they stand.

    Raises:
        InputError: mean, std, input_size, channels, outputs, logits or tokens make no sense.
        ModelError: the network is of a kind whose layers cannot be watched.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> clf = Classifier(net, mean=0.5, std=0.5, input_size=32)
    >>> clf(torch.rand(2, 3, 64, 64)).shape
    torch.Size([2, 4])
    >>> clf.layer_names("last")
    ['1']
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        input_size: int | tuple[int, int] | None = None,
        name: str | None = None,
        channels: int | None = None,
        outputs: str | Outputs | None = None,
        logits: Sequence[int] | None = None,
        tokens: Tokens | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(module, nn.Module):
            raise InputError(f"module must be a torch.nn.Module, not {type(module).__name__}")
        module = getattr(module, "_orig_mod", module)  # of torch.compile: the network itself
        refuse_closed(module, name or type(module).__name__)
        self.choose(logits)
        self.origin: Origin | None = None
        self.output_names: tuple[str, Names] | None = None
        # A new wrapper starts in the network's own mode, so that wrapping changes nothing.
        self.training = module.training
        self.module = module
        self.input_size = sides_of(input_size)
        self.tokens = check_tokens(tokens)
        self.name = name or type(module).__name__
        # Plain numbers: casting the network to half precision must not round them.
        self.channels, self.mean, self.std = normalisation(module, channels, mean, std)
        # Layers whose output a study scaled and shifted, and the shift (C,); see ``folding``.
        self.shifts: dict[str, Tensor] = {}
        self.precision = "float32"  # see ``precision``; a study sets it for its own networks
        # None: found out by the first probes.
        self._outputs = outputs if isinstance(outputs, Outputs) else None
        self._said = None if isinstance(outputs, Outputs) else outputs
        check_said(self._said)
        self._traces: dict[tuple[int, int], LayerTrace] = {}
        self._held: Held | None = None

    def like(self) -> dict[str, Any]:
        """The arguments with which its network is wrapped again, but for what its outputs mean."""
        return {
            "mean": self.mean,
            "std": self.std,
            "input_size": self.input_size,
            "name": self.name,
            "channels": self.channels,
            "tokens": self.tokens,
        }

    def take_over(self, other: "Classifier") -> None:
        """Know of the network, which is another one's too, where it comes from and its shifts."""
        self.origin, self.output_names = other.origin, other.output_names
        self.shifts = other.shifts

    def forget(self) -> None:
        """Find out anew what was found out about the network, for it was changed."""
        self._outputs = None
        self._traces.clear()
        self.choose(self.logits)

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
        return _device(self.module) if self._held is None else self._held.device

    @property
    def num_classes(self) -> int:
        """The number of logits K, from one forward pass the first time."""
        return self.classes_at(None)

    @property
    def outputs(self) -> Outputs:
        """What the network's outputs mean, from one forward pass the first time.

        Raises:
            ModelError: they are probabilities, and ``outputs`` does not say so.
        """
        if self._outputs is None:
            self.classes_at(None)
        return self._outputs or Outputs()

    def classes_at(self, size: tuple[int, int] | None) -> int:
        """The number of logits for images of one size; kept for the next call.

        Args:
            size: (H, W) in px of the images, for a network that takes them as they come.

        Raises:
            ModelError: the network gives no logits, or probabilities that nobody announced.
        """
        sides = self.sides_at(size)
        if sides not in self._num_classes:
            noise = self._noise(sides)
            dark, light = torch.full_like(noise, 0.25), torch.full_like(noise, 0.75)
            probes = torch.cat([dark, noise, light])
            with torch.no_grad(), LastOperation() as last:
                raw, _ = self._run(probes)
            usable = raw[torch.isfinite(raw).all(dim=1)]  # a probe may be too odd for a network
            if not len(usable):
                raise self._not_finite()
            if self._outputs is None:
                self._outputs = found_outputs(self.name, self._said, usable, last.of(raw))
            like = torch.ones_like(raw[:1])  # the embedding of a probe may have no direction
            self._num_classes[sides] = self._chosen(self._outputs.logits(like)).shape[1]
        return self._num_classes[sides]

    def prepare(self, images: Tensor) -> Tensor:
        """Bring pixels to what the network wants: size, normalisation, device and dtype.

        Args:
            images: (N, C, H, W) float, in [0, 1].

        Returns:
            (N, C, h, w) in the network's own dtype; differentiable.

        Raises:
            InputError: not a batch of images in floating point, of the network's channels.
        """
        check_shape(images, self.channels, self.name)
        device = self.device
        images = images.to(device)
        if self.input_size is not None and tuple(images.shape[2:]) != self.input_size:
            images = F.interpolate(
                images, size=self.input_size, mode="bilinear", align_corners=False, antialias=True
            )
        exact = torch.promote_types(images.dtype, torch.float32)
        mean, std = (
            _constant(numbers, exact, device)[:, None, None] for numbers in (self.mean, self.std)
        )
        held = self._held
        return ((images - mean) / std).to(_dtype(self.module) if held is None else held.dtype)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of pixels.

        Args:
            images: (N, C, H, W) float, in [0, 1].

        Returns:
            (N, K) logits, float32 (float64 if the network computes so).

        Raises:
            InputError: not a batch of images of the network's channels.
            ModelError: the network does not give finite logits (N, K).
        """
        if self._outputs is None:
            check_shape(images, self.channels, self.name)
            self.classes_at((images.shape[2], images.shape[3]))
        raw, entered = self._run(images)
        logits = self.outputs.logits(raw if entered is None else entered, entered is not None)
        must_hold(torch.isfinite(logits.detach()).all(), self._not_finite)
        return self._chosen(logits)

    def _run(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """What the network gives, (N, k), and what entered its last softmax or sigmoid module."""
        pixels = self.prepare(images)
        with ExitStack() as stack:
            if self._held is None or self.module.training:
                stack.enter_context(evaluating(self.module, self.name))
            stack.enter_context(self._passing())
            entered: dict[int, tuple[Tensor, Tensor]] = {}
            if self._said == "probabilities":
                entered = stack.enter_context(entering_softmax(self.module))
            raw = output_tensor(self.module(pixels), self.name)
        inner = entered[id(raw)][0] if id(raw) in entered else None
        found = [as_columns(each) for each in (raw, inner) if each is not None]
        if found[0].shape[0] != images.shape[0]:
            raise ModelError(
                f"{self.name} gave logits {tuple(raw.shape)} for {images.shape[0]} images"
            )
        return found[0], found[1] if len(found) > 1 else None

    def _chosen(self, logits: Tensor) -> Tensor:
        """Those logits that are classes, in their order."""
        if self.logits is None:
            return logits
        if max(self.logits) >= logits.shape[1]:
            raise ModelError(
                f"{self.name} has {logits.shape[1]} outputs, so there is no output "
                f"{max(self.logits)}, which logits asks for"
            )
        return logits[:, _constant(self.logits, torch.int64, logits.device)]

    def _not_finite(self) -> ModelError:
        return ModelError(
            f"{self.name} gives logits that are NaN or infinite; check its weights, its precision "
            "and its normalisation"
        )

    def trace(self, size: tuple[int, int] | None = None) -> LayerTrace:
        """The spatial layers as they run for images of one size; kept for the next call.

        Args:
            size: (H, W) in px of the images, for a network that takes them as they come.
        """
        sides = self.sides_at(size)
        if sides not in self._traces:
            self.classes_at(size)  # what its outputs mean is known before anything is explained
            with torch.inference_mode(False), torch.no_grad():
                noise = self.prepare(self._noise(sides))
            with self._passing():
                self._traces[sides] = LayerTrace(self.module, noise, self.name, self.tokens)
        return self._traces[sides]

    def computing(self) -> AbstractContextManager[None]:
        """What float32 is to mean around passes there and back; see ``precision.computing``."""
        return computing(self.precision)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the network for many passes: frozen, and its hooks set once.

        What is held already stays so. Inside, autograd is on.
        """
        with self.computing():
            if self._held is not None:
                with differentiable():
                    yield
                return
            held = Held(self.module, self.device, _dtype(self.module))
            with frozen(self, self.name):
                self._held = held
                try:
                    yield
                finally:
                    self._held = None
                    held.release()

    def frozen(self) -> AbstractContextManager[None]:
        """Hold the network for passes there and back; see ``hooks.frozen``."""
        return differentiable() if self._held is not None else frozen(self.module)

    def hooked(self, names: Sequence[str], hook: Hook) -> AbstractContextManager[None]:
        """Watch layers; see ``hooks.hooked``."""
        if self._held is not None:
            return self._held.hooked(names, hook)
        return hooked(self.module, names, hook)

    @contextmanager
    def _passing(self) -> Iterator[None]:
        """What holds in a forward pass of the network."""
        mixed: AbstractContextManager[object] = nullcontext()
        if self.precision == "bfloat16":
            mixed = torch.autocast(self.device.type, dtype=torch.bfloat16)
        with nullcontext() if self._held is not None else self.computing(), mixed:
            yield

    def layer_names(
        self, layers: str | nn.Module | Sequence[str | nn.Module] = "last"
    ) -> list[str]:
        """The names of layers of a kind, in order of execution.

        Args:
            layers: ``last`` (what enters global pooling or the fully connected layers),
                ``stages`` (timm's), ``convs`` (every convolution with more than 1×1 positions),
                or names or modules of the network, which are checked.

        Returns:
            Names as in ``module.named_modules()``.

        Raises:
            LayerError: no such layer, or one without spatial maps.
        """
        return self.trace().names(layers)

    def _noise(self, sides: tuple[int, int]) -> Tensor:
        """An image (1, C, H, W) that differs from place to place; always the same."""
        random = torch.Generator().manual_seed(0)
        return 0.25 + 0.5 * torch.rand(1, self.channels, *sides, generator=random)

    def blank(self) -> Tensor:
        """One grey image as the network wants it, (1, C, h, w)."""
        return self.prepare(torch.full((1, self.channels, *self.sides_at()), 0.5))

    def sides_at(self, size: tuple[int, int] | None = None) -> tuple[int, int]:
        """Height and width, px, of what the network gets of images of a size, by default 224."""
        return self.input_size or size or (_PROBE_SIZE, _PROBE_SIZE)


@lru_cache(maxsize=64)
def _constant(numbers: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Numbers on a device, copied there once."""
    with torch.inference_mode(False):
        return torch.tensor(numbers, dtype=dtype, device=device)


def _device(module: nn.Module) -> torch.device:
    parameter = next(module.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def _dtype(module: nn.Module) -> torch.dtype:
    for parameter in module.parameters():
        if parameter.is_floating_point():
            return parameter.dtype
    return torch.float32

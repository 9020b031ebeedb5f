"""The layers of a network that give spatial maps, found by watching one forward pass."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lookaway.errors import LayerError, nearest
from lookaway.models.hooks import evaluating, first_tensor, frozen, hooked, in_place_of
from lookaway.models.layout import Layouts
from lookaway.models.outputs import output_tensor

# Layers that only hand on what another gave; a subclass with a forward of its own does more.
_CONTAINERS = (nn.Sequential.forward, nn.Identity.forward, nn.Dropout.forward, nn.Dropout2d.forward)


@dataclass(frozen=True)
class Layer:
    """A layer as it ran: its name, the size of its maps, and how deep it stands.

    Attributes:
        name: as in ``named_modules()``.
        size: (h, w) of its output.
        depth: 0 where the first convolution ends, 1 where the last one has ended.
        is_conv: whether it is a convolution.
    """

    name: str
    size: tuple[int, int]
    depth: float
    is_conv: bool


@dataclass(frozen=True)
class _Event:
    """A layer that gave a 4-D tensor, by itself or first in a tuple (``in_tuple``)."""

    name: str
    layer: nn.Module
    output: Tensor
    version: int  # in-place layers give the same tensor again, in another version
    convs_before: int
    in_tuple: bool

    @property
    def is_spatial(self) -> bool:
        return self.output.shape[2] * self.output.shape[3] > 1

    @property
    def is_pool(self) -> bool:
        """By name, or because it leaves 1×1 positions though nothing in it mixes channels."""
        mixes = any(isinstance(part, nn.Conv2d | nn.Linear) for part in self.layer.modules())
        return "pool" in type(self.layer).__name__.lower() or not (self.is_spatial or mixes)


class LayerTrace:
    """Every layer of one forward pass that gives maps (N, C, H, W), in order of execution.

    A layer that runs more than once in a pass stands where it ran last.

    Attributes:
        layers: by name, in order.
        activation_bytes: what all spatial outputs of one image take together.
    """

    def __init__(self, module: nn.Module, pixels: Tensor, name: str | None = None) -> None:
        """Run the network once, and its head once more.

        Args:
            module: the network, NCHW → logits.
            pixels: (1, C, H, W), as the network wants them.
            name: for error messages; the class of the network by default.
        """
        self._module = module
        self._name = name or type(module).__name__
        events, trunk_end, ends_in_tokens, layouts = _watch(module, pixels)
        self._refused = _refusals(events, layouts)
        self._last: str | None = None
        self._no_last = ""  # why
        if ends_in_tokens:
            self._no_last = "its trunk ends in tokens (N, T, C)"
        else:
            self._find_last(pixels, events[:trunk_end])
        events = [event for event in events if event.is_spatial]
        self.activation_bytes = sum(event.output.nbytes for event in events)
        events = [event for event in events if event.name not in self._refused]
        convs = sum(isinstance(event.layer, nn.Conv2d) for event in events)
        last_runs = {event.name: event for event in events}
        self.layers = {
            event.name: Layer(
                name=event.name,
                size=(event.output.shape[2], event.output.shape[3]),
                depth=min(1.0, max(0, event.convs_before - 1) / max(1, convs - 1)),
                is_conv=isinstance(event.layer, nn.Conv2d),
            )
            for event in events
            if last_runs[event.name] is event
        }

    def _find_last(self, pixels: Tensor, trunk: Sequence[_Event]) -> None:
        """The last layer of the trunk that has a part in the logits, or why there is none."""
        spatial = [place for place, event in enumerate(trunk) if event.is_spatial]
        if not spatial:
            self._no_last = "no layer of its trunk gives maps (N, C, H, W) of more than 1x1"
            return
        end = spatial[-1] + 1
        if end < len(trunk) and not trunk[end].is_pool:
            self._no_last = f"its layer {trunk[end].name!r} leaves maps of 1x1; give larger images"
            return
        for event in _before_pooling([trunk[place] for place in spatial]):
            if event.name in self._refused:
                self._no_last = f"its trunk ends in {event.name!r}, {self._refused[event.name]}"
                return
            if _has_part(self._module, event.name, pixels, self._name):
                self._last = event.name
                return
        self._no_last = "none of its layers with maps has a part in the logits"

    def names(self, layers: Any) -> list[str]:
        """The names behind ``last``, ``stages``, ``convs``, a name or module, or a list of them.

        Raises:
            LayerError: a layer is unknown, ran nowhere, or gives no spatial maps.
        """
        if isinstance(layers, str) and layers in ("last", "convs", "stages"):
            return {"last": self._require_last, "convs": self._convs, "stages": self._stages}[
                layers
            ]()
        asked = [layers] if isinstance(layers, str | nn.Module) else layers
        if not isinstance(asked, list | tuple):
            raise LayerError(
                f"layers must be last, convs, stages, or names or modules; got {layers!r}"
            )
        if not asked:
            raise LayerError("no layer is named; give last, stages, convs or names of layers")
        known = dict(self._module.named_modules())
        by_module = {id(module): name for name, module in known.items()}
        names = [by_module.get(id(each)) if isinstance(each, nn.Module) else each for each in asked]
        for each, name in zip(asked, names, strict=True):
            if name is None:
                raise LayerError(f"{type(each).__name__} is no part of {self._name}")
            self._check(name, known)
        return list(dict.fromkeys(names))  # type: ignore[arg-type]  # none of them is None

    def _require_last(self) -> list[str]:
        if self._last is None:
            raise LayerError(
                f"{self._name} has no last layer with spatial maps (N, C, H, W): {self._no_last}. "
                f"Name a layer: {_some(self.layers)}"
            )
        return [self._last]

    def _convs(self) -> list[str]:
        convs = [layer.name for layer in self.layers.values() if layer.is_conv]
        if not convs:
            raise LayerError(f"{self._name} runs no convolution with more than 1x1 positions")
        return convs

    def _stages(self) -> list[str]:
        info = getattr(self._module, "feature_info", None)
        named = [str(entry["module"]) for entry in info] if info else []
        for name in named:
            if name in self._refused:
                raise LayerError(
                    f"{self._name} has the stage {name!r}, {self._refused[name]}; give last, convs "
                    "or names of layers"
                )
        stages = [name for name in named if name in self.layers]
        if not stages:
            raise LayerError(
                f"{self._name} names no stages with maps (N, C, H, W) (timm's feature_info); "
                "give last, convs or names of layers"
            )
        return stages

    def _check(self, name: Any, known: dict[str, nn.Module]) -> None:
        if name in self.layers:
            return
        others = f"Layers that do: {_some(self.layers)}"
        if name in self._refused:
            raise LayerError(f"layer {name!r} gives no maps: {self._refused[name]}. {others}")
        if name in known:
            raise LayerError(
                f"layer {name!r} gives no spatial maps (N, C, H, W) with more than 1x1 positions. "
                f"{others}"
            )
        raise LayerError(
            f"there is no layer {name!r}.{nearest(str(name), self.layers)} "
            f"Layers with spatial maps: {_some(self.layers)}; or last, stages, convs"
        )


def _some(layers: dict[str, Layer], count: int = 12) -> str:
    names = [name for name in layers if name]
    if not names:
        return "there is none"
    shown = names if len(names) <= count else [*names[: count - 2], "…", names[-1]]
    return ", ".join(shown) + f" ({len(names)} in all)"


def _watch(module: nn.Module, pixels: Tensor) -> tuple[list[_Event], int, bool, Layouts]:
    """Outputs (N, C, H, W) in order; how many the trunk made; whether it ends in tokens."""
    events: list[_Event] = []
    convs = 0
    tokens_after = False

    def note(name: str, layer: nn.Module, output: Any) -> None:
        nonlocal convs, tokens_after
        tensor = first_tensor(output)
        if tensor is None:
            return
        if tensor.ndim == 4:
            convs += isinstance(layer, nn.Conv2d) and tensor.shape[2] * tensor.shape[3] > 1
            in_tuple = tensor is not output
            events.append(_Event(name, layer, tensor, tensor._version, convs, in_tuple))
            tokens_after = False
        elif tensor.ndim == 3:
            tokens_after = True

    names = [name for name, _ in module.named_modules() if name]
    with (
        torch.inference_mode(False),
        evaluating(module),
        torch.no_grad(),
        hooked(module, names, note),
    ):
        forward_features = getattr(module, "forward_features", None)
        if callable(forward_features):
            forward_features(pixels)
            trunk_end, tokens = len(events), tokens_after
            events.clear()
            convs = 0
        with Layouts() as layouts:
            module(pixels)
        if not callable(forward_features):
            trunk_end, tokens = len(events), tokens_after
    return events, trunk_end, tokens, layouts


def _refusals(events: Sequence[_Event], layouts: Layouts) -> dict[str, str]:
    """Layers whose 4-D outputs are not one map (N, C, H, W) an image, and why."""
    refused = {}
    channels_first = layouts.channels_first()
    for event in events:
        shape = tuple(event.output.shape)
        if shape[0] != 1:
            refused[event.name] = (
                f"which gives {shape[0]} maps for one image: the network looks at it several "
                "times, or in windows"
            )
        elif event.is_spatial and not channels_first(event.output):
            refused[event.name] = (
                f"whose output {shape} is not known to be (N, C, H, W): its channels come last, "
                "or it is no map"
            )
    return refused


def _before_pooling(spatial: Sequence[_Event]) -> Iterator[_Event]:
    """The layers whose output may enter pooling or the fully connected layers, likeliest first.

    Pools at the end of the trunk are stepped over (VGG16's last activation, not its last pool),
    and so are 1×1 outputs behind a pool (fully connected layers written as convolutions). Nested
    modules that give the very same tensor count as one; the outermost one that is not a mere
    container names it (``layer4.2``, not ``layer4`` nor ``layer4.2.act3``), of those that give
    nothing else beside it; a container where there is nothing else.
    """
    remaining = list(spatial)
    while remaining:
        final = remaining[-1]
        group = [
            event
            for event in remaining
            if event.output is final.output and event.version == final.version
        ]
        named = [event for event in group if type(event.layer).forward not in _CONTAINERS] or group
        if not any(event.is_pool for event in named):
            yield min(named, key=lambda event: (event.in_tuple, event.name.count(".")))
        remaining = [event for event in remaining if event not in group]


def _has_part(module: nn.Module, layer: str, pixels: Tensor, name: str) -> bool:
    """Whether a layer's output has a part in what the network gives, told by its gradient."""
    added: list[Tensor] = []

    def add(_name: str, _layer: nn.Module, output: Any) -> Any:
        tensor = first_tensor(output)
        if tensor is None:
            return output
        with torch.enable_grad():  # also where a network turns it off for its trunk
            added.append(tensor.new_zeros(1).requires_grad_())
            return in_place_of(output, tensor + added[-1])

    with frozen(module), hooked(module, [layer], add):
        score = output_tensor(module(pixels), name).sum()
        if not score.requires_grad:
            return False
        return any(
            found is not None for found in torch.autograd.grad(score, added, allow_unused=True)
        )

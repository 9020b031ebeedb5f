"""The layers of a network that give spatial maps, found by watching one forward pass."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lookaway.errors import LayerError, ModelError, nearest

# Layers that only hand on what another gave; a subclass with a forward of its own does more.
_CONTAINERS = (nn.Sequential.forward, nn.Identity.forward, nn.Dropout.forward, nn.Dropout2d.forward)


@contextmanager
def hooked(
    module: nn.Module, names: Sequence[str], hook: Callable[[str, nn.Module, Any], Any]
) -> Iterator[None]:
    """Call ``hook(name, layer, output)`` after each run of the named layers, then leave no trace.

    Args:
        module: the network.
        names: layer names as in ``module.named_modules()``.
        hook: what it returns, unless None, takes the place of the layer's output.
    """
    with ExitStack() as stack:
        for name in names:
            handle = module.get_submodule(name).register_forward_hook(
                lambda layer, _inputs, output, name=name: hook(name, layer, output)
            )
            stack.callback(handle.remove)
        yield


@contextmanager
def evaluating(module: nn.Module, name: str | None = None) -> Iterator[None]:
    """Hold a network in eval mode, then give every part its own mode back.

    Args:
        module: the network.
        name: for the error; the class of the network by default.

    Raises:
        ModelError: the network turned on training mode by itself meanwhile.
    """
    modes = [(part, part.training) for part in module.modules()]
    try:
        for part, _ in modes:
            part.training = False
        yield
        if any(part.training for part, _ in modes):
            raise ModelError(
                f"{name or type(module).__name__} turns on training mode in its own forward pass, "
                "so its logits are random or depend on the batch; leave the mode to the caller"
            )
    finally:
        for part, training in modes:
            part.training = training


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Hold a network in eval mode without parameter gradients, then put both back.

    Gradients that the parameters hold already are not touched. Autograd is on inside, also where
    the caller had turned it off.
    """
    asking = [parameter for parameter in module.parameters() if parameter.requires_grad]
    with evaluating(module), torch.inference_mode(False), torch.enable_grad():
        try:
            for parameter in asking:
                parameter.requires_grad_(False)
            yield
        finally:
            for parameter in asking:
                parameter.requires_grad_(True)


def first_tensor(output: Any) -> Tensor | None:
    """The tensor that a layer gives: itself, or the first of a tuple or list."""
    if isinstance(output, tuple | list) and output:
        output = output[0]
    return output if isinstance(output, Tensor) else None


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
    name: str
    layer: nn.Module
    output: Tensor
    version: int  # in-place layers give the same tensor again, in another version
    convs_before: int

    @property
    def is_spatial(self) -> bool:
        return self.output.shape[2] * self.output.shape[3] > 1

    @property
    def is_pool(self) -> bool:
        return "pool" in type(self.layer).__name__.lower()


class LayerTrace:
    """Every spatial layer of one forward pass, in order of execution.

    A layer that runs more than once in a pass stands where it ran last.

    Attributes:
        layers: by name, in order.
        activation_bytes: what all spatial outputs of one image take together.
    """

    def __init__(self, module: nn.Module, pixels: Tensor, name: str | None = None) -> None:
        """Run the network once.

        Args:
            module: the network, NCHW → logits.
            pixels: (1, 3, H, W), as the network wants them.
            name: for error messages; the class of the network by default.
        """
        events, trunk_end, self._tokens = _watch(module, pixels)
        self._module = module
        self._name = name or type(module).__name__
        self._channels_last = getattr(module, "output_fmt", "NCHW") == "NHWC"
        self._last = _last_before_pooling(events[:trunk_end])
        events = [event for event in events if event.is_spatial]
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
        self.activation_bytes = sum(event.output.nbytes for event in events)

    def names(self, layers: str | Sequence[str]) -> list[str]:
        """The names behind ``last``, ``stages``, ``convs``, one name, or a list of names.

        Raises:
            LayerError: a layer is unknown, ran nowhere, or gives no spatial maps.
        """
        if layers == "last":
            return [self._require_last()]
        if layers == "convs":
            return self._require_convs()
        if layers == "stages":
            return self._stages()
        if not isinstance(layers, str | list | tuple):
            raise LayerError(f"layers must be last, convs, stages or names; got {layers!r}")
        asked = [layers] if isinstance(layers, str) else list(layers)
        if not asked:
            raise LayerError("no layer is named; give last, stages, convs or names of layers")
        for name in asked:
            self._check(name)
        return list(dict.fromkeys(asked))

    def _require_last(self) -> str:
        if self._tokens or self._channels_last or self._last is None:
            raise LayerError(
                f"{self._name} has no last layer with spatial maps (N, C, H, W): "
                "its trunk ends in tokens, in channels-last features, or (with small images) in "
                "maps of 1x1; give larger images, or name a layer"
            )
        return self._last

    def _require_convs(self) -> list[str]:
        convs = [layer.name for layer in self.layers.values() if layer.is_conv]
        if not convs:
            raise LayerError(f"{self._name} runs no convolution with more than 1x1 positions")
        return convs

    def _stages(self) -> list[str]:
        info = getattr(self._module, "feature_info", None)
        stages = [str(entry["module"]) for entry in info] if info else []
        stages = [name for name in stages if name in self.layers]
        if not stages or self._channels_last:
            raise LayerError(
                f"{self._name} names no stages with maps (N, C, H, W) (timm's "
                "feature_info); "
                "give last, convs or names of layers"
            )
        return stages

    def _check(self, name: str) -> None:
        if name in self.layers:
            return
        known = dict(self._module.named_modules())
        if name in known:
            raise LayerError(
                f"layer {name!r} gives no spatial maps (N, C, H, W) with more than 1x1 positions"
                f"; layers that do: {_some(self.layers)}"
            )
        raise LayerError(
            f"there is no layer {name!r}.{nearest(name, self.layers)} "
            f"Layers with spatial maps: {_some(self.layers)}; or last, stages, convs"
        )


def _some(layers: dict[str, Layer], count: int = 12) -> str:
    names = [name for name in layers if name]
    shown = names if len(names) <= count else [*names[: count - 2], "…", names[-1]]
    return ", ".join(shown) + f" ({len(names)} in all)"


def _watch(module: nn.Module, pixels: Tensor) -> tuple[list[_Event], int, bool]:
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
            events.append(_Event(name, layer, tensor, tensor._version, convs))
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
            module(pixels)
        else:
            module(pixels)
            trunk_end, tokens = len(events), tokens_after
    return events, trunk_end, tokens


def _last_before_pooling(events: Sequence[_Event]) -> str | None:
    """The layer whose output enters pooling or the fully connected layers.

    Pools at the end of the trunk are stepped over (VGG16's last activation, not its last pool),
    and so are 1×1 outputs behind a pool (fully connected layers written as convolutions). Nested
    modules that give the very same tensor count as one; the outermost one that is not a mere
    container names it (``layer4.2``, not ``layer4`` nor ``layer4.2.act3``).
    """
    spatial = [place for place, event in enumerate(events) if event.is_spatial]
    if not spatial:
        return None
    end = spatial[-1] + 1
    if end < len(events) and not events[end].is_pool:
        return None  # a layer of the trunk itself shrank the maps to 1×1
    remaining = [events[place] for place in spatial]
    while remaining:
        final = remaining[-1]
        group = [
            event
            for event in remaining
            if event.output is final.output and event.version == final.version
        ]
        named = [event for event in group if type(event.layer).forward not in _CONTAINERS]
        if named and not any(event.is_pool for event in named):
            return min(named, key=lambda event: event.name.count(".")).name
        remaining = [event for event in remaining if event not in group]
    return None

"""The layers of a network that give spatial maps, found by watching one forward pass."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lookaway.errors import LayerError, nearest
from lookaway.models.events import Event, of_layers, outermost, watch
from lookaway.models.hooks import first_tensor, frozen, hooked, in_place_of
from lookaway.models.layout import Layouts
from lookaway.models.map_layout import MapLayout, Tokens
from lookaway.models.outputs import output_tensor
from lookaway.models.tokens import REMEDY, TokenMaps, find_tokens, reach


@dataclass(frozen=True)
class Layer:
    """A layer as it ran: its name, the size of its maps, and how deep it stands.

    Attributes:
        name: as in ``named_modules()``.
        size: (h, w) of its output.
        depth: 0 where the first convolution ends, 1 where the last one has ended; in a network
            whose trunk ends in tokens, its linear layers count as well.
        is_conv: whether it is a convolution.
        layout: where its maps are; None: its output, or the first of a tuple, is (N, C, h, w).
    """

    name: str
    size: tuple[int, int]
    depth: float
    is_conv: bool
    layout: MapLayout | None = None


class LayerTrace:
    """Every layer of one forward pass that gives maps, in order of execution.

    A layer that runs more than once in a pass stands where it ran last.

    Attributes:
        layers: by name, in order.
        activation_bytes: what all spatial outputs of one image take together.
    """

    def __init__(
        self,
        module: nn.Module,
        pixels: Tensor,
        name: str | None = None,
        tokens: Tokens | None = None,
    ) -> None:
        """Run the network once, and its head once more; one of tokens a few times.

        Args:
            module: the network, NCHW → logits.
            pixels: (1, C, H, W), as the network wants them, different from place to place.
            name: for error messages; the class of the network by default.
            tokens: what the user says of its tokens; see ``Classifier``.
        """
        self._module = module
        self._name = name or type(module).__name__
        events, trunk_end, ends_in_tokens, layouts = _watch(module, pixels)
        maps = [event for event in events if event.is_maps]
        unclear = _refusals(maps, layouts)
        others = [event for event in events if not event.is_maps or event.name in unclear]
        self._tokens = TokenMaps({})
        if tokens is not None or any(map(_may_be_tokens, others)):
            self._tokens = find_tokens(module, pixels, others, tokens)
        known = {name for name, _, _ in self._tokens.layouts}
        self._refused = {
            event.name: unclear[event.name] if event.name in unclear else _as_tokens(event)
            for event in others
            if event.name not in known and (event.name in unclear or _may_be_tokens(event))
        }
        self._last: str | None = None
        self._no_last = ""  # why
        if ends_in_tokens:
            self._no_last = f"its trunk ends in tokens (N, T, C): {self._tokens.missing}; {REMEDY}"
        else:
            self._find_last(pixels, maps[:trunk_end], unclear)
        shown: dict[str, tuple[Event, MapLayout | None]] = {}
        for event in events:
            plain = event.is_maps and event.is_spatial and event.name not in unclear
            layout = None if plain else self._tokens.layouts.get(event.key)
            earlier = shown.get(event.name)
            if (plain or layout) and not (earlier and earlier[0].run == event.run):
                shown.pop(event.name, None)
                shown[event.name] = event, layout
        of_tokens = self._last is None and bool(known)
        spatial = [event for event in events if of_tokens or (event.is_maps and event.is_spatial)]
        self.activation_bytes = sum(event.output.nbytes for event in spatial)
        if of_tokens:
            most = max(event.steps_before for event in events)
        else:
            most = max((event.convs_before for event, _ in shown.values()), default=1)
        self.layers = {
            name: Layer(
                name=name,
                size=layout.grid if layout else (event.output.shape[2], event.output.shape[3]),
                depth=min(
                    1.0,
                    max(0, (event.steps_before if of_tokens else event.convs_before) - 1)
                    / max(1, most - 1),
                ),
                is_conv=event.is_conv,
                layout=layout,
            )
            for name, (event, layout) in shown.items()
        }
        if of_tokens:
            self._find_last_of_tokens(pixels, shown)

    def _find_last(self, pixels: Tensor, trunk: Sequence[Event], unclear: dict[str, str]) -> None:
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
            if event.name in unclear:
                self._no_last = f"its trunk ends in {event.name!r}, {unclear[event.name]}"
                return
            if _has_part(self._module, event.name, pixels, self._name):
                self._last = event.name
                return
        self._no_last = "none of its layers with maps has a part in the logits"

    def _find_last_of_tokens(
        self, pixels: Tensor, shown: Mapping[str, tuple[Event, MapLayout | None]]
    ) -> None:
        """The last norm or stage whose places the score sees at more than half of the grid.

        Of the last stage's grid and channels, where stages are known. Behind the last attention a
        class token alone is read, and the other tokens have no gradient.
        """
        layouts = {}
        for name, (event, layout) in shown.items():
            layout = layout or MapLayout("first", self.layers[name].size, part=event.part)
            grid = (*layout.grid, layout.maps(event.output).shape[1])
            if self._tokens.grid in (None, grid) and (
                name in self._tokens.stages
                or hasattr(event.layer, "normalized_shape")
                or hasattr(event.layer, "num_features")
            ):
                layouts[name] = layout
        shares = reach(self._module, pixels, layouts, self._name)
        seen = [name for name in layouts if shares.get(name, 0.0) > 0.5]
        if seen:
            self._last = seen[-1]
        else:
            self._no_last = (
                "none of its norms and stages has a gradient of the logits at more than half of "
                "its places"
            )

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
        found = list(dict.fromkeys(self._tokens.stages))
        of_tokens = any(name not in self.layers or self.layers[name].layout for name in found)
        stages = found if of_tokens else named
        wrong = {name: self._refused[name] for name in stages if name in self._refused}
        if of_tokens and not wrong:
            why = "which does not run on the way to the logits"
            wrong = {name: why for name in stages if name not in self.layers}
        for name, why in wrong.items():
            raise LayerError(
                f"{self._name} has the stage {name!r}, {why}; give last, convs or names of layers"
            )
        stages = [name for name in stages if name in self.layers]
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


def _some(layers: dict[str, Layer]) -> str:
    names = [name for name in layers if name]
    if not names:
        return "there is none"
    shown = names if len(names) <= 12 else [*names[:10], "…", names[-1]]
    return ", ".join(shown) + f" ({len(names)} in all)"


def _watch(module: nn.Module, pixels: Tensor) -> tuple[list[Event], int, bool, Layouts]:
    """What layers give in order; how many maps the trunk gives; whether it ends in tokens."""
    forward_features = getattr(module, "forward_features", None)
    trunk = None
    if callable(forward_features):
        trunk = watch(module, lambda: forward_features(pixels))
    with Layouts() as layouts:
        events = watch(module, lambda: module(pixels))
    trunk = [event for event in (trunk or events) if event.part in (None, 0)]
    ends_in_tokens = bool(trunk) and trunk[-1].output.ndim == 3
    return events, sum(event.is_maps for event in trunk), ends_in_tokens, layouts


def _may_be_tokens(event: Event) -> bool:
    return event.output.shape[0] == 1 and min(event.output.shape[1:3]) > 1


def _refusals(events: Sequence[Event], layouts: Layouts) -> dict[str, str]:
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
                f"or it is no map; {REMEDY}"
            )
    return refused


def _as_tokens(event: Event) -> str:
    shape = tuple(event.output.shape)
    return f"whose output {shape} may be tokens, and it is not known where they lie; {REMEDY}"


def _before_pooling(spatial: Sequence[Event]) -> Iterator[Event]:
    """The layers whose output may enter pooling or the fully connected layers, likeliest first.

    Pools at the end of the trunk are stepped over (VGG16's last activation, not its last pool),
    and so are 1×1 outputs behind a pool (fully connected layers written as convolutions). Nested
    modules that give the very same tensor count as one.
    """
    remaining = list(spatial)
    while remaining:
        final = remaining[-1]
        group = [
            event
            for event in remaining
            if event.output is final.output and event.version == final.version
        ]
        if not any(event.is_pool for event in of_layers(group)):
            yield outermost(group)
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

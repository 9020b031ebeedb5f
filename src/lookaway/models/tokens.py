"""Layers of tokens (N, T, C), or maps in another order than (N, C, h, w), found by value.

timm gives what each stage of its networks makes as maps (N, C, h, w): ``forward_intermediates``. A
layer whose output holds the very same numbers shows how they lie in it, and what follows from that
for other layers is followed through the pass; see ``TokenOrder``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lookaway.errors import LayerError, shown
from lookaway.models.events import Event, Key, outermost, watch
from lookaway.models.hooks import drawn, frozen, hooked
from lookaway.models.map_layout import (
    MapLayout,
    Tokens,
    equal_layouts,
    said_layout,
    tells_places,
)
from lookaway.models.outputs import output_tensor
from lookaway.models.token_order import TokenOrder

REMEDY = (
    "say where they lie: Classifier(…, tokens=(h, w, prefix)), the grid and how many tokens stand "
    "before it (in a study tokens: [h, w, prefix]), or a function from a layer's output to maps "
    "(N, C, h, w)"
)


@dataclass(frozen=True)
class TokenMaps:
    """What is known of a network's tokens, and of its maps with channels last.

    Attributes:
        layouts: of what layers give.
        stages: the names of timm's stages, in order, where each was found.
        grid: (h, w) and channels of the last stage; None: not known.
        missing: why there are no stages; empty where there are.
    """

    layouts: dict[Key, MapLayout]
    stages: tuple[str, ...] = ()
    grid: tuple[int, int, int] | None = None
    missing: str = ""


def find_tokens(
    module: nn.Module, pixels: Tensor, events: Sequence[Event], said: Tokens | None
) -> TokenMaps:
    """Find how the tokens of a network lie.

    Args:
        module: the network.
        pixels: (1, C, H, W), as the network wants them, different from place to place.
        events: of a pass with them.
        said: what the user says of them; then nothing else counts.

    Raises:
        InputError: the user gave a function that does more than move numbers.
    """
    if said is not None:
        layouts = {}
        for event in events:
            layout = said_layout(said, event.output) if event.output.shape[0] == 1 else None
            if layout is not None:
                layouts[event.key] = replace(layout, part=event.part)
        return TokenMaps(layouts, missing="tokens are as the user says them")
    try:
        with drawn(module):
            stages = _matches(module, pixels)
    except LayerError as error:
        return TokenMaps({}, missing=str(error))
    known = {event.key: layout for stage in stages for event, layout in stage}
    with TokenOrder() as order:
        passed = watch(module, lambda: module(pixels))
    anchors = {
        id(event.output): replace(known[event.key], part=None)
        for event in passed
        if event.key in known and known[event.key].fits(event.output)
    }
    found = order.layouts(anchors)
    layouts = {
        event.key: replace(found[id(event.output)], part=event.part)
        for event in passed
        if id(event.output) in found and found[id(event.output)].fits(event.output)
    }
    names = tuple(_name(module, place, stage) for place, stage in enumerate(stages))
    event, layout = stages[-1][0]
    return TokenMaps(layouts, names, (*layout.grid, layout.maps(event.output).shape[1]))


_Match = list[tuple[Event, MapLayout]]


def _matches(module: nn.Module, pixels: Tensor) -> list[_Match]:
    """For each of timm's stages the outputs that equal it.

    Raises:
        LayerError: why there are none.
    """
    _, net = _timms(module)
    intermediates = getattr(net, "forward_intermediates", None)
    if net is None or intermediates is None:
        raise LayerError("it has no forward_intermediates, as timm's networks have")
    if net is not module:
        entered: list[Tensor] = []
        handle = net.register_forward_pre_hook(lambda _net, inputs: entered.extend(inputs[:1]))
        try:
            watch(module, lambda: module(pixels))
        finally:
            handle.remove()
        if len(entered) != 1:
            raise LayerError(f"its {type(net).__name__} of timm's is not called once")
        (pixels,) = entered
    given: list[Any] = []
    try:
        events = watch(module, lambda: given.extend(intermediates(pixels, intermediates_only=True)))
    except Exception as error:
        told = shown(f"{type(error).__name__}: {error}", 200)
        raise LayerError(f"its forward_intermediates fails ({told})") from error
    found: list[_Match] = []
    for place, maps in enumerate(given):
        if not isinstance(maps, Tensor) or maps.ndim != 4 or not tells_places(maps):
            raise LayerError(
                f"stage {place} of its forward_intermediates, {tuple(getattr(maps, 'shape', ()))}, "
                "is no map that differs from place to place"
            )
        stage = [
            (event, replace(layout, part=event.part))
            for event in events
            for layout in equal_layouts(event.output, maps)
        ]
        if not stage:
            raise LayerError(f"no layer's output equals stage {place} of its forward_intermediates")
        found.append(stage)
    if not found:
        raise LayerError("its forward_intermediates gives nothing")
    return found


def _timms(module: nn.Module) -> tuple[str, nn.Module | None]:
    """The network of timm's in a network, which may be itself, and its name there."""
    for name, part in module.named_modules():
        if callable(getattr(part, "forward_intermediates", None)):
            return name, part
    return "", None


def _name(module: nn.Module, place: int, stage: _Match) -> str:
    """The name of a stage: timm's where it is one of the layers that equal it."""
    before, net = _timms(module)
    info = list(getattr(net, "feature_info", None) or [])
    timms = str(info[place].get("module")) if place < len(info) else ""
    timms = f"{before}.{timms}" if before else timms
    events = [event for event, _ in stage]
    return timms if timms in [event.name for event in events] else outermost(events).name


def reach(
    module: nn.Module, pixels: Tensor, layers: Mapping[str, MapLayout], name: str
) -> dict[str, float]:
    """At what share of each layer's places the score has a gradient, 0 to 1.

    Pixels are (1, C, H, W), as the network wants them, which is afterwards as it was.
    """
    added: dict[str, Tensor] = {}

    def add(layer: str, _module: nn.Module, output: Any) -> Any:
        tensor = layers[layer].tensor(output)
        if tensor is None:
            return output
        with torch.enable_grad():  # also where a network turns it off for its trunk
            added[layer] = torch.zeros_like(tensor).requires_grad_()
            return layers[layer].in_place(output, tensor + added[layer])

    with frozen(module), drawn(module):
        with hooked(module, list(layers), add):
            raw = output_tensor(module(pixels), name)
        score = raw.flatten()[0]
        found: tuple[Tensor | None, ...] = (None,) * len(added)
        if score.requires_grad:
            found = torch.autograd.grad(score, list(added.values()), allow_unused=True)
    return {
        layer: 0.0
        if gradient is None
        else float((layers[layer].maps(gradient) != 0).any(dim=1).float().mean())
        for layer, gradient in zip(added, found, strict=True)
    }

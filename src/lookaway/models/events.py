"""What the layers of a network give, one after the other, in one pass."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lookaway.models.hooks import evaluating, hooked, parts_of

# Layers that only hand on what another gave; a subclass with a forward of its own does more.
_CONTAINERS = (nn.Sequential.forward, nn.Identity.forward, nn.Dropout.forward, nn.Dropout2d.forward)

Key = tuple[str, int, int | str | None]


@dataclass(frozen=True, eq=False)
class Event:
    """A layer that gave a tensor of three or four axes, by itself or in a tuple or mapping.

    Attributes:
        name: of the layer.
        layer: itself.
        output: the tensor.
        version: of it; in-place layers give the same tensor again, in another version.
        run: how often the layer had run before.
        part: place in a tuple or list, or key of a mapping; None: the output itself.
        convs_before: convolutions that had run, this one included.
        steps_before: convolutions and linear layers at more than one place.
    """

    name: str
    layer: nn.Module
    output: Tensor
    version: int
    run: int
    part: int | str | None
    convs_before: int
    steps_before: int

    @property
    def key(self) -> Key:
        """Which event it is, in every pass of the same kind."""
        return self.name, self.run, self.part

    @property
    def is_conv(self) -> bool:
        """Whether the layer is a convolution."""
        return isinstance(self.layer, nn.Conv2d)

    @property
    def is_maps(self) -> bool:
        """Whether it has the axes of maps, as the output itself or the first of a tuple."""
        return self.output.ndim == 4 and self.part in (None, 0)

    @property
    def is_spatial(self) -> bool:
        """Whether it has more than one place, with the channels first."""
        return self.output[0, 0].numel() > 1

    @property
    def is_pool(self) -> bool:
        """By name, or because it leaves 1×1 positions though nothing in it mixes channels."""
        mixes = any(isinstance(part, nn.Conv2d | nn.Linear) for part in self.layer.modules())
        return "pool" in type(self.layer).__name__.lower() or not (self.is_spatial or mixes)


def watch(module: nn.Module, run: Callable[[], Any]) -> list[Event]:
    """What its layers give while something runs the network, in eval mode and without autograd."""
    events: list[Event] = []
    runs: Counter[str] = Counter()
    convs = steps = 0

    def note(name: str, layer: nn.Module, output: Any) -> None:
        nonlocal convs, steps
        for part, tensor in parts_of(output):
            if tensor.ndim not in (3, 4) or not tensor.numel():
                continue
            is_conv = isinstance(layer, nn.Conv2d) and tensor[0, 0].numel() > 1
            is_linear = isinstance(layer, nn.Linear) and tensor[0, ..., 0].numel() > 1
            # dlib's last block is 3×3 convolutions of one position beside a skip of four.
            counts = is_conv or (isinstance(layer, nn.Conv2d) and max(layer.kernel_size) > 1)
            convs += counts
            steps += counts or is_linear
            events.append(
                Event(name, layer, tensor, tensor._version, runs[name], part, convs, steps)
            )
        runs[name] += 1

    names = [name for name, _ in module.named_modules() if name]
    with (
        torch.inference_mode(False),
        evaluating(module),
        torch.no_grad(),
        hooked(module, names, note),
    ):
        run()
    return events


def of_layers(group: Sequence[Event]) -> Sequence[Event]:
    """Of events that give the same, those of layers that are not mere containers, if any."""
    return [event for event in group if type(event.layer).forward not in _CONTAINERS] or group


def outermost(group: Sequence[Event]) -> Event:
    """The event that names what several give alike.

    The outermost layer that is not a mere container (``layer4.2``, not ``layer4`` nor
    ``layer4.2.act3``), of those that give nothing else beside it; a container where there is
    nothing else.
    """
    return min(of_layers(group), key=lambda event: (event.part is not None, event.name.count(".")))

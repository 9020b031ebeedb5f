"""What a classifier refuses: images, classes, labels and networks that it cannot work with."""

from functools import partial

import torch
from torch import Tensor, nn

from lookaway.errors import InputError, ModelError
from lookaway.models.postponed import must_hold


def check_pixels(images: Tensor, channels: int = 3, name: str = "the classifier") -> None:
    """Refuse a batch that is not pixels in [0, 1].

    Raises:
        InputError: with the shape, dtype or range that was given.
    """
    if not isinstance(images, Tensor):
        raise InputError(f"images must be a torch tensor, not {type(images).__name__}")
    check_shape(images, channels, name)
    if images.shape[0] == 0:
        raise InputError("images is an empty batch")
    low, high = torch.aminmax(images.detach())
    must_hold((low >= 0.0) & (high <= 1.0), partial(_no_pixels, low, high))


def check_classes(classes: Tensor, count: int, num_classes: int, what: str = "classes") -> Tensor:
    """Refuse class indices that do not fit a batch; give them as int64.

    Raises:
        InputError: with the shape, dtype or index that was given.
    """
    if not isinstance(classes, Tensor) or classes.is_floating_point() or classes.ndim != 1:
        raise InputError(f"{what} must be an integer tensor ({count},)")
    if classes.shape[0] != count:
        raise InputError(f"{what} has {classes.shape[0]} entries for {count} images")
    low, high = torch.aminmax(classes)
    wrong = partial(_no_classes, what, num_classes, low, high)
    must_hold((low >= 0) & (high < num_classes), wrong)
    with torch.inference_mode(False):  # autograd cannot keep what was made in inference mode
        return classes.clone().long() if classes.is_inference() else classes.long()


def _no_pixels(low: Tensor, high: Tensor) -> InputError:
    return InputError(
        f"pixels must lie in [0, 1]; got {float(low):g} to {float(high):g}. Give images before "
        "normalisation (divide 8-bit values by 255); the classifier normalises itself"
    )


def _no_classes(what: str, num_classes: int, low: Tensor, high: Tensor) -> InputError:
    return InputError(f"{what} must lie in 0…{num_classes - 1}; got {int(low)} to {int(high)}")


def check_labels(labels: Tensor, count: int, num_classes: int, *, several: bool) -> Tensor:
    """Refuse labels that do not fit a batch; give them as int64.

    Args:
        labels: (N,) indices; for several labels at once also (N, K) of 0 and 1.
        count: N.
        num_classes: K.
        several: whether an image may have several labels.

    Raises:
        InputError: with what was given.
    """
    if not (several and isinstance(labels, Tensor) and labels.ndim == 2):
        return check_classes(labels, count, num_classes, "labels")
    wrong = InputError(
        f"labels must be ({count},) indices or ({count}, {num_classes}) of 0 and 1; got "
        f"{tuple(labels.shape)}"
    )
    if labels.shape != (count, num_classes):
        raise wrong
    must_hold(((labels == 0) | (labels == 1)).all(), lambda: wrong)
    return labels.long()


def check_shape(images: Tensor, channels: int, name: str) -> None:
    """Refuse a batch that is not in floating point or not of the network's channels.

    Raises:
        InputError: with the shape that was given, and the number of channels that is needed.
    """
    if images.ndim != 4 or not images.is_floating_point() or images.shape[1] not in (1, 3):
        raise InputError(
            f"images must be a float tensor (N, {channels}, H, W) of pixels in [0, 1]; got "
            f"{tuple(images.shape)} {images.dtype}"
        )
    if images.shape[1] != channels:
        ways = {
            1: "give grey images (in a study: data.channels: 1)",
            3: "give RGB images (grey ones three times over: images.expand(-1, 3, -1, -1))",
        }
        raise InputError(
            f"{name} takes {channels} channel{'s' * (channels > 1)}, and the images "
            f"{tuple(images.shape)} have {images.shape[1]}; {ways[channels]}"
        )


def refuse_closed(module: nn.Module, name: str) -> None:
    """Refuse networks whose layers can be neither watched nor differentiated.

    Raises:
        ModelError: with the kind, and what to give in its place.
    """
    for part in module.modules():
        if isinstance(part, torch.jit.ScriptModule):
            kind, why = "scripted or traced (torch.jit)", "cannot be watched"
        elif isinstance(part, torch.fx.GraphModule) and not _calls_layers(part):
            kind, why = "exported (a graph without layers)", "are not there any more"
        elif ".quantized" in type(part).__module__:
            kind, why = "quantised", "have no gradients"
        else:
            continue
        raise ModelError(
            f"{name} is {kind}: its layers {why}, so it can be neither attacked nor explained; "
            "give the plain torch.nn.Module in floating point that it was made from"
        )


def _calls_layers(graph: torch.fx.GraphModule) -> bool:
    """Whether a graph runs modules that hold weights, and so layers; an exported one does not."""
    called = {str(node.target) for node in graph.graph.nodes if node.op == "call_module"}
    return any(next(graph.get_submodule(name).parameters(), None) is not None for name in called)
